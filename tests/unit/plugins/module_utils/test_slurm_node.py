# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import HUMAN, Node, ScontrolError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_node import (
    Wanted,
    check_reason,
    check_text,
    commands,
    expected,
    is_kept,
    update_argv,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes import node

CASES = settings(derandomize=True, max_examples=1000, deadline=None)


def test_the_mark_is_put_once() -> None:
    assert check_reason("new switches") == "aicluster: new switches"
    assert check_reason("aicluster: new switches") == "aicluster: new switches"
    assert check_reason('it\'s a "fan", ü €') == 'aicluster: it\'s a "fan", ü €'


@pytest.mark.parametrize("text", ["", " ", '"x', "x'", '"', "two\nlines", "tab\t", "\x1b[31m", "\udc80"])
def test_reasons_that_slurm_would_garble(text: str) -> None:
    with pytest.raises(ScontrolError, match=r"^reason: found"):
        check_reason(text)


def test_text() -> None:
    assert check_text("comment", "") == ""
    assert check_text("comment", '"on" loan') == '"on" loan'
    with pytest.raises(ScontrolError, match=r"^comment: found"):
        check_text("comment", "two\nlines")


DRAIN = Wanted("drained", "aicluster: x")
DOWN = Wanted("down", "aicluster: x")
ON = Wanted("powered_up")
OFF = Wanted("powered_down")
TELL_DRAIN = ["State=DRAIN", "Reason=aicluster: x"]
TELL_DOWN = ["State=DOWN", "Reason=aicluster: x"]
KEPT = "kept"


@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        (DRAIN, node("MIXED"), TELL_DRAIN),
        (DRAIN, node("IDLE", "aicluster: x"), TELL_DRAIN),
        (DRAIN, node("MIXED+DRAIN", "aicluster: x"), []),
        (DRAIN, node("DOWN+DRAIN", "aicluster: x : Not responding", "slurm"), []),
        (DRAIN, node("IDLE+DRAIN", "aicluster: other"), TELL_DRAIN),
        (DRAIN, node("DOWN", "Not responding", "slurm"), TELL_DRAIN),
        (DRAIN, node("IDLE+DRAIN", "Low socket*core*thread count, Low CPUs", "slurm"), KEPT),
        (DRAIN, node("IDLE+DRAIN", "bad fan"), KEPT),
        (DRAIN, node("DOWN", "bad fan"), KEPT),
        (replace(DRAIN, force_reason=True), node("IDLE+DRAIN", "bad fan"), TELL_DRAIN),
        (DOWN, node("MIXED"), TELL_DOWN),
        (DOWN, node("DOWN", "aicluster: x"), []),
        (DOWN, node("DOWN", "Not responding", "slurm"), TELL_DOWN),
        (DOWN, node("IDLE+DRAIN", "aicluster: x"), TELL_DOWN),
        (DOWN, node("IDLE+DRAIN", "bad fan"), KEPT),
        (Wanted("resumed"), node("MIXED"), []),
        (Wanted("resumed"), node("IDLE", "bad fan"), []),
        (Wanted("resumed"), node("IDLE+DRAIN", "aicluster: other"), ["State=RESUME"]),
        (Wanted("resumed"), node("DOWN+NOT_RESPONDING", "bad fan : Not responding", "slurm"), ["State=RESUME"]),
        (Wanted("resumed"), node("IDLE+DRAIN", "Low socket*core*thread count, Low CPUs", "slurm"), ["State=RESUME"]),
        (Wanted("resumed"), node("IDLE+DRAIN", "bad fan"), KEPT),
        (Wanted("resumed", force_reason=True), node("IDLE+FAIL", "bad fan"), ["State=RESUME"]),
        (Wanted("idle"), node("IDLE"), []),
        (Wanted("idle"), node("DOWN", "aicluster: x"), ["State=IDLE"]),
        (Wanted("idle"), node("DOWN", "bad fan"), KEPT),
        (OFF, node("IDLE"), ["State=POWER_DOWN"]),
        (OFF, node("IDLE+POWER_DOWN"), []),
        (OFF, node("IDLE+POWERING_DOWN"), []),
        (OFF, node("IDLE+POWERED_DOWN"), []),
        # 22.05 takes a drain away when it powers down.
        (OFF, node("IDLE+DRAIN", "bad fan"), KEPT),
        (ON, node("IDLE"), []),
        (ON, node("IDLE+POWERED_DOWN"), ["State=POWER_UP"]),
        (ON, node("IDLE+POWERED_DOWN+POWER_UP"), []),
        (ON, node("IDLE+POWERING_UP+POWER_DOWN"), []),
        (Wanted("present"), node("IDLE+DRAIN", "bad fan"), []),
        (Wanted(weight=10, comment="", extra="", features=()), node(), []),
        (Wanted(weight=0), node(), ["Weight=0"]),
        (Wanted(comment="c", extra="e"), node(), ["Comment=c", "Extra=e"]),
        (Wanted(comment="", extra=""), node(comment="c", extra="e"), ["Comment=", "Extra="]),
        (Wanted(features=("b", "a")), node(features=("a", "b"), active_features=("b", "a")), []),
        (
            Wanted(features=("a", "b")),
            node(features=("a", "b"), active_features=("a",)),
            ["AvailableFeatures=a,b", "ActiveFeatures=a,b"],
        ),
        (Wanted(features=()), node(features=("a",)), ["AvailableFeatures=", "ActiveFeatures="]),
        (replace(DRAIN, weight=5), node(), ["Weight=5", *TELL_DRAIN]),
        # A description is not a state.
        (replace(DRAIN, weight=5), node("IDLE+DRAIN", "bad fan"), ["Weight=5"]),
    ],
)
def test_updates(wanted: Wanted, found: Node, told: list[str] | str) -> None:
    assert commands(wanted, "n1", found) == (
        [["scontrol", "update", "NodeName=n1", *told]] if told and told != KEPT else []
    )
    if told == KEPT or not told:
        assert is_kept(wanted, found) == (told == KEPT)
    # What check mode foretells needs nothing more, and nobody's node becomes anybody else's.
    after = expected(wanted, ["n1"], {"n1": found})["n1"]
    assert commands(wanted, "n1", after) == []
    assert is_kept(wanted, after) == is_kept(wanted, found)
    if not told:
        assert after == found


