# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.host_reach import Target
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import (
    AS_SLURM,
    CARRY,
    REACHED_WITHIN,
    Controller,
    NotTakenError,
    answering,
    partition_states,
    responds,
)

VERSION = "24.11.5"
ASK_VERSION = ["slurmctld", "-V"]
PING = ["scontrol", "ping"]
RECONFIGURE = ["scontrol", "reconfigure"]
RESET = ["systemctl", "reset-failed", "slurmctld"]
RESTART = ["systemctl", "restart", "slurmctld"]
STOP = ["systemctl", "stop", "slurmctld"]
JOURNAL = ["journalctl", "--unit=slurmctld", "--lines=200", "--output=cat"]
IS_ACTIVE = ["systemctl", "is-active", "--quiet", "slurmctld"]
NODES = ["scontrol", "--all", "show", "nodes", "--json"]
TEXT = ["scontrol", "--all", "--oneliner", "show", "nodes"]

LOW = "gres/gpu count reported lower than configured (0 < 2)"


def did(argv: list[str], rc: int = 0, stdout: str = "", stderr: str = "") -> Result:
    """A command that is expected, and how it ends."""
    return Result(argv, rc, stdout, stderr)


def record(name: str, state: str, reason: str, user: str) -> dict[str, Any]:
    return {
        "name": name,
        "state": state.split("+"),
        "reason": reason,
        "reason_set_by_user": user,
        "reason_changed_at": {"set": True, "number": 1},
        "weight": 1,
        "features": [],
        "active_features": [],
        "comment": "",
        "extra": "",
        "version": VERSION,
        "boot_time": {"set": True, "number": 1},
        "slurmd_start_time": {"set": True, "number": 1},
        "gres": "",
    }


VERSION_TOLD = did(ASK_VERSION, stdout=f"slurm-wlm {VERSION}\n")


def nodes_text(**states: str) -> str:
    """Each node's state and, after a blank, the Reason, which slurm set; a `!` before it says that root did."""
    records = []
    for name, words in states.items():
        state, _blank, reason = words.partition(" ")
        records.append(record(name, state, reason.lstrip("!"), "root" if reason.startswith("!") else "slurm"))
    return json.dumps({"nodes": records})


def show(**states: str) -> Result:
    return did(NODES, stdout=nodes_text(**states))


def seen(**states: str) -> dict[str, scontrol.Node]:
    return scontrol.parse_nodes_json(nodes_text(**states))


def resume(name: str) -> Result:
    return did(["scontrol", "update", f"NodeName={name}", "State=RESUME"])


class Fake:
    """A controller whose runner answers exactly the steps, in their order, and whose time passes only in sleep."""

    def __init__(self, *steps: Result, timeout: float = 3) -> None:
        self.steps = list(steps)
        self.now = 0.0
        self.controller = Controller(self.run, timeout, True, self.sleep, lambda: self.now)

    def run(self, argv: Sequence[str]) -> Result:
        assert self.steps, f"unexpected: {argv}"
        result = self.steps.pop(0)
        assert list(argv) == result.argv
        return result

    def sleep(self, seconds: float) -> None:
        self.now += seconds


# --- apply ------------------------------------------------------------------------------------------------------------


def test_reconfigure() -> None:
    fake = Fake(did(RECONFIGURE), did(PING))
    fake.controller.apply("reconfigure")
    assert (fake.steps, fake.now) == ([], 0)
    assert fake.controller.commands == [RECONFIGURE]


def registrations(count: int) -> Result:
    return did(["sdiag"], stdout=f"\tMESSAGE_NODE_REGISTRATION_STATUS        ( 1002) count:{count}      ave_time:9\n")


def test_nodes_register_before_they_are_judged() -> None:
    counts = [registrations(count) for count in (7, 8, 9)]
    fake = Fake(counts[0], did(RECONFIGURE), did(PING), *counts)
    fake.controller.apply("reconfigure", registering=2)
    assert (fake.steps, fake.now) == ([], 0.5)
    assert fake.controller.commands == [RECONFIGURE]


