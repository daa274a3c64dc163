# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the wizard's answers as an inventory folder."""

from __future__ import annotations

DOCUMENTATION = """
name: wizard_files
short_description: The answers of the playbook configure as an inventory folder
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Renders the files C(hosts) and C(group_vars/all.yml), and a line for each host that says what was found there.
options:
  _input:
    description: The variables C(configure_*) of the playbook.
    type: dict
    required: true
  printed:
    description: What the playbook's look at a host printed, by host; empty for one that did not answer.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show the file hosts
  ansible.builtin.debug:
    msg: "{{ ({'configure_head': 'n0', 'configure_compute': 'n1'} | aicluster.slurm.wizard_files({})).files.hosts }}"
"""

RETURN = """
_value:
  description: C(files) is the text of each file by its path, C(report) is a list of lines.
  type: dict
"""

from collections.abc import Callable, Mapping

from ansible_collections.aicluster.slurm.plugins.plugin_utils.wizard import files, parse_probe, read_answers, report


def wizard_files(raw: Mapping[str, object], printed: Mapping[str, str]) -> dict[str, object]:
    """The files and the report."""
    answers = read_answers(raw)
    probes = {name: parse_probe(text) for name, text in printed.items()}
    return {"files": files(answers, probes), "report": report(answers, probes)}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"wizard_files": wizard_files}
