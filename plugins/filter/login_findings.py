# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what would keep Ansible out of a host."""

from __future__ import annotations

DOCUMENTATION = """
name: login_findings
short_description: What would keep Ansible out of a host
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Whether the accounts and keys of a host, as they are to be, let Ansible in again.
options:
  _input:
    description: The users, as P(aicluster.slurm.host_accounts#filter) returns them.
    type: list
    elements: dict
    required: true
  login:
    description: Who Ansible logs in as; empty where that is not known.
    type: str
    required: true
  by_password:
    description: Whether it does so by a password.
    type: bool
    required: true
  passwords:
    description: Whether sshd will let anybody in by a password.
    type: bool
    required: true
  key:
    description: The public key that is admitted for O(login); empty for none.
    type: str
    required: true
"""

EXAMPLES = """
- name: Show what would keep Ansible out
  ansible.builtin.debug:
    msg: "{{ [{'name': 'ada', 'state': 'locked'}] | aicluster.slurm.login_findings('ada', false, true, '') }}"
"""

RETURN = """
_value:
  description: What is wrong, in a line each.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.accounts import login_findings


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"login_findings": login_findings}
