# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import (
    AS_SLURM,
    CARRY,
    Controller,
    NotTakenError,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_live import Note, Running
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_plan import Plan
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_rollout import Rollout

OLD, NEW = {"slurm.conf": "old\n"}, {"slurm.conf": "new\n"}
SPOOL = "/var/spool/slurmctld"
SHOW_TEXT = "scontrol --all --oneliner show nodes"


def did(words: str, rc: int = 0, stdout: str = "") -> Result:
    """A command that is expected, and how it ends."""
    return Result(words.split(), rc, stdout, "")


def show(start: int = 1, ask: str = "", **states: str) -> Result:
    """Each node's state as the JSON of 24.11 has it, and its Reason after a blank; every slurmd began at `start`."""
    common: dict[str, Any] = {
        "reason_set_by_user": "slurm", "reason_changed_at": 0, "weight": 1, "features": [], "active_features": [],
        "comment": "", "extra": "", "boot_time": 1, "slurmd_start_time": start, "gres": "", "version": "24.11.5",
    }  # fmt: skip
    records = []
    for name, words in states.items():
        state, _blank, reason = words.partition(" ")
        records.append({**common, "name": name, "state": state.split("+"), "reason": reason})
    return did(f"{ask} scontrol --all show nodes --json", stdout=json.dumps({"nodes": records}))


def partitions(state: str = "UP", ask: str = "") -> Result:
    return did(
        f"{ask} scontrol --all --oneliner show partitions", stdout=f"PartitionName=main Nodes=n1 State={state} \n"
    )


def carried(before: str, after: str) -> Result:
    """The state is copied."""
    return Result([*AS_SLURM, "sh", "-c", CARRY, "sh", before, after], 0, "", "")


def retired(folder: str) -> Result:
    """The state in a folder counts as none from then on."""
    return Result([*AS_SLURM, "mv", "-f", f"{folder}/clustername", f"{folder}/clustername.before"], 0, "", "")


VERSION = did("slurmctld -V", stdout="slurm-wlm 24.11.5\n")
PING = did("scontrol ping")
RESET = did("systemctl reset-failed slurmctld")
RESTART, RECONFIGURE = did("systemctl restart slurmctld"), did("scontrol reconfigure")
STOP = did("systemctl stop slurmctld")
ANEW = (RESET, RESTART, PING, RECONFIGURE, PING)
BEFORE = (VERSION, show(ask="ask", n1="IDLE", n2="IDLE"), partitions(ask="ask"))
"""What is asked before a change."""
RECONFIGURED = (RECONFIGURE, PING, partitions())
BOTH = show(n1="IDLE", n2="IDLE")
LOW = "gres/gpu count reported lower than configured (0 < 2)"
SPOILED = show(n1="IDLE", n2=f"IDLE+DRAIN+INVALID_REG {LOW}")
VALID = show(n1="IDLE", n2=f"IDLE+DRAIN {LOW}")
"""What reports enough again stays drained."""
RESUME = did("scontrol update NodeName=n2 State=RESUME")


def set_state(state: str, rc: int = 0) -> Result:
    return did(f"scontrol update PartitionName=main State={state}", rc)


class Host:
    """A controller that runs with OLD, and answers exactly the steps that it is given, in their order."""

    def __init__(self, folder: Path) -> None:
        self.steps: list[Result] = []
        self.seen: list[str] = []
        self.files = ConfigFiles(str(folder / "etc"), str(folder / "state"), ["slurm.conf"])
        self.files.write(OLD, {})
        self.files.take()
        self.now = 0.0
        self.restarts = Note(str(folder / "state" / "restarts.json"))
        self.partitions = Note(str(folder / "state" / "partitions.json"))
        self.controller = Controller(self.run, 2, True, self.sleep, lambda: self.now)
        self.rollout = Rollout(self.controller, self.files, self.restarts, self.partitions)
        self.running = Running(True, True, OLD, lambda argv: self.run(["ask", *argv]))

    def run(self, argv: Sequence[str]) -> Result:
        assert self.steps, f"unexpected: {argv}"
        result = self.steps.pop(0)
        assert list(argv) == result.argv
        self.seen.append(f"{self.files.read().get('slurm.conf', '').strip()}: {' '.join(argv[:3])}")
        return result

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def carry_out(self, plan: Plan, *steps: Result, running: Running | None = None, rollback: bool = False) -> None:
        self.steps = list(steps)
        try:
            self.rollout.carry_out(plan, NEW, running or self.running, SPOOL, rollback)
        finally:
            assert self.steps == []

    def go_back(self, in_use: dict[str, str], *steps: Result) -> str:
        self.steps = list(steps)
        said = self.rollout.go_back(in_use, scontrol.parse_nodes_json(BOTH.stdout))
        assert self.steps == []
        return said


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def plan(action: str = "reconfigure", **keys: Any) -> Plan:
    return Plan(**{"changes": [], "action": action, "slurmd": [], "jobs_at_risk": [], **keys})


