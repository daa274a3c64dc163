# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    NOT_THERE,
    TIMED_OUT,
    CommandError,
    Result,
    bounded_runner,
    module_runner,
    require,
)

ARGV = ["scontrol", "reconfigure"]


class FakeModule:
    """Has the one method of AnsibleModule that the runner uses."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

    def run_command(self, argv: list[str], **options: Any) -> tuple[int, str, str]:
        self.calls.append((argv, options))
        return 3, "out", "err"


def test_module_runner() -> None:
    module = FakeModule()
    assert module_runner(module)(("scontrol", "reconfigure")) == Result(ARGV, 3, "out", "err")
    assert module.calls == [(ARGV, {"environ_update": {"LC_ALL": "C"}, "errors": "surrogateescape"})]


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
