# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what a host gets of the scripts that are delivered."""

from __future__ import annotations

DOCUMENTATION = """
name: delivered_files
short_description: What a host gets of the scripts that are delivered
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Reads the files on the control host, and gives them as M(aicluster.slurm.delivery_files) takes them.
options:
  _input:
    description: The files and folders, as C(delivery_scripts).
    type: list
    elements: dict
    required: true
  groups:
    description: The groups of the host.
    type: list
    elements: str
    required: true
  share:
    description: The path of the share.
    type: path
    required: true
  on_share:
    description: Whether what belongs on the share is meant, and not what belongs on the host.
    type: bool
    required: true
  folder:
    description: Where relative paths begin on the control host.
    type: path
    required: true
"""

EXAMPLES = """
- name: Show what node1 gets
  ansible.builtin.debug:
    msg: "{{ delivery_scripts | aicluster.slurm.delivered_files(['nodes'], '/data', false, inventory_dir) }}"
"""

RETURN = """
_value:
  description: The files and folders.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.scripts import ScriptsError, files_of


def files(
    scripts: Sequence[Mapping[str, Any]], groups: Sequence[str], share: str, on_share: bool, folder: str
) -> list[dict[str, Any]]:
    """The files and folders."""
    try:
        return files_of(scripts, groups, share, on_share, Path(folder))
    except (ScriptsError, OSError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"delivered_files": files}
