# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter over `hostvars`: the complete list of compute nodes, and the node store that it leaves."""

from __future__ import annotations

DOCUMENTATION = """
name: node_records
short_description: The complete list of compute nodes
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - A node's record is what the node store holds, over it what this run detected, over it what the inventory declares.
  - A node that is powered off or outside the run keeps its record. One that is no longer wanted loses it.
options:
  _input:
    description: The hosts that shall compute, by inventory name.
    type: list
    elements: str
    required: true
  hostvars:
    description:
      - The variables of all hosts, C(hostvars).
      - C(__nodes_detected) and C(__gpu_detected) of a host are what this run found on it, C(nodes_*) and C(gpu_devices)
        are its declarations.
    type: dict
    required: true
  network:
    description: The cluster's network as a CIDR, empty for the network of the default route.
    type: str
    default: ''
  store:
    description: The nodes of the node store before this run.
    type: dict
    default: {}
  now:
    description: The time of this run, for records that change.
    type: str
    required: true
"""

EXAMPLES = """
- name: Show the nodes
  ansible.builtin.debug:
    msg: "{{ (groups['nodes'] | aicluster.slurm.node_records(hostvars, now=now(fmt='%FT%T'))).nodes }}"
"""

RETURN = """
_value:
  description:
    - C(nodes) for M(aicluster.slurm.slurm_config), C(store) for the next run, and the names that are C(waiting) for a
      record.
    - C(cgroup_v2) is whether every known node has a writable cgroup v2. C(def_mem_per_cpu) is the memory in MiB that a
      job gets with each CPU so that the CPUs of every node can be used at once.
  type: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import read_host
from ansible_collections.aicluster.slurm.plugins.plugin_utils.nodes import slurm_node, update_store


def node_records(
    wanted: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    network: str = "",
    store: Mapping[str, Mapping[str, Any]] | None = None,
    now: str = "",
) -> dict[str, Any]:
    """What the module slurm_config needs to know of every node, and what the store shall hold."""
    store = store or {}
    hosts = {name: read_host(name, hostvars[name], network or "", store) for name in wanted}
    detected = {
        host.node: {**found, "address": host.address, "hostname": host.hostname}
        for name, host in hosts.items()
        if (found := {**hostvars[name].get("__nodes_detected", {}), **hostvars[name].get("__gpu_detected", {})})
    }
    after = update_store(store, detected, [host.node for host in hosts.values()], now)
    nodes = {name: slurm_node(host, after.get(host.node, {}), hostvars[name]) for name, host in hosts.items()}
    complete = [node for node in nodes.values() if node]
    return {
        "nodes": complete,
        "store": after,
        "cgroup_v2": bool(after) and all(record.get("cgroup_v2") for record in after.values()),
        "def_mem_per_cpu": min((node["RealMemory"] // node["CPUs"] for node in complete), default=0),
        "waiting": [hosts[name].node for name, node in nodes.items() if not node],
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Names to functions."""
        return {"node_records": node_records}
