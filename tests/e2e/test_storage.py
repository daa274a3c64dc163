# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""All machines have the same storage, and Slurm waits for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import Cluster, Machine, wait_for


@pytest.fixture
def path(cluster: Cluster) -> Iterator[str]:
    """A file of the cluster user on the share."""
    home = cluster.head.output(f"getent passwd {cluster.user}").split(":")[5]
    if not home.startswith(str(cluster.head.facts["shared_path"])):
        pytest.skip("the homes are not on the share")
    found = f"{home}/e2e-storage"
    yield found
    cluster.as_user(f"rm -f {found}")


def settled(machine: Machine, command: str, wanted: str) -> str:
    """What the machine prints as soon as it is that, and otherwise what it goes on printing."""
    return wait_for(lambda: machine.output(command), lambda text: text == wanted)


def write(cluster: Cluster, machine: Machine, path: str, text: str) -> None:
    machine.output(f"runuser -u {cluster.user} -- sh -c 'echo {text} >{path}'")


def test_what_one_node_writes_the_others_read(cluster: Cluster, path: str) -> None:
    for writer in cluster.nodes:
        write(cluster, writer, path, writer.node)
        seen = {settled(machine, f"cat {path}", writer.node) for machine in cluster.slurm_hosts}
        assert seen == {writer.node}


def test_a_touch_makes_all_see_the_last_change(cluster: Cluster, path: str) -> None:
    # Written by two machines within a second, so that the times may be the same; see docs/user-guide.md.
    last = cluster.nodes[-1]
    write(cluster, cluster.nodes[0], path, "older")
    write(cluster, last, path, "newer")
    last.output(f"sleep 1.1; runuser -u {cluster.user} -- touch {path}")
    command = f"stat -c %Y {path}; cat {path}"
    wanted = last.output(command)
    assert wanted.endswith("newer")
    assert {settled(machine, command, wanted) for machine in cluster.slurm_hosts} == {wanted}


def test_slurm_waits_for_the_share(cluster: Cluster) -> None:
    for machine in cluster.nodes:
        shown = machine.output("systemctl show slurmd -p RequiresMountsFor --value").split()
        assert machine.facts["shared_path"] in shown
    shown = cluster.head.output("systemctl show slurmctld -p RequiresMountsFor --value").split()
    assert cluster.head.facts["shared_path"] in shown
