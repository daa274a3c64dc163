# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import (
    Host,
    etc_hosts_lines,
    in_network,
    is_address,
    read_host,
)

NETWORK = "10.0.0.0/24"


def facts(*addresses: str, default: str = "", hostname: str = "debian") -> dict[str, Any]:
    """Facts of a reached host, as far as they count here."""
    return {"all_ipv4_addresses": list(addresses), "default_ipv4": {"address": default}, "hostname": hostname}


def host(name: str, address: str = "", node: str = "", hostname: str = "") -> Host:
    return Host(name=name, node=node or name.split(".")[0], address=address, hostname=hostname, addresses=[])


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("10.0.0.1", True),
        ("fd00::1", True),
        ("10.0.0", False),
        ("10.0.0.1/24", False),
        ("rp4n1.local", False),
        ("1", False),
        ("", False),
        (1, False),
        (None, False),
    ],
)
def test_is_address(text: object, true: bool) -> None:
    assert is_address(text) is true


@pytest.mark.parametrize(
    ("text", "network", "true"),
    [
        ("10.0.0.9", NETWORK, True),
        ("10.0.1.9", NETWORK, False),
        ("10.0.1.9", "", True),
        ("fd00::9", "fd00::/64", True),
        ("fd00::9", NETWORK, False),
        ("node1", NETWORK, False),
        ("node1", "", False),
        (None, "", False),
    ],
)
def test_in_network(text: object, network: str, true: bool) -> None:
    assert in_network(text, network) is true


# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "network", "address"),
    [
        # A reached host: declared, then in the network, then on the default route.
        (
            {"nodes_address": "10.0.0.9", "ansible_facts": facts("192.168.1.5", "10.0.0.5", default="192.168.1.5")},
            NETWORK,
            "10.0.0.9",
        ),
        (
            {"nodes_address": "10.0.0.9", "ansible_facts": facts("192.168.1.5", default="192.168.1.5")},
            "",
            "10.0.0.9",
        ),
        ({"ansible_facts": facts("192.168.1.5", "10.0.0.5", default="192.168.1.5")}, NETWORK, "10.0.0.5"),
        ({"ansible_facts": facts("192.168.1.5", "10.0.0.5", default="192.168.1.5")}, "", "192.168.1.5"),
        # What it says itself counts, not what the inventory or an older run says.
        ({"ansible_host": "10.0.0.7", "ansible_facts": facts("192.168.1.5", default="192.168.1.5")}, NETWORK, ""),
        ({"ansible_host": "10.0.0.7", "ansible_facts": facts("192.168.1.5", default="192.168.1.5")}, "", "192.168.1.5"),
        ({"ansible_facts": facts("192.168.1.5")}, "", ""),
        # A host that this run did not reach: declared, then stored, then where the inventory connects to.
        ({"nodes_address": "10.0.0.9", "ansible_host": "10.0.0.7"}, NETWORK, "10.0.0.9"),
        ({"ansible_host": "10.0.0.7"}, NETWORK, "10.0.0.66"),
        ({"ansible_host": "10.0.0.7"}, "", "10.0.0.66"),
    ],
)
def test_address(variables: dict[str, Any], network: str, address: str) -> None:
    assert read_host("node1", variables, network, {"node1": {"address": "10.0.0.66"}}).address == address


@pytest.mark.parametrize(
    ("name", "variables", "network", "address"),
    [
        ("node1", {"ansible_host": "10.0.0.7"}, NETWORK, "10.0.0.7"),
        ("node1", {"ansible_host": "10.0.0.7"}, "", "10.0.0.7"),
        ("node1", {"ansible_host": "192.168.1.5"}, NETWORK, ""),
        ("node1", {"ansible_host": "gate.example.org"}, "", ""),
        ("10.0.0.3", {}, NETWORK, "10.0.0.3"),
        ("10.0.0.3", {"ansible_host": "10.0.0.7"}, NETWORK, "10.0.0.7"),
        ("node1", {}, "", ""),
        # A forwarded port, as test machines have it, is no address for the others.
        ("node1", {"ansible_host": "127.0.0.1", "ansible_port": 2222}, "", ""),
        ("node1", {"ansible_facts": None, "ansible_host": "10.0.0.7"}, "", "10.0.0.7"),
    ],
)
def test_address_of_a_host_that_no_run_reached(
    name: str, variables: dict[str, Any], network: str, address: str
) -> None:
    assert read_host(name, variables, network, {}).address == address


# --- the names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variables", "node"),
    [
        ("node1", {}, "node1"),
        ("rp4n1.local", {}, "rp4n1"),
        ("fedml-node_1", {}, "fedml-node_1"),
        ("node1.rack.example.org", {"nodes_name": "gpu7"}, "gpu7"),
        ("node1.local", {"nodes_name": None}, "node1"),
        # Not its first number; preflight refuses such a name, and says which.
        ("10.0.0.3", {}, "10.0.0.3"),
        ("fd00::3", {}, "fd00::3"),
    ],
)
def test_node_name(name: str, variables: dict[str, Any], node: str) -> None:
    assert read_host(name, variables, "", {}).node == node


def test_the_store_is_keyed_by_the_node_name() -> None:
    stored = {"gpu7": {"address": "10.0.0.66", "hostname": "box"}, "node1": {"address": "10.0.0.1"}}
    found = read_host("node1.local", {"nodes_name": "gpu7"}, "", stored)
    assert found == Host(name="node1.local", node="gpu7", address="10.0.0.66", hostname="box", addresses=[])


def test_facts_win_over_the_stored_hostname() -> None:
    stored = {"node1": {"address": "10.0.0.66", "hostname": "old"}}
    found = read_host("node1", {"ansible_facts": facts("10.0.0.1", default="10.0.0.1", hostname="new")}, "", stored)
    assert found == Host(name="node1", node="node1", address="10.0.0.1", hostname="new", addresses=["10.0.0.1"])


# --- /etc/hosts -------------------------------------------------------------------------------------------------------


def test_etc_hosts_lines() -> None:
    hosts = [
        host("head0", "10.0.0.1", hostname="head0"),
        host("fedml-node_1", "10.0.0.2", hostname="raspberrypi"),
        host("rp4n1.local", "10.0.0.3", hostname="raspberrypi"),
        host("waiting", hostname="nobody"),
        host("10.0.0.4", "10.0.0.4", node="10.0.0.4", hostname="box"),
        host("localhost", "10.0.0.5", hostname="laptop"),
        host("fd00::6", "fd00::6", node="fd00::6"),
    ]
    assert etc_hosts_lines(hosts) == [
        "10.0.0.1 head0",
        "10.0.0.2 fedml-node_1 raspberrypi",
        "10.0.0.3 rp4n1 rp4n1.local",
        "10.0.0.4 box",
        "10.0.0.5 laptop",
    ]


def test_a_node_name_counts_more_than_the_hostname_of_another_machine() -> None:
    hosts = [host("storage", "10.0.0.1", hostname="node1"), host("alias", "10.0.0.2", node="node1", hostname="storage")]
    assert etc_hosts_lines(hosts) == ["10.0.0.1 storage", "10.0.0.2 node1 alias"]


def test_no_host_makes_no_line() -> None:
    assert etc_hosts_lines([]) == []
