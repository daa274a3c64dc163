# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to happen so that a running Slurm follows its configuration files, and what that would cost.

Pure. Which keys need a restart is said by slurm_keys; see there for the sources.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import hostlist, slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import EVERY_NODE, Change

RECONFIGURE_STARTS_ANEW = (23, 11)
"""The first version whose `scontrol reconfigure` starts a new process that reads everything (scontrol(1))."""

FORGOTTEN_BY = ("clustername", "statesavelocation")
"""Keys that make slurmctld look for its saved state elsewhere: it would forget every job."""

LOST_BY = ("credtype", "jobcontainertype", "proctracktype", "selecttype", "switchtype", "slurmdspooldir")
"""Keys of which a restarted slurmd cannot take over the jobs that it finds (slurm.conf(5): no job may run)."""

HIDDEN = "[not shown]"

_PASSWORD = re.compile(r"""(?i)\b(\w*(?:pass(?:word|wd)?|secret|token)[ \t]*=[ \t]*)("[^"\n]*"|\S+)""")


class Job(NamedTuple):
    """A running job."""

    id: str
    user: str
    partition: str
    nodes: tuple[str, ...]
    gres: bool
    """Whether it asked for generic resources."""

    def __str__(self) -> str:
        return f"{self.id} of {self.user} on {hostlist.fold(self.nodes)}"


class Live(NamedTuple):
    """What is known of the Slurm that runs."""

    version: str
    """Such as 22.05.8."""
    active: bool
    """Whether slurmctld runs."""
    applied: bool
    """Whether it is known to run with the files to which the changes compare."""
    jobs: Sequence[Job] = ()
    unfinished: Sequence[str] = ()
    """Nodes whose slurmd had to restart for an earlier change, and has not yet."""
    state_can_move: bool = False
    """Whether the wanted StateSaveLocation is a folder without a state, so that the state can be copied there."""


class Plan(NamedTuple):
    """What has to be done, and what it would cost."""

    changes: list[Change]
    action: str
    """What slurmctld does: none, start, reconfigure, or restart (with a reconfigure after it)."""
    slurmd: list[str]
    """The nodes whose slurmd has to restart."""
    jobs_at_risk: list[Job]
    partition_states: Mapping[str, str] = {}
    """States that the change is about; all others stay as an admin made them."""
    new_cluster_id: bool = False
    """Whether slurmctld has to forget the id that it gave the cluster, because a database now gives one."""
    state_from: str = ""
    """The folder from which slurmctld's state is copied to its new place; empty where it stays."""
    takes_over: str = ""
    """The host out of reach that controls the cluster, and must not while it changes; empty where this one does."""


def make(changes: Sequence[Change], live: Live, nodes: Sequence[str]) -> Plan:
    """The plan for these changes; `nodes` are the nodes that are wanted."""
    slurmctld = False
    slurmd = set(live.unfinished)
    for change in changes:
        restart = _restart(change, live.version)
        slurmctld = slurmctld or "slurmctld" in restart
        if "slurmd" in restart:
            slurmd.update(nodes if change.name in ("", EVERY_NODE) else [change.name])
    # The slurmd of a node that is new here has read nothing yet.
    slurmd -= set(added(changes))
    moves = [change for change in changes if live.state_can_move and moves_state(change)]
    # Thousands of nodes that change meet thousands of jobs; few changes can end one.
    ending = [
        change
        for change in changes
        if change not in moves and (change.removed or not change.name or change.key == "Gres")
    ]
    anew = slurm_keys.parse_version(live.version) >= RECONFIGURE_STARTS_ANEW
    new_id = anew and live.active and any(map(_brings_database, changes))
    if not live.active:
        action = "start"
    elif slurmctld or new_id or moves or (not live.applied and not anew):
        # Where nobody knows what slurmctld runs with, the older one gets what always works.
        action = "restart"
    else:
        action = "reconfigure" if changes or not live.applied else "none"
    return Plan(
        changes=list(changes),
        action=action,
        slurmd=[name for name in nodes if name in slurmd],
        jobs_at_risk=[job for job in live.jobs if any(_ends(change, job) for change in ending)],
        partition_states={
            change.name: change.after.upper() or "UP"
            for change in changes
            if change.kind == slurm_keys.PARTITION and change.key == "State"
        },
        new_cluster_id=new_id,
        state_from=moves[0].before if moves else "",
    )


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as the module gives it back."""
    changed = [change.name for change in plan.changes if change.kind == slurm_keys.NODE and change.key]
    daemons = [{"daemon": "slurmctld", "do": plan.action, "hosts": []}] if plan.action != "none" else []
    if plan.slurmd:
        daemons.append({"daemon": "slurmd", "do": "restart", "hosts": plan.slurmd})
    return {
        "changes": [_shown(change)._asdict() for change in plan.changes],
        "nodes": {
            "added": added(plan.changes),
            "changed": list(dict.fromkeys(changed)),
            "removed": removed(plan.changes),
        },
        "action": plan.action,
        "takes_over": plan.takes_over,
        "daemons": daemons,
        "jobs_at_risk": [str(job) for job in plan.jobs_at_risk],
        "nodes_at_risk": sorted({name for job in plan.jobs_at_risk for name in job.nodes}, key=hostlist.natural_key),
    }


def added(changes: Iterable[Change]) -> list[str]:
    """The names of the nodes that come."""
    return [change.name for change in changes if change.kind == slurm_keys.NODE and change.added]


def removed(changes: Iterable[Change]) -> list[str]:
    """The names of the nodes that go."""
    return [change.name for change in changes if change.kind == slurm_keys.NODE and change.removed]


def as_text(plan: Plan, lost: Sequence[Mapping[str, str]]) -> str:
    """The plan as a person reads it, with what of scontrol's settings would be `lost`."""
    lines = [f"slurmctld: takes over from {plan.takes_over}"] if plan.takes_over else []
    lines.append(f"slurmctld: {plan.action}")
    if plan.slurmd:
        lines.append(f"slurmd: restart on {hostlist.fold_sorted(plan.slurmd)}")
    lines += [f"job at risk: {job}" for job in plan.jobs_at_risk]
    lines += [
        f"set by scontrol, and lost: {' '.join(filter(None, (each['kind'], each['name'], each['key'])))}:"
        f" {each['now']} -> {each['then']}"
        for each in lost
    ]
    return "".join(f"{line}\n" for line in [*lines, *map(str, map(_shown, plan.changes))])


