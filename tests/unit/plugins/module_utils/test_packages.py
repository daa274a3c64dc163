# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.packages import (
    INSTALL,
    REPAIR,
    UPDATE,
    Package,
    broken,
    install,
    installed,
    lacking,
    lists_are_fresh,
    mark,
    matching,
    missing,
    parse,
    repair,
    unlike,
)

# As dpkg-query 1.21.22 prints it.
TEXT = """munge amd64 hold installed 0.5.15-2
libc6 amd64 install installed 2.36-9+deb12u10
libc6 i386 install not-installed 
slurmd amd64 install half-configured 22.05.8-4+deb12u3
nano amd64 deinstall config-files 7.2-1
slurm-client amd64 install installed 22.05.8-4+deb12u3
"""  # noqa: W291 dpkg-query ends the line of a package without a version with a blank
THERE = parse(TEXT)


def test_parse() -> None:
    assert THERE["libc6"] == Package("install", "installed", "2.36-9+deb12u10")
    assert THERE["nano"].status == "config-files"
    assert parse("") == {}


def test_missing() -> None:
    wanted = ["munge", "nano", "slurmd", "libc6:amd64", "libc6=2.36*", "munge=0.6", "nothing", "munge"]
    assert missing(wanted, THERE) == ["nano", "slurmd", "munge=0.6", "nothing"]


def test_installed() -> None:
    assert set(installed(THERE)) == {"munge", "libc6", "slurm-client"}
    assert matching(installed(THERE), ["slurm*", "n*"]) == ["slurm-client"]
    assert matching(THERE, []) == []


def test_held() -> None:
    patterns = ["slurm*", "munge"]
    assert unlike(THERE, patterns, hold=True) == ["slurm-client"]
    assert unlike(THERE, patterns, hold=False) == ["munge"]
    assert unlike(THERE, [], hold=True) == []


def test_lacking() -> None:
    found = lacking(THERE, ["munge", "nano", "slurmd"], ["slurm*"], hold=True)
    assert found == ["nano", "slurmd", "slurm-client"]
    assert lacking({name: THERE[name] for name in ("munge", "libc6")}, ["munge"], ["munge"], hold=True) == []


def test_what_a_killed_dpkg_leaves() -> None:
    assert broken(THERE) == ["slurmd"]


def test_lists(tmp_path: Path) -> None:
    assert not lists_are_fresh(str(tmp_path / "none"))
    (tmp_path / "lock").touch()
    assert not lists_are_fresh(str(tmp_path))
    (tmp_path / "mirror_dists_bookworm_InRelease").touch()
    assert lists_are_fresh(str(tmp_path))
    os.utime(tmp_path, (0, 0))
    assert not lists_are_fresh(str(tmp_path))


class Apt:
    """Ends each command as told, in their order."""

    def __init__(self, *ends: tuple[int, str]) -> None:
        self.ends = list(ends)
        self.ran: list[list[str]] = []

    def __call__(self, argv: Sequence[str]) -> Result:
        self.ran.append(list(argv))
        rc, stderr = self.ends.pop(0)
        return Result(list(argv), rc, "", stderr)


INSTALL_MUNGE = [*INSTALL, "--", "munge"]


def test_fresh_lists_are_used() -> None:
    apt = Apt((0, ""))
    assert install(apt, ["munge"], fresh=True) == apt.ran == [INSTALL_MUNGE]


@pytest.mark.parametrize("fresh", [True, False])
def test_lists_are_fetched_where_those_here_do_not_do(fresh: bool) -> None:
    apt = Apt(*([(100, "E: Unable to locate package munge")] if fresh else []), (0, ""), (0, ""))
    install(apt, ["munge"], fresh)
    assert apt.ran == [*([INSTALL_MUNGE] if fresh else []), UPDATE, INSTALL_MUNGE]


def test_the_dpkg_of_a_killed_run_is_waited_for() -> None:
    slept: list[float] = []
    apt = Apt((2, "dpkg: error: dpkg frontend lock was locked by another process with pid 77"), (0, ""))
    repair(apt, sleep=slept.append)
    assert apt.ran == [REPAIR, REPAIR]
    assert len(slept) == 1
    with pytest.raises(CommandError, match="post-installation"):
        repair(Apt((1, "munge: post-installation script returned error exit status 1")))


def test_a_hold_waits_for_the_dpkg_of_a_killed_run() -> None:
    slept: list[float] = []
    hold = ["apt-mark", "hold", "--", "munge"]
    apt = Apt((100, "dpkg: error: dpkg database lock was locked by another process with pid 77"), (0, ""))
    mark(apt, hold, sleep=slept.append)
    assert apt.ran == [hold, hold]
    assert len(slept) == 1


def test_another_apt_is_waited_for() -> None:
    slept: list[float] = []
    apt = Apt((100, "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7"), (0, ""), (0, ""))
    install(apt, ["munge"], fresh=False, sleep=slept.append)
    assert apt.ran == [UPDATE, UPDATE, INSTALL_MUNGE]
    assert len(slept) == 1


def test_what_cannot_be_installed() -> None:
    with pytest.raises(CommandError, match="Unable to locate package munge"):
        install(Apt((0, ""), (100, "E: Unable to locate package munge")), ["munge"], fresh=False)
    with pytest.raises(CommandError, match="Temporary failure resolving"):
        install(Apt((100, "E: Temporary failure resolving 'deb.debian.org'")), ["munge"], fresh=False)
