# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what keeps the people and groups of a host from becoming accounts, and Ansible from coming in again."""

from __future__ import annotations

DOCUMENTATION = """
name: people_findings
short_description: What keeps people and groups from becoming accounts
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Looks through the groups that a host is to have or not to have, and through those that its users are to be in.
  - Says what would keep Ansible out of the host.
options:
  _input:
    description: The users of the host, as P(aicluster.slurm.host_accounts#filter) returns them.
    type: list
    elements: dict
    required: true
  groups:
    description: The groups, as C(common_groups) of role C(common) has them.
    type: list
    elements: dict
    required: true
  cluster:
    description: The cluster's own group, its number by its name.
    type: dict
    required: true
  there:
    description: The groups of the host, numbers by name.
    type: dict
    required: true
  coming:
    description: Whether packages are to be installed, which may bring groups.
    type: bool
    required: true
  way:
    description:
      - The way by which Ansible comes in. C(login) is as whom, empty where that is not known; C(by_password) whether by
        a password; C(passwords) whether sshd will take any; C(key) the public key that is admitted for it, empty for
        none.
      - Nothing where it is not by ssh.
    type: dict
    default: {}
"""

EXAMPLES = """
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ [] | aicluster.slurm.people_findings([{'name': 'sudo', 'gid': 27, 'state': 'absent'}],
      {'cluster': 10000}, {'sudo': 27}, false) }}"
"""

RETURN = """
_value:
  description: What is wrong, in a line each.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.accounts import group_findings, login_findings


def people_findings(
    users: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]],
    cluster: Mapping[str, int | str],
    there: Mapping[str, int],
    coming: bool,
    way: Mapping[str, Any] | None = None,
) -> list[str]:
    """All that is wrong."""
    # INI files and the command line have texts for numbers.
    numbered = [{**each, "gid": int(each["gid"])} for each in groups]
    ((name, gid),) = cluster.items()
    found = group_findings(numbered, users, (name, int(gid)), there, coming)
    return found + (login_findings(users, **way) if way else [])


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"people_findings": people_findings}
