# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role nfs: who leaves the marker on a share, and what an admin of the filer reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import Values

FILER = {"server": "filer", "path": "/export/lab"}
SHOW = "On filer that is: install -d"


@pytest.fixture
def runuser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that tells what it was asked for."""
    program = tmp_path / "runuser"
    program.write_text('#!/bin/sh\necho "as $2: $4 $5"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def ran(prefix: list[str], *command: str) -> str:
    return subprocess.run([*prefix, *command], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("runuser")
def test_root_of_our_own_server(role_value: Values) -> None:
    said = {"groups": {"nfs": ["nfs0"], "head": ["n0"], "nodes": ["n1"]}}
    assert role_value("nfs", "__nfs_run_as", **said) == []
    assert role_value("nfs", "__nfs_who", **said) == "root"


@pytest.mark.usefixtures("runuser")
def test_the_user_where_the_homes_are(role_value: Values) -> None:
    said = {"nfs_external": FILER, "cluster_home_base": "/data/home"}
    assert ran(role_value("nfs", "__nfs_run_as", **said), "mktemp", "x") == "as cluster: mktemp x"
    assert role_value("nfs", "__nfs_who", **said) == "cluster"
    wanted = f"{SHOW} -m 0755 /export/lab/home && install -d -o 10000 -g 10000 -m 0700 /export/lab/home/cluster"
    assert role_value("nfs", "__nfs_filer_commands", **said).split() == wanted.split()


@pytest.mark.usefixtures("runuser")
def test_either_where_no_home_is_on_it(role_value: Values, tmp_path: Path) -> None:
    said = {"nfs_external": FILER, "cluster_home_base": "/home"}
    prefix = role_value("nfs", "__nfs_run_as", **said)
    assert ran(prefix, "mktemp", f"--tmpdir={tmp_path}").startswith(f"{tmp_path}/tmp.")
    assert ran(prefix, "ls", str(tmp_path / "none")) == f"as cluster: ls {tmp_path / 'none'}"
    assert role_value("nfs", "__nfs_who", **said) == "root or cluster"
    wanted = f"{SHOW} -o 10000 -g 10000 -m 0755 /export/lab"
    assert role_value("nfs", "__nfs_filer_commands", **said).split() == wanted.split()