def test_everything_is_asked_before_the_files_change(host: Host) -> None:
    host.carry_out(plan(), *BEFORE, *RECONFIGURED, BOTH)
    assert host.seen == [
        "old: slurmctld -V",
        "old: ask scontrol --all",
        "old: ask scontrol --all",
        "new: scontrol reconfigure",
        "new: scontrol ping",
        "new: scontrol --all --oneliner",
        "new: scontrol --all show",
    ]
    assert (host.files.used(), host.files.previous(), host.files.pending) == (NEW, OLD, False)
    assert (host.restarts.read(), host.partitions.read()) == ({}, {})


def test_without_an_action_the_files_are_put_right_alone(host: Host) -> None:
    host.carry_out(plan("none"), *BEFORE)
    assert (host.files.used(), host.files.pending, host.controller.commands) == (NEW, False, [])
    assert host.partitions.read() == {}


def test_a_slurmctld_that_does_not_run_has_nothing_to_ask_for(host: Host) -> None:
    running = Running(False, False, OLD, host.run)
    host.carry_out(plan("start"), *ANEW, partitions("DOWN"), VERSION, show(n1="UNKNOWN"), running=running)
    assert host.files.used() == NEW


# --- nodes ------------------------------------------------------------------------------------------------------------


def test_a_node_that_falls_silent_refuses_the_files(host: Host) -> None:
    silent = [show(n1="IDLE+NOT_RESPONDING", n2="IDLE")] * 4
    with pytest.raises(NotTakenError) as caught:
        host.carry_out(plan(), *BEFORE, *RECONFIGURED, *silent)
    assert str(caught.value) == (
        "the cluster did not take the configuration: nodes that responded before do not any more: n1."
        " Then the new files stay, as asked."
    )
    assert (host.files.read(), host.files.used(), host.files.pending) == (NEW, OLD, True)


def test_a_node_whose_slurmd_has_to_restart_is_not_waited_for(host: Host) -> None:
    after = show(start=7, n1="IDLE+NOT_RESPONDING", n2="IDLE")
    host.carry_out(plan(slurmd=["n1"]), *BEFORE, *RECONFIGURED, after, after)
    assert host.restarts.read() == {"n1": 7}
    assert (host.now, host.files.used()) == (0, NEW)


def test_a_node_that_is_invalid_until_its_slurmd_restarts_refuses_nothing(host: Host) -> None:
    host.carry_out(plan(slurmd=["n2"]), *BEFORE, *RECONFIGURED, SPOILED, SPOILED)
    assert (host.restarts.read(), host.files.used()) == ({"n2": 1}, NEW)


def test_a_node_that_was_invalid_before_refuses_nothing(host: Host) -> None:
    before = (VERSION, SPOILED._replace(argv=BEFORE[1].argv), partitions(ask="ask"))
    host.carry_out(plan(), *before, *RECONFIGURED, SPOILED)
    assert host.files.used() == NEW


def test_a_slurmctld_that_dies_when_all_seemed_done(host: Host) -> None:
    dead = (did("scontrol --all show nodes --json", rc=1), did(SHOW_TEXT, rc=1))
    back = (*ANEW, partitions(), BOTH, BOTH)
    with pytest.raises(NotTakenError, match=r"Then the old files are back and in use\.$"):
        host.carry_out(plan(slurmd=["n1"]), *BEFORE, *RECONFIGURED, BOTH, *dead, *back, rollback=True)
    # No slurmd has to follow what is gone.
    assert (host.files.read(), host.files.pending, host.restarts.read()) == (OLD, False, {})


