# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter over `hostvars`: the cluster's hosts with their names and addresses."""

from __future__ import annotations

DOCUMENTATION = """
name: cluster_hosts
short_description: Names and addresses of the cluster's hosts
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Merges the inventory, the facts and the node store into one record a host.
  - A host that is powered off keeps the address that the node store remembers.
options:
  _input:
    description: The hosts, by inventory name.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  network:
    description: The cluster's network as a CIDR, empty for the network of the default route.
    type: str
    default: ''
  store:
    description: The nodes of the node store.
    type: dict
    default: {}
"""

EXAMPLES = """
- name: Show where the first head is
  ansible.builtin.debug:
    msg: "{{ (groups['head'] | aicluster.slurm.cluster_hosts(hostvars, '10.0.0.0/24')).head0.address }}"
"""

RETURN = """
_value:
  description: Inventory name to C(name), C(node), C(address), C(hostname) and C(addresses).
  type: dict
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import HAS_NETADDR, read_host
from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import network_findings


def cluster_hosts(
    names: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    network: str = "",
    store: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Inventory name to the fields of Host; an error for a network that is none: every address depends on it."""
    if not HAS_NETADDR:
        raise AnsibleFilterError("control host: Python library netaddr: found none; accepted: pip install netaddr")
    for finding in network_findings(network):
        raise AnsibleFilterError(finding)
    hosts = (read_host(name, hostvars[name], network or "", store or {}) for name in names)
    return {host.name: asdict(host) for host in hosts}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Names to functions."""
        return {"cluster_hosts": cluster_hosts}
