# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether slurmctld can keep its state in a folder: a file is written, synced and renamed there, and nothing stays."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import Values


@pytest.fixture
def tried(role_value: Values) -> Values:
    def run(folder: Path, tools: str = "") -> tuple[int, str]:
        argv = ["sh", "-c", tools + role_value("head", "__head_try_state"), "sh", str(folder)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return run


def test_a_folder_that_will_do(tried: Values, tmp_path: Path) -> None:
    assert tried(tmp_path) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tool", ["mktemp", "dd", "mv"])
def test_one_in_which_a_step_fails(tried: Values, tmp_path: Path, tool: str) -> None:
    rc, said = tried(tmp_path, f"{tool}() {{ echo {tool}: read-only file system >&2; return 1; }}\n")
    assert (rc, said) == (1, f"{tool}: read-only file system\n")


def test_one_that_is_not_there(tried: Values, tmp_path: Path) -> None:
    rc, said = tried(tmp_path / "none")
    assert rc == 1
    assert "No such file or directory" in said
