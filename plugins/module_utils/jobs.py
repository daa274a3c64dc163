# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs that make or prove something: how they are submitted, what Slurm says of them, and the verdict.

Sources: sbatch(1), squeue(1) (job states and reasons) and scontrol(1) of Slurm 22.05.8 and 24.11.5.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Mapping, NamedTuple, Sequence

PASS, FAIL, SKIPPED, NOT_RUN, PRESENT = "pass", "fail", "skipped", "not run", "present"
"""Verdicts. `present`: there was nothing to do, because an earlier job did it."""

GOOD = (PASS, SKIPPED, PRESENT)
"""Verdicts that nobody has to look after."""

GRACE = 60
"""Seconds that a job may take to be over after its time limit, before it is given up."""

STUCK = 45
"""Seconds for which a reason that waiting does not cure may stand, because a node that returns shows it for a while."""

SKIP_CODE = "77"
"""The exit code by which a test says that it cannot be made here, as with Automake; a line `SKIP: ...` says why."""

SILENCE = 180
"""Seconds for which slurmctld may not answer, as in a restart."""


@dataclass(frozen=True)
class Job:
    """What is asked for."""

    name: str
    title: str
    script: str = ""
    options: tuple[str, ...] = ()
    seconds: int = 300
    check: str = ""
    """Shell text that judges, on the head and in the folder, what the job left."""
    stamp: str = ""
    """A file that the script writes last. Where it has `content`, nothing is to be done."""
    content: str = ""
    skip: str = ""
    """Why it cannot be run."""


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds."""

    queue: int


class Seen(NamedTuple):
    """What slurmctld says of a job."""

    state: str
    reason: str
    nodes: str
    exit_code: str


@dataclass(frozen=True)
class Current:
    """The job that is submitted, and since when it is as it is."""

    name: str
    id: str
    submitted: float
    heard: float
    """When slurmctld last answered."""
    started: float = 0
    stuck: float = 0
    """Since when it waits for something that does not come by waiting, or for the end of its own processes."""
    nodes: str = ""
    shown: str = ""
    """What was last told of it."""


class Decision(NamedTuple):
    """What to do with the job: nothing while there is no verdict; `cancel` when Slurm still has it."""

    current: Current
    verdict: str = ""
    reason: str = ""
    cancel: bool = False


# --- Slurm's side -----------------------------------------------------------------------------------------------------


def submit_argv(job: Job, folder: str, script: str) -> list[str]:
    """The command that submits it. It starts at most once: what dies is reported, and not tried again for ever."""
    return [
        "sbatch",
        "--parsable",
        "--no-requeue",
        f"--job-name=aicluster-{job.name}",
        f"--chdir={folder}",
        f"--output={folder}/{job.name}.out",
        "--open-mode=append",
        f"--time={math.ceil(job.seconds / 60)}",
        *job.options,
        script,
    ]


def job_id(stdout: str) -> str:
    """The id that `sbatch --parsable` prints, without the cluster's name; empty where there is none."""
    lines = stdout.strip().splitlines()
    first = lines[-1].partition(";")[0] if lines else ""
    return first if first.isdigit() else ""


_PAIR = re.compile(r"(?:^|\s)(JobState|Reason|NodeList|ExitCode)=(\S*)")

# The one that tells most about an array is the worst of its tasks.
_WORST = (
    "NODE_FAIL",
    "BOOT_FAIL",
    "OUT_OF_MEMORY",
    "TIMEOUT",
    "DEADLINE",
    "FAILED",
    "CANCELLED",
    "PREEMPTED",
    "REVOKED",
    "COMPLETED",
)


def parse_jobs(text: str) -> Seen | None:
    """A job, or an array as one, from `scontrol --oneliner show job`; None where the text has no job in it."""
    tasks = []
    for line in text.splitlines():
        values = dict(_PAIR.findall(line))
        if "JobState" in values:
            nodes = values.get("NodeList", "").replace("(null)", "")
            tasks.append(Seen(values["JobState"], values.get("Reason", ""), nodes, values.get("ExitCode", "")))
    if not tasks:
        return None
    active = [task for task in tasks if task.state not in _WORST]
    chosen = active[0] if active else min(tasks, key=lambda task: _WORST.index(task.state))
    running = [task for task in active if task.state != "PENDING"]
    if running:
        chosen = running[0]
    nodes = sorted({task.nodes for task in tasks if task.nodes})
    return chosen._replace(nodes=",".join(nodes))


# --- The verdict ------------------------------------------------------------------------------------------------------

# Reasons of squeue(1) that stay until somebody does something.
_STUCK = re.compile(
    r"(?i)ReqNodeNotAvail|PartitionDown|PartitionInactive|PartitionNodeLimit|PartitionTimeLimit|JobHeld|held"
    r"|BadConstraints|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|NodeDown|DOWN"
)
# Those that no waiting and no returning node cures.
_HELD = re.compile(r"(?i)JobHeld|held|BadConstraints|InvalidAccount|InvalidQOS|PartitionTimeLimit")

_ENDS = {
    "FAILED": (FAIL, "it ended with exit code {code}"),
    "TIMEOUT": (FAIL, "it did not end within {seconds} s"),
    "DEADLINE": (FAIL, "it did not end within {seconds} s"),
    "OUT_OF_MEMORY": (FAIL, "it took more memory than it was given"),
    "NODE_FAIL": (FAIL, "a node failed while it ran"),
    "BOOT_FAIL": (FAIL, "a node did not boot for it"),
    "CANCELLED": (NOT_RUN, "somebody cancelled it"),
    "PREEMPTED": (NOT_RUN, "another job took its place"),
    "REVOKED": (NOT_RUN, "another cluster took it"),
}


