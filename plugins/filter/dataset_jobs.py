# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the jobs that fetch data sets."""

from __future__ import annotations

DOCUMENTATION = """
name: dataset_jobs
short_description: The jobs that fetch data sets
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - For each data set the job that fetches it, as M(aicluster.slurm.slurm_jobs) takes it.
options:
  _input:
    description: The data sets, as C(delivery_datasets).
    type: list
    elements: dict
    required: true
  base:
    description: The folder that holds them.
    type: path
    required: true
  variables:
    description: Variables for the download, such as C(https_proxy).
    type: dict
    default: {}
"""

EXAMPLES = """
- name: Show the job that fetches a data set
  ansible.builtin.debug:
    msg: "{{ delivery_datasets | aicluster.slurm.dataset_jobs('/data/datasets') }}"
"""

RETURN = """
_value:
  description: The jobs.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.environments import DeliveryError, dataset_jobs


def jobs(
    datasets: Sequence[Mapping[str, Any]], base: str, variables: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The jobs."""
    try:
        return dataset_jobs(datasets, base, variables or {})
    except DeliveryError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"dataset_jobs": jobs}