@pytest.mark.parametrize("said", ["sdiag: error: Unable to contact slurm controller", ""])
def test_nodes_that_do_not_register_are_not_waited_for_without_end(said: str) -> None:
    fake = Fake(did(["sdiag"], 1, stderr=said), did(RECONFIGURE), did(PING), *[did(["sdiag"], 1, stderr=said)] * 42)
    fake.controller.apply("reconfigure", registering=1)
    assert (fake.steps, round(fake.now)) == ([], 10)


@pytest.mark.parametrize("action", ["restart", "start"])
def test_restart(action: str) -> None:
    fake = Fake(did(RESET), did(RESTART), did(PING, 1), did(IS_ACTIVE), did(PING), did(RECONFIGURE), did(PING))
    fake.controller.apply(action)
    assert (fake.steps, fake.now) == ([], 0.125)
    assert fake.controller.commands == [RESTART, RECONFIGURE]


def test_a_command_that_fails() -> None:
    fake = Fake(did(RESET, 1), did(RESTART, 1, stderr="Job for slurmctld.service failed."))
    with pytest.raises(NotTakenError, match=r"systemctl restart slurmctld.*Job for slurmctld\.service failed"):
        fake.controller.apply("restart")
    assert fake.steps == []
    assert fake.controller.commands == [RESTART]


def test_no_answer_in_time() -> None:
    fake = Fake(did(RECONFIGURE), *[did(PING, 1), did(IS_ACTIVE)] * 5, timeout=0.375)
    with pytest.raises(NotTakenError, match=r"^slurmctld does not answer: "):
        fake.controller.apply("reconfigure")
    assert (fake.steps, fake.now) == ([], 0.5)


STARTED = "Started slurmctld.service - Slurm controller daemon.\n"
ENDED = (
    "slurmctld: fatal: CLUSTER ID MISMATCH.\nslurmctld.service: Main process exited, code=exited, status=1/FAILURE\n"
)


@pytest.mark.parametrize(
    ("journal", "told"),
    [
        (STARTED + "slurmctld: slurmctld version 24.11.5 started\n" + ENDED, r": fatal: CLUSTER ID MISMATCH$"),
        # What ended one before it.
        (
            STARTED + ENDED + STARTED + "slurmctld.service: Main process exited, code=killed\n",
            r": `scontrol ping` failed",
        ),
        ("", r": `scontrol ping` failed"),
    ],
)
def test_a_daemon_that_died_is_not_waited_for(journal: str, told: str) -> None:
    fake = Fake(did(RECONFIGURE), did(PING, 1), did(IS_ACTIVE, 3), did(JOURNAL, stdout=journal), timeout=100)
    with pytest.raises(NotTakenError, match=f"^slurmctld does not answer{told}"):
        fake.controller.apply("reconfigure")
    assert (fake.steps, fake.now) == ([], 0)


def test_version_and_stop() -> None:
    fake = Fake(did(ASK_VERSION, stdout="slurm-wlm 22.05.8\n"), did(STOP, 1))
    # It is asked for once.
    assert (fake.controller.version(), fake.controller.version()) == ("22.05.8", "22.05.8")
    fake.controller.stop()
    assert fake.controller.commands == [STOP]


@pytest.mark.parametrize(("rc", "active"), [(0, True), (3, False)])
def test_is_active(rc: int, active: bool) -> None:
    assert Fake(did(IS_ACTIVE, rc)).controller.is_active() is active


def test_the_id_of_the_cluster_is_forgotten_after_a_stop() -> None:
    forget = ["rm", "-f", "/var/spool/slurmctld/clustername"]
    fake = Fake(did(STOP), did(forget))
    fake.controller.forget_cluster_id("/var/spool/slurmctld")
    assert (fake.steps, fake.controller.commands) == ([], [STOP, forget])
    # While slurmctld runs, it would write the id again.
    fake = Fake(did(STOP, 1, stderr="Job for slurmctld.service canceled."))
    with pytest.raises(NotTakenError, match="canceled"):
        fake.controller.forget_cluster_id("/var/spool/slurmctld")


