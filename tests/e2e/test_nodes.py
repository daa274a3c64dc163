# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every node is in Slurm, answers, and is what its machine is."""

from __future__ import annotations

import re

from .cluster import Cluster, parse_record, wait_for


def test_slurm_knows_exactly_the_compute_hosts(cluster: Cluster) -> None:
    assert set(cluster.slurm_nodes()) == {machine.node for machine in cluster.nodes}


def test_every_node_is_idle_and_responds(cluster: Cluster) -> None:
    # A star behind the state says that the node does not respond; a plus introduces DRAIN, INVALID_REG and the like.
    idle = {machine.node: "IDLE" for machine in cluster.nodes}
    states = wait_for(
        lambda: {name: node["State"] for name, node in cluster.slurm_nodes().items()}, lambda found: found == idle
    )
    assert states == idle


def test_a_job_runs_on_all_nodes_at_once(cluster: Cluster) -> None:
    printed = cluster.as_user(f"srun -N{len(cluster.nodes)} sh -c 'echo $SLURMD_NODENAME $(hostname)'")
    assert sorted(printed.splitlines()) == sorted(
        f"{machine.node} {machine.output('hostname')}" for machine in cluster.nodes
    )


def test_hardware_is_that_of_the_machine(cluster: Cluster) -> None:
    shown = cluster.slurm_nodes()
    found, expected = {}, {}
    for machine in cluster.nodes:
        detected = parse_record(machine.output("slurmd -C").splitlines()[0])
        sockets = int(detected["Boards"]) * int(detected["SocketsPerBoard"])
        memory = int(detected["RealMemory"])
        reserve = machine.facts["memory_reserve"]
        # What nobody declared is 5 % of the memory, and at least 256 MiB.
        reserve = max(256, int(memory * 0.05)) if reserve is None else int(reserve)
        expected[machine.node] = (
            detected["CPUs"],
            sockets,
            detected["CoresPerSocket"],
            detected["ThreadsPerCore"],
            memory - reserve,
        )
        node = shown[machine.node]
        found[machine.node] = (
            node["CPUTot"],
            int(node["Sockets"]),
            node["CoresPerSocket"],
            node["ThreadsPerCore"],
            int(node["RealMemory"]),
        )
    assert found == expected


def test_one_version_of_slurm(cluster: Cluster) -> None:
    versions = {machine.name: machine.output("slurmd -V").split()[1] for machine in cluster.nodes}
    versions["slurmctld"] = cluster.head.output("slurmctld -V").split()[1]
    versions |= {f"{name} running": node["Version"] for name, node in cluster.slurm_nodes().items()}
    assert len(set(versions.values())) == 1, versions


def test_packages_are_held(cluster: Cluster) -> None:
    """An unattended upgrade of a part of the cluster would split its version."""
    pattern = re.compile(r"(slurm|libslurm|libpmi|munge|libmunge)")
    for machine in cluster.slurm_hosts:
        installed = machine.output("dpkg-query -W -f '${db:Status-Status} ${Package}\n'").splitlines()
        wanted = {name for status, name in map(str.split, installed) if status == "installed" and pattern.match(name)}
        assert wanted, machine.name
        assert wanted <= set(machine.output("apt-mark showhold").splitlines()), machine.name
