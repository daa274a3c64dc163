# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the cluster's lines of /etc/hosts."""

from __future__ import annotations

DOCUMENTATION = """
name: etc_hosts
short_description: Lines of /etc/hosts for the cluster's hosts
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - One line a host that has an address, with its node name, inventory name and own hostname, each name once (hosts(5)).
options:
  _input:
    description: What the filter P(aicluster.slurm.cluster_hosts#filter) gave.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show the lines
  ansible.builtin.debug:
    msg: "{{ groups['all'] | aicluster.slurm.cluster_hosts(hostvars) | aicluster.slurm.etc_hosts }}"
"""

RETURN = """
_value:
  description: The lines, in the order of the hosts.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import Host, etc_hosts_lines


def etc_hosts(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines for what `cluster_hosts` gave."""
    return etc_hosts_lines(Host(**each) for each in hosts.values())


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Names to functions."""
        return {"etc_hosts": etc_hosts}
