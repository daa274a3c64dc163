# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: what hosts are asked about each other before a cluster is made of them."""

from __future__ import annotations

DOCUMENTATION = """
name: preflight_questions
short_description: What hosts are asked about each other before a cluster is made of them
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Lists the names and ports that hosts have to try. Only hosts that are new, and those that have to reach them, are
    asked.
options:
  _input:
    description: The cluster's hosts, as P(aicluster.slurm.cluster_hosts#filter) returns them.
    type: dict
    required: true
  groups:
    description: The inventory's groups, C(groups).
    type: dict
    required: true
  compute:
    description: The hosts that run slurmd, by inventory name.
    type: list
    elements: str
    required: true
  store:
    description: The nodes of the node store; hosts that it lacks are new, and all are where it is empty.
    type: dict
    default: {}
  full:
    description: Whether every host counts as new.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Show what the host is asked
  ansible.builtin.debug:
    msg: "{{ hosts | aicluster.slurm.preflight_questions(groups, groups['nodes']) }}"
"""

RETURN = """
_value:
  description: By host that is asked, C(resolve) and C(connect) for M(aicluster.slurm.host_reach).
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.survey import pairs


def preflight_questions(
    hosts: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Sequence[str]],
    compute: Sequence[str],
    store: Mapping[str, Any] | None = None,
    full: bool = False,
) -> dict[str, dict[str, Any]]:
    """The options of the module host_reach, by host that is asked something."""
    known = {name for name in compute if name in hosts and hosts[name]["node"] in (store or {})}
    served = [name for group in ("nfs", "head") for name in groups.get(group) or [] if name not in compute]
    new = set(hosts) if full or not known else set(hosts) - known - set(served)
    addresses = {name: str(host["address"]) for name, host in hosts.items()}
    connect = pairs(groups, compute, addresses, new)
    questions = {}
    for name in hosts:
        asked = dict.fromkeys([name, *(groups.get("head") or []), *(groups.get("nfs") or [])]) if name in new else {}
        resolve = {hosts[each]["node"]: addresses[each] for each in asked if addresses.get(each)}
        if resolve or connect.get(name):
            questions[name] = {"resolve": resolve, "connect": connect.get(name, [])}
    return questions


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"preflight_questions": preflight_questions}