def decide(job: Job, current: Current, seen: Seen | None, now: float, limits: Limits) -> Decision:
    """What an answer of slurmctld means; None is no answer."""
    if seen is None:
        silent = now - current.heard
        if silent < SILENCE:
            return Decision(current)
        return Decision(current, NOT_RUN, f"slurmctld has not answered for {silent:.0f} s", True)
    current = replace(current, heard=now, nodes=seen.nodes or current.nodes)
    if seen.state == "COMPLETED":
        return Decision(current, PASS)
    if seen.state == "FAILED" and seen.exit_code.partition(":")[0] == SKIP_CODE:
        return Decision(current, SKIPPED)
    if seen.state in _ENDS:
        verdict, text = _ENDS[seen.state]
        return Decision(current, verdict, text.format(code=seen.exit_code.partition(":")[0], seconds=job.seconds))
    if seen.state in ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"):
        return _decide_waiting(current, seen, now, limits)
    started = current.started or now
    if seen.state == "COMPLETING":
        current = replace(current, started=started, stuck=current.stuck or now)
        if now - current.stuck > GRACE:
            return Decision(
                current, FAIL, f"it has ended, but for {GRACE} s not all of its processes on {seen.nodes}", True
            )
        return Decision(current)
    current = replace(current, started=started, stuck=0)
    # The cause that a job which has no time limit of its own hangs is mostly a node that died.
    if now - started > math.ceil(job.seconds / 60) * 60 + GRACE:
        return Decision(current, FAIL, f"it did not end within {job.seconds} s, and Slurm could not end it", True)
    return Decision(current)


def _decide_waiting(current: Current, seen: Seen, now: float, limits: Limits) -> Decision:
    why = seen.reason.replace("_", " ")
    if not _STUCK.search(seen.reason):
        current = replace(current, stuck=0)
        if now - current.submitted > limits.queue:
            text = f"it waited {now - current.submitted:.0f} s in the queue ({why})"
            return Decision(current, NOT_RUN, text, True)
        return Decision(current)
    current = replace(current, stuck=current.stuck or now)
    if _HELD.search(seen.reason) or now - current.stuck > STUCK:
        return Decision(current, NOT_RUN, f"Slurm does not start it: {why}", True)
    return Decision(current)


def progress(job: Job, current: Current, seen: Seen | None) -> str:
    """What is going on, without the times, which would make each answer a new one."""
    if seen is None:
        return f"{job.title}: slurmctld does not answer"
    if seen.state == "PENDING":
        return f"{job.title}: job {current.id} waits in the queue ({seen.reason.replace('_', ' ')})"
    return f"{job.title}: job {current.id} is {seen.state.lower()} on {seen.nodes or 'no node'}"


# --- What it printed --------------------------------------------------------------------------------------------------

_MATTERS = re.compile(r"(?i)\bFAIL\b|error|No space left|Traceback|Permission denied|not found|cannot|killed")


def lines_that_matter(output: str, count: int = 12) -> list[str]:
    """The lines of a failed job that tell why, in their order: those that name something, and the last ones."""
    lines = [line.rstrip()[:300] for line in output.splitlines() if line.strip()]
    marked = [number for number, line in enumerate(lines) if _MATTERS.search(line)]
    # The first of them is mostly the cause, the last one what it led to.
    chosen = marked[: count // 2] + list(range(max(0, len(lines) - count), len(lines)))
    kept = sorted(set(chosen))
    return [lines[number] for number in kept]


_MEASURED = re.compile(r"^MEASURED (?P<what>\S+) (?P<where>\S+) (?P<number>[0-9.]+) (?P<unit>\S+)$", re.MULTILINE)


def measured(output: str) -> list[dict[str, Any]]:
    """What the job measured: its lines `MEASURED what where number unit`."""
    return [{**match.groupdict(), "number": float(match["number"])} for match in _MEASURED.finditer(output)]


def why_skipped(output: str) -> str:
    """What a test says that cannot be made."""
    lines = re.findall(r"^SKIP: (.+)$", output, re.MULTILINE)
    return str(lines[-1]) if lines else "the test says that it cannot be made here"


def result(job: Job, verdict: str, reason: str = "", current: Current | None = None, now: float = 0) -> dict[str, Any]:
    """A row of the report."""
    return {
        "name": job.name,
        "title": job.title,
        "verdict": verdict,
        "reason": reason,
        "job": current.id if current else "",
        "nodes": current.nodes if current else "",
        "seconds": round(now - current.started, 1) if current and current.started else 0,
        "waited": round((current.started or now) - current.submitted, 1) if current else 0,
        "lines": [],
        "measured": [],
        "output": "",
    }


def sentence(row: Mapping[str, Any]) -> str:
    """A row, in one line."""
    where = f" (job {row['job']}{' on ' + row['nodes'] if row['nodes'] else ''})" if row["job"] else ""
    why = f": {row['reason']}" if row["reason"] else ""
    seconds = f", {row['seconds']:g} s" if row["seconds"] else ""
    return f"{row['title']}: {row['verdict']}{seconds}{where}{why}"


def refused(stderr: str) -> str:
    """Why sbatch did not take a job."""
    lines: Sequence[str] = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1].replace("sbatch: error: ", "") if lines else "sbatch gave no reason"
