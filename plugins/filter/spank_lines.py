# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: SPANK plugins as lines of plugstack.conf."""

from __future__ import annotations

DOCUMENTATION = """
name: spank_lines
short_description: SPANK plugins as lines of plugstack.conf
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Each plugin stands in a line of its own, because nodes do not fetch what an include names.
options:
  _input:
    description: The plugins, as the variable C(nodes_spank_plugins) has them.
    type: list
    elements: dict
    required: true
  folder:
    description: Where plugins are that were built from source.
    type: str
    required: true
"""

EXAMPLES = """
- name: Show the line of a plugin
  ansible.builtin.debug:
    msg: "{{ [{'name': 'spank_x', 'options': ['a=1']}] | aicluster.slurm.spank_lines('/usr/local/lib') }}"
"""

RETURN = """
_value:
  description: The lines.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def spank_lines(plugins: Sequence[Mapping[str, Any]], folder: str) -> list[str]:
    """The lines, in the order of the plugins."""
    return [
        " ".join(
            [
                "required" if plugin.get("required") else "optional",
                plugin.get("path") or f"{folder}/{plugin['name']}.so",
                *plugin.get("options", []),
            ]
        )
        for plugin in plugins
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"spank_lines": spank_lines}
