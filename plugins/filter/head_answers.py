# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter: which head speaks for the cluster."""

from __future__ import annotations

DOCUMENTATION = """
name: head_answers
short_description: Which head speaks for the cluster
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Of the heads that answer, the one that controls the cluster now, and the newest node store.
options:
  _input:
    description: The results of a loop over the heads, each with its C(item), and C(stdout_lines) where it was reached.
    type: list
    elements: dict
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  heads:
    description: All heads of the inventory, in its order.
    type: list
    elements: str
    default: []
  run:
    description: The hosts of this run.
    type: list
    elements: str
    default: []
  servers:
    description: The results of a loop over the storage servers outside the run, each with its C(item) and C(survey).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = """
- name: Show who speaks for the cluster
  ansible.builtin.debug:
    msg: "{{ (asked.results | aicluster.slurm.head_answers(hostvars, groups['head'], ansible_play_hosts_all)).head }}"
"""

RETURN = """
_value:
  description:
    - C(heads), those that are in the run or were deployed before; C(head), the one that speaks for the cluster, empty
      where none was asked; C(up), those that answer; C(store), what the node store holds; and C(findings), what is in
      the way.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.heads import (
    joined,
    misled,
    newest_store,
    read_answer,
    speaker,
)
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import node_name


def head_answers(
    results: Sequence[Mapping[str, Any]],
    hostvars: Mapping[str, Mapping[str, Any]],
    heads: Sequence[str] = (),
    run: Sequence[str] = (),
    servers: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Which head speaks for the cluster, and what is in the way."""
    answers = [read_answer(result["item"], result["stdout_lines"]) for result in results if result.get("stdout_lines")]
    facts = {answer.name: hostvars[answer.name].get("ansible_facts") or {} for answer in answers}
    findings = misled(answers, {name: str(each.get("hostname") or "") for name, each in facts.items()})
    lost = [(result, "head") for result in results if not answers]
    lost += [(result, "storage server") for result in servers if "survey" not in result]
    for result, what in lost:
        findings.append(
            f"{result['item']}: {what}: found {result.get('msg') or 'no way to it'}; accepted: one that answers"
        )
    members = joined({name: node_name(name, hostvars[name]) for name in heads}, run, answers)
    answers = [answer for answer in answers if answer.name in members]
    head = speaker(answers)
    return {
        "heads": members,
        "head": head.name if head else "",
        "up": [answer.name for answer in answers],
        "store": newest_store(answers),
        "findings": findings,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"head_answers": head_answers}
