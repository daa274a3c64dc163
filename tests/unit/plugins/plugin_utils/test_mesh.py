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


@pytest.mark.parametrize("mesh", [{"node9": ["head"]}, {"head": ["node9"]}, "everybody"])
def test_refused(mesh: Any) -> None:
    with pytest.raises(MeshError, match=r"^common_ssh_mesh: found (node9|everybody); accepted: "):
        sources(mesh, GROUPS, HOSTS)
