# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run looks at to see whether the cluster works: which nodes answer, and which jobs show it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

SILENT = ("unknown", "down", "inval", "fail")
"""States of a node that cannot run a job although nobody drained it; `*` marks one that does not respond (sinfo(1))."""


def silent_nodes(lines: Iterable[str], wanted: Collection[str]) -> list[str]:
    """The wanted nodes that do not answer, from the lines `NAME STATE` of sinfo; also those that no line names."""
    states = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
    found = {name: states.get(name, "down") for name in wanted}
    return [name for name, state in found.items() if state.endswith("*") or state.startswith(SILENT)]


def idle_jobs(lines: Iterable[str], wanted: Collection[str]) -> list[dict[str, object]]:
    """Few jobs that together run on every wanted node that is idle, from the lines `NAME STATE PARTITION` of sinfo.

    Each job is a partition and the nodes to name; the partition that covers most nodes comes first.
    """
    members: dict[str, set[str]] = {}
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[1] == "idle" and words[0] in wanted:
            members.setdefault(words[2].rstrip("*"), set()).add(words[0])
    jobs: list[dict[str, object]] = []
    left = set().union(*members.values()) if members else set()
    while left:
        partition = max(sorted(members), key=lambda name: len(members[name] & left))
        jobs.append({"partition": partition, "nodes": sorted(members[partition] & left)})
        left -= members[partition]
    return jobs
