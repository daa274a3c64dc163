# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins to nodes (nodes_adopt): into the job of who has one there, and for nobody else but the exempt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..e2e.cluster import wait_for
from .conftest import PATIENCE, Lab

pytestmark = pytest.mark.whole

GROUP = "cat /proc/self/cgroup"


def test_without_a_job_it_is_refused(lab: Lab) -> None:
    for node in lab.nodes:
        refused = lab.visit(node, GROUP)
        assert refused.rc == 1
        assert "pam_slurm_adopt: you have no active jobs on this node" in refused.stderr
    # Never on a head, and not on the storage server.
    assert lab.visit(lab.server, "hostname").stdout.strip() == lab.server.name
    assert lab.visit(lab.head, "hostname").stdout.strip() == lab.head.name


@pytest.fixture
def job(lab: Lab) -> Iterator[str]:
    """The number of a job on node1."""
    number = lab.submit("-w node1 --cpus-per-task=1", "sleep 1000")
    lab.await_job(number, "RUNNING")
    yield number
    lab.head.shell.run(f"scancel {number}")


def test_with_a_job_it_belongs_to_that_job(lab: Lab, job: str) -> None:
    node, other = lab.machine("node1"), lab.machine("node2")
    inside = lab.visit(node, f"{GROUP}; nproc; nohup sleep 7777 >/dev/null 2>&1 &")
    assert inside.rc == 0, inside.stderr
    group, processors = inside.stdout.split()
    assert f"/job_{job}/step_extern/" in group
    assert processors == "1"
    # A job there admits to nowhere else.
    assert lab.visit(other, GROUP).rc == 1
    assert node.output("pgrep --full --exact 'sleep 7777'")
    lab.head.output(f"scancel {job}")
    left = wait_for(lambda: node.shell.run("pgrep --full --exact 'sleep 7777'").rc, lambda rc: rc == 1, PATIENCE)
    assert left == 1, "what the login started outlives the job"
    assert lab.visit(node, GROUP).rc == 1


def test_root_and_who_ansible_is_come_in_always(lab: Lab) -> None:
    node = lab.machine("node1")
    node.output("install -D -m 0600 /home/admin/.ssh/authorized_keys /root/.ssh/authorized_keys")
    try:
        for user in ("root", "admin"):
            inside = lab.login(user, node, f"whoami; {GROUP}")
            assert inside.returncode == 0, inside.stderr
            assert inside.stdout.split()[0] == user
            assert "job_" not in inside.stdout
    finally:
        node.output("rm /root/.ssh/authorized_keys")
