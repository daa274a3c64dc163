# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import Host
from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import (
    address_findings,
    gpu_findings,
    group_findings,
    name_findings,
    network_findings,
    system,
    system_findings,
)

NETWORK = "10.0.0.0/24"
SUPPORTED = "Debian 12, Debian 13, Ubuntu 22.04, Ubuntu 24.04, or any with cluster_allow_unsupported_os"


def host(name: str, address: str = "", node: str = "", addresses: tuple[str, ...] = ()) -> Host:
    return Host(name=name, node=node or name.split(".")[0], address=address, hostname="", addresses=list(addresses))


def debian(release: str) -> dict[str, str]:
    return {"distribution": "Debian", "distribution_version": f"{release}.9", "distribution_major_version": release}


def ubuntu(release: str) -> dict[str, str]:
    major = release.split(".")[0]
    return {"distribution": "Ubuntu", "distribution_version": release, "distribution_major_version": major}


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["", NETWORK, "fd00::/64", "10.0.0.7/24"])
def test_network(network: str) -> None:
    assert network_findings(network) == []


@pytest.mark.parametrize("network", ["10.0.0.0/33", "lan", "10.0.0.0-10.0.0.9"])
def test_what_is_no_network(network: str) -> None:
    accepted = "a network such as 10.0.0.0/24, or empty"
    assert network_findings(network) == [f"all hosts: cluster_network: found '{network}'; accepted: {accepted}"]


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "groups",
    [
        {"nfs": ["nfs0"], "head": ["head0"], "nodes": ["node1", "node2"], "gpu": ["node1"]},
        # No GPUs, and a storage that is not ours.
        {"head": ["head0"], "nodes": ["node1"], "gpu": [], "nfs": []},
        {"head": ["head0"], "nodes": ["node1"]},
        {"nfs": ["one"], "head": ["one"], "nodes": ["one"], "gpu": ["one"]},
    ],
)
def test_groups(groups: dict[str, list[str]]) -> None:
    assert group_findings(groups, groups["nodes"]) == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"head": []}, "inventory: group head: found no host; accepted: one host or more; the first runs slurmctld"),
        ({"head": None}, "inventory: group head: found no host; accepted: one host or more; the first runs slurmctld"),
        (
            {"nfs": ["a", "b"]},
            "inventory: group nfs: found a, b; accepted: one host, or none where the storage is not ours",
        ),
        (
            {"gpu": ["node1", "head0"]},
            "head0: group gpu: found a host that does not compute; accepted: a host of the group nodes, or of head with"
            " head_compute",
        ),
    ],
)
def test_groups_name_what_is_wrong(changes: dict[str, Any], finding: str) -> None:
    assert group_findings({"head": ["head0"], "nodes": ["node1"], **changes}, ["node1"]) == [finding]


def test_no_host_computes() -> None:
    finding = "inventory: group nodes: found no host; accepted: one host or more, which run slurmd"
    assert group_findings({"head": ["head0"]}, []) == [finding]


def test_a_head_that_computes_may_have_gpus() -> None:
    assert group_findings({"head": ["head0"], "nodes": ["node1"], "gpu": ["head0"]}, ["node1", "head0"]) == []


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good", [host("node1"), host("rp4n1.local"), host("fedml-node_1"), host("N1"), host("1"), host("_x", node="x")]
)
def test_names(good: Host) -> None:
    assert name_findings([good], [good.name]) == []


@pytest.mark.parametrize("node", ["node 1", "node#1", "nodé1", "-node", "node_", "n[1-2]", "n,m", "ALL", "Default"])
def test_a_node_name_that_slurm_cannot_take(node: str) -> None:
    accepted = "letters, digits, '-' and '_', not at the ends, and none of ALL, DEFAULT"
    assert name_findings([host("box", node=node)], ["box"]) == [
        f"box: nodes_name: found {node!r}; accepted: {accepted}"
    ]
    # It is the name of a node only where there is one.
    assert name_findings([host("box", node=node)], []) == []


@pytest.mark.parametrize("name", ["10.0.0.1", "fd00::1"])
def test_an_inventory_name_that_is_an_address(name: str) -> None:
    found = name_findings([host(name, node=name)], [name])
    assert found == [f"{name}: inventory name: found an address; accepted: a name, with the address in ansible_host"]
    assert name_findings([host(name, node=name)], []) == found


def test_hosts_that_share_a_node_name() -> None:
    hosts = [host("node1.a"), host("node2"), host("node1.b")]
    finding = "node1.a, node1.b: nodes_name: found node1 on each of them; accepted: one node name for each host"
    assert name_findings(hosts, ["node1.a", "node2", "node1.b"]) == [finding]


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "network", "reached", "finding"),
    [
        (host("n1", "10.0.0.1"), NETWORK, True, None),
        (host("n1", "192.168.0.1"), "", True, None),
        # Nobody asked it yet: it waits, and hinders nobody.
        (host("n1"), NETWORK, False, None),
        (host("n1"), "", False, None),
        (
            host("n1", addresses=("192.168.0.1", "172.16.0.1")),
            NETWORK,
            True,
            "n1: nodes_address: found 192.168.0.1, 172.16.0.1; accepted: an address in cluster_network 10.0.0.0/24",
        ),
        (
            host("n1", "192.168.0.1"),
            NETWORK,
            True,
            "n1: nodes_address: found 192.168.0.1; accepted: an address in cluster_network 10.0.0.0/24",
        ),
        (
            host("n1", "n1.example.org"),
            NETWORK,
            True,
            "n1: nodes_address: found n1.example.org; accepted: an address in cluster_network 10.0.0.0/24",
        ),
        (
            host("n1", "n1.example.org"),
            "",
            True,
            "n1: nodes_address: found n1.example.org; accepted: an address, on the default route or declared",
        ),
        (
            host("n1"),
            "",
            True,
            "n1: nodes_address: found no address; accepted: an address, on the default route or declared",
        ),
    ],
)
def test_addresses(each: Host, network: str, reached: bool, finding: str | None) -> None:
    assert address_findings([each], network, ["n1"] if reached else []) == ([finding] if finding else [])


