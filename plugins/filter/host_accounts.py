# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the people of the cluster as accounts of one host."""

from __future__ import annotations

DOCUMENTATION = """
name: host_accounts
short_description: The people of the cluster as accounts of one host
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Checks the whole list, and gives what M(aicluster.slurm.host_users) takes. A user who is not for this host is
    C(absent) there.
options:
  _input:
    description: The users, as C(common_users) of role C(common) has them.
    type: list
    elements: dict
    required: true
  host:
    description: The inventory name of the host.
    type: str
    required: true
  groups:
    description: The inventory's groups, C(groups).
    type: dict
    required: true
  group:
    description: The primary group of users who name none.
    type: str
    required: true
  base:
    description: The folder of the homes.
    type: path
    required: true
  share:
    description: The shared storage, whose server makes the homes that are on it.
    type: path
    required: true
  taken:
    description: Accounts that are made otherwise, by name, with their numbers.
    type: dict
    default: {}
  admitted:
    description: Further public keys of those who have C(authorized_keys), in lists by name.
    type: dict
    default: {}
"""

EXAMPLES = """
- name: Show the accounts of this host
  ansible.builtin.debug:
    msg: "{{ [{'name': 'ada', 'uid': 20001}]
      | aicluster.slurm.host_accounts(inventory_hostname, groups, 'lab', '/data/home', '/data') }}"
"""

RETURN = """
_value:
  description: C(users) of M(aicluster.slurm.host_users).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.accounts import accounts, findings, home_findings


def host_accounts(
    users: Sequence[Mapping[str, Any]],
    host: str,
    groups: Mapping[str, Sequence[str]],
    group: str,
    base: str,
    share: str,
    taken: Mapping[str, int] | None = None,
    admitted: Mapping[str, Sequence[str]] | None = None,
) -> list[dict[str, Any]]:
    """The users of one host; an error with everything that is wrong in the list."""
    names = {*groups, *(name for members in groups.values() for name in members)}
    users = [{key: _plain(value) for key, value in user.items()} for user in users]
    wrong = findings(users, names, {name: int(number) for name, number in (taken or {}).items()})
    wrong = wrong or home_findings(users, base, share, taken or {})
    if wrong:
        raise AnsibleFilterError("\n".join(wrong))
    return accounts(users, host, groups, group, base, share, admitted or {})


def _plain(value: Any) -> Any:
    """The value; a single one that is in a vault is a text only since ansible-core 2.19."""
    return str(value) if getattr(value, "__ENCRYPTED__", False) else value


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"host_accounts": host_accounts}
