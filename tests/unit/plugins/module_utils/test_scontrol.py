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
    ScontrolError,
    jobs_argv,
    parse_jobs,
    parse_nodes_json,
    parse_nodes_text,
    parse_version,
    read_nodes,
    reason_owner,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nodes import node

CASES = settings(derandomize=True, max_examples=1000, deadline=None)
FIXTURES = Path(__file__).parents[2] / "fixtures"
JSON = {"22.05": "sinfo.json", "24.11": "scontrol_show_nodes.json"}
VERSIONS = pytest.mark.parametrize("version", list(JSON))


def read(version: str, name: str) -> str:
    return (FIXTURES / f"slurm-{version}" / name).read_text(encoding="utf-8")


RECORD = json.loads(read("24.11", JSON["24.11"]))["nodes"][3]


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