def test_nodes_are_asked_for_with_the_configuration_that_is_in_use() -> None:
    asked: list[list[str]] = []

    def ask(argv: Sequence[str]) -> Result:
        asked.append(list(argv))
        return show(n1="IDLE")

    fake = Fake(VERSION_TOLD)
    assert list(fake.controller.nodes(ask)) == ["n1"]
    assert (asked, fake.steps) == ([NODES], [])


# --- partitions -------------------------------------------------------------------------------------------------------

PARTITIONS = ["scontrol", "--all", "--oneliner", "show", "partitions"]


def partitions(**states: str) -> Result:
    """As 22.05.8 and 24.11.5 print them, shortened."""
    lines = [f"PartitionName={name} Default=NO Nodes=n1 State={state} TotalCPUs=4\n" for name, state in states.items()]
    return did(PARTITIONS, stdout="".join(lines))


def test_partition_states() -> None:
    assert partition_states(Fake(partitions(main="UP", long="DRAIN")).run) == {"main": "UP", "long": "DRAIN"}
    assert partition_states(Fake(did(PARTITIONS, stdout="No partitions in the system\n")).run) == {}
    with pytest.raises(CommandError):
        partition_states(Fake(did(PARTITIONS, 1)).run)


def test_partitions_get_the_states_that_they_have_not() -> None:
    change = ["scontrol", "update", "PartitionName=a", "State=DOWN"]
    fake = Fake(partitions(a="UP", b="UP", new="UP"), did(change))
    fake.controller.set_partition_states({"a": "DOWN", "b": "UP", "gone": "DOWN"})
    assert (fake.steps, fake.controller.commands) == ([], [change])


@pytest.mark.parametrize(
    "steps",
    [
        [did(PARTITIONS, 1, stderr="Unable to contact slurm controller")],
        [partitions(a="UP"), did(["scontrol", "update", "PartitionName=a", "State=DOWN"], 1)],
    ],
)
def test_a_slurmctld_that_dies_while_partitions_are_set(steps: list[Result]) -> None:
    with pytest.raises(NotTakenError):
        Fake(*steps).controller.set_partition_states({"a": "DOWN"})


# --- wait_for_nodes ---------------------------------------------------------------------------------------------------


def test_nodes_that_respond_again() -> None:
    before = seen(n1="IDLE", n2="MIXED", n3="DOWN+NOT_RESPONDING", gone="IDLE")
    fake = Fake(
        VERSION_TOLD,
        show(n1="UNKNOWN", n2="MIXED+NOT_RESPONDING", n3="DOWN+NOT_RESPONDING", new="UNKNOWN"),
        show(n1="IDLE", n2="MIXED", n3="DOWN+NOT_RESPONDING", new="UNKNOWN"),
    )
    fake.controller.wait_for_nodes(before)
    assert (fake.steps, fake.now) == ([], 1)


@pytest.mark.parametrize("name", ["n1", "new"])
def test_a_node_that_becomes_invalid(name: str) -> None:
    fake = Fake(VERSION_TOLD, show(**{"n2": "IDLE", name: f"IDLE+DRAIN+INVALID_REG {LOW}"}))
    with pytest.raises(NotTakenError) as caught:
        fake.controller.wait_for_nodes(seen(n1="IDLE", n2="IDLE"))
    assert str(caught.value) == f"node {name} became invalid: {LOW}"


def test_a_node_that_was_invalid_before() -> None:
    invalid = f"IDLE+DRAIN+INVALID_REG {LOW}"
    Fake(VERSION_TOLD, show(n1=invalid)).controller.wait_for_nodes(seen(n1=invalid))


