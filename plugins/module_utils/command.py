# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one seam between the modules and the tools that they drive."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence


class Result(NamedTuple):
    """How a command ended."""

    argv: list[str]
    rc: int
    stdout: str
    stderr: str


Runner = Callable[[Sequence[str]], Result]
"""Runs a command and returns how it ended; never raises for an exit code."""


class CommandError(Exception):
    """A command that had to succeed did not."""

    def __init__(self, result: Result) -> None:
        self.result = result
        said = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()
        super().__init__(f"`{' '.join(result.argv)}` failed (rc={result.rc}): {' / '.join(said[-4:])}")


def require(result: Result) -> Result:
    """The result itself, or CommandError when the command failed."""
    if result.rc != 0:
        raise CommandError(result)
    return result


def module_runner(module: Any) -> Runner:
    """The runner of an AnsibleModule: no shell, the C locale, text in UTF-8."""

    def run(argv: Sequence[str]) -> Result:
        rc, stdout, stderr = module.run_command(list(argv), environ_update={"LC_ALL": "C"}, errors="surrogateescape")
        return Result(list(argv), rc, stdout, stderr)

    return run
