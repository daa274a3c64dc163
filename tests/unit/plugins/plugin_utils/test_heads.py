# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.filter.head_answers import head_answers
from ansible_collections.aicluster.slurm.plugins.plugin_utils.heads import (
    Answer,
    doubtful_ways,
    joined,
    key_holder,
    newest_store,
    speaker,
)


def answer(name: str, running: bool, generation: int) -> Answer:
    return Answer(name, running, generation, {"from": name})


def told(name: str, running: bool, generation: int, store: dict[str, Any]) -> dict[str, Any]:
    return {"item": name, "survey": {"head": {"running": running, "generation": generation, "store": store}}}


GONE: dict[str, Any] = {"item": "head0", "unreachable": True}
HEADS = ["head0", "head1"]
FACTS: dict[str, dict[str, Any]] = {"head0": {}, "head1": {"ansible_facts": {"hostname": "head1"}}, "nfs0": {}}
STORE: dict[str, Any] = {"nodes": {"n1": {}}}


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
        ([Answer("a", False, 0, {}), answer("b", False, 0)], "b"),
    ],
)
def test_speaker(answers: list[Answer], wanted: str | None) -> None:
    found = speaker(answers)
    assert (found.name if found else None) == wanted


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([], None),
        ([Answer("a", True, 1, {}, 10.5), Answer("b", True, 1, {}, 10.5)], "a"),
        # One that runs, and was away when the key changed.
        ([Answer("a", True, 1, {}, 10.5), Answer("b", True, 1, {}, 20)], "b"),
        # The package has made a newer one where nothing else was done.
        ([Answer("a", False, 0, {}, 30), Answer("b", False, 1, {"nodes": {}}, 20)], "b"),
        # None was deployed.
        ([Answer("a", False, 0, {}, 10), Answer("b", False, 0, {}, 20)], "a"),
    ],
)
def test_key_holder(answers: list[Answer], wanted: str | None) -> None:
    found = key_holder(answers)
    assert (found.name if found else None) == wanted


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([], {}),
        ([answer("a", True, 1), answer("b", True, 2)], {"from": "b"}),
        # A head that was added before the one that is there knows nothing yet.
        ([answer("a", False, 0), answer("b", True, 0)], {"from": "b"}),
        ([answer("a", True, 3), answer("b", True, 3)], {"from": "a"}),
        ([Answer("a", False, 0, {}), answer("b", False, 0)], {"from": "b"}),
    ],
)
def test_newest_store(answers: list[Answer], wanted: dict[str, str]) -> None:
    assert newest_store(answers) == wanted


@pytest.mark.parametrize(
    ("run", "answers", "wanted"),
    [
        # Of the new head nobody has made anything yet, and this run does not either.
        (["node1"], [answer("a", True, 0), Answer("b", False, 0, {})], ["a"]),
        (["node1", "b"], [answer("a", True, 0), Answer("b", False, 0, {})], ["a", "b"]),
        # Both are deployed, by what they hold, and one that is away by what the others know.
        (["node1"], [answer("a", True, 0), answer("b", False, 0)], ["a", "b"]),
        (["node1"], [Answer("a", True, 1, {"heads": {"node-b": {}}})], ["a", "b"]),
        # Nobody is deployed.
        (["node1"], [Answer("a", False, 0, {}), Answer("b", False, 0, {})], ["a", "b"]),
        (["node1"], [], ["a", "b"]),
    ],
)
def test_joined(run: list[str], answers: list[Answer], wanted: list[str]) -> None:
    assert joined({"a": "node-a", "b": "node-b"}, run, answers) == wanted


def test_a_head_that_is_gone() -> None:
    store: dict[str, Any] = {**STORE, "heads": {"head0": {}, "head1": {}}}
    found = head_answers(HEADS, FACTS, looked=[GONE, told("head1", True, 2, store)])
    assert found == {"heads": HEADS, "head": "head1", "key": "head1", "up": ["head1"], "store": store, "findings": []}


def test_a_head_that_is_not_deployed_and_not_in_the_run() -> None:
    """It answers, and has nothing to say: nobody waits for it, or has it follow."""
    looked = [told("head1", False, 0, {}), told("head0", False, 0, STORE)]
    found = head_answers(["head1", "head0"], FACTS, ["node1"], looked)
    assert found == {
        "heads": ["head0"],
        "head": "head0",
        "key": "head0",
        "up": ["head0"],
        "store": STORE,
        "findings": [],
    }


def test_heads_of_the_run_have_told_it_themselves() -> None:
    hostvars = {
        **FACTS,
        "head1": {"__cluster_survey": told("head1", True, 0, STORE)},
        "head0": {"__cluster_survey": {}},
    }
    found = head_answers(HEADS, hostvars, HEADS)
    # One that has failed was told by Ansible.
    assert found == {"heads": HEADS, "head": "head1", "key": "head1", "up": ["head1"], "store": STORE, "findings": []}
    assert head_answers(HEADS, FACTS, HEADS)["findings"] == []


def test_a_server_that_answers() -> None:
    looked: list[dict[str, Any]] = [{"item": "nfs0", "survey": {"head": {}}}, {"item": "nfs1", "skipped": True}]
    assert head_answers([], FACTS, looked=looked)["findings"] == []


def test_no_head_was_asked() -> None:
    assert head_answers([], FACTS) == {"heads": [], "head": "", "key": "", "up": [], "store": {}, "findings": []}


@pytest.mark.parametrize(
    ("looked", "reached", "finding"),
    [
        ([GONE], [], "head0: head: found no way to it; accepted: one that answers"),
        ([{"item": "head0", "msg": "not running", "failed": True}], [], "head0: head: found not running; accepted"),
        (
            [told("head1", True, 0, {})],
            [{"item": "head1", "stdout": "node7"}, {"item": "head0", "unreachable": True}],
            "head1: ansible_host (or another variable of the connection): found one that leads to node7 when another",
        ),
        (
            [told("head1", True, 0, {}), {"item": "nfs0", "msg": "timed out"}],
            [{"item": "head1", "stdout": "head1.lan"}],
            "nfs0: storage server: found timed out; accepted: one that answers",
        ),
    ],
)
def test_findings(looked: list[dict[str, Any]], reached: list[dict[str, Any]], finding: str) -> None:
    (found,) = head_answers(HEADS, FACTS, [], looked, reached)["findings"]
    assert found.startswith(finding)


def test_doubtful_ways() -> None:
    variables: dict[str, dict[str, Any]] = {
        "plain": {"ansible_host": "10.0.0.1", "note": "{{ x }}", "ansible_port": 22},
        "led": {"ansible_host": "{{ inventory_hostname }}.lan"},
        "named": {"ansible_ssh_common_args": "-J {{ gate }}"},
    }
    assert doubtful_ways(variables, variables.__getitem__) == ["led", "named"]
