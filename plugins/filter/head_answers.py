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
    description: All heads of the inventory, in its order.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars). Those of the run have C(__cluster_survey).
    type: dict
    required: true
  run:
    description: The hosts of this run.
    type: list
    elements: str
    default: []
  looked:
    description:
      - The results of a loop of M(aicluster.slurm.host_survey) over the heads and storage servers outside the run.
    type: list
    elements: dict
    default: []
  reached:
    description: The results of a loop of C(uname -n) over heads to which others delegated.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = """
- name: Show who speaks for the cluster
  ansible.builtin.debug:
    msg: "{{ (groups['head'] | aicluster.slurm.head_answers(hostvars, ansible_play_hosts_all)).head }}"
"""

RETURN = """
_value:
  description:
    - C(heads), those that are in the run or were deployed before; C(head), the one that speaks for the cluster, empty
      where none was asked; C(key), the one with the newest munge key; C(up), those that answer; C(store), what the node
      store holds; and C(findings), what is in the way.
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.plugin_utils.heads import (
    joined,
    key_holder,
    misled,
    newest_store,
    read_answers,
    speaker,
)
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import node_name


def head_answers(
    heads: Sequence[str],
    hostvars: Mapping[str, Mapping[str, Any]],
    run: Sequence[str] = (),
    looked: Sequence[Mapping[str, Any]] = (),
    reached: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Which head speaks for the cluster, and what is in the way."""
    looks = {result["item"]: result for result in looked if not result.get("skipped")}
    looks.update((name, hostvars[name].get("__cluster_survey") or {}) for name in heads if name in run)
    answers = read_answers(heads, looks)
    findings = misled(
        {result["item"]: result["stdout"] for result in reached if result.get("stdout")},
        {name: str((hostvars[name].get("ansible_facts") or {}).get("hostname") or "") for name in heads},
    )
    for name, look in looks.items():
        # A head may be gone when there is another one, and of those in the run Ansible has told it.
        if "survey" in look or (name in heads and (answers or name in run)):
            continue
        what = "head" if name in heads else "storage server"
        findings.append(f"{name}: {what}: found {look.get('msg') or 'no way to it'}; accepted: one that answers")
    members = joined({name: node_name(name, hostvars[name]) for name in heads}, run, answers)
    answers = [answer for answer in answers if answer.name in members]
    head, holder = speaker(answers), key_holder(answers)
    return {
        "heads": members,
        "head": head.name if head else "",
        "key": holder.name if holder else "",
        "up": [answer.name for answer in answers],
        "store": newest_store(answers),
        "findings": findings,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Names to functions."""
        return {"head_answers": head_answers}
