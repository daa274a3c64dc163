# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: few jobs that run on every idle node."""

from __future__ import annotations

DOCUMENTATION = """
name: idle_jobs
short_description: Few jobs that run on every idle node
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Picks partitions so that few jobs together touch every given node that is idle. Busy nodes are left alone.
options:
  _input:
    description: Lines of C(sinfo --Node --format="%N %T %P").
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
- name: Show one job in partition main on node1
  ansible.builtin.debug:
    msg: "{{ ['node1 idle main*', 'node2 mixed main*'] | aicluster.slurm.idle_jobs(['node1', 'node2']) }}"
"""

RETURN = """
_value:
  description: The jobs, each with C(partition) and C(nodes).
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.verify import idle_jobs


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"idle_jobs": idle_jobs}
