# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_generations
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import NotTakenError
from ansible_collections.aicluster.slurm.plugins.modules import slurm_config_copy

FILES = {"gres.conf": "AutoDetect=off\n", "slurm.conf": "ClusterName=lab\n"}
HEADS = ["head0", "head1"]


def did(words: str, rc: int = 0, stdout: str = "") -> Result:
    """A command that is expected, and how it ends."""
    return Result(words.split(), rc, stdout, "")


ACTIVE, INACTIVE = did("systemctl is-active --quiet slurmctld"), did("systemctl is-active --quiet slurmctld", 3)
RESET, RESTART = did("systemctl reset-failed slurmctld"), did("systemctl restart slurmctld")
DISABLE = did("systemctl disable --now slurmctld")
PING = did("scontrol ping", 0, "Slurmctld(primary) at head0 is UP\nSlurmctld(backup) at head1 is UP\n")
ALONE = PING._replace(stdout="Slurmctld(primary) at head0 is UP\nSlurmctld(backup) at head1 is DOWN\n")


class FakeModule(NamedTuple):
    """What run_module asks of an AnsibleModule."""

    params: dict[str, Any]
    check_mode: bool


class Head:
    """The folders of head1, and runs of the module there."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.state = folder / "etc", folder / "state"

    def use(self, *steps: Result, check_mode: bool = False, **options: Any) -> dict[str, Any]:
        left = list(steps)

        def run(argv: Sequence[str]) -> Result:
            assert left, f"unexpected: {argv}"
            assert list(argv) == left[0].argv
            return left.pop(0)

        params = {
            "files": FILES, "store": "{}\n", "kept": "", "generation": 3, "key": "k", "controllers": HEADS,
            "timeout": 0, "path": str(self.etc), "state_path": str(self.state), **options,
        }  # fmt: skip
        module: Any = FakeModule(params, check_mode)
        result = slurm_config_copy.run_module(module, run)
        assert left == []
        return result

    def texts(self) -> dict[str, str]:
        there = self.etc.iterdir() if self.etc.exists() else ()
        return {path.name: path.read_text(encoding="utf-8") for path in there}


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Head:
    monkeypatch.setattr(slurm_config_copy, "hostname", lambda: "head1")
    return Head(tmp_path)


def test_a_new_backup(head: Head) -> None:
    preview = head.use(check_mode=True)
    assert (preview["changed"], head.texts(), head.state.exists()) == (True, {}, False)
    result = head.use(RESET, RESTART, PING)
    assert (result["changed"], result["commands"], head.texts()) == (True, [RESTART.argv], FILES)
    assert (
        [each["after"] for each in result["diff"]]
        == [each["after"] for each in preview["diff"]]
        == list(FILES.values())
    )
    state = str(head.state)
    assert (slurm_generations.own_number(state), slurm_generations.own_key(state)) == (3, "k")
    assert (head.state / "nodes.json").read_text(encoding="utf-8") == "{}\n"
    again = head.use(ACTIVE, PING)
    assert (again["changed"], again["commands"], again["diff"]) == (False, [], [])


def test_what_was_kept_of_foreign_files_is_known_here_too(head: Head) -> None:
    note = head.state / "slurm" / "kept.json"
    head.use(RESET, RESTART, PING, kept='{"config": {}}')
    assert note.read_text(encoding="utf-8") == '{"config": {}}'
    assert not head.use(ACTIVE, PING, kept='{"config": {}}')["changed"]
    assert head.use(ACTIVE, PING)["changed"]
    assert not note.exists()


def test_passwords_are_copied_and_not_shown(head: Head) -> None:
    files = {"slurm.conf": "ClusterName=lab\nJobCompPass=s3cret\n"}
    result = head.use(RESET, RESTART, PING, files=files)
    assert head.texts() == files
    assert "s3cret" not in str(result)


def test_it_restarts_for_other_files_alone(head: Head) -> None:
    head.use(RESET, RESTART, PING)
    assert head.use(ACTIVE, PING, store="{ }\n", generation=4)["commands"] == []
    other = {"slurm.conf": "ClusterName=lab\nMaxJobCount=5\n"}
    result = head.use(RESET, RESTART, PING, files=other)
    assert (result["commands"], head.texts()) == ([RESTART.argv], other)


def test_one_that_was_stopped_runs_again(head: Head) -> None:
    head.use(RESET, RESTART, PING)
    assert head.use(INACTIVE, RESET, RESTART, PING)["changed"]


def test_one_that_runs_and_answers_nobody_starts_again(head: Head) -> None:
    head.use(RESET, RESTART, PING)
    assert head.use(ACTIVE, ALONE, RESET, RESTART, PING)["commands"] == [RESTART.argv]


def test_one_that_does_not_come_up(head: Head) -> None:
    with pytest.raises(NotTakenError, match="slurmctld does not answer"):
        head.use(RESET, RESTART, ALONE, INACTIVE, did("journalctl --unit=slurmctld --lines=200 --output=cat"))


def test_a_head_for_logins_runs_no_slurmctld(head: Head) -> None:
    assert head.use(INACTIVE, controllers=[], key="")["commands"] == []
    assert head.texts() == FILES


def test_one_that_is_a_controller_no_more_stops(head: Head) -> None:
    head.use(RESET, RESTART, PING)
    preview = head.use(ACTIVE, controllers=["head0"], check_mode=True)
    assert (preview["changed"], preview["commands"]) == (True, [])
    assert head.use(ACTIVE, DISABLE, controllers=["head0"])["commands"] == [DISABLE.argv]