def test_a_node_that_stays_silent() -> None:
    fake = Fake(VERSION_TOLD, *[show(n1="IDLE", n3="UNKNOWN", n2="IDLE+NOT_RESPONDING")] * 5)
    with pytest.raises(NotTakenError, match=r"^nodes that responded before do not any more: n2, n3$"):
        fake.controller.wait_for_nodes(seen(n1="IDLE", n2="IDLE", n3="IDLE"))
    assert (fake.steps, fake.now) == ([], 4)


@pytest.mark.parametrize("off", [["n2"], ["n2", "n3"]])
def test_a_machine_that_is_off_is_not_judged(off: list[str]) -> None:
    """A run with --limit does not ask it, and slurmctld believes in it for SlurmdTimeout."""
    document = json.loads(nodes_text(n1="IDLE", n2="IDLE+NOT_RESPONDING", n3="UNKNOWN"))
    document["nodes"] = [{**node, "address": f"10.0.0.{node['name'][1:]}"} for node in document["nodes"]]
    config = did(["scontrol", "show", "config"], stdout="SlurmctldPort  = 6817\nSlurmdPort    = 7001\n")
    fake = Fake(VERSION_TOLD, did(NODES, stdout=json.dumps(document)), config, timeout=-1)
    asked: list[Target] = []

    def lost(targets: Iterable[Target], seconds: float) -> list[str]:
        asked.extend(targets)
        assert seconds == REACHED_WITHIN
        return [f"10.0.0.{name[1:]} port 7001 (No route to host)" for name in off]

    fake.controller.lost = lost
    before = seen(n1="IDLE", n2="IDLE", n3="IDLE")
    if off == ["n2", "n3"]:
        fake.controller.wait_for_nodes(before)
    else:
        with pytest.raises(NotTakenError, match=r"do not any more: n3$"):
            fake.controller.wait_for_nodes(before)
    assert (fake.steps, asked) == ([], [Target("10.0.0.2", 7001), Target("10.0.0.3", 7001)])


def test_a_node_whose_slurmd_has_to_restart_may_be_silent_or_invalid() -> None:
    invalid = f"IDLE+DRAIN+INVALID_REG {LOW}"
    before = seen(n1="IDLE", n2="IDLE", n3="IDLE")
    fake = Fake(VERSION_TOLD, show(n1="IDLE+NOT_RESPONDING", n2=invalid, n3="IDLE"))
    fake.controller.wait_for_nodes(before, ["n1", "n2"])
    assert (fake.steps, fake.now) == ([], 0)
    # The others are judged as ever.
    with pytest.raises(NotTakenError, match=r"^node n3 became invalid: [^;]*$"):
        Fake(VERSION_TOLD, show(n1=invalid, n2="IDLE", n3=invalid)).controller.wait_for_nodes(before, ["n1", "n2"])
    with pytest.raises(NotTakenError, match=r"do not any more: n3$"):
        Fake(VERSION_TOLD, show(n1="UNKNOWN", n3="UNKNOWN"), timeout=-1).controller.wait_for_nodes(before, ["n1"])


def test_a_slurmctld_that_dies_after_it_answered() -> None:
    fake = Fake(VERSION_TOLD, did(NODES, 1, stderr="Unable to contact slurm controller (connect failure)"))
    with pytest.raises(NotTakenError, match="Unable to contact slurm controller"):
        fake.controller.wait_for_nodes({})
    # Before a change the same is a failure of its own: nothing was offered that could be refused.
    fake = Fake(VERSION_TOLD, did(NODES, 1, stderr="Unable to contact slurm controller (connect failure)"))
    with pytest.raises(CommandError):
        fake.controller.nodes()


def test_an_answer_that_cannot_be_read() -> None:
    with pytest.raises(NotTakenError):
        Fake(VERSION_TOLD, did(NODES, stdout="?"), did(TEXT, stdout="?")).controller.wait_for_nodes({})


@pytest.mark.parametrize(
    ("state", "expected"),
    [("IDLE", True), ("ALLOCATED+DRAIN", True), ("DOWN", False), ("UNKNOWN", False), ("IDLE+NOT_RESPONDING", False)],
)
def test_responds(state: str, expected: bool) -> None:
    assert responds(seen(n1=state)["n1"]) is expected


