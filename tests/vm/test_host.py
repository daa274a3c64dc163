# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has that a container has not: a clock and limits of its own, settings of its kernel."""

from __future__ import annotations

import pytest

from ..e2e.cluster import wait_for
from .conftest import PATIENCE, Lab

pytestmark = pytest.mark.whole


HEAD = "*,10.77.0.11"
"""How chronyc writes the source that it has chosen."""


@pytest.mark.parametrize("name", ["nfs0", "node1", "node2"])
def test_hosts_take_the_time_from_the_head(lab: Lab, name: str) -> None:
    """The machines have no way to other servers, so the head keeps the time."""
    machine, sources = lab.machine(name), "chronyc -n -c sources | cut -d , -f 2,3"
    found = wait_for(lambda: machine.output(sources).split(), lambda lines: HEAD in lines, PATIENCE)
    assert HEAD in found
    offset = machine.output("chronyc -c tracking").split(",")[4]
    assert abs(float(offset)) < 1


def test_memory_may_be_locked_by_jobs_and_logins(lab: Lab) -> None:
    assert lab.job("-w node1", "ulimit -l").strip() == "unlimited"
    assert lab.login("admin", lab.head, "ulimit -l").stdout.strip() == "unlimited"


def test_the_kernel_takes_many_connections(lab: Lab) -> None:
    for machine in lab.machines:
        assert machine.output("sysctl -n net.ipv4.tcp_max_syn_backlog net.core.somaxconn").split() == ["4096", "4096"]
