# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.filter.ssh_mesh import ssh_mesh
from ansible_collections.aicluster.slurm.plugins.plugin_utils.mesh import MeshError, sources

HOSTS = ["nfs0", "head0", "node1", "node2"]
GROUPS = {"nfs": ["nfs0"], "head": ["head0"], "nodes": ["node1", "node2"], "all": HOSTS}
DEFAULT = {"head": ["nodes", "nfs"], "nodes": ["nfs"], "nfs": ["head", "nodes"]}


def test_the_default() -> None:
    assert sources(DEFAULT, GROUPS, HOSTS) == {
        "nfs0": HOSTS,
        "head0": ["nfs0", "head0"],
        "node1": ["nfs0", "head0", "node1"],
        "node2": ["nfs0", "head0", "node2"],
    }


def test_every_pair() -> None:
    assert sources("all", GROUPS, HOSTS) == dict.fromkeys(HOSTS, HOSTS)


def test_hosts_by_name_and_groups_that_the_inventory_lacks() -> None:
    found = sources({"node1": ["node2"], "gpu": ["head"], "nodes": ["gpu"]}, GROUPS, HOSTS)
    assert found == {"nfs0": ["nfs0"], "head0": ["head0"], "node1": ["node1"], "node2": ["node1", "node2"]}


@pytest.mark.parametrize("mesh", [{"node9": ["head"]}, {"head": ["node9"]}, "everybody"])
def test_refused(mesh: Any) -> None:
    with pytest.raises(MeshError, match=r"^common_ssh_mesh: found (node9|everybody); accepted: "):
        sources(mesh, GROUPS, HOSTS)


def host(name: str, address: str) -> dict[str, Any]:
    return {"name": f"{name}.lab", "node": name, "address": address, "hostname": name, "addresses": []}


def told(own: str, key: str) -> dict[str, Any]:
    return {"ansible_facts": {"cluster_ssh_key": {"path": "/k", "public": own}, "ssh_host_key_ed25519_public": key}}


CLUSTER = {"a.lab": host("a", "10.0.0.1"), "b.lab": host("b", "10.0.0.2"), "c.lab": host("c", "")}


def test_lines() -> None:
    hostvars = {"a.lab": told("AOWN", "AHOST"), "b.lab": {}, "c.lab": told("COWN", "CHOST")}
    found = ssh_mesh(CLUSTER, hostvars, {"all": list(CLUSTER)}, "all")
    assert found["known"] == ["a,a.lab,10.0.0.1 ssh-ed25519 AHOST"]
    assert found["unknown"] == ["10.0.0.2", "b", "b.lab"]
    # A host without an address could come from anywhere.
    assert found["lines"] == {"a.lab": 'from="10.0.0.1" ssh-ed25519 AOWN key_a.lab'}
    assert found["sources"]["b.lab"] == ["a.lab", "b.lab", "c.lab"]


def test_the_filter_names_what_is_wrong() -> None:
    with pytest.raises(AnsibleFilterError, match="common_ssh_mesh: found node9"):
        ssh_mesh(CLUSTER, {name: {} for name in CLUSTER}, {}, {"a.lab": ["node9"]})
