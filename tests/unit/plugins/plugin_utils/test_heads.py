# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.filter.head_answers import head_answers
from ansible_collections.aicluster.slurm.plugins.plugin_utils.heads import Answer, newest_store, read_answer, speaker


def answer(name: str, running: bool, generation: int) -> Answer:
    return Answer(name, name, running, generation, {"from": name})


def told(name: str, *lines: str) -> dict[str, Any]:
    return {"item": name, "stdout_lines": [name, *lines]}


GONE: dict[str, Any] = {"item": "head0", "unreachable": True}
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
    ],
)
def test_newest_store(answers: list[Answer], wanted: dict[str, str]) -> None:
    assert newest_store(answers) == wanted


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
    found = head_answers([GONE, told("head1", "active", "2", json.dumps({"nodes": {"n1": {}}}))], FACTS)
    assert found == {"head": "head1", "up": ["head1"], "store": {"nodes": {"n1": {}}}, "findings": []}


def test_a_server_that_answers() -> None:
    assert head_answers([], FACTS, [{"item": "nfs0", "survey": {}}])["findings"] == []


def test_no_head_was_asked() -> None:
    assert head_answers([], FACTS) == {"head": "", "up": [], "store": {}, "findings": []}


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
    (found,) = head_answers(results, FACTS, servers)["findings"]
    assert found.startswith(finding)
