# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarts that a run makes (common_reboot): only where one is due, once, and without a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..e2e import play
from ..e2e.cluster import Machine
from .conftest import Lab

pytestmark = pytest.mark.whole

FLAG = "/run/reboot-required"
LEFT = "/data/home/cluster/left"


def site(lab: Lab, **variables: object) -> set[tuple[str, str]]:
    """What a run changes, that restarts what has to."""
    return play.changes(play.site(lab.inventory, "-e", json.dumps({"common_reboot": True, **variables})))


@pytest.fixture
def due(lab: Lab) -> Iterator[Machine]:
    """A node, for which a restart is due."""
    node = lab.machine("node1")
    node.output(f"touch {FLAG}")
    yield node
    for machine in (node, lab.head):
        machine.output(f"rm -f {FLAG}")


@contextmanager
def job(lab: Lab, node: Machine, seconds: int) -> Iterator[str]:
    """A job there; the run before a restart takes minutes, where machines are emulated.

    Slurm forgets it soon after its end, so it leaves a word itself.
    """
    number = lab.submit(f"-w {node.name}", f"sleep {seconds}; echo ${{SLURM_RESTART_COUNT-once}} > {LEFT}")
    lab.await_job(number, "RUNNING")
    try:
        yield number
    finally:
        lab.head.shell.run(f"scancel {number}")


def test_a_job_that_does_not_end_keeps_its_node(lab: Lab, due: Machine) -> None:
    before = lab.boots(*lab.machines)
    with job(lab, due, seconds=3000) as number:
        with pytest.raises(AssertionError, match=r"common_reboot: .*jobs are left"):
            site(lab, common_reboot_timeout=1)
        assert lab.job_state(number) == "RUNNING"
    assert lab.boots(*lab.machines) == before
    assert "DRAIN" not in lab.head.output(f"scontrol show node {due.name}")


def test_where_it_is_due_hosts_restart_once_and_after_their_jobs(lab: Lab, due: Machine) -> None:
    lab.head.output(f"touch {FLAG}")
    before = lab.boots(*lab.machines)
    with job(lab, due, seconds=300) as number:
        changes = site(lab)
        assert lab.job(f"-w {due.name}", f"cat {LEFT}; rm {LEFT}") == "once", number
    after = lab.boots(*lab.machines)
    restarted = {machine.name for machine, old, new in zip(lab.machines, before, after, strict=True) if old != new}
    assert restarted == {"node1", "head0"}
    assert {host for host, task in changes if "Restart the" in task and "slurmd" not in task} == restarted
    lab.await_idle()
    assert site(lab) == set()
    assert lab.boots(*lab.machines) == after


@pytest.fixture
def unfinished(lab: Lab) -> Iterator[Machine]:
    """A node as a run leaves it that was killed after it had drained it."""
    node = lab.machine("node1")
    lab.head.output("scontrol update NodeName=node1 State=DRAIN Reason='aicluster: upgrade and restart'")
    yield node
    lab.head.shell.run("scontrol update NodeName=node1 State=RESUME")


def test_the_next_run_brings_back_what_a_killed_one_drained(lab: Lab, unfinished: Machine) -> None:
    play.site(lab.inventory)
    lab.await_idle()
    assert lab.job(f"-w {unfinished.name}", "hostname").strip() == unfinished.name