def test_restarts_that_were_noted_before_are_forgotten(host: Host) -> None:
    host.restarts.write({"n1": 7})
    host.carry_out(plan(), *BEFORE, *RECONFIGURED, BOTH)
    assert host.restarts.read() == {}


@pytest.mark.parametrize("step", [1, 2], ids=["nodes", "partitions"])
def test_a_slurmctld_that_died_before_changes_nothing(host: Host, step: int) -> None:
    dead = Result(BEFORE[step].argv, 1, "", "Unable to contact slurm controller")
    with pytest.raises(CommandError):
        host.carry_out(plan(), *BEFORE[:step], dead)
    assert (host.files.read(), host.files.pending) == (OLD, False)


# --- partitions -------------------------------------------------------------------------------------------------------

DRAINED = (*BEFORE[:2], partitions("DRAIN", ask="ask"))


def test_partitions_keep_the_state_that_an_admin_gave_them(host: Host) -> None:
    host.carry_out(plan("restart"), *DRAINED, *ANEW, partitions("UP"), set_state("DRAIN"), BOTH)
    assert host.controller.commands[-1] == set_state("DRAIN").argv
    assert host.partitions.read() == {}


def test_a_state_that_the_change_is_about_wins(host: Host) -> None:
    change = plan(partition_states={"main": "DOWN"})
    host.carry_out(change, *DRAINED, RECONFIGURE, PING, partitions("UP"), set_state("DOWN"), BOTH)


def test_states_survive_a_run_that_was_killed(host: Host) -> None:
    died = did("scontrol ping", rc=1)
    active = did("systemctl is-active --quiet slurmctld", rc=3)
    with pytest.raises(NotTakenError):
        host.carry_out(
            plan("restart"),
            *DRAINED,
            RESET,
            RESTART,
            died,
            active,
            did("journalctl --unit=slurmctld --lines=200 --output=cat"),
        )
    assert host.partitions.read() == {"main": "DRAIN"}
    # By now they have been forgotten, and are not asked for.
    host.carry_out(plan("restart"), BEFORE[1], *ANEW, partitions("UP"), set_state("DRAIN"), BOTH)
    assert host.partitions.read() == {}


# --- the cluster's id -------------------------------------------------------------------------------------------------

FORGET = did(f"rm -f {SPOOL}/clustername")


def test_the_id_of_the_cluster_goes_while_slurmctld_is_stopped(host: Host) -> None:
    host.carry_out(plan("restart", new_cluster_id=True), *BEFORE, STOP, FORGET, *ANEW, partitions(), BOTH)
    assert host.controller.commands == [STOP.argv, FORGET.argv, RESTART.argv, RECONFIGURE.argv]


def test_a_slurmctld_that_does_not_stop_keeps_its_id(host: Host) -> None:
    with pytest.raises(NotTakenError):
        host.carry_out(plan("restart", new_cluster_id=True), *BEFORE, did("systemctl stop slurmctld", rc=1))
    assert host.controller.commands == [STOP.argv]


# --- go_back ----------------------------------------------------------------------------------------------------------


def test_the_old_files_are_used_again(host: Host) -> None:
    host.files.write(NEW, OLD)
    host.partitions.write({"main": "DOWN"})
    steps = (*ANEW, partitions("UP"), set_state("DOWN"), VERSION, BOTH, BOTH)
    assert host.go_back(OLD, *steps) == "the old files are back and in use"
    assert host.seen[0] == "old: systemctl reset-failed slurmctld"
    assert (host.files.used(), host.files.pending, host.partitions.read()) == (OLD, False, {})


def test_nodes_that_the_new_files_spoiled_come_back_with_the_old_ones(host: Host) -> None:
    # slurmd takes its time, to become valid and to answer.
    silent = show(n1="UNKNOWN", n2="IDLE")
    back = (*ANEW, partitions(), SPOILED, VALID, RESUME, silent, silent, BOTH)
    with pytest.raises(NotTakenError) as caught:
        host.carry_out(plan(), *BEFORE, *RECONFIGURED, SPOILED, *back, rollback=True)
    assert str(caught.value) == (
        f"the cluster did not take the configuration: node n2 became invalid: {LOW}."
        " Then the old files are back and in use."
    )
    assert host.controller.commands[-1] == RESUME.argv
    assert (host.now, host.files.read(), host.files.pending) == (2, OLD, False)


