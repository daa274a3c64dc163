# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a cluster works: its nodes answer, and jobs start on those that are idle.

Sources: sinfo(1) and srun(1) of Slurm 22.05.8 and 24.11.5.
"""

from __future__ import annotations

import re
import time
from typing import Callable, Collection, Iterable, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, Runner

STATES = ["sinfo", "--noheader", "--Node", "--all", "--format=%N %T %E"]
"""All nodes, also those in partitions that are hidden."""

MEMBERS = ["sinfo", "--noheader", "--Node", "--format=%N %T %P"]
"""Nodes in those partitions that whoever asks may use."""

SRUN = ["srun", "--immediate=20", "--time=1", "--job-name=aicluster-verify"]

PAUSE = 0.5
"""Seconds between two looks."""

SILENT = ("unknown", "down", "inval", "fail")
"""States of a node that cannot run a job although nobody drained it; `*` marks one that does not respond (sinfo(1))."""

_BUSY = re.compile(
    "Immediate execution impossible|Requested nodes are busy"
    "|Unable to allocate resources.*(?:busy|temporarily unavailable)"
)


class NotReadyError(Exception):
    """A cluster that does not work."""


class Look(NamedTuple):
    """What Slurm says of the nodes."""

    states: list[str]
    """A line `NAME STATE REASON` for each."""
    members: list[str]
    """A line `NAME STATE PARTITION` for each partition of each that the user may use."""


class Job(NamedTuple):
    """A job that shows that nodes work."""

    title: str
    options: list[str]


# --- Pure -------------------------------------------------------------------------------------------------------------


def silent_nodes(lines: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """The wanted nodes that do not answer, with their states, from lines `NAME STATE`; also those of no line."""
    states = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
    found = {name: states.get(name, "not known to Slurm") for name in wanted}
    return {name: state for name, state in found.items() if name not in states or not answers(state)}


def answers(state: str) -> bool:
    """Whether a node in this state responds and can run jobs, or could if nobody had drained it."""
    return not state.endswith("*") and not state.startswith(SILENT)


def jobs(members: Iterable[str], wanted: Collection[str], gpus: Iterable[str]) -> list[Job]:
    """Few jobs that together run on every wanted node that is idle, and one for each type of GPU.

    The partition that covers most nodes comes first.
    """
    by_partition: dict[str, set[str]] = {}
    for line in members:
        words = line.split()
        if len(words) >= 3 and words[1] == "idle" and words[0] in wanted:
            by_partition.setdefault(words[2].rstrip("*"), set()).add(words[0])
    found = []
    left = set().union(*by_partition.values())
    while left:
        partition = max(sorted(by_partition), key=lambda name: len(by_partition[name] & left))
        nodes = sorted(by_partition[partition] & left)
        options = [f"--partition={partition}", f"--nodelist={','.join(nodes)}", f"--nodes={len(nodes)}"]
        found.append(Job(f"{partition}: {', '.join(nodes)}", [*options, "--ntasks-per-node=1"]))
        left -= by_partition[partition]
    return found + [Job(f"a GPU {kind}", [f"--gres=gpu:{kind}:1"]) for kind in gpus]


def is_busy(result: Result) -> bool:
    """Whether a job could only not start at once, which says nothing about the cluster."""
    return result.rc != 0 and bool(_BUSY.search(result.stderr))


# --- Looking ----------------------------------------------------------------------------------------------------------


def wait_for_nodes(
    run: Runner, as_user: Callable[[Sequence[str]], Result], wanted: Sequence[str], seconds: float
) -> Look:
    """Look until the wanted nodes answer. Raises NotReadyError when they do not in time."""
    end = time.monotonic() + seconds
    while True:
        states = run(STATES)
        silent = silent_nodes(states.stdout.splitlines(), wanted)
        members = as_user(MEMBERS) if states.rc == 0 and not silent else None
        if members and members.rc == 0:
            return Look(states.stdout.splitlines(), members.stdout.splitlines())
        if time.monotonic() >= end:
            failed = members or states
            if failed.rc:
                said = failed.stderr.strip() or failed.stdout.strip() or f"the exit code {failed.rc}"
                raise NotReadyError(f"sinfo: found {said}; accepted: a slurmctld that answers")
            raise NotReadyError(
                f"{', '.join(silent)}: Slurm's state: found {', '.join(dict.fromkeys(silent.values()))};"
                " accepted: a node that responds. See /var/log/slurm/slurmd.log there, and `scontrol show node` here"
            )
        time.sleep(PAUSE)


def run_jobs(as_user: Callable[[Sequence[str]], Result], wanted: Iterable[Job]) -> list[str]:
    """Run them one after the other; the titles of those that ran. Raises NotReadyError at the first that fails."""
    ran = []
    for job in wanted:
        done = as_user([*SRUN, *job.options, "true"])
        if is_busy(done):
            continue
        if done.rc:
            said = " / ".join((done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-4:])
            raise NotReadyError(
                f"a job on {job.title}: found the exit code {done.rc} ({said}); accepted: one that ends well"
            )
        ran.append(job.title)
    return ran
