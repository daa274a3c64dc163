# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names lead to the addresses of the cluster's network, in Slurm and on every machine."""

from __future__ import annotations

import ipaddress

from .cluster import Cluster, Machine


def address(machine: Machine) -> str:
    """The address of a machine in cluster_network, or without one that of its default route."""
    shown = machine.output("ip -4 -o address show scope global").splitlines()
    addresses = {line.split()[1]: line.split()[3].split("/")[0] for line in shown}
    if machine.facts["network"]:
        network = ipaddress.ip_network(machine.facts["network"])
        return next(found for found in addresses.values() if ipaddress.ip_address(found) in network)
    route = machine.output("ip -4 route show default").split()
    return addresses[route[route.index("dev") + 1]]


def test_every_node_has_its_own_address(cluster: Cluster) -> None:
    shown = {name: node["NodeAddr"] for name, node in cluster.slurm_nodes().items()}
    assert shown == {machine.node: address(machine) for machine in cluster.nodes}


def test_every_machine_knows_every_name(cluster: Cluster) -> None:
    # The inventory name, the node's name, and what the machine calls itself (where 127.0.1.1 would be wrong).
    names = {
        name: address(machine)
        for machine in cluster.machines
        for name in (machine.name, machine.node, machine.output("hostname"))
    }
    for machine in cluster.machines:
        found = {name: machine.output(f"getent ahostsv4 {name}").split()[0] for name in names}
        assert found == names, machine.name


def test_etc_hosts_says_everything_once(cluster: Cluster) -> None:
    addresses = {machine.node: address(machine) for machine in cluster.machines}
    for machine in cluster.machines:
        lines = [line.split() for line in machine.output("sed 's/#.*//' /etc/hosts").splitlines()]
        for other in cluster.machines:
            entries = [line[0] for line in lines if other.node in line[1:]]
            # A container engine writes a line of its own for the machine itself.
            assert set(entries) == {addresses[other.node]}, f"{machine.name} about {other.name}"
            assert len(entries) == 1 or other is machine, f"{machine.name} about {other.name}"
