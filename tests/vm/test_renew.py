# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restarts that a run makes (common_reboot): only where one is due, once, and without a job."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..e2e import play
from ..e2e.cluster import Machine
from .conftest import Lab

pytestmark = pytest.mark.whole

FLAG = "/run/reboot-required"


def site(lab: Lab, **variables: object) -> set[tuple[str, str]]:
    """What a run changes, that restarts what has to."""
    return play.changes(play.site(lab.inventory, "-e", json.dumps({"common_reboot": True, **variables})))


@pytest.fixture
def job(lab: Lab) -> Iterator[str]:
    """A job on node1, for which a restart is due."""
    number = lab.submit("-w node1", "sleep 60")
    lab.await_job(number, "RUNNING")
    lab.machine("node1").output(f"touch {FLAG}")
    yield number
    lab.head.shell.run(f"scancel {number}")
    lab.machine("node1").output(f"rm -f {FLAG}")


def test_a_job_that_does_not_end_keeps_its_node(lab: Lab, job: str) -> None:
    before = lab.boots(*lab.machines)
    with pytest.raises(AssertionError, match=r"common_reboot: .*jobs are left"):
        site(lab, common_reboot_timeout=1)
    assert lab.boots(*lab.machines) == before
    assert "DRAIN" not in lab.head.output("scontrol show node node1")
    assert lab.job_state(job) == "RUNNING"


def test_where_it_is_due_hosts_restart_once_and_after_their_jobs(lab: Lab, job: str) -> None:
    lab.head.output(f"touch {FLAG}")
    before = lab.boots(*lab.machines)
    changes = site(lab)
    after = lab.boots(*lab.machines)
    restarted = {machine.name for machine, old, new in zip(lab.machines, before, after, strict=True) if old != new}
    assert restarted == {"node1", "head0"}
    assert {host for host, task in changes if "Restart the" in task and "slurmd" not in task} == restarted
    assert lab.job_state(job) == "COMPLETED"
    assert "Restarts=0" in lab.head.output(f"scontrol show job -o {job}")
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
