# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: nodes that do not answer."""

from __future__ import annotations

DOCUMENTATION = """
name: silent_nodes
short_description: Nodes that do not answer
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Which of the given nodes sinfo(1) does not list, or lists as down, unknown, invalid or not responding.
options:
  _input:
    description: Lines of C(sinfo --Node --format="%N %T").
    type: list
    elements: str
    required: true
  wanted:
    description: The names of the nodes.
    type: list
    elements: str
    required: true
"""

EXAMPLES = """
- name: Show node2
  ansible.builtin.debug:
    msg: "{{ ['node1 idle', 'node2 idle*'] | aicluster.slurm.silent_nodes(['node1', 'node2']) }}"
"""

RETURN = """
_value:
  description: The names of the nodes that do not answer.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.verify import silent_nodes


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"silent_nodes": silent_nodes}
