# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter over `hostvars`: what is wrong with the inventory."""

from __future__ import annotations

DOCUMENTATION = """
name: preflight_findings
short_description: What is wrong with an inventory
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Each finding is one line that names host, variable, what was found and what is accepted.
  - Hosts without facts are judged by the inventory alone.
options:
  _input:
    description: The inventory's groups, C(groups).
    type: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  compute:
    description: The hosts that run slurmd, by inventory name.
    type: list
    elements: str
    required: true
  network:
    description: The cluster's network as a CIDR, empty for the network of the default route.
    type: str
    default: ''
  store:
    description: The nodes of the node store.
    type: dict
    default: {}
  allow_unsupported:
    description: Whether operating systems that are not supported pass.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Refuse an inventory that cannot become a cluster
  ansible.builtin.assert:
    that: groups | aicluster.slurm.preflight_findings(hostvars, groups['nodes']) | length == 0
"""

RETURN = """
_value:
  description: The findings, none when all is well.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import inventory_findings


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Names to functions."""
        return {"preflight_findings": inventory_findings}
