# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the homes that the server of the share makes."""

from __future__ import annotations

DOCUMENTATION = """
name: home_folders
short_description: The homes that the server of the share makes
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - A folder for each user whose home is on the share, also of one who is locked; nothing for one who is absent.
  - The users of all hosts of the inventory have one. Who has other numbers or another home on another host is an error.
options:
  _input:
    description: The users, as C(common_users) of role C(common) has them.
    type: list
    elements: dict
    required: true
  base:
    description: The folder of the homes.
    type: path
    required: true
  share:
    description: The shared storage.
    type: path
    required: true
  gids:
    description: Numbers of groups by name; the first is the one of users who name none.
    type: dict
    required: true
  host:
    description: The inventory name of the host that has these users and groups.
    type: str
    default: ""
  hosts:
    description: The hosts whose users have homes, too.
    type: list
    elements: str
    default: []
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    default: {}
"""

EXAMPLES = """
- name: Show the homes
  ansible.builtin.debug:
    msg: "{{ [{'name': 'ada', 'uid': 20001}] | aicluster.slurm.home_folders('/data/home', '/data', {'lab': 20000}) }}"
"""

RETURN = """
_value:
  description: C(folders) of M(aicluster.slurm.host_files).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.accounts import AccountsError, Listed, homes


def home_folders(
    users: Sequence[Mapping[str, Any]],
    base: str,
    share: str,
    gids: Mapping[str, int],
    host: str = "",
    hosts: Sequence[str] = (),
    hostvars: Any = None,
) -> list[dict[str, Any]]:
    """The folders of the homes."""
    primary = next(iter(gids))
    own = Listed(host, users, {name: int(gid) for name, gid in gids.items()})
    others = [_listed(name, hostvars[name]) for name in _differing([each for each in hosts if each != host], hostvars)]
    try:
        return homes([own, *others], (primary, int(gids[primary])), base, share)
    except AccountsError as error:
        raise AnsibleFilterError(str(error)) from None


def _differing(hosts: Sequence[str], hostvars: Any) -> list[str]:
    """A host for each list of users that there is: to template one for each host would take its time."""
    # Of Ansible's hostvars the variables as they were written, and of a dictionary what it has.
    read: Callable[[str], Mapping[str, Any]] = getattr(hostvars, "raw_get", None) or (lambda name: hostvars[name])
    seen: list[tuple[Any, Any]] = []
    found = []
    for name in hosts:
        variables = read(name)
        lists = (variables.get("common_users"), variables.get("common_groups"))
        # A template may be another value on each host.
        if lists[0] and (isinstance(lists[0], str) or lists not in seen):
            seen.append(lists)
            found.append(name)
    return found


def _listed(name: str, variables: Mapping[str, Any]) -> Listed:
    groups = variables.get("common_groups") or []
    gids = {each["name"]: int(each["gid"]) for each in groups if {"name", "gid"} <= each.keys()}
    return Listed(name, variables.get("common_users") or [], gids)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"home_folders": home_folders}
