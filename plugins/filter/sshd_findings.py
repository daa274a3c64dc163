# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what keeps sshd from doing what the inventory says."""

from __future__ import annotations

DOCUMENTATION = """
name: sshd_findings
short_description: What keeps sshd from doing what the inventory says
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Of sshd's settings the first one counts. Names those of other files that come before the one of role C(common), and
    say something else.
options:
  _input:
    description: What M(aicluster.slurm.host_survey) returns as C(sshd_earlier).
    type: list
    elements: dict
    required: true
  names:
    description: The users with keys of the cluster.
    type: list
    elements: str
    required: true
  passwords:
    description: Whether sshd may let anybody in by a password.
    type: bool
    required: true
"""

EXAMPLES = """
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ __cluster_survey.survey.sshd_earlier | aicluster.slurm.sshd_findings(['ada'], false) }}"
"""

RETURN = """
_value:
  description: What is wrong, in a line each.
  type: list
  elements: str
"""

from collections.abc import Callable

from ansible_collections.aicluster.slurm.plugins.plugin_utils.sshd import sshd_findings


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"sshd_findings": sshd_findings}
