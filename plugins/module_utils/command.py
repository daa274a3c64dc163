# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one seam between the modules and the tools that they drive."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence


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


TIMED_OUT = 124
"""The exit code of a command that was given up, as of timeout(1)."""

NOT_THERE = 127
"""The exit code of a command that is not installed, as of a shell."""


def execute(
    argv: Sequence[str],
    given: str = "",
    seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """How a command ended that was given some text: no shell, locale C, UTF-8. Raises OSError where it cannot start.

    Not AnsibleModule.run_command: of a command that is silent for a second and then ends it now and then returns
    nothing (ansible-core 2.19, 1 of 1,600), and it puts values in place of `$NAME` in arguments.
    """
    with os.fdopen(os.memfd_create("given"), "w+b") as into:
        into.write(given.encode("utf-8", "surrogateescape"))
        into.seek(0)
        process = subprocess.Popen(
            list(argv),
            stdin=into,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
    stdout, stderr = _listen(process, seconds)
    if process.returncode is not None:
        return Result(list(argv), process.returncode, stdout, stderr)
    # One that sleeps in a broken driver cannot be killed, so nobody waits for its end.
    process.kill()
    return Result(list(argv), TIMED_OUT, stdout, f"{stderr}\nno answer within {seconds:g} s")


def _listen(process: subprocess.Popen[bytes], seconds: float | None) -> list[str]:
    """What it says until it ends or the time is over; what it leaves behind may hold its pipes open for good."""
    deadline = float("inf") if seconds is None else time.monotonic() + seconds
    with selectors.DefaultSelector() as pipes:
        said = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe}
        for pipe in said:
            os.set_blocking(pipe.fileno(), False)
            pipes.register(pipe, selectors.EVENT_READ)
        while True:
            # Asked before the pipes are read: all that it has said is in them by then.
            ended = process.poll() is not None
            for pipe in [each for each in said if each in pipes.get_map()]:
                chunk = _chunk(pipe)
                while chunk:
                    said[pipe] += chunk
                    chunk = _chunk(pipe)
                if chunk is not None:
                    pipes.unregister(pipe)
            left = deadline - time.monotonic()
            if ended or left <= 0:
                break
            pipes.select(min(left, 1.0 if pipes.get_map() else 0.01))
    for pipe in said:
        pipe.close()
    return [text.decode("utf-8", "surrogateescape") for text in said.values()]


def _chunk(pipe: Any) -> bytes | None:
    """What is in a pipe; nothing at its end, None where more may come."""
    try:
        return os.read(pipe.fileno(), 65536)
    except BlockingIOError:
        return None


def module_runner(module: Any, environment: Mapping[str, str] | None = None) -> Runner:
    """The runner of an AnsibleModule, which fails where a command cannot be started.

    From here on what the module and its commands make has the modes that they say, whatever the umask of who came in.
    """
    os.umask(0o022)

    def run(argv: Sequence[str]) -> Result:
        try:
            return execute(argv, environment=environment)
        except OSError as error:
            module.fail_json(msg=f"{argv[0]}: {error.strerror}")
            raise

    return run


def lenient_runner(module: Any) -> Runner:
    """The runner of an AnsibleModule that answers with NOT_THERE for a command that is not installed.

    It also finds those that are where only root's PATH leads, as Slurm's daemons and ip(8) are.
    """
    run = module_runner(module)

    def run_if_there(argv: Sequence[str]) -> Result:
        there = module.get_bin_path(argv[0], opt_dirs=["/usr/sbin", "/sbin"])
        return run([there, *argv[1:]]) if there else Result(list(argv), NOT_THERE, "", "")

    return run_if_there


def bounded_runner(seconds: float) -> Runner:
    """A runner that gives up after some seconds, for tools that hang with their hardware, or are not there."""

    def run(argv: Sequence[str]) -> Result:
        try:
            return execute(argv, seconds=seconds)
        except FileNotFoundError:
            return Result(list(argv), NOT_THERE, "", f"{argv[0]}: not installed")

    return run