REBOOT = Wanted("rebooted", "aicluster: new kernel")
CLOUD = "IDLE+CLOUD+DYNAMIC_NORM+POWERED_DOWN"
DELETE = [["scontrol", "delete", "NodeName=n1"]]


@pytest.mark.parametrize(
    ("wanted", "found", "argvs"),
    [
        (
            REBOOT,
            node("MIXED"),
            [["scontrol", "reboot", "ASAP", "nextstate=RESUME", "reason=aicluster: new kernel", "n1"]],
        ),
        (REBOOT, node("MIXED+DRAIN+REBOOT_REQUESTED", "aicluster: new kernel"), []),
        (REBOOT, node("DOWN+DRAIN+REBOOT_ISSUED", "other : reboot issued", "slurm"), []),
        # It would return to service after that.
        (REBOOT, node("IDLE+DRAIN", "bad fan"), []),
        (Wanted("present"), None, [["scontrol", "create", "NodeName=n1", "State=CLOUD"]]),
        (
            Wanted("present", weight=4, features=("a", "b"), comment="c", extra=""),
            None,
            [
                ["scontrol", "create", "NodeName=n1", "State=CLOUD", "Feature=a,b", "Weight=4"],
                ["scontrol", "update", "NodeName=n1", "Comment=c"],
            ],
        ),
        (Wanted("present"), node(CLOUD), []),
        (Wanted("absent"), None, []),
        (Wanted("absent"), node(CLOUD), DELETE),
        (Wanted("absent"), node("IDLE+DYNAMIC_NORM"), DELETE),
        (Wanted("absent"), node("IDLE+DRAIN+DYNAMIC_NORM", "bad fan"), []),
        (Wanted("absent", force_reason=True), node("IDLE+DRAIN+DYNAMIC_NORM", "bad fan"), DELETE),
    ],
)
def test_other_commands(wanted: Wanted, found: Node | None, argvs: list[list[str]]) -> None:
    assert commands(wanted, "n1", found) == argvs
    after = expected(wanted, ["n1"], {"n1": found} if found else {})
    assert commands(wanted, "n1", after.get("n1")) == []


@pytest.mark.parametrize("state", ["IDLE", "IDLE+CLOUD+POWERED_DOWN"])
def test_a_node_of_slurm_conf_is_not_deleted(state: str) -> None:
    with pytest.raises(ScontrolError, match=r"n1 stands in slurm\.conf; accepted for absent: dynamic nodes"):
        commands(Wanted("absent", force_reason=True), "n1", node(state))


def test_update_argv() -> None:
    assert update_argv("n1", {"Comment": "a b=c"}) == ["scontrol", "update", "NodeName=n1", "Comment=a b=c"]


STATES = st.builds(
    "+".join,
    st.tuples(st.sampled_from(["IDLE", "MIXED", "DOWN"])).flatmap(
        lambda base: st.lists(
            st.sampled_from(["DRAIN", "FAIL", "NOT_RESPONDING", "REBOOT_ISSUED", "POWERED_DOWN", "DYNAMIC_NORM"]),
            unique=True,
        ).map(lambda flags: [*base, *flags])
    ),
)
REASONS = st.sampled_from(["", "bad fan", "aicluster: x", "aicluster: y", "Not responding", "bad fan : Not responding"])
WANTED = st.builds(
    Wanted,
    state=st.sampled_from(
        [None, "drained", "down", "resumed", "idle", "rebooted", "powered_down", "powered_up", "present"]
    ),
    reason=st.sampled_from(["aicluster: x", "aicluster: y"]),
    weight=st.none() | st.integers(0, 2),
    features=st.none() | st.lists(st.sampled_from("abc")).map(tuple),
    comment=st.none() | st.sampled_from(["", "c"]),
)


@CASES
@given(WANTED, STATES, REASONS, st.sampled_from(["root", "slurm"]))
def test_one_run_is_enough_and_others_drains_stay(wanted: Wanted, state: str, reason: str, user: str) -> None:
    found = node(state, reason, user)
    after = expected(wanted, ["n1"], {"n1": found})["n1"]
    assert commands(wanted, "n1", after) == []
    if found.holder == HUMAN:
        assert (after.state, after.reason) == (found.state, found.reason)
        assert not any("State=" in word for argv in commands(wanted, "n1", found) for word in argv)