def test_a_node_that_was_drained_before_stays_so(host: Host) -> None:
    before = (VERSION, VALID._replace(argv=BEFORE[1].argv), partitions(ask="ask"))
    back = (*ANEW, partitions(), VALID, VALID)
    with pytest.raises(NotTakenError, match="the old files are back and in use"):
        host.carry_out(plan(), *before, did("scontrol reconfigure", rc=1), *back, rollback=True)
    assert host.controller.commands == [RECONFIGURE.argv, RESTART.argv, RECONFIGURE.argv]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([BOTH, *[show(n1="IDLE", n2="IDLE+NOT_RESPONDING")] * 4], "nodes that responded before do not any more: n2"),
        # Once more than the time lasts, and judged after it.
        ([*[SPOILED] * 6, SPOILED], f"node n2 became invalid: {LOW}"),
    ],
    ids=["silent", "invalid"],
)
def test_a_node_that_does_not_come_back_is_named(host: Host, after: list[Result], said: str) -> None:
    host.files.write(NEW, OLD)
    assert host.go_back(OLD, *ANEW, partitions(), VERSION, *after) == f"the old files are back, but {said}"
    # The next run finishes.
    assert (host.files.read(), host.files.pending) == (OLD, True)


@pytest.mark.parametrize(
    "steps",
    [
        [RESET, did("systemctl restart slurmctld", rc=1)],
        [*ANEW, did(" ".join(partitions().argv), rc=1)],
        [*ANEW, partitions("UP"), set_state("DOWN", rc=1)],
        [*ANEW, partitions("DOWN"), VERSION, did("scontrol --all show nodes --json", 1), did(SHOW_TEXT, 1)],
    ],
    ids=["restart", "partitions", "state", "nodes"],
)
def test_the_old_files_do_not_work_any_more(host: Host, steps: list[Result]) -> None:
    host.files.write(NEW, OLD)
    host.partitions.write({"main": "DOWN"})
    assert host.go_back(OLD, *steps).startswith("the old files are back, but `")
    # The next run finishes.
    assert (host.files.read(), host.files.used(), host.files.pending) == (OLD, OLD, True)
    assert host.partitions.read() == {"main": "DOWN"}


def test_without_files_before_there_is_nothing_to_run_with(host: Host, tmp_path: Path) -> None:
    files = ConfigFiles(str(tmp_path / "fresh"), str(tmp_path / "state2"), ["slurm.conf"])
    host.files, host.rollout = files, host.rollout._replace(files=files)
    files.write(NEW, {})
    host.partitions.write({"main": "UP"})
    assert host.go_back({}, STOP) == "there was no configuration before, so slurmctld is stopped"
    assert (files.read(), files.used(), files.previous(), files.pending) == ({}, {}, {}, False)
    assert host.partitions.read() == {}


def test_the_state_moves_before_slurmctld_starts(host: Host) -> None:
    steps = [*BEFORE, STOP, carried("/var/lib/slurm", SPOOL), *ANEW, partitions(), BOTH, retired("/var/lib/slurm")]
    host.carry_out(plan("restart", state_from="/var/lib/slurm"), *steps)
    # Until it is copied the files are the old ones.
    assert host.seen[3:5] == ["old: systemctl stop slurmctld", "old: runuser -u slurm"]


def test_a_copy_that_is_not_taken_is_no_state(host: Host) -> None:
    failing = did("systemctl restart slurmctld", rc=1)
    steps = [*BEFORE, STOP, carried("/var/lib/slurm", SPOOL), RESET, failing]
    steps += [*ANEW, partitions(), BOTH, BOTH, retired(SPOOL)]
    with pytest.raises(NotTakenError, match="the old files are back"):
        host.carry_out(plan("restart", state_from="/var/lib/slurm"), *steps, rollback=True)


def test_nobody_waits_for_a_node_that_is_off(host: Host) -> None:
    host.rollout = host.rollout._replace(away=["n2"])
    host.carry_out(plan(), *BEFORE, *RECONFIGURED, show(n1="IDLE", n2="IDLE+NOT_RESPONDING"))
    assert host.files.used() == NEW
