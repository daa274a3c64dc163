# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts a configuration in place, and the old one back when the cluster does not take it."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import (
    Controller,
    NotTakenError,
    partition_states,
    responds,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_live import Note, Running, start_times
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_plan import Plan, describes_anew


class Rollout(NamedTuple):
    """A controller and its files."""

    controller: Controller
    files: ConfigFiles
    restarts: Note
    """The nodes whose slurmd has to restart, with the time when it began."""
    partitions: Note
    """The states of the partitions before a change: a restart forgets what an admin made of them."""
    away: Sequence[str] = ()
    """Nodes that are off, which slurmctld need not have noticed yet."""
    controllers: Sequence[str] = ()
    """The hosts that are controllers before the change, in their order."""
    host: str = ""
    """This one."""

    def carry_out(
        self, plan: Plan, texts: Mapping[str, str], running: Running, state_save_location: str, rollback: bool
    ) -> None:
        """Have these files in use, or, with `rollback`, those before; NotTakenError says why, and how that went."""
        nodes = self.controller.nodes(running.ask) if running.active else {}
        before = {name: node for name, node in nodes.items() if name not in self.away}
        states = self.partitions.read() or (partition_states(running.ask) if running.active else {})
        if plan.takes_over:
            self.take_charge(plan.takes_over, running)
        try:
            self.follow(plan, texts, running, state_save_location, before, states)
        except NotTakenError as error:
            end = self.go_back(running.texts, before) if rollback else "the new files stay, as asked"
            if rollback and plan.state_from:
                self.controller.retire_state(state_save_location)
            raise NotTakenError(f"the cluster did not take the configuration: {error}. Then {end}.") from error

    def take_charge(self, other: str, running: Running) -> None:
        """Control the cluster instead of `other`, by what is in use: all that follows then happens here."""
        self.files.write(running.texts, running.texts)
        try:
            self.controller.take_charge(self.controllers, self.host)
        except NotTakenError as error:
            raise NotTakenError(
                f"slurmctld of {other} controls the cluster, is out of reach, and {self.host} does not get control from"
                f" it: {error}. Nothing was changed. Accepted: a run that reaches {other}, or a slurmctld that is"
                " stopped there"
            ) from error
        finally:
            self.files.take()

    def follow(
        self,
        plan: Plan,
        texts: Mapping[str, str],
        running: Running,
        state_save_location: str,
        before: Mapping[str, scontrol.Node],
        states: Mapping[str, str],
    ) -> None:
        """Write, have the daemons follow, and see whether the cluster took it; NotTakenError otherwise."""
        if plan.state_from:
            # Before the files say so: whatever starts slurmctld meanwhile starts it with its jobs.
            self.partitions.write(states)
            self.controller.carry_state(plan.state_from, state_save_location)
        self.files.write(texts, running.texts)
        self.partitions.write(states)
        if plan.action != "none":
            if plan.new_cluster_id:
                self.controller.forget_cluster_id(state_save_location)
            responding = list(filter(responds, before.values()))
            anew = responding and describes_anew(plan.changes, self.controller.version())
            self.controller.apply(plan.action, len(responding) if anew else 0)
            self.controller.set_partition_states({**states, **plan.partition_states})
            self.controller.wait_for_nodes(before, plan.slurmd)
        # Of a slurmd that cannot register any more, what was known before tells.
        now = (
            {**start_times(plan.slurmd, before), **start_times(plan.slurmd, self.controller.nodes_now())}
            if plan.slurmd
            else {}
        )
        self.restarts.write(now)
        self._done()
        if plan.state_from:
            self.controller.retire_state(plan.state_from)

    def go_back(self, in_use: Mapping[str, str], before: Mapping[str, scontrol.Node]) -> str:
        """Put back what was in use; says how that went."""
        self.files.write(in_use, in_use)
        if "slurm.conf" not in in_use:
            self.controller.stop()
            self._done()
            return "there was no configuration before, so slurmctld is stopped"
        try:
            self.controller.apply("restart")
            self.controller.set_partition_states(self.partitions.read())
            self.controller.resume_spoiled(before)
            self.controller.wait_for_nodes(before)
        except NotTakenError as error:
            return f"the old files are back, but {error}"
        self._done()
        return "the old files are back and in use"

    def _done(self) -> None:
        self.partitions.write({})
        self.files.take()
