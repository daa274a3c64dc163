# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines that restart or lose their power: everything returns by itself."""

from __future__ import annotations

import pytest

from ..e2e.cluster import Machine, wait_for
from .conftest import ADDRESSES, PATIENCE, Lab

MOUNTED = "findmnt --noheadings --raw --output FSTYPE,SOURCE --mountpoint /data"


def look(lab: Lab) -> None:
    """All is as it was, without anybody's hand."""
    lab.await_idle()
    assert lab.server.output(MOUNTED) == "ext4 /dev/vdc"
    for machine in lab.slurm_hosts:
        assert machine.output(MOUNTED) == "nfs4 10.77.0.10:/data"
        # Of its own name a machine also knows addresses that are in no file, of IPv6.
        known = machine.output(f"for name in {' '.join(ADDRESSES)}; do getent ahostsv4 $name | head -n 1; done")
        assert [line.split()[0] for line in known.splitlines()] == list(ADDRESSES.values())
    assert way_out(lab.machine("node1")) == "node1"
    assert way_out(lab.machine("node1"), by="10.77.0.11") == "head0"
    names = lab.job("--nodes=2", "cat /data/home/cluster/kept; hostname").split()
    assert sorted(names) == ["kept", "kept", "node1", "node2"]


def way_out(machine: Machine, by: str = "") -> str:
    """Whose way out a connection takes: at the other end of each one, scripts/vm answers with the machine's name."""
    outside = "10.0.2.100"
    if not by:
        return machine.output(f"timeout 60 bash -c 'cat </dev/tcp/{outside}/7'")
    machine.output(f"ip route add {outside}/32 via {by} dev lan")
    try:
        return way_out(machine)
    finally:
        machine.output(f"ip route delete {outside}/32 via {by} dev lan")


@pytest.fixture(scope="module", autouse=True)
def kept(lab: Lab) -> None:
    """Something on the share that has to be there afterwards."""
    lab.job("-w node1", "echo kept > /data/home/cluster/kept")


def test_all_at_once(lab: Lab) -> None:
    lab.reboot(*lab.machines)
    look(lab)
    # The server had let go of its device.
    assert "Failed unmounting" not in lab.server.output("journalctl --no-pager --boot=-1 --unit=data.mount")
    # The daemons of Slurm came after the share, and after munge.
    for machine in lab.slurm_hosts:
        units = ["data.mount", "munge", "slurmctld" if machine is lab.head else "slurmd"]
        show = f"systemctl show --property=ActiveEnterTimestampMonotonic --value {' '.join(units)}"
        mount, munge, daemon = (int(number) for number in machine.output(show).split())
        assert 0 < mount < daemon, machine.name
        assert 0 < munge < daemon, machine.name


@pytest.mark.whole
@pytest.mark.parametrize("name", ["nfs0", "head0", "node1", "node2"])
def test_one_alone(lab: Lab, name: str) -> None:
    lab.reboot(lab.machine(name))
    look(lab)


@pytest.mark.whole
def test_a_job_outlives_the_server(lab: Lab) -> None:
    """The server is away for a minute while a job writes."""
    write = "for line in $(seq 60); do echo $line; sleep 2; done > /data/home/cluster/lines"
    job = lab.submit("-w node1", write)
    lab.await_job(job, "RUNNING")
    [before] = lab.boots(lab.server)
    lab.script("kill", lab.server)
    lab.head.output("sleep 60")
    lab.script("start", lab.server)
    lab.await_start([before], lab.server)
    lab.await_job(job, "COMPLETED")
    assert lab.job("-w node2", "cat /data/home/cluster/lines").split() == [str(line) for line in range(1, 61)]


@pytest.mark.whole
def test_a_node_that_loses_its_power_comes_back(lab: Lab) -> None:
    node = lab.machine("node2")
    job = lab.submit("-w node2 --requeue", "sleep 60")
    lab.await_job(job, "RUNNING")
    [before] = power_off(lab, node)
    lab.script("start", node)
    lab.await_start([before], node)
    lab.await_job(job, "COMPLETED")
    assert "Restarts=0" not in lab.head.output(f"scontrol show job -o {job}")
    look(lab)


@pytest.mark.whole
def test_a_node_that_is_back_before_the_server_waits_for_it(lab: Lab) -> None:
    node = lab.machine("node2")
    before = lab.boots(lab.server, node)
    lab.script("kill", lab.server, node)
    lab.script("start", node)
    new = wait_for(lambda: lab.boots(node), lambda boots: boots not in ([""], before[1:]), PATIENCE)
    assert new not in ([""], before[1:])
    show = "systemctl show --property=ActiveState --value aicluster-mount-data data.mount slurmd"
    wanted = ["activating", "inactive", "inactive"]
    found = wait_for(lambda: node.output(show).split(), lambda states: states == wanted, PATIENCE)
    assert found == wanted
    lab.script("start", lab.server)
    lab.await_start(before, lab.server, node)
    look(lab)


def power_off(lab: Lab, machine: Machine) -> list[str]:
    """The start that it was in."""
    before = lab.boots(machine)
    lab.script("kill", machine)
    return before
