# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_ready as ready
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules import slurm_ready
from module_arguments import module_arguments

AS_USER = ["runuser", "-u", "cluster", "--", "env", "--chdir=/"]
MEMBERS = [*AS_USER, *ready.MEMBERS]
UP = ("node1 idle none\nnode2 mixed none\n", "node1 idle main*\nnode2 mixed main*\n")
# As srun of 22.05 and 24.11 say it.
BUSY = [
    "srun: error: Unable to allocate resources: Requested nodes are busy",
    "srun: error: Unable to allocate resources: Resource temporarily unavailable",
    "srun: Immediate execution impossible. Insufficient resources",
]

Step = tuple[Sequence[str], int, str, str]


# --- pure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        *("idle", "mixed", "allocated", "completing", "drained", "draining", "reserved", "maint", "planned"),
        *("mixed-", "idle~"),
    ],
)
def test_nodes_that_answer(state: str) -> None:
    # Nobody but its administrator can tell whether a drained node is meant to be so: it answers.
    assert ready.silent_nodes([f"n1 {state} none"], ["n1"]) == {}


@pytest.mark.parametrize(
    "state", ["idle*", "unknown", "unknown*", "down", "down*", "drained*", "inval", "fail", "failing", "mixed*"]
)
def test_nodes_that_do_not_answer(state: str) -> None:
    assert ready.silent_nodes([f"n1 {state} Not responding"], ["n1"]) == {"n1": state}


def test_silent_nodes_are_in_the_order_wanted() -> None:
    # A node stands on a line for each of its partitions.
    lines = ["n3 down*", "n1 idle", "n2 idle*", "n2 idle*", "stranger down", "", "garbage"]
    found = ready.silent_nodes(lines, ["n1", "n2", "n3", "n4"])
    assert list(found.items()) == [("n2", "idle*"), ("n3", "down*"), ("n4", "not known to Slurm")]
    assert ready.silent_nodes(lines, []) == {}


def test_one_job_for_one_partition() -> None:
    lines = ["n1 idle main*", "n2 mixed main*", "n3 idle main*", "n4 idle* main*", "n5 drained main*", "n6 idle main*"]
    options = ["--partition=main", "--nodelist=n1,n3", "--nodes=2", "--ntasks-per-node=1"]
    assert ready.jobs(lines, ["n1", "n2", "n3", "n4", "n5"], []) == [ready.Job("main: n1, n3", options)]


def test_the_largest_partition_first_each_node_once_and_then_gpus() -> None:
    lines = [
        *(f"n{number} idle big" for number in (1, 2, 3)),
        *(f"n{number} idle small" for number in (3, 4)),
        "n5 idle alone*",
    ]
    found = ready.jobs(lines, ["n1", "n2", "n3", "n4", "n5"], ["a100"])
    assert [job.title for job in found] == ["big: n1, n2, n3", "alone: n5", "small: n4", "a GPU a100"]
    assert found[-1].options == ["--gres=gpu:a100:1"]


@pytest.mark.parametrize("lines", [[], ["n1 mixed main*"], ["n1 idle"], ["stranger idle main*"], [""]])
def test_no_idle_node_no_job(lines: list[str]) -> None:
    assert ready.jobs(lines, ["n1"], []) == []


# --- the module -------------------------------------------------------------------------------------------------------


def srun(*options: str) -> list[str]:
    return [*AS_USER, *ready.SRUN, *options, "true"]


def main_job(*nodes: str) -> list[str]:
    return srun("--partition=main", f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}", "--ntasks-per-node=1")


class Fake:
    """Answers exactly the commands that are expected, in their order, and fails on any other."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)

    def __call__(self, argv: Sequence[str]) -> Result:
        assert self.steps, f"unexpected: {argv}"
        expected, rc, stdout, stderr = self.steps.pop(0)
        assert list(argv) == list(expected)
        return Result(list(argv), rc, stdout, stderr)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*steps: Step, **arguments: Any) -> dict[str, Any]:
        fake = Fake(*steps)
        monkeypatch.setattr(slurm_ready, "module_runner", lambda _module: fake)
        monkeypatch.setattr(ready, "PAUSE", 0)
        asked = {"nodes": ["node1", "node2"], "user": "cluster", **arguments}
        with module_arguments(asked), pytest.raises(SystemExit):
            slurm_ready.main()
        assert not fake.steps, "expected, and not run"
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def test_it_works(play: Any) -> None:
    steps: list[Step] = [
        # Right after a start slurmctld does not answer, then knows the nodes, and then they answer it.
        (ready.STATES, 1, "", "slurm_load_node: Unable to contact slurm controller"),
        (ready.STATES, 0, "node1 idle none\nnode2 unknown* none\n", ""),
        (ready.STATES, 0, UP[0] + "node3 down* gone\n", ""),
        (MEMBERS, 0, UP[1], ""),
        (main_job("node1"), 0, "", ""),
        (srun("--gres=gpu:a100:1"), 1, "", BUSY[0]),
    ]
    found = play(*steps, gpus=["a100"])
    assert found["ran"] == ["main: node1"]
    assert found["states"] == ["node1 idle none", "node2 mixed none", "node3 down* gone"]
    assert found["members"] == ["node1 idle main*", "node2 mixed main*"]
    assert found["silent"] == {"node3": "down*"}
    assert found["changed"] is False


@pytest.mark.parametrize("stderr", BUSY)
def test_a_busy_cluster_is_no_broken_one(play: Any, stderr: str) -> None:
    found = play((ready.STATES, 0, UP[0], ""), (MEMBERS, 0, UP[1], ""), (main_job("node1"), 1, "", stderr))
    assert (found["ran"], found.get("failed")) == ([], None)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (
            (0, "node1 idle none\nnode2 down* none\n", ""),
            "node2: Slurm's state: found down*; accepted: a node that responds. See /var/log/slurm/slurmd.log there",
        ),
        ((0, "", ""), "node1, node2: Slurm's state: found not known to Slurm; accepted: a node that responds"),
        (
            (1, "", "slurm_load_node: Unable to contact slurm controller (connect failure)\n"),
            "sinfo: found slurm_load_node: Unable to contact slurm controller (connect failure); accepted: a slurmctld",
        ),
    ],
)
def test_nodes_that_do_not_come(play: Any, states: tuple[int, str, str], message: str) -> None:
    found = play((ready.STATES, *states), timeout=0)
    assert found["failed"] is True
    assert found["msg"].startswith(message)


def test_a_user_who_may_not_ask(play: Any) -> None:
    found = play((ready.STATES, 0, UP[0], ""), (MEMBERS, 1, "", "runuser: user cluster does not exist"), timeout=0)
    assert found["msg"] == "sinfo: found runuser: user cluster does not exist; accepted: a slurmctld that answers"


def test_a_job_that_fails(play: Any) -> None:
    failed: Step = (main_job("node1"), 2, "", "srun: error: node1: task 0: Exited\nsrun: launch failed\n")
    found = play((ready.STATES, 0, UP[0], ""), (MEMBERS, 0, UP[1], ""), failed, gpus=["a100"])
    assert found["msg"] == (
        "a job on main: node1: found the exit code 2 (srun: error: node1: task 0: Exited / srun: launch failed);"
        " accepted: one that ends well"
    )


def test_check_mode_looks_once(play: Any) -> None:
    states = (ready.STATES, 0, "node1 down* none\n", "")
    found = play(states, (MEMBERS, 0, "", ""), gpus=["a100"], _ansible_check_mode=True)
    assert (found["ran"], found["silent"]) == ([], {"node1": "down*"})
