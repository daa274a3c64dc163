# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import (
    HUMAN,
    OURS,
    SLURM,
    Job,
    Node,
    ScontrolError,
    Wanted,
    cause_of,
    check_reason,
    check_text,
    commands,
    expected,
    explain,
    is_kept,
    jobs_argv,
    parse_jobs,
    parse_nodes_json,
    parse_nodes_text,
    parse_version,
    read_nodes,
    reason_owner,
    update_argv,
)
from hypothesis import given, settings
from hypothesis import strategies as st

CASES = settings(derandomize=True, max_examples=1000, deadline=None)
FIXTURES = Path(__file__).parents[2] / "fixtures"
JSON = {"22.05": "sinfo.json", "24.11": "scontrol_show_nodes.json"}
VERSIONS = pytest.mark.parametrize("version", list(JSON))

NODE = Node("n1", "IDLE", frozenset(), "", "", 10, (), (), "", "", "24.11.5", None, "")


def read(version: str, name: str) -> str:
    return (FIXTURES / f"slurm-{version}" / name).read_text(encoding="utf-8")


RECORD = json.loads(read("24.11", JSON["24.11"]))["nodes"][3]


def node(state: str = "IDLE", reason: str = "", user: str = "root", **values: Any) -> Node:
    """A node in a state as scontrol writes it."""
    base, *flags = state.split("+")
    return replace(NODE, base=base, flags=frozenset(flags), reason=reason, reason_user=user, **values)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the samples were recorded."""
    with monkeypatch.context() as context:
        context.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


# --- nodes ------------------------------------------------------------------------------------------------------------


@VERSIONS
def test_nodes_of_json(version: str) -> None:
    nodes = parse_nodes_json(read(version, JSON[version]))
    prefix = {"22.05": "bk-n", "24.11": "tx-n"}[version]
    # A FUTURE node, 6, is in no listing.
    assert [name.replace(prefix, "") for name in nodes] == ["1", "2", "3", "4", "5", "7"]
    assert {name[-1]: node.state for name, node in nodes.items()} == {
        "1": "MIXED",
        "2": "ALLOCATED",
        "3": "IDLE",
        "4": "IDLE+DRAIN",
        "5": "UNKNOWN+NOT_RESPONDING",
        "7": "DOWN+NOT_RESPONDING",
    }
    drained = nodes[prefix + "4"]
    assert drained.reason == "bad gpu: Xid=79 PCI:0000:65:00, ticket=OPS-123 owner='j doe' \"q"
    assert (drained.reason_user, drained.weight, drained.gres) == ("root", 30, "gpu:h100:8")
    assert drained.features == drained.active_features == ("gpu", "h100")
    assert drained.version.startswith(version)
    assert drained.slurmd_start_time
    silent = nodes[prefix + "5"]
    assert (silent.version, silent.features) == ("", ())
    assert silent.slurmd_start_time is None


@VERSIONS
@pytest.mark.usefixtures("utc")
def test_text_and_json_say_the_same(version: str) -> None:
    of_json = parse_nodes_json(read(version, JSON[version]))
    of_text = parse_nodes_text(read(version, "scontrol_show_nodes_o.txt"))
    # Of a Reason that is gone, or that slurm.conf gave, only JSON tells who set it.
    for name, one in of_json.items():
        other = of_text[name]
        if not other.reason_user:
            one = replace(one, reason_user="")
        assert other == one
    assert list(of_text) == list(of_json)


# What both versions print, cut to the keys that count: exit_codes and dynamic_node of the recorded samples.
HEAD = (
    "NodeName=n3 Arch=x86_64 CoresPerSocket=1  CPUAlloc=1 AvailableFeatures=a,b ActiveFeatures=a Gres=(null)"
    " OS=Linux 6.12.0 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=2000 {state} ThreadsPerCore=1 Weight=55"
    " BootTime=None AveWatts=0 "
)


@pytest.mark.parametrize(
    ("tail", "reason", "user", "comment", "extra"),
    [
        ("", "", "", "", ""),
        (" Reason=not yet delivered", "not yet delivered", "", "", ""),
        (" Reason=a [b] c [root@2026-11-21T21:35:14]", "a [b] c", "root", "", ""),
        (
            " Reason=k=v; State=DOWN [root@2026-11-21T21:35:14] Extra=k=v;k2=v2",
            "k=v; State=DOWN",
            "root",
            "",
            "k=v;k2=v2",
        ),
        (" Reason=multi\nline reason\ttab [root@2026-11-21T21:35:14]", "multi\nline reason\ttab", "root", "", ""),
        (" Reason=\nNodeName=n4 is bad [root@Unknown]", "\nNodeName=n4 is bad", "root", "", ""),
        (" Comment=hello = world, x Extra=e", "", "", "hello = world, x", "e"),
        (" Reason=r [slurm@2026-11-21T21:35:14] Comment=c Extra=e e", "r", "slurm", "c", "e e"),
    ],
)
def test_free_text(tail: str, reason: str, user: str, comment: str, extra: str) -> None:
    line = HEAD.format(state="State=MIXED+DRAIN+REBOOT_REQUESTED NextState=RESUME") + tail + "\n"
    nodes = parse_nodes_text(line + line.replace("n3", "n5", 1))
    assert list(nodes) == ["n3", "n5"]
    found = nodes["n3"]
    assert (found.reason, found.reason_user, found.comment, found.extra) == (reason, user, comment, extra)
    assert found.state == "MIXED+DRAIN+REBOOT_REQUESTED"
    assert (found.weight, found.features, found.active_features) == (55, ("a", "b"), ("a",))


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("DOWN*+DRAIN", "DOWN+DRAIN+NOT_RESPONDING"),
        ("IDLE~+CLOUD", "IDLE+CLOUD+POWERED_DOWN"),
        ("MIXED-", "MIXED+PLANNED"),
        ("IDLE$+DRAIN@", "IDLE+DRAIN+MAINTENANCE+REBOOT_REQUESTED"),
    ],
)
def test_states_of_older_releases(state: str, found: str) -> None:
    assert parse_nodes_text(HEAD.format(state=f"State={state}") + "\n")["n3"].state == found


def test_damaged_json_is_named_where_the_text_has_nothing_either() -> None:
    def run(argv: Sequence[str], text: str = "") -> Result:
        return Result(list(argv), 0, '{"nodes": [' if "--json" in argv else text, "")

    with pytest.raises(ScontrolError, match="not JSON"):
        read_nodes(run, (24, 11))
    assert read_nodes(lambda argv: run(argv, "No nodes in the system\n"), (24, 11)) == {}


def test_no_nodes() -> None:
    assert parse_nodes_text("") == parse_nodes_text("No nodes in the system\n") == {}


def test_an_empty_list_with_errors_is_no_list_of_nodes() -> None:
    with pytest.raises(ScontrolError, match="Unspecified error"):
        parse_nodes_json(read("22.05", "sinfo_ctld_down.json"))


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (parse_nodes_json, "slurm_load_node error", "not JSON"),
        (parse_nodes_json, "[" * 100000, "not JSON"),
        (parse_nodes_json, '{"sinfo": []}', "without a list `nodes`"),
        (parse_nodes_json, '{"nodes": [7]}', "no node"),
        (parse_nodes_json, '{"nodes": [{"name": "n1"}]}', "no node .KeyError"),
        (parse_nodes_json, '{"nodes": [{"name": "n1", "state": []}]}', "no node .ValueError"),
        (parse_nodes_json, json.dumps({"nodes": [RECORD, RECORD]}), f"'{RECORD['name']}' twice"),
        (parse_nodes_text, (HEAD.format(state="State=IDLE") + "\n") * 2, "'n3' twice"),
        (parse_nodes_text, "Node nosuch not found\n", "'Node nosuch not found'"),
        (parse_nodes_text, HEAD.format(state="State=IDLE").replace("Weight=55", "Weight=x"), "'x'"),
        (parse_nodes_text, HEAD.format(state=""), "'State'"),
        (parse_version, "scontrol: command not found", "accepted: `slurm` and a version"),
        (parse_jobs, "squeue: error: x", "accepted: id|user|state|partition|nodes"),
    ],
)
def test_what_is_not_slurms(parse: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(ScontrolError) as error:
        parse(text)
    assert said.replace(".KeyError", "(KeyError").replace(".ValueError", "(ValueError") in str(error.value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(sorted({*RECORD, "state_flags", "slurmd_version"}))


@CASES
@given(st.text() | JSON_VALUES.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_nodes_json, parse_nodes_text, parse_version, parse_jobs):
        with suppress(ScontrolError):
            parse(text)


@CASES
@given(st.dictionaries(KEYS, JSON_VALUES, max_size=3), st.sets(KEYS, max_size=2))
def test_any_record_is_read_or_refused(values: dict[str, Any], missing: set[str]) -> None:
    record = {key: value for key, value in {**RECORD, **values}.items() if key not in missing}
    try:
        nodes = list(parse_nodes_json(json.dumps({"nodes": [record]})).values())
    except ScontrolError:
        return
    found = nodes[0]
    assert len(nodes) == 1
    assert isinstance(found.weight, int)
    assert all(isinstance(flag, str) for flag in found.flags)


WORDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12)


@CASES
@given(WORDS, WORDS, WORDS, st.sampled_from(["", " [root@2026-11-21T21:35:14]"]))
def test_any_free_text_leaves_the_rest_alone(reason: str, comment: str, extra: str, tail: str) -> None:
    line = HEAD.format(state="State=IDLE+DRAIN") + f" Reason={reason}{tail} Comment={comment} Extra={extra}\n"
    nodes = parse_nodes_text(line + line.replace("n3", "n5", 1))
    assert list(nodes) == ["n3", "n5"]
    assert (nodes["n3"].state, nodes["n3"].weight) == ("IDLE+DRAIN", 55)


# --- version and jobs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version"),
    [("slurm-wlm 22.05.8\n", (22, 5)), ("slurm-wlm 24.11.5\n", (24, 11)), ("slurm 25.11.0-0rc1", (25, 11))],
)
def test_version(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


def test_jobs() -> None:
    # Recorded on both versions, the first with a newline in its name.
    jobs = parse_jobs("1|alice|RUNNING|main|n1\n2_1|alice|COMPLETING|main|n[1-2]\n")
    assert jobs == [Job("1", "alice", "RUNNING", "main", "n1"), Job("2_1", "alice", "COMPLETING", "main", "n[1-2]")]
    assert str(jobs[1]) == "2_1 of alice (COMPLETING on n[1-2])"
    assert parse_jobs("") == []
    assert jobs_argv(["n1", "n2"]) == ["squeue", "--noheader", "--nodelist=n[1-2]", "--format=%i|%u|%T|%P|%N"]


# --- reasons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "user", "owner"),
    [
        ("aicluster: new switches", "root", OURS),
        ("aicluster: new switches : Not responding", "slurm", OURS),
        ("Not responding", "slurm", SLURM),
        ("Not responding", "root", HUMAN),
        ("NO NETWORK ADDRESS FOUND", "slurm", SLURM),
        ("gres/gpu count reported lower than configured (4 < 8)", "slurm", SLURM),
        ("Low RealMemory (reported:24105 < 100.00% of configured:999999)", "root", SLURM),
        ("Low socket*core*thread count, Low CPUs", "slurm", SLURM),
        ("gres/gpu type (a100) reported but not configured", "slurm", SLURM),
        ("bad fan", "root", HUMAN),
        ("bad fan : Not responding", "slurm", HUMAN),
        ("bad fan : gres/gpu count reported lower than configured (4 < 8)", "slurm", HUMAN),
        ("Low RealMemory? see ticket", "slurm", HUMAN),
        ("AICLUSTER: x", "root", HUMAN),
        ("", "root", HUMAN),
    ],
)
def test_reason_owner(reason: str, user: str, owner: str) -> None:
    assert reason_owner(reason, user) == owner


@pytest.mark.parametrize(
    ("state", "reason", "user", "holder"),
    [
        # 24.11 keeps the Reason of a node that has returned.
        ("IDLE", "bad fan", "root", None),
        ("MIXED+NOT_RESPONDING", "bad fan", "root", None),
        ("IDLE+DRAIN", "bad fan", "root", HUMAN),
        ("ALLOCATED+DRAIN", "aicluster: x", "root", OURS),
        ("IDLE+FAIL", "fail me", "root", HUMAN),
        ("DOWN+NOT_RESPONDING", "not yet delivered", "", HUMAN),
        ("DOWN", "", "", HUMAN),
        # slurmctld appended to a Reason of the past when it set the node DOWN ...
        ("DOWN+NOT_RESPONDING", "bad fan : Not responding", "slurm", SLURM),
        ("DOWN+NOT_RESPONDING", "aicluster: x : Not responding", "slurm", SLURM),
        # ... and to the one for which the node is drained.
        ("DOWN+DRAIN+NOT_RESPONDING", "bad fan : Not responding", "slurm", HUMAN),
        ("DOWN+DRAIN+REBOOT_ISSUED", "aicluster: new kernel : reboot issued", "slurm", OURS),
        ("IDLE+DRAIN+INVALID_REG", "gres/gpu count reported lower than configured (4 < 8)", "slurm", SLURM),
    ],
)
def test_holder(state: str, reason: str, user: str, holder: str | None) -> None:
    found = node(state, reason, user)
    assert found.holder == holder
    assert found.current_reason == (reason if holder else "")


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


# --- commands ---------------------------------------------------------------------------------------------------------

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


# --- failures ---------------------------------------------------------------------------------------------------------

DOWN_22 = read("22.05", "sinfo_ctld_down.json")
MUNGE_DOWN = (
    "sinfo: error: If munged is up, restart with --num-threads=10\n"
    'sinfo: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory'
    " (Did you start munged?)\n"
    "slurm_load_node error: Protocol authentication error\n"
)


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "said", "general"),
    [
        (1, "", "slurm_update error: Unable to contact slurm controller (connect failure)", "slurmctld does not", True),
        (1, "", MUNGE_DOWN, "munged does not run on this host", True),
        # 22.05 exits with 0.
        (0, DOWN_22, MUNGE_DOWN, "munged does not run on this host", True),
        (1, "", "slurm_load_node error: Protocol authentication error", "compare /etc/munge/munge.key", True),
        (1, "", "slurm_load_partitions: Zero Bytes were transmitted or received", "compare /etc/munge/munge.key", True),
        (1, "", "slurm_update error: Invalid user id", "no right", True),
        (1, "", "scontrol_reboot_nodes error: Permission denied", "no right", True),
        (1, "", "scontrol: fatal: Unable to process configuration file", "no valid slurm.conf", True),
        (1, "", "scontrol: fatal: Could not establish a configuration source", "no valid slurm.conf", True),
        (1, "", "scontrol: error: RebootProgram isn't defined", "no RebootProgram", True),
        (1, "", "Error creating node(s): Unable to add node, node table is full", "MaxNodeCount", True),
        (1, "", "delete_node nodename=n1: Requested nodes are busy", "drain it and wait", False),
        (1, "", "slurm_update error: Invalid node state specified", "state does not allow it", False),
    ],
)
def test_causes(rc: int, stdout: str, stderr: str, said: str, general: bool) -> None:
    result = Result(["scontrol", "x"], rc, stdout, stderr)
    cause = cause_of(result)
    assert cause
    assert said in cause.words
    assert cause.general == general
    assert explain(result).startswith(f"{cause.words}: `scontrol x` failed")
    assert stderr.splitlines()[-1] in explain(result)


@pytest.mark.parametrize(
    "result",
    [Result(["scontrol"], 1, "", "something new"), Result(["sinfo"], 0, '{"comment": "Permission denied"}', "")],
)
def test_an_unknown_failure_has_no_cause(result: Result) -> None:
    assert cause_of(result) is None
    assert explain(result).startswith(f"`{result.argv[0]}` failed")
