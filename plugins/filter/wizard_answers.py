# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: the wizard's answers, checked."""

from __future__ import annotations

DOCUMENTATION = """
name: wizard_answers
short_description: The answers of the playbook configure, checked
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Fails for an answer that names no host, or the wrong number of them, and names the variable.
options:
  _input:
    description: The variables C(configure_*) of the playbook.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Show every host once
  ansible.builtin.debug:
    msg: "{{ ({'configure_head': 'n0', 'configure_compute': 'n[1-3]'} | aicluster.slurm.wizard_answers).hosts | list }}"
"""

RETURN = """
_value:
  description:
    - C(hosts) is the address of every host by its name, empty where none was given. C(user) is the ssh user.
    - C(probe) is a script that lets a host say what it is.
  type: dict
"""

from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import InventoryError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.wizard import PROBE, read_answers


def wizard_answers(raw: Mapping[str, object]) -> dict[str, object]:
    """The hosts, and who connects to them."""
    try:
        answers = read_answers(raw)
    except InventoryError as error:
        raise AnsibleFilterError(str(error)) from None
    hosts = {name: answers.addresses.get(name, "") for name in answers.hosts}
    return {"hosts": hosts, "user": answers.user, "probe": PROBE}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"wizard_answers": wizard_answers}
