# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the jobs that build Python environments."""

from __future__ import annotations

DOCUMENTATION = """
name: environment_jobs
short_description: The jobs that build Python environments
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - For each environment the job that builds it, as M(aicluster.slurm.slurm_jobs) takes it.
  - A build has a folder of its own and takes the place of the older one when it works.
options:
  _input:
    description: The environments, as C(delivery_environments).
    type: list
    elements: dict
    required: true
  base:
    description: The folder that holds them.
    type: path
    required: true
  variables:
    description: Variables for pip, such as C(PIP_INDEX_URL).
    type: dict
    default: {}
  look:
    description: What the head printed, in sections C(== NAME).
    type: str
    default: ''
  folder:
    description: Where relative paths of lock files begin.
    type: path
    default: ''
"""

EXAMPLES = """
- name: Show the job that builds an environment
  ansible.builtin.debug:
    msg: "{{ [{'name': 'ml', 'requirements': ['numpy']}] | aicluster.slurm.environment_jobs('/data/environments') }}"
"""

RETURN = """
_value:
  description: The jobs.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.environments import DeliveryError, environment_jobs
from ansible_collections.aicluster.slurm.plugins.plugin_utils.selftest import read_look


def jobs(
    environments: Sequence[Mapping[str, Any]],
    base: str,
    variables: Mapping[str, str] | None = None,
    look: str = "",
    folder: str = "",
) -> list[dict[str, Any]]:
    """The jobs, with the text of the lock files."""
    try:
        paths = [item["lock"] for item in environments if item.get("lock")]
        locks = {path: Path(folder, path).read_text(encoding="utf-8") for path in paths}
        return environment_jobs(environments, base, variables or {}, read_look(look).builds_in_use, locks)
    except (DeliveryError, OSError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"environment_jobs": jobs}
