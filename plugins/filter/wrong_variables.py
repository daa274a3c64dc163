# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: variables with values that the roles do not take."""

from __future__ import annotations

DOCUMENTATION = """
name: wrong_variables
short_description: Variables with values that the roles do not take
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Holds those variables of the host that are described to their descriptions, like the check of a role's arguments,
    but for several roles at once, and without showing the descriptions.
  - One that is not set is not wrong. One that is set to nothing (V(null)) is, where it has a default.
options:
  _input:
    description: Variables by name, each with C(type), C(choices) and so on, as C(argument_specs.yml) has them.
    type: dict
    required: true
"""

EXAMPLES = """
- name: Refuse a number that is none
  ansible.builtin.assert:
    that: wrong | length == 0
    fail_msg: "{{ wrong | join(', ') }}"
  vars:
    wrong: "{{ {'cluster_uid': {'type': 'int'}} | aicluster.slurm.wrong_variables }}"
"""

RETURN = """
_value:
  description: What is wrong, in a line each.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from jinja2 import pass_context
from jinja2.runtime import Context


@pass_context
def wrong_variables(context: Context, described: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables of this host."""
    if not isinstance(described, Mapping):
        raise AnsibleFilterError(f"wrong_variables: found {type(described).__name__}; accepted: descriptions by name")
    values = {name: _plain(context[name]) for name in described if name in context}
    # Such as a key whose lines below it are all comments. It would not be the default, and no list.
    nothing = [name for name, value in values.items() if value is None and "default" in described[name]]
    said = {name: value for name, value in values.items() if name not in nothing}
    return [
        *(
            f"{name}: found nothing; accepted: a {described[name].get('type', 'str')}, or no such line for the default"
            for name in nothing
        ),
        *ArgumentSpecValidator(_plain(described)).validate(said).error_messages,
    ]


def _plain(value: Any) -> Any:
    """The value out of Ansible's containers, which take seconds to copy."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"wrong_variables": wrong_variables}
