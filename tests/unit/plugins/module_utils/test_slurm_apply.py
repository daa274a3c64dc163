# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import Controller, NotTakenError, responds

VERSION = "24.11.5"
PING = ["scontrol", "ping"]
RECONFIGURE = ["scontrol", "reconfigure"]
RESTART = ["systemctl", "restart", "slurmctld"]
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
        "gres": "",
    }


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
    return did(["scontrol", "update", f"nodename={name}", "state=resume"])


class Fake:
    """A controller whose runner answers exactly the steps, in their order, and whose time passes only in sleep."""

    def __init__(self, *steps: Result, timeout: float = 3) -> None:
        self.steps = list(steps)
        self.now = 0.0
        self.controller = Controller(self.run, timeout, self.sleep, lambda: self.now)

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


@pytest.mark.parametrize("action", ["restart", "start"])
def test_restart(action: str) -> None:
    fake = Fake(did(RESTART), did(PING, 1), did(IS_ACTIVE), did(PING), did(RECONFIGURE), did(PING))
    fake.controller.apply(action)
    assert (fake.steps, fake.now) == ([], 0.5)
    assert fake.controller.commands == [RESTART, RECONFIGURE]


def test_a_command_that_fails() -> None:
    fake = Fake(did(RESTART, 1, stderr="Job for slurmctld.service failed."))
    with pytest.raises(NotTakenError, match=r"systemctl restart slurmctld.*Job for slurmctld\.service failed"):
        fake.controller.apply("restart")
    assert fake.steps == []
    assert fake.controller.commands == [RESTART]


def test_no_answer_in_time() -> None:
    fake = Fake(did(RECONFIGURE), *[did(PING, 1), did(IS_ACTIVE)] * 4, did(PING, 1), timeout=1.5)
    with pytest.raises(NotTakenError, match=r"^slurmctld does not answer: "):
        fake.controller.apply("reconfigure")
    assert (fake.steps, fake.now) == ([], 2)


def test_a_daemon_that_died_is_not_waited_for() -> None:
    fake = Fake(did(RECONFIGURE), did(PING, 1), did(IS_ACTIVE, 3), timeout=100)
    with pytest.raises(NotTakenError):
        fake.controller.apply("reconfigure")
    assert (fake.steps, fake.now) == ([], 0)


def test_version_and_stop() -> None:
    fake = Fake(did(["slurmctld", "-V"], stdout="slurm-wlm 22.05.8\n"), did(["systemctl", "stop", "slurmctld"], 1))
    assert fake.controller.version() == "22.05.8"
    fake.controller.stop()
    assert fake.controller.commands == [["systemctl", "stop", "slurmctld"]]


# --- wait_for_nodes ---------------------------------------------------------------------------------------------------


def test_nodes_that_respond_again() -> None:
    before = seen(n1="IDLE", n2="MIXED", n3="DOWN+NOT_RESPONDING", gone="IDLE")
    fake = Fake(
        show(n1="UNKNOWN", n2="MIXED+NOT_RESPONDING", n3="DOWN+NOT_RESPONDING", new="UNKNOWN"),
        show(n1="IDLE", n2="MIXED", n3="DOWN+NOT_RESPONDING", new="UNKNOWN"),
    )
    fake.controller.wait_for_nodes(before, VERSION)
    assert (fake.steps, fake.now) == ([], 1)


@pytest.mark.parametrize("name", ["n1", "new"])
def test_a_node_that_becomes_invalid(name: str) -> None:
    fake = Fake(show(**{"n2": "IDLE", name: f"IDLE+DRAIN+INVALID_REG {LOW}"}))
    with pytest.raises(NotTakenError) as caught:
        fake.controller.wait_for_nodes(seen(n1="IDLE", n2="IDLE"), VERSION)
    assert str(caught.value) == f"node {name} became invalid: {LOW}"


def test_a_node_that_was_invalid_before() -> None:
    invalid = f"IDLE+DRAIN+INVALID_REG {LOW}"
    Fake(show(n1=invalid)).controller.wait_for_nodes(seen(n1=invalid), VERSION)


def test_a_node_that_stays_silent() -> None:
    fake = Fake(*[show(n1="IDLE", n3="UNKNOWN", n2="IDLE+NOT_RESPONDING")] * 5)
    with pytest.raises(NotTakenError, match=r"^nodes that responded before do not any more: n2, n3$"):
        fake.controller.wait_for_nodes(seen(n1="IDLE", n2="IDLE", n3="IDLE"), VERSION)
    assert (fake.steps, fake.now) == ([], 4)


def test_a_slurmctld_that_dies_after_it_answered() -> None:
    fake = Fake(did(NODES, 1, stderr="Unable to contact slurm controller (connect failure)"))
    with pytest.raises(NotTakenError, match="Unable to contact slurm controller"):
        fake.controller.wait_for_nodes({}, VERSION)
    # Before a change the same is a failure of its own: nothing was offered that could be refused.
    fake = Fake(did(NODES, 1, stderr="Unable to contact slurm controller (connect failure)"))
    with pytest.raises(CommandError):
        fake.controller.nodes(VERSION)


def test_an_answer_that_cannot_be_read() -> None:
    with pytest.raises(NotTakenError):
        Fake(did(NODES, stdout="?"), did(TEXT, stdout="?")).controller.wait_for_nodes({}, VERSION)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("IDLE", True), ("ALLOCATED+DRAIN", True), ("DOWN", False), ("UNKNOWN", False), ("IDLE+NOT_RESPONDING", False)],
)
def test_responds(state: str, expected: bool) -> None:
    assert responds(seen(n1=state)["n1"]) is expected


# --- resume_spoiled ---------------------------------------------------------------------------------------------------


def test_only_drains_of_slurmctld_itself_end() -> None:
    fake = Fake(
        show(
            ctld=f"IDLE+DRAIN {LOW}",
            ours="IDLE+DRAIN !aicluster: new switches",
            human="IDLE+DRAIN !bad fan",
            silent="IDLE+DRAIN Not responding",
            down="DOWN Not responding",
            fine="IDLE",
        ),
        resume("ctld"),
    )
    fake.controller.resume_spoiled(VERSION)
    assert (fake.steps, fake.now) == ([], 0)
    assert fake.controller.commands == [resume("ctld").argv]


def test_a_node_is_resumed_once_it_is_valid() -> None:
    invalid = f"IDLE+DRAIN+INVALID_REG {LOW}"
    fake = Fake(
        show(n1=f"IDLE+DRAIN {LOW}", n2=invalid),
        resume("n1"),
        show(n1="IDLE", n2=invalid),
        show(n1="IDLE", n2=f"IDLE+DRAIN {LOW}"),
        resume("n2"),
    )
    fake.controller.resume_spoiled(VERSION)
    assert (fake.steps, fake.now) == ([], 2)


def test_a_node_that_stays_invalid_is_left() -> None:
    fake = Fake(*[show(n1=f"IDLE+DRAIN+INVALID_REG {LOW}")] * 5)
    fake.controller.resume_spoiled(VERSION)
    assert (fake.steps, fake.now, fake.controller.commands) == ([], 4, [])
