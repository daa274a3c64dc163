# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the acceptance report as a page of HTML."""

from __future__ import annotations

DOCUMENTATION = """
name: report_page
short_description: The acceptance report as a page of HTML
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - The page needs no network, and nothing beside itself.
options:
  _input:
    description: The report, of P(aicluster.slurm.selftest_report#filter).
    type: dict
    required: true
"""

EXAMPLES = """
- name: Write the page
  ansible.builtin.copy:
    dest: report.html
    content: "{{ report | aicluster.slurm.report_page }}"
    mode: "0644"
"""

RETURN = """
_value:
  description: The page.
  type: str
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.report import render_html


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"report_page": render_html}