# --- resume_spoiled ---------------------------------------------------------------------------------------------------


def test_only_drains_of_slurmctld_itself_end() -> None:
    fake = Fake(
        VERSION_TOLD,
        show(
            ctld=f"IDLE+DRAIN {LOW}",
            ours="IDLE+DRAIN !aicluster: new switches",
            human="IDLE+DRAIN !bad fan",
            silent="IDLE+DRAIN Not responding",
            down="DOWN Not responding",
            fine="IDLE",
        ),
        resume("ctld"),
        show(ctld="IDLE", ours="IDLE+DRAIN !aicluster: new switches", silent="IDLE+DRAIN Not responding"),
    )
    fake.controller.resume_spoiled(seen(ctld="IDLE", ours="IDLE"))
    assert (fake.steps, fake.now) == ([], 0.5)
    assert fake.controller.commands == [resume("ctld").argv]


def test_a_node_that_was_drained_before_stays() -> None:
    drained = f"IDLE+DRAIN {LOW}"
    fake = Fake(VERSION_TOLD, show(n1=drained, n2=drained), resume("n2"), show(n1=drained, n2="IDLE"))
    fake.controller.resume_spoiled(seen(n1=drained, n2="IDLE"))
    assert (fake.steps, fake.controller.commands) == ([], [resume("n2").argv])


def test_a_node_is_resumed_once_it_is_valid() -> None:
    invalid = f"IDLE+DRAIN+INVALID_REG {LOW}"
    fake = Fake(
        VERSION_TOLD,
        show(n1=f"IDLE+DRAIN {LOW}", n2=invalid),
        resume("n1"),
        show(n1="IDLE", n2=invalid),
        # Valid, but silent.
        show(n1="IDLE", n2=f"IDLE+DRAIN+NOT_RESPONDING {LOW}"),
        show(n1="IDLE", n2=f"IDLE+DRAIN {LOW}"),
        resume("n2"),
        show(n1="IDLE", n2="IDLE"),
    )
    fake.controller.resume_spoiled(seen(n1="IDLE", n2="IDLE"))
    assert (fake.steps, fake.now) == ([], 2)


def test_a_node_that_stays_invalid_is_left() -> None:
    fake = Fake(VERSION_TOLD, *[show(n1=f"IDLE+DRAIN+INVALID_REG {LOW}")] * 4, timeout=1)
    fake.controller.resume_spoiled(seen(n1="IDLE"))
    assert (fake.steps, fake.now, fake.controller.commands) == ([], 1.5, [])


@pytest.mark.parametrize(
    "steps",
    [
        [did(NODES, 1, stderr="Unable to contact slurm controller")],
        [show(n1=f"IDLE+DRAIN {LOW}"), resume("n1")._replace(rc=1, stderr="slurm_update error: Unable to contact")],
    ],
    ids=["asked", "told"],
)
def test_a_slurmctld_that_dies_while_nodes_are_resumed(steps: list[Result]) -> None:
    fake = Fake(VERSION_TOLD, *steps)
    with pytest.raises(NotTakenError, match="Unable to contact"):
        fake.controller.resume_spoiled(seen(n1="IDLE"))
    assert fake.steps == []


# --- several controllers ----------------------------------------------------------------------------------------------

TAKEOVER = ["scontrol", "takeover", "1"]


def both(first: str, second: str) -> Result:
    """scontrol is content with either."""
    said = f"Slurmctld(primary) at head0 is {first}\nSlurmctld(backup) at head1 is {second}\n"
    return did(PING, 0 if "UP" in (first, second) else 1, said)


OURS, OTHERS = (
    did(["scontrol", "show", "config"], stdout=f"HASH_VAL                = {said}\n")
    for said in ("Match", "Different Ours=0x1 Slurmctld=0x2")
)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [("UP", "UP", ["head0", "head1"]), ("DOWN", "UP", ["head1"]), ("DOWN", "DOWN", [])],
)
def test_answering(first: str, second: str, wanted: list[str]) -> None:
    assert answering(f"HASH_VAL = Match\n\n{both(first, second).stdout}") == wanted


