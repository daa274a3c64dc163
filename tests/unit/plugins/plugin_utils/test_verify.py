# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.verify import idle_jobs, silent_nodes

# --- silent_nodes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        "idle",
        "mixed",
        "allocated",
        "completing",
        "drained",
        "draining",
        "reserved",
        "maint",
        "planned",
        "mixed-",
        "idle~",
    ],
)
def test_nodes_that_answer(state: str) -> None:
    # Nobody but its administrator can tell whether a drained node is meant to be so: it answers.
    assert silent_nodes([f"n1 {state}"], ["n1"]) == []


@pytest.mark.parametrize(
    "state", ["idle*", "unknown", "unknown*", "down", "down*", "drained*", "inval", "fail", "failing", "mixed*"]
)
def test_nodes_that_do_not_answer(state: str) -> None:
    assert silent_nodes([f"n1 {state}"], ["n1"]) == ["n1"]


def test_silent_nodes_are_in_the_order_wanted() -> None:
    # A node stands on a line for each of its partitions.
    lines = ["n3 down*", "n1 idle", "n2 idle*", "n2 idle*", "stranger down", "", "garbage"]
    assert silent_nodes(lines, ["n1", "n2", "n3", "n4"]) == ["n2", "n3", "n4"]
    assert silent_nodes([], ["n1"]) == ["n1"]
    assert silent_nodes(lines, []) == []


# --- idle_jobs --------------------------------------------------------------------------------------------------------


def test_one_job_for_one_partition() -> None:
    lines = ["n1 idle main*", "n2 mixed main*", "n3 idle main*", "n4 idle* main*", "n5 drained main*", "n6 idle main*"]
    assert idle_jobs(lines, ["n1", "n2", "n3", "n4", "n5"]) == [{"partition": "main", "nodes": ["n1", "n3"]}]


def test_the_largest_partition_first_and_each_node_once() -> None:
    lines = [
        *(f"n{number} idle big" for number in (1, 2, 3)),
        *(f"n{number} idle small" for number in (3, 4)),
        "n5 idle alone*",
    ]
    assert idle_jobs(lines, ["n1", "n2", "n3", "n4", "n5"]) == [
        {"partition": "big", "nodes": ["n1", "n2", "n3"]},
        {"partition": "alone", "nodes": ["n5"]},
        {"partition": "small", "nodes": ["n4"]},
    ]


@pytest.mark.parametrize("lines", [[], ["n1 mixed main*"], ["n1 idle"], ["stranger idle main*"], [""]])
def test_no_idle_node_no_job(lines: list[str]) -> None:
    assert idle_jobs(lines, ["n1"]) == []
