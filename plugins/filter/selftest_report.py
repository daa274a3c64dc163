# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the acceptance report of a cluster."""

from __future__ import annotations

DOCUMENTATION = """
name: selftest_report
short_description: The acceptance report of a cluster
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - What the cluster is, which tests were made, how they ended, and what differs from the last report.
options:
  _input:
    description: What the head printed, in sections C(== NAME).
    type: str
    required: true
  rows:
    description: How the jobs ended, of M(aicluster.slurm.slurm_jobs).
    type: list
    elements: dict
    required: true
  cluster:
    description: Name, time and fingerprint.
    type: dict
    required: true
  declared:
    description: What the inventory declares of each node, by the node's name, C(nodes_hardware) and C(gpu_devices).
    type: dict
    default: {}
  stored:
    description: What was found on each node, by its name.
    type: dict
    default: {}
  storage:
    description: What the storage server printed, in sections C(== NAME). Nothing where the storage is not ours.
    type: str
    default: ''
  share:
    description: The path of the share.
    type: path
    default: /data
"""

EXAMPLES = """
- name: Show the verdict
  ansible.builtin.debug:
    msg: "{{ (look.stdout | aicluster.slurm.selftest_report(tested.rows, {'cluster': 'lab', 'when': ''})).verdict }}"
"""

RETURN = """
_value:
  description: The report. C(bad) has the lines of what somebody has to look after.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.report import bad_rows, make_report
from ansible_collections.aicluster.slurm.plugins.plugin_utils.selftest import (
    node_rows,
    read_look,
    read_storage,
    storage_row,
)


def make(
    look: str,
    rows: Sequence[Mapping[str, Any]],
    cluster: Mapping[str, Any],
    declared: Mapping[str, Sequence[Any]] | None = None,
    stored: Mapping[str, Mapping[str, Any]] | None = None,
    storage: str = "",
    share: str = "/data",
) -> dict[str, Any]:
    """The report, with a row for what needs no job."""
    seen = read_look(look)
    every = [storage_row(read_storage(storage), share), *node_rows(seen), *rows]
    said = {name: {"hardware": hardware, "gpus": gpus} for name, (hardware, gpus) in (declared or {}).items()}
    report = make_report(seen, every, cluster, said, stored or {})
    return {**report, "bad": bad_rows(every)}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"selftest_report": make}
