# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what hosts have to know so that some reach others by ssh."""

from __future__ import annotations

DOCUMENTATION = """
name: ssh_mesh
short_description: What hosts have to know so that some reach others by ssh
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Makes lines for known hosts and admitted keys from the keys that the hosts told in this run.
options:
  _input:
    description: The cluster's hosts, as P(aicluster.slurm.cluster_hosts#filter) returns them.
    type: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  groups:
    description: The inventory's groups, C(groups).
    type: dict
    required: true
  mesh:
    description: Who may reach whom, as C(common_ssh_mesh) of role C(common) has it.
    type: raw
    required: true
"""

EXAMPLES = """
- name: Show who may reach the first node
  ansible.builtin.debug:
    msg: "{{ (hosts | aicluster.slurm.ssh_mesh(hostvars, groups, {'head': ['nodes']})).sources[groups['nodes'][0]] }}"
"""

RETURN = """
_value:
  description:
    - C(known), lines of known hosts; C(unknown), the names of the hosts that told no key; C(lines), a line of admitted
      keys by host; C(sources), by host the names of those who may reach it.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import Host
from ansible_collections.aicluster.slurm.plugins.plugin_utils.mesh import Keys, MeshError, lines, sources


def ssh_mesh(
    hosts: Mapping[str, Mapping[str, Any]],
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    mesh: Mapping[str, Sequence[str]] | str,
) -> dict[str, Any]:
    """The lines, and who is let in where."""
    try:
        admitted = sources(mesh, groups, list(hosts))
    except MeshError as error:
        raise AnsibleFilterError(str(error)) from None
    return lines([Host(**each) for each in hosts.values()], {name: _keys(hostvars[name]) for name in hosts}, admitted)


def _keys(variables: Mapping[str, Any]) -> Keys:
    facts = variables.get("ansible_facts") or {}
    return Keys(
        own=str((facts.get("cluster_ssh_key") or {}).get("public", "")),
        host=str(facts.get("ssh_host_key_ed25519_public", "")),
    )


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"ssh_mesh": ssh_mesh}
