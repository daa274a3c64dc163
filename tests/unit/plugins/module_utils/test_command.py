# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    CommandError,
    Result,
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
