# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the hardware in the output of `slurmd -C`."""

from __future__ import annotations

DOCUMENTATION = """
name: slurmd_hardware
short_description: Hardware of a node from C(slurmd -C)
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Reads the line that C(slurmd -C) prints; see slurmd(8). Falls back to Ansible's facts where there is no such line.
options:
  _input:
    description: The output of C(slurmd -C), possibly with other lines around it.
    type: str
    required: true
  facts:
    description: Ansible's facts of the subset C(hardware), for a preview on a host without slurmd.
    type: dict
    default: {}
"""

EXAMPLES = """
- name: Show the memory of a node in MiB
  ansible.builtin.debug:
    msg: "{{ ('NodeName=n1 CPUs=2 RealMemory=24105' | aicluster.slurm.slurmd_hardware).memory_mb }}"
"""

RETURN = """
_value:
  description: >-
    C(cpus), C(boards), C(sockets) per board, C(cores) per socket, C(threads) per core, and C(memory_mb) in MiB.
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils import nodes


def slurmd_hardware(text: str, facts: Mapping[str, Any] | None = None) -> dict[str, int]:
    """What slurmd says of the machine, else what the facts say."""
    return nodes.slurmd_hardware(text) or nodes.fact_hardware(facts or {})


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Names to functions."""
        return {"slurmd_hardware": slurmd_hardware}
