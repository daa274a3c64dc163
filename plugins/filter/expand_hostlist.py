# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: a Slurm host list, written out."""

from __future__ import annotations

DOCUMENTATION = """
name: expand_hostlist
short_description: A Slurm host list, written out
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - The names of a host list expression, in the order written, as C(scontrol show hostnames) prints them.
options:
  _input:
    description: The expression, also one of device files.
    type: str
    required: true
"""

EXAMPLES = """
- name: Show node01, node02 and node03
  ansible.builtin.debug:
    msg: "{{ 'node[01-03]' | aicluster.slurm.expand_hostlist }}"
"""

RETURN = """
_value:
  description: The names.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.module_utils import hostlist


def expand_hostlist(text: str) -> list[str]:
    """The names, or an error that says where the expression is wrong."""
    try:
        return hostlist.expand(text)
    except hostlist.HostlistError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"expand_hostlist": expand_hostlist}
