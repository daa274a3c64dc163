# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
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


@pytest.mark.parametrize(
    ("mesh", "found"),
    [
        ({"node9": ["head"]}, ["found node9; accepted: a host or a group of the inventory"]),
        ({"head": ["node8", "node9"]}, ["found node8; accepted", "found node9; accepted"]),
        ("everybody", ["found everybody; accepted: all, or a map of"]),
        (["head"], ["found ['head']; accepted: all, or a map of"]),
        ({"head": "nodes"}, ["head: found nodes; accepted: a list of hosts and groups"]),
        ({"head": None, "nodes": 1}, ["head: found None; accepted", "nodes: found 1; accepted"]),
    ],
)
def test_refused(mesh: Any, found: list[str]) -> None:
    with pytest.raises(MeshError) as error:
        sources(mesh, GROUPS, HOSTS)
    lines = str(error.value).splitlines()
    assert len(lines) == len(found)
    assert all(line.startswith(f"common_ssh_mesh: {text}") for line, text in zip(lines, found, strict=True))
