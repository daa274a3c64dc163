# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of Slurm's configuration that would split a cluster or end jobs, and are refused."""

from __future__ import annotations

from typing import Mapping, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_plan
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_case import (
    Case,
    RefusedError,
    has_state,
    state_location,
)


def refuse_two_clusters(case: Case, host: str, followers: Sequence[str]) -> None:
    """RefusedError where a controller out of reach would go on with what it knows, beside this one."""
    wanted = case.wanted.controllers
    leaving = [name for name in case.answering if name not in [host, *wanted, *followers]]
    if leaving:
        raise RefusedError(
            f"SlurmctldHost: found {', '.join(leaving)}, to be a controller no more, with a slurmctld that answers:"
            " nobody would tell it, and it would go on to control the cluster; accepted: one that was stopped for good,"
            " by `systemctl disable --now slurmctld` there"
        )
    if host in case.answering and host not in wanted:
        raise RefusedError(
            f"SlurmctldHost: found {', '.join(wanted)} without {host}, which speaks for the cluster now; accepted:"
            f" this change while slurmctld of {', '.join(wanted)} runs and is within reach"
        )
    if case.plan.takes_over and not case.running.active:
        raise RefusedError(
            f"slurmctld: found the one of {case.plan.takes_over} in control of the cluster and out of reach, and none"
            f" that runs on {host}; accepted: a run that reaches {case.plan.takes_over}, or one after `systemctl start"
            f" slurmctld` on {host}"
        )


def refuse_losses(plan: slurm_plan.Plan, accepted: int) -> None:
    """RefusedError when more running jobs would end than are accepted."""
    if len(plan.jobs_at_risk) > accepted:
        names = "; ".join(map(str, plan.jobs_at_risk))
        raise RefusedError(
            f"the change would end running jobs: found {len(plan.jobs_at_risk)} ({names}); accepted: max_jobs_at_risk"
            f" {accepted}. Drain their nodes and wait, or accept more.",
            plan=slurm_plan.as_data(plan),
        )


def refuse_strangers(case: Case, jobs: Mapping[str, Sequence[int]], accepted: int) -> None:
    """RefusedError when nodes with more jobs than are accepted come to a slurmctld that knows none of these jobs.

    A node that is new to it has no job of its own there; one that begins without a state knows nobody's.
    """
    location = state_location(case.wanted)
    if case.running.active:
        nodes, cure = slurm_plan.added(case.plan.changes), ""
    elif case.plan.action == "start" and not has_state(location):
        nodes, cure = list(jobs), f"a copy of slurmctld's state, which is not in {location}, put back there; "
    else:
        return
    found = {name: jobs[name] for name in nodes if jobs.get(name)}
    count = len({number for numbers in found.values() for number in numbers})
    if count > accepted:
        where = "; ".join(f"{', '.join(map(str, numbers))} on {name}" for name, numbers in found.items())
        raise RefusedError(
            f"running jobs: found {count} ({where}) that slurmctld does not know, so that Slurm would end them;"
            f" accepted: {cure}jobs that have ended; or max_jobs_at_risk (head_max_jobs_at_risk) {count}"
        )
