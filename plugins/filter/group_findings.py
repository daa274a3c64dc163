# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what is wrong with the groups of people."""

from __future__ import annotations

DOCUMENTATION = """
name: group_findings
short_description: What is wrong with the groups of people
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Looks through the groups that a host is to have or not to have, and through those that its users are to be in.
options:
  _input:
    description: The groups, as C(common_groups) of role C(common) has them.
    type: list
    elements: dict
    required: true
  users:
    description: The users, as P(aicluster.slurm.host_accounts#filter) returns them.
    type: list
    elements: dict
    required: true
  name:
    description: The cluster's own group.
    type: str
    required: true
  gid:
    description: Its number.
    type: int
    required: true
  there:
    description: The groups of the host, numbers by name.
    type: dict
    required: true
  coming:
    description: Whether packages are to be installed, which may bring groups.
    type: bool
    required: true
"""

EXAMPLES = """
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ [{'name': 'sudo', 'gid': 27, 'state': 'absent'}]
      | aicluster.slurm.group_findings([], 'cluster', 10000, {'sudo': 27}, false) }}"
"""

RETURN = """
_value:
  description: What is wrong, in a line each.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils import accounts


def group_findings(
    groups: Sequence[Mapping[str, Any]],
    users: Sequence[Mapping[str, Any]],
    name: str,
    gid: int | str,
    there: Mapping[str, int],
    coming: bool,
) -> list[str]:
    """What is wrong with the groups."""
    # INI files and the command line have texts for numbers.
    numbered = [{**each, "gid": int(each["gid"])} for each in groups]
    return accounts.group_findings(numbered, users, (name, int(gid)), there, coming)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"group_findings": group_findings}
