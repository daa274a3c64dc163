# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one seam between the modules and the tools that they drive."""

from __future__ import annotations

import os
import subprocess
import tempfile
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


TIMED_OUT = 124
"""The exit code of a command that was given up, as of timeout(1)."""

NOT_THERE = 127
"""The exit code of a command that is not installed, as of a shell."""


def bounded_runner(seconds: float) -> Runner:
    """A runner that gives up after some seconds, for tools that hang with the hardware that they ask.

    A process that sleeps in a broken driver cannot be killed, so nobody waits for its end, and its output goes to files
    and not to pipes.
    """

    def run(argv: Sequence[str]) -> Result:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, "LC_ALL": "C"}
                )
            except FileNotFoundError:
                return Result(list(argv), NOT_THERE, "", f"{argv[0]}: not installed")
            try:
                rc = process.wait(seconds)
                late = ""
            except subprocess.TimeoutExpired:
                process.kill()
                rc, late = TIMED_OUT, f"\nno answer within {seconds:g} s"
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "surrogateescape"))
            return Result(list(argv), rc, texts[0], texts[1] + late)

    return run
