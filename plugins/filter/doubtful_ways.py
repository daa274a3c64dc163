# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: hosts to which a connection may lead elsewhere by delegation."""

from __future__ import annotations

DOCUMENTATION = """
name: doubtful_ways
short_description: Hosts to which a connection may lead elsewhere by delegation
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Which of the given hosts have a variable of the connection that is a template. One with C(inventory_hostname) in it
    leads a task that another host delegates to that other host, without an error.
options:
  _input:
    description: Hosts of the inventory.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show them
  ansible.builtin.debug:
    msg: "{{ groups['all'] | aicluster.slurm.doubtful_ways(hostvars) }}"
"""

RETURN = """
_value:
  description: Their names.
  type: list
  elements: str
"""

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.heads import doubtful_ways


def by_hostvars(names: Sequence[str], hostvars: Any) -> list[str]:
    """Ask HostVars for the texts of the inventory."""
    return doubtful_ways(names, hostvars.raw_get)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"doubtful_ways": by_hostvars}