def shown_text(text: str) -> str:
    """A file as a diff shows it, without passwords: those of JobCompPass, StoragePass and their like."""
    return _PASSWORD.sub(rf"\g<1>{HIDDEN}", text)


def _shown(change: Change) -> Change:
    """Without the passwords, which reports and logs keep."""
    if not change.key.lower().endswith("pass"):
        return change._replace(before=shown_text(change.before), after=shown_text(change.after))
    return change._replace(before=change.before and HIDDEN, after=change.after and HIDDEN)


# --- Jobs -------------------------------------------------------------------------------------------------------------

JOBS = ("squeue", "--noheader", "--states=RUNNING,SUSPENDED", "--format=%A|%u|%P|%N|%b")
"""The running jobs; nothing that users write takes part."""
JOBS_TRES = (
    "squeue",
    "--noheader",
    "--states=RUNNING,SUSPENDED",
    "--Format=JobID:20,tres-per-job:100,tres-per-socket:100,tres-per-task:100",
)
"""What else they asked for than %b tells, which is by node (squeue(1))."""


def describes_anew(changes: Iterable[Change], version: str) -> bool:
    """Whether slurmctld learns only later, from nodes that it knows to respond, if they are what their lines now say.

    From 23.11 on it starts anew, and nodes do not respond until they have registered.
    """
    return slurm_keys.parse_version(version) < RECONFIGURE_STARTS_ANEW and any(
        change.kind == slurm_keys.GRES or (change.kind == slurm_keys.NODE and not change.added and not change.removed)
        for change in changes
    )


def parse_jobs(text: str, tres: str) -> list[Job]:
    """What JOBS and JOBS_TRES print."""
    asked = {words[0] for words in map(str.split, tres.splitlines()) if any("gres" in word for word in words[1:])}
    jobs = []
    for line in text.splitlines():
        words = line.strip().split("|")
        if len(words) == 5 and words[3]:
            gres = words[4] not in ("", "N/A", "(null)") or words[0] in asked
            jobs.append(Job(words[0], words[1], words[2], tuple(hostlist.expand(words[3])), gres))
    return jobs


def _ends(change: Change, job: Job) -> bool:
    """Whether Slurm would end the job: its node or partition goes, its GPUs change, or a daemon loses sight of it."""
    if change.kind == slurm_keys.GLOBAL:
        return change.key.lower() in (*FORGOTTEN_BY, *LOST_BY) and bool(change.before)
    if change.kind == slurm_keys.NODE and change.name in job.nodes:
        return change.removed or (job.gres and change.key == "Gres")
    return change.kind == slurm_keys.PARTITION and change.removed and change.name == job.partition


# --- Daemons ----------------------------------------------------------------------------------------------------------


def _restart(change: Change, version: str) -> frozenset[str]:
    """The daemons that have to restart for one change."""
    try:
        keys = slurm_keys.known(version, change.kind)
    except KeyError:  # another file
        return frozenset()
    # Of a node that comes or goes its name tells; its other keys nobody has read yet, or reads any more.
    found = [change.key or "NodeName"] if change.kind == slurm_keys.NODE else change.keys
    return frozenset().union(*(keys[key.lower()].restart for key in found if key.lower() in keys))


def moves_state(change: Change) -> bool:
    """Whether slurmctld has its state in another folder then."""
    return (
        change.kind == slurm_keys.GLOBAL
        and change.key.lower() == "statesavelocation"
        and bool(change.before and change.after)
    )


def _brings_database(change: Change) -> bool:
    """Whether slurmctld begins to talk to slurmdbd, which gives the cluster an id (since 23.11 they have to match)."""
    return (
        change.kind == slurm_keys.GLOBAL
        and change.key.lower() == "accountingstoragetype"
        and "slurmdbd" in change.after
        and "slurmdbd" not in change.before
    )
