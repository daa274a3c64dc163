# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the addresses that are not in the cluster's network."""

from __future__ import annotations

DOCUMENTATION = """
name: outside_network
short_description: Addresses that are not in a network
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - What a rule for the cluster's network leaves out, such as a host whose C(nodes_address) lies elsewhere.
options:
  _input:
    description: The addresses; empty ones are left out.
    type: list
    elements: str
    required: true
  network:
    description: A network as a CIDR; every address is outside an empty one.
    type: str
    default: ''
"""

EXAMPLES = """
- name: Show what is elsewhere
  ansible.builtin.debug:
    msg: "{{ ['10.0.0.1', '192.0.2.7'] | aicluster.slurm.outside_network('10.0.0.0/24') }}"
"""

RETURN = """
_value:
  description: The addresses, in their order.
  type: list
  elements: str
"""

from collections.abc import Callable, Iterable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import in_network


def outside_network(addresses: Iterable[str], network: str = "") -> list[str]:
    """The addresses outside of the network."""
    return [address for address in addresses if address and not (network and in_network(address, network))]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"outside_network": outside_network}
