# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    NOT_THERE,
    TIMED_OUT,
    CommandError,
    Result,
    bounded_runner,
    execute,
    lenient_runner,
    module_runner,
    require,
)

ARGV = ["scontrol", "reconfigure"]


class FakeModule:
    """Has the methods of AnsibleModule that the runners use."""

    def fail_json(self, **result: Any) -> None:
        raise SystemExit(result["msg"])

    def get_bin_path(self, name: str, opt_dirs: list[str]) -> str | None:
        return shutil.which(name) or shutil.which(name, path=os.pathsep.join(opt_dirs))


def test_module_runner() -> None:
    run = module_runner(FakeModule(), {"DEBIAN_FRONTEND": "noninteractive"})
    # Neither a variable nor a tilde in an argument is ours to replace.
    script = 'cat; echo "$1"; printf "\\377" >&2; echo "$LC_ALL $DEBIAN_FRONTEND" >&2; exit 3'
    argv = ["sh", "-c", script, "sh", "~ $HOME"]
    assert run(argv) == Result(argv, 3, "~ $HOME\n", "\udcffC noninteractive\n")
    with pytest.raises(SystemExit, match=r"^no-such-tool: No such file or directory$"):
        run(["no-such-tool"])


def test_a_hardened_umask_closes_no_folder(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        run = module_runner(FakeModule())
        (tmp_path / "ours").mkdir()
        run(["mkdir", str(tmp_path / "theirs")])
        assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o755, 0o755]
    finally:
        os.umask(before)


def test_a_command_is_given_text() -> None:
    assert execute(["tr", "a", "b"], "ada:täx\n").stdout == "bdb:täx\n"


def test_nothing_is_lost_of_much_that_is_said() -> None:
    result = execute(["sh", "-c", "seq 100000; seq 100000 >&2"])
    assert result.stdout == result.stderr == "".join(f"{number}\n" for number in range(1, 100001))


def test_whoever_is_left_behind_holds_nobody() -> None:
    begin = time.monotonic()
    assert execute(["sh", "-c", "sleep 20 & echo out"]).stdout == "out\n"
    assert time.monotonic() - begin < 10


def test_require_passes_success_on() -> None:
    result = Result(ARGV, 0, "", "a warning")
    assert require(result) is result


@pytest.mark.parametrize(
    ("stdout", "stderr", "said"),
    [
        ("out\n", "slurm_reconfigure error: Invalid user id\n", "slurm_reconfigure error: Invalid user id"),
        ("Unexpected\n", " \n", "Unexpected"),
        ("", "", "no output"),
        ("", "1\n2\n3\n4\n5\n6\n", "3 / 4 / 5 / 6"),
    ],
)
def test_require_says_what_the_command_said(stdout: str, stderr: str, said: str) -> None:
    result = Result(ARGV, 1, stdout, stderr)
    with pytest.raises(CommandError) as caught:
        require(result)
    assert str(caught.value) == f"`scontrol reconfigure` failed (rc=1): {said}"
    assert caught.value.result is result


def test_lenient_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "sinfo"
    tool.write_text("#!/bin/sh\necho $#\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    run = lenient_runner(FakeModule())
    assert run(["sinfo", "-N"]) == Result([str(tool), "-N"], 0, "1\n", "")
    assert run(["sinfo-none", "-N"]) == Result(["sinfo-none", "-N"], NOT_THERE, "", "")


def test_bounded_runner() -> None:
    run = bounded_runner(20)
    assert run(["sh", "-c", "echo out; echo $LC_ALL >&2; exit 3"]) == Result(
        ["sh", "-c", "echo out; echo $LC_ALL >&2; exit 3"], 3, "out\n", "C\n"
    )
    assert run(["no-such-tool"]) == Result(["no-such-tool"], NOT_THERE, "", "no-such-tool: not installed")


def test_bounded_runner_gives_up() -> None:
    begin = time.monotonic()
    result = bounded_runner(0.2)(["sh", "-c", "echo out; exec sleep 60"])
    assert time.monotonic() - begin < 10
    assert (result.rc, result.stdout, result.stderr) == (TIMED_OUT, "out\n", "\nno answer within 0.2 s")