def test_the_first_controller_takes_control_back_by_a_start() -> None:
    """One that hangs, while the backup controls."""
    fake = Fake(both("DOWN", "UP"), did(RESET), did(RESTART), both("UP", "UP"), both("UP", "UP"))
    fake.controller.take_charge(["head0", "head1"], "head0")
    assert (fake.steps, fake.controller.commands) == ([], [RESTART])


def test_of_several_controllers_this_one_has_to_answer() -> None:
    fake = Fake(did(RECONFIGURE), both("DOWN", "UP"), did(IS_ACTIVE), both("UP", "UP"), OTHERS, OURS)
    fake.controller.among(["head0", "head1"], "head0")
    fake.controller.apply("reconfigure")
    assert (fake.steps, fake.now) == ([], 0.625)


def test_a_controller_in_charge_that_has_other_files() -> None:
    fake = Fake(did(RECONFIGURE), both("UP", "UP"), OTHERS, OTHERS, timeout=0)
    fake.controller.among(["head0", "head1"], "head1")
    with pytest.raises(NotTakenError, match="another controller controls the cluster, with other files"):
        fake.controller.apply("reconfigure")
    assert fake.steps == []


def test_a_backup_that_stays_up_does_not_speak_for_one_that_died() -> None:
    fake = Fake(did(RESET), did(RESTART), both("DOWN", "UP"), did(IS_ACTIVE, 3), did(JOURNAL))
    fake.controller.among(["head0", "head1"], "head0")
    with pytest.raises(NotTakenError, match="slurmctld does not answer"):
        fake.controller.apply("restart")


def test_a_backup_that_restarts_takes_over_again() -> None:
    up = both("DOWN", "UP")
    fake = Fake(did(RESET), did(RESTART), up, did(TAKEOVER), did(RECONFIGURE), up, OURS)
    fake.controller.among(["head0", "head1"], "head1")
    fake.controller.apply("restart")
    assert (fake.steps, fake.controller.commands) == ([], [RESTART, TAKEOVER, RECONFIGURE])


@pytest.mark.parametrize("hosts", [["head0"], ["head1", "head2"]])
def test_one_controller_or_a_host_that_is_none(hosts: list[str]) -> None:
    fake = Fake(did(RESET), did(RESTART), did(PING), did(RECONFIGURE), did(PING))
    fake.controller.among(hosts, "head0")
    fake.controller.apply("restart")
    assert fake.steps == []


def test_the_state_is_copied_by_its_owner_while_nobody_writes_it() -> None:
    copy = [*AS_SLURM, "sh", "-c", CARRY, "sh", "/var/lib/a", "/data/b"]
    fake = Fake(did(STOP), did(copy))
    fake.controller.carry_state("/var/lib/a", "/data/b")
    assert (fake.steps, fake.controller.commands) == ([], [STOP, copy])


def carry(before: Path, after: Path) -> int:
    return subprocess.run(["sh", "-c", CARRY, "sh", before, after], capture_output=True, check=False).returncode


def test_a_copy_of_the_state_counts_when_it_is_whole(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "hash.1" / "job.1").mkdir(parents=True)
    (before / "hash.1" / "job.1" / "script").write_text("true\n")
    (before / ".hidden").touch()
    after.mkdir()
    assert carry(before, after) != 0, "what has no name is no state"
    (before / "clustername").write_text("lab\n")
    assert carry(before, after) == 0
    assert sorted(str(path.relative_to(after)) for path in after.rglob("*") if path.is_file()) == [
        ".hidden",
        "clustername",
        "hash.1/job.1/script",
    ]
    (after / "clustername").unlink()
    (after / "hash.1" / "job.1" / "script").unlink()
    (after / "hash.1" / "job.1" / "script").mkdir()
    assert carry(before, after) != 0, "a folder cannot become a file"
    assert not (after / "clustername").exists()
