# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.filter.head_answers import head_answers
from ansible_collections.aicluster.slurm.plugins.plugin_utils.heads import (
    Answer,
    joined,
    newest_store,
    read_answer,
    speaker,
)


def answer(name: str, running: bool, generation: int) -> Answer:
    return Answer(name, name, running, generation, {"from": name})


def told(name: str, *lines: str) -> dict[str, Any]:
    return {"item": name, "stdout_lines": [name, *lines]}


GONE: dict[str, Any] = {"item": "head0", "unreachable": True}
HEADS = ["head0", "head1"]
FACTS: dict[str, dict[str, Any]] = {"head0": {}, "head1": {"ansible_facts": {"hostname": "head1"}}, "nfs0": {}}


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([], None),
        ([answer("a", False, 0), answer("b", False, 0)], "a"),
        ([answer("a", True, 1), answer("b", True, 1)], "a"),
        ([answer("a", False, 1), answer("b", True, 1)], "b"),
        # The first that runs has taken over, also with older files.
        ([answer("a", True, 1), answer("b", True, 2)], "a"),
        ([answer("a", False, 1), answer("b", False, 2), answer("c", False, 2)], "b"),
        # One that is new, before the only one that there was, whose slurmctld is stopped.
        ([Answer("a", "a", False, 0, {}), answer("b", False, 0)], "b"),
    ],
)
def test_speaker(answers: list[Answer], wanted: str | None) -> None:
    found = speaker(answers)
    assert (found.name if found else None) == wanted


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([], {}),
        ([answer("a", True, 1), answer("b", True, 2)], {"from": "b"}),
        # A head that was added before the one that is there knows nothing yet.
        ([answer("a", False, 0), answer("b", True, 0)], {"from": "b"}),
        ([answer("a", True, 3), answer("b", True, 3)], {"from": "a"}),
        ([Answer("a", "a", False, 0, {}), answer("b", False, 0)], {"from": "b"}),
    ],
)
def test_newest_store(answers: list[Answer], wanted: dict[str, str]) -> None:
    assert newest_store(answers) == wanted


@pytest.mark.parametrize(
    ("run", "answers", "wanted"),
    [
        # Of the new head nobody has made anything yet, and this run does not either.
        (["node1"], [answer("a", True, 0), Answer("b", "b", False, 0, {})], ["a"]),
        (["node1", "b"], [answer("a", True, 0), Answer("b", "b", False, 0, {})], ["a", "b"]),
        # Both are deployed, by what they hold, and one that is away by what the others know.
        (["node1"], [answer("a", True, 0), answer("b", False, 0)], ["a", "b"]),
        (["node1"], [Answer("a", "a", True, 1, {"heads": {"node-b": {}}})], ["a", "b"]),
        # Nobody is deployed.
        (["node1"], [Answer("a", "a", False, 0, {}), Answer("b", "b", False, 0, {})], ["a", "b"]),
        (["node1"], [], ["a", "b"]),
    ],
)
def test_joined(run: list[str], answers: list[Answer], wanted: list[str]) -> None:
    assert joined({"a": "node-a", "b": "node-b"}, run, answers) == wanted


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], Answer("a", "", False, 0, {})),
        (["host.lan", "active", "7", "{", '"nodes": {}}'], Answer("a", "host.lan", True, 7, {"nodes": {}})),
        (["host", "inactive", "0"], Answer("a", "host", False, 0, {})),
        (["host", "", "0"], Answer("a", "host", False, 0, {})),
    ],
)
def test_read_answer(lines: list[str], wanted: Answer) -> None:
    assert read_answer("a", lines) == wanted


def test_a_head_that_is_gone() -> None:
    store: dict[str, Any] = {"nodes": {"n1": {}}, "heads": {"head0": {}, "head1": {}}}
    found = head_answers([GONE, told("head1", "active", "2", json.dumps(store))], FACTS, HEADS)
    assert found == {"heads": HEADS, "head": "head1", "up": ["head1"], "store": store, "findings": []}


def test_a_head_that_is_not_deployed_and_not_in_the_run() -> None:
    """It answers, and has nothing to say: nobody waits for it, or has it follow."""
    store: dict[str, Any] = {"nodes": {"n1": {}}}
    results = [told("head1", "", "0"), told("head0", "inactive", "0", json.dumps(store))]
    found = head_answers(results, FACTS, ["head1", "head0"], ["node1"])
    assert found == {"heads": ["head0"], "head": "head0", "up": ["head0"], "store": store, "findings": []}


def test_a_server_that_answers() -> None:
    assert head_answers([], FACTS, servers=[{"item": "nfs0", "survey": {}}])["findings"] == []


def test_no_head_was_asked() -> None:
    assert head_answers([], FACTS) == {"heads": [], "head": "", "up": [], "store": {}, "findings": []}


@pytest.mark.parametrize(
    ("results", "servers", "finding"),
    [
        ([GONE], [], "head0: head: found no way to it; accepted: one that answers"),
        ([{"item": "head0", "msg": "not running", "stdout_lines": []}], [], "head0: head: found not running; accepted"),
        ([{"item": "head1", "stdout_lines": ["node7", "active", "0"]}], [], "head1: ansible_host (or another variable"),
        (
            [told("head1", "active", "0")],
            [{"item": "nfs0", "msg": "timed out"}],
            "nfs0: storage server: found timed out",
        ),
    ],
)
def test_findings(results: list[dict[str, Any]], servers: list[dict[str, Any]], finding: str) -> None:
    (found,) = head_answers(results, FACTS, HEADS, [], servers)["findings"]
    assert found.startswith(finding)
