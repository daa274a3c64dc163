# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster has, for the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils.gres import parse_all
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import fold_sorted

UP = ("idle", "mixed", "allocated", "completing", "planned", "reserved")
"""States of a node that takes jobs, or will when those that it has are done."""


def summary(states: Iterable[str], members: Iterable[str], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What there is: partitions, nodes by kind, and which of them are not up and why.

    `states` are lines `NAME STATE REASON` of sinfo, `members` lines `NAME STATE PARTITION`, `nodes` are of slurm.conf.
    """
    rows = {words[0]: words[1:] for words in (line.split(maxsplit=2) for line in states) if len(words) >= 2}
    partitions: dict[str, set[str]] = {}
    for words in map(str.split, members):
        if len(words) >= 3:
            partitions.setdefault(words[2], set()).add(words[0])
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        kinds.setdefault(_hardware(node), []).append(node["NodeName"])
    lines = [
        f"partition {name.rstrip('*')}{' (default)' if name.endswith('*') else ''}: {fold_sorted(names)}"
        for name, names in sorted(partitions.items())
    ]
    lines += [f"{fold_sorted(names)}: {kind}" for kind, names in kinds.items()]
    for node in nodes:
        name = node["NodeName"]
        state, *reason = rows.get(name, ["unknown to sinfo"])
        if state not in UP:
            why = f", {reason[0]}" if reason and reason[0] != "none" else ""
            lines.append(f"not up: {name}: {state}{why}")
    return lines


def _hardware(node: Mapping[str, Any]) -> str:
    """The hardware of a node of slurm.conf, in words."""
    words = [f"{node.get('CPUs', 1)} CPUs", f"{int(node.get('RealMemory', 0)) / 1024:.0f} GiB for jobs"]
    for group in parse_all(node.get("Gres") or [], node["NodeName"]):
        words.append(f"{group.count} {group.name}{f' ({group.type})' if group.type else ''}")
    return ", ".join(words)
