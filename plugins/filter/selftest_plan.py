# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: which jobs show that a cluster works."""

from __future__ import annotations

DOCUMENTATION = """
name: selftest_plan
short_description: Which jobs show that a cluster works
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - The jobs of the self-test, for the nodes that there are, as M(aicluster.slurm.slurm_jobs) takes them.
  - What cannot be tested here is among them, with the reason.
options:
  _input:
    description: What the head printed, in sections C(== NAME).
    type: str
    required: true
  settings:
    description: Where things are, and how large, as C(Settings) of C(plugin_utils/selftest.py) has them.
    type: dict
    required: true
  environments:
    description: The environments, as C(delivery_environments).
    type: list
    elements: dict
    default: []
  base:
    description: The folder that holds them.
    type: path
    default: ''
  stands_on:
    description: Further things that make the tests run again when they change.
    type: raw
    default: null
"""

EXAMPLES = """
- name: Show the self-test of a cluster
  ansible.builtin.debug:
    msg: "{{ look.stdout | aicluster.slurm.selftest_plan({'path': '/data/delivery/selftest', 'folder': '/data/run'}) }}"
"""

RETURN = """
_value:
  description: >-
    The C(jobs), their C(fingerprint), and whether they are C(due), because the last report is of something else, or
    no pass.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.environments import python_for_mpi
from ansible_collections.aicluster.slurm.plugins.plugin_utils.selftest import Settings, due, plan, read_look


def make(
    look: str,
    settings: Mapping[str, Any],
    environments: Sequence[Mapping[str, Any]] = (),
    base: str = "",
    stands_on: object = None,
) -> dict[str, Any]:
    """The plan."""
    seen = read_look(look)
    python = python_for_mpi(environments, base)
    lists = {key: tuple(settings.get(key) or ()) for key in ("mpirun_options", "only")}
    jobs = plan(seen, Settings(**{**settings, **lists, "python": python}))
    return {"jobs": jobs, **due(seen, jobs, stands_on)}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"selftest_plan": make}
