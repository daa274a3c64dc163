# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the homes that the server of the share makes."""

from __future__ import annotations

DOCUMENTATION = """
name: home_folders
short_description: The homes that the server of the share makes
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - A folder for each user whose home is on the share, also of one who is locked; nothing for one who is absent.
options:
  _input:
    description: The users, as C(common_users) of role C(common) has them.
    type: list
    elements: dict
    required: true
  base:
    description: The folder of the homes.
    type: path
    required: true
  share:
    description: The shared storage.
    type: path
    required: true
  gids:
    description: Numbers of groups by name; the first is the one of users who name none.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show the homes
  ansible.builtin.debug:
    msg: "{{ [{'name': 'ada', 'uid': 20001}] | aicluster.slurm.home_folders('/data/home', '/data', {'lab': 20000}) }}"
"""

RETURN = """
_value:
  description: C(folders) of M(aicluster.slurm.host_files).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.accounts import homes


def home_folders(
    users: Sequence[Mapping[str, Any]], base: str, share: str, gids: Mapping[str, int]
) -> list[dict[str, str]]:
    """The folders of the homes."""
    primary = next(iter(gids))
    return homes(users, (primary, int(gids[primary])), {name: int(gid) for name, gid in gids.items()}, base, share)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"home_folders": home_folders}