def test_hosts_that_share_an_address() -> None:
    hosts = [host("a", "10.0.0.1"), host("b"), host("c", "10.0.0.1"), host("d"), host("e", "10.0.0.2")]
    finding = "a, c: nodes_address: found 10.0.0.1 on each of them; accepted: one address for each host"
    assert address_findings(hosts, NETWORK, []) == [finding]


# --- operating systems ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (debian("12"), ("Debian", "12")),
        (ubuntu("24.04"), ("Ubuntu", "24.04")),
        ({"distribution": "Fedora", "distribution_major_version": "41"}, ("Fedora", "41")),
        ({}, ("unknown", "unknown")),
    ],
)
def test_system(facts: dict[str, str], found: tuple[str, str]) -> None:
    assert system(facts) == found


@pytest.mark.parametrize("facts", [debian("12"), debian("13"), ubuntu("22.04"), ubuntu("24.04")])
def test_supported_systems(facts: dict[str, str]) -> None:
    assert system_findings({"n1": facts, "n2": facts}, ["n1", "n2"], False) == []


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (debian("11"), "Debian 11"),
        (ubuntu("16.04"), "Ubuntu 16.04"),
        (ubuntu("23.04"), "Ubuntu 23.04"),
        ({"distribution": "Rocky", "distribution_major_version": "9"}, "Rocky 9"),
    ],
)
def test_other_systems(facts: dict[str, str], found: str) -> None:
    finding = f"n1: operating system: found {found}; accepted: {SUPPORTED}"
    assert system_findings({"n1": facts}, ["n1"], False) == [finding]
    assert system_findings({"n1": facts}, ["n1"], True) == []


@pytest.mark.parametrize("allow", [False, True])
def test_one_version_of_slurm_for_all(allow: bool) -> None:
    facts = {"nfs0": debian("13"), "head0": debian("12"), "n1": debian("12"), "n2": debian("13")}
    assert system_findings(facts, ["head0", "n1", "n2", "off"], allow) == [
        "n2: operating system: found Debian 13; accepted: Debian 12 as on head0, because every host must run the same"
        " version of Slurm"
    ]


# --- GPUs -------------------------------------------------------------------------------------------------------------


def test_gpus_outside_their_group() -> None:
    gpus = [{"name": "gpu"}]
    declared = {
        name: {"gpu_devices": devices} for name, devices in zip(("n1", "n2", "n3", "n4"), (gpus, gpus, [], None))
    }
    accepted = "the host in gpu, or no gpu_devices"
    assert gpu_findings(declared, {"gpu": ["n1"]}) == [
        f"n2: gpu_devices: found a declaration on a host outside the group gpu; accepted: {accepted}"
    ]
    assert len(gpu_findings(declared, {})) == 2


NVIDIA = [{"type": "a100", "files": ["/dev/nvidia[0-3]"]}]
AMD = [{"type": "mi300x", "files": ["/dev/dri/renderD[128,136]"]}]
INSTANCE = [{"type": "1g.10gb", "files": ["/dev/nvidia-caps/nvidia-cap[12,21]"]}]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"gpu_mps": 100, "gpu_devices": NVIDIA}, ""),
        ({"gpu_shards": "4", "gpu_devices": AMD}, ""),
        ({"gpu_mps": 0, "gpu_shards": 0, "gpu_devices": AMD}, ""),
        (
            {"gpu_mps": 100, "gpu_devices": AMD},
            "gpu_mps: found 100 with GPUs of another vendor in gpu_devices; accepted: NVIDIA GPUs, because MPS is"
            " CUDA's; gpu_shards for others",
        ),
        (
            {"gpu_mps": 100, "gpu_devices": [{**NVIDIA[0], "flags": ["intel_gpu_env"]}]},
            "gpu_mps: found 100 with GPUs of another vendor",
        ),
        (
            {"gpu_shards": 4, "gpu_devices": INSTANCE},
            "gpu_shards: found 4 with MIG instances in gpu_devices; accepted: whole GPUs",
        ),
        ({"gpu_shards": 4, "gpu_mps": 100}, "gpu_mps: found 100 together with gpu_shards; accepted: one of both"),
    ],
)
def test_how_gpus_are_shared(variables: dict[str, Any], message: str) -> None:
    findings = gpu_findings({"n1": variables}, {"gpu": ["n1"]})
    assert len(findings) == bool(message)
    assert not message or findings[0].startswith(f"n1: {message}")
