# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what has mounts wait for their servers when a machine starts."""

from __future__ import annotations

DOCUMENTATION = """
name: mount_waits
short_description: What has mounts wait for their servers when a machine starts
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - A drop-in for the unit of each mount over the network that has C(nofail), and a service before it that mounts it as
    soon as its server answers. A machine whose power is back before that of its server then does not stay without it.
options:
  _input:
    description: The mounts, each with C(path) and C(fstype), and C(options) where it has some.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = """
- name: Show what is written for a mount
  ansible.builtin.debug:
    msg: "{{ [{'path': '/data', 'fstype': 'nfs', 'options': ['nofail']}] | aicluster.slurm.mount_waits }}"
"""

RETURN = """
_value:
  description: C(files) of M(aicluster.slurm.host_files).
  type: list
  elements: dict
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.mounts import mount_waits


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"mount_waits": mount_waits}
