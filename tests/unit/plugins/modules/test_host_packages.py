# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import packages
from ansible_collections.aicluster.slurm.plugins.module_utils.command import NOT_THERE, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.packages import (
    IN_FILE,
    INSTALL,
    MASK,
    QUERY,
    REPAIR,
    SIMULATE,
    UNMASK,
    UPDATE,
    UPGRADE,
)
from ansible_collections.aicluster.slurm.plugins.modules import host_packages
from module_arguments import module_arguments

Step = tuple[list[str], int, str]

BEFORE = "libc6 amd64 install installed 2.36-9\n"
AFTER = BEFORE + "munge amd64 install installed 0.5.15-2\n"
HELD = BEFORE + "munge amd64 hold installed 0.5.15-2\n"
OPTIONS = {"name": ["munge"], "held": ["munge", "slurm*"]}
HOLD = ["apt-mark", "hold", "--", "munge"]

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the module with exactly these commands, in their order."""

    def play(options: dict[str, Any], *steps: Step, check: bool = False) -> dict[str, Any]:
        left = list(steps)

        def answer(argv: Sequence[str]) -> Result:
            assert left, f"unexpected: {argv}"
            expected, rc, text = left.pop(0)
            assert list(argv) == expected
            return Result(expected, rc, "" if rc else text, text if rc else "")

        monkeypatch.setattr(host_packages, "module_runner", lambda *_rest: answer)
        with module_arguments({**options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            host_packages.main()
        assert left == []
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    monkeypatch.setattr(packages, "lists_are_fresh", lambda: False)
    monkeypatch.setattr(
        host_packages, "lenient_runner", lambda *_rest: lambda argv: Result(list(argv), NOT_THERE, "", "")
    )
    return play


def test_what_is_missing_comes_and_is_held(run: Run) -> None:
    install = [*INSTALL, "--", "munge"]
    result = run(OPTIONS, (QUERY, 0, BEFORE), (UPDATE, 0, ""), (install, 0, ""), (QUERY, 0, AFTER), (HOLD, 0, ""))
    assert (result["changed"], result["missing"]) == (True, ["munge"])
    assert result["commands"] == [UPDATE, install, HOLD]
    assert result["diff"]["after"] == "munge 0.5.15-2\nmunge held\n"
    assert run(OPTIONS, (QUERY, 0, HELD)) == {
        **result,
        "changed": False,
        "missing": [],
        "commands": [],
        "diff": {"before": "", "after": ""},
    }


def test_slurmd_tells_the_hardware(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(argv: Sequence[str]) -> Result:
        return Result(list(argv), 0, "slurm-wlm 24.11.5\n" if "-V" in argv else "NodeName=n1 CPUs=2\n", "")

    assert run(OPTIONS, (QUERY, 0, HELD))["slurmd"] == {}
    monkeypatch.setattr(host_packages, "lenient_runner", lambda *_rest: tell)
    said = {"rc": 0, "stdout": "NodeName=n1 CPUs=2\n", "stderr": "", "version": "24.11.5"}
    assert run(OPTIONS, (QUERY, 0, HELD))["slurmd"] == said


def test_services_that_do_not_start_with_their_package(run: Run) -> None:
    install = [*INSTALL, "--", "munge"]
    mask, unmask = [*MASK, "munge"], [*UNMASK, "munge"]
    before, after = ((QUERY, 0, BEFORE), (mask, 0, ""), (UPDATE, 0, "")), (unmask, 0, "")
    options = {"name": ["munge"], "not_started": ["munge"]}
    assert run(options, *before, (install, 0, ""), after, (QUERY, 0, AFTER))["installed"] == ["munge"]
    # A failed installation leaves nothing masked, and what is there stays as it is.
    assert run(options, *before, (install, 100, "E: no space left"), after)["failed"] is True
    assert run(options, (QUERY, 0, AFTER))["commands"] == []


def test_a_preview_on_a_fresh_host(run: Run) -> None:
    result = run(OPTIONS, (QUERY, 0, BEFORE), check=True)
    assert (result["changed"], result["missing"], result["commands"]) == (True, ["munge"], [])
    assert result["diff"]["after"] == "munge\n"
    held = run(OPTIONS, (QUERY, 0, AFTER), check=True)
    assert (held["changed"], held["commands"]) == (True, [HOLD])


def test_no_longer_held(run: Run) -> None:
    result = run({**OPTIONS, "hold": False}, (QUERY, 0, HELD), (["apt-mark", "unhold", "--", "munge"], 0, ""))
    assert (result["changed"], result["diff"]["after"]) == (True, "munge no longer held\n")


def test_what_a_killed_dpkg_left_is_finished_first(run: Run) -> None:
    half = HELD.replace("installed 0.5", "half-configured 0.5")
    install = [*INSTALL, "--", "munge"]
    result = run(OPTIONS, (QUERY, 0, half), (REPAIR, 0, ""), (QUERY, 0, HELD))
    assert (result["changed"], result["commands"]) == (True, [REPAIR])
    # It had not come to the other packages.
    update = (UPDATE, 0, "")
    run(OPTIONS, (QUERY, 0, half), (REPAIR, 0, ""), (QUERY, 0, BEFORE), update, (install, 0, ""), (QUERY, 0, HELD))
    assert run(OPTIONS, (QUERY, 0, half), check=True)["changed"] is True


def test_a_name_that_another_package_provides(run: Run) -> None:
    options = {"name": ["mail-transport-agent"]}
    install = [*INSTALL, "--", "mail-transport-agent"]
    result = run(options, (QUERY, 0, BEFORE), (UPDATE, 0, ""), (install, 0, ""), (QUERY, 0, BEFORE))
    assert result["changed"] is False


def test_a_package_that_is_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "munge.deb"
    file.touch()
    options = {"name": [str(file)]}
    read = ([*IN_FILE, str(file)], 0, "munge=0.5.15-2\n")
    install = [*INSTALL, "--", str(file)]
    result = run(options, (QUERY, 0, BEFORE), read, (UPDATE, 0, ""), (install, 0, ""), (QUERY, 0, AFTER))
    assert (result["changed"], result["missing"]) == (True, [str(file)])
    assert run(options, (QUERY, 0, AFTER), read)["commands"] == []
    # Another version of it is another package.
    newer = (read[0], 0, "munge=0.5.16-1\n")
    assert run(options, (QUERY, 0, AFTER), newer, check=True)["missing"] == [str(file)]
    # In a preview it may not have been copied yet.
    assert run({"name": ["/nowhere/munge.deb"]}, (QUERY, 0, AFTER), check=True)["missing"] == ["/nowhere/munge.deb"]
    broken = (read[0], 2, "dpkg-deb: error: 'munge.deb' is not a Debian format archive")
    assert "is not a Debian format archive" in run(options, (QUERY, 0, AFTER), broken)["msg"]


NEWEST = HELD.replace("2.36-9", "2.36-10")
SIMULATED = "Reading package lists...\nInst libc6 [2.36-9] (2.36-10 Debian:12.9/stable [amd64])\nConf libc6 (2.36-10)\n"


def test_an_upgrade_comes_after_the_holds(run: Run) -> None:
    steps = ((QUERY, 0, AFTER), (HOLD, 0, ""), (UPDATE, 0, ""), (UPGRADE, 0, ""), (QUERY, 0, NEWEST))
    result = run({**OPTIONS, "upgrade": "all"}, *steps)
    assert (result["changed"], result["upgradable"]) == (True, [])
    assert result["diff"]["after"] == "libc6 2.36-10\nmunge held\n"
    again = ((QUERY, 0, NEWEST), (UPDATE, 0, ""), (UPGRADE, 0, ""), (QUERY, 0, NEWEST))
    assert run({**OPTIONS, "upgrade": "all"}, *again)["changed"] is False


def test_what_an_upgrade_would_change(run: Run) -> None:
    asked = run({"upgrade": "ask"}, (QUERY, 0, HELD), (UPDATE, 0, ""), (SIMULATE, 0, SIMULATED))
    assert (asked["changed"], asked["upgradable"], asked["commands"]) == (False, ["libc6"], [UPDATE])
    # A preview fetches no lists, and says what the real run would do.
    previewed = run({"upgrade": "all"}, (QUERY, 0, HELD), (SIMULATE, 0, SIMULATED), check=True)
    assert (previewed["changed"], previewed["commands"], previewed["diff"]["after"]) == (True, [], "libc6\n")
    assert run({"upgrade": "all"}, (QUERY, 0, HELD), (SIMULATE, 0, ""), check=True)["changed"] is False


def test_what_fails_is_said(run: Run) -> None:
    install = [*INSTALL, "--", "munge"]
    result = run(OPTIONS, (QUERY, 0, BEFORE), (UPDATE, 0, ""), (install, 100, "E: Unable to locate package munge"))
    assert result["failed"] is True
    assert "E: Unable to locate package munge" in result["msg"]
