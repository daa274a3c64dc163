# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what a cluster has, in a few lines."""

from __future__ import annotations

DOCUMENTATION = """
name: cluster_summary
short_description: What a cluster has, in a few lines
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Names the partitions, the nodes by their hardware, and those nodes that are not up, with Slurm's reason.
options:
  _input:
    description: Lines of C(sinfo --Node --format="%N %T %E").
    type: list
    elements: str
    required: true
  members:
    description: Lines of C(sinfo --Node --format="%N %T %P").
    type: list
    elements: str
    required: true
  nodes:
    description: The nodes of slurm.conf, as M(aicluster.slurm.slurm_config) takes them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = """
- name: Show a cluster of one node
  ansible.builtin.debug:
    msg: "{{ ['n1 idle none'] | aicluster.slurm.cluster_summary(['n1 idle main*'], [{'NodeName': 'n1', 'CPUs': 2}]) }}"
"""

RETURN = """
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.summary import summary


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"cluster_summary": summary}
