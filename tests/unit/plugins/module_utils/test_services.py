# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.services import (
    ABSENT,
    RELOAD,
    Service,
    Step,
    Unit,
    carry_out,
    end,
    keep_marks,
    mark,
    parse,
    show,
    steps,
)

SLURMD = Service("slurmd", reads=("/etc/default/slurmd",))
RUNS = Unit(there=True, active=True, file_state="enabled", outdated=False)


def show_text(**changes: str) -> str:
    properties = {
        "Id": "slurmd.service",
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "NeedDaemonReload": "no",
    }
    return "".join(f"{key}={value}\n" for key, value in {**properties, **changes}.items())


def commands(found: Sequence[Step]) -> list[str]:
    return [" ".join(step.command) for step in found]


def test_one_question_for_all_units() -> None:
    argv = show([SLURMD, Service("apt-daily.timer")])
    assert argv[:2] == ["systemctl", "show"]
    assert argv[-2:] == ["slurmd.service", "apt-daily.timer"]


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({}, RUNS),
        ({"ActiveState": "activating"}, RUNS),
        ({"ActiveState": "failed"}, RUNS._replace(active=False)),
        ({"NeedDaemonReload": "yes"}, RUNS._replace(outdated=True)),
        ({"LoadState": "masked", "UnitFileState": "masked-runtime"}, RUNS._replace(file_state="masked-runtime")),
        ({"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": ""}, ABSENT),
    ],
)
def test_what_systemd_says(changes: dict[str, str], unit: Unit) -> None:
    assert parse([SLURMD], show_text(**changes)) == {"slurmd": unit}


def test_answers_are_in_the_order_of_the_questions() -> None:
    # An alias is answered with the name of its target.
    text = show_text() + "\n" + show_text(Id="nfs-kernel-server.service", ActiveState="inactive")
    found = parse([SLURMD, Service("nfs-server")], text)
    assert [found[name].active for name in ("slurmd", "nfs-server")] == [True, False]
    with pytest.raises(ValueError, match=r"^systemctl show: found 1 answers to 2 questions$"):
        parse([SLURMD, Service("x")], show_text())


@pytest.mark.parametrize(
    ("unit", "changed", "expected"),
    [
        (RUNS, ["/etc/hosts"], []),
        (RUNS, ["/etc/systemd/system/slurmd.service.d/a.conf"], ["systemctl daemon-reload"]),
        (RUNS._replace(outdated=True), [], ["systemctl daemon-reload"]),
        (RUNS._replace(active=False), [], ["systemctl start slurmd.service"]),
        (
            RUNS._replace(file_state="disabled"),
            [],
            ["systemctl --no-reload enable slurmd.service", "systemctl daemon-reload"],
        ),
        (RUNS._replace(file_state="static"), [], []),
        (
            RUNS._replace(file_state="masked", active=False),
            [],
            [
                "systemctl --no-reload unmask slurmd.service",
                "systemctl --no-reload enable slurmd.service",
                "systemctl daemon-reload",
                "systemctl start slurmd.service",
            ],
        ),
        (
            RUNS._replace(file_state="masked-runtime"),
            [],
            [
                "systemctl --no-reload unmask --runtime slurmd.service",
                "systemctl --no-reload enable slurmd.service",
                "systemctl daemon-reload",
            ],
        ),
        (
            RUNS,
            ["/etc/default/slurmd"],
            ["systemctl reset-failed slurmd.service", "systemctl restart slurmd.service"],
        ),
        (
            ABSENT,
            ["/etc/systemd/system/slurmd.service"],
            [
                "systemctl --no-reload enable slurmd.service",
                "systemctl daemon-reload",
                "systemctl start slurmd.service",
            ],
        ),
    ],
)
def test_steps(tmp_path: Path, unit: Unit, changed: list[str], expected: list[str]) -> None:
    assert commands(steps([SLURMD], {"slurmd": unit}, changed, str(tmp_path))) == expected


def test_systemd_reads_units_that_are_nobodys_service_here() -> None:
    assert [step.command for step in steps([], {}, ["/etc/systemd/system/x.service.d/y.conf"], "/none")] == [RELOAD]


def test_a_killed_run_is_finished_by_the_next(tmp_path: Path) -> None:
    marks = str(tmp_path / "marks")
    keep_marks([SLURMD], ["/etc/hosts"], marks)
    assert not Path(marks).exists()
    keep_marks([SLURMD], ["/etc/default/slurmd"], marks)
    # Killed here, with the file written. The next run finds the file as it should be.
    planned = steps([SLURMD], {"slurmd": RUNS}, [], marks)
    assert commands(planned)[-1] == "systemctl restart slurmd.service"

    def fail(argv: Sequence[str]) -> Result:
        return Result(list(argv), 1, "", "Job for slurmd.service failed.\n")

    with pytest.raises(CommandError, match=r"Job for slurmd\.service failed"):
        carry_out(fail, planned, [SLURMD], marks)
    assert Path(mark(SLURMD, marks)).exists()
    ran: list[list[str]] = []

    def run(argv: Sequence[str]) -> Result:
        ran.append(list(argv))
        # A unit that never failed cannot be reset.
        return Result(list(argv), 1 if "reset-failed" in argv else 0, "", "")

    carry_out(run, planned, [SLURMD], marks)
    assert ran == [step.command for step in planned]
    assert steps([SLURMD], {"slurmd": RUNS}, [], marks) == []


def test_restarted_anyway(tmp_path: Path) -> None:
    service = Service("slurmd", restarted=True)
    assert commands(steps([service], {"slurmd": RUNS}, [], str(tmp_path)))[-1] == "systemctl restart slurmd.service"


def test_units_whose_files_go() -> None:
    folder = "/etc/systemd/system"
    assert end(["/etc/x.service", f"{folder}/a.service", f"{folder}/b.service.d/c.conf"]) == [
        ["systemctl", "disable", "--now", "a.service"]
    ]


def test_a_daemon_that_reads_its_files_anew_is_not_restarted(tmp_path: Path) -> None:
    ssh = Service("ssh", reads=("/etc/ssh/x",), reload=True)
    units = {"ssh": RUNS}
    assert commands(steps([ssh], units, ["/etc/ssh/x"], str(tmp_path))) == ["systemctl reload ssh.service"]
    assert steps([ssh], units, ["/etc/y"], str(tmp_path)) == []
    keep_marks([ssh], ["/etc/ssh/x"], str(tmp_path))
    assert commands(steps([ssh], units, [], str(tmp_path))) == ["systemctl reload ssh.service"]
    stopped = {"ssh": RUNS._replace(active=False)}
    assert commands(steps([ssh], stopped, ["/etc/ssh/x"], str(tmp_path)))[-1] == "systemctl restart ssh.service"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (RUNS, ["systemctl reload ssh.service"]),
        # Socket activation, and nobody is in; or its owner has turned it off.
        (RUNS._replace(active=False), []),
        (RUNS._replace(active=False, file_state="disabled"), []),
        (RUNS._replace(active=False, file_state="masked"), []),
        (ABSENT, []),
    ],
)
def test_a_daemon_that_is_not_ours_hears_of_its_files(tmp_path: Path, unit: Unit, expected: list[str]) -> None:
    ssh = Service("ssh", reads=("/etc/ssh/sshd_config.d/a.conf",), reload=True, managed=False)
    assert commands(steps([ssh], {"ssh": unit}, ssh.reads, str(tmp_path))) == expected
    assert steps([ssh], {"ssh": unit}, [], str(tmp_path)) == []
