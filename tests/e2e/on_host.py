# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module of this collection on the host itself, as Ansible would, and disturbs it in the middle when asked.

python3 on_host.py MODULE [--kill-after EFFECTS] [--before COMMAND DISTURBANCE] < options.json: the process kills itself
after so many effects (an effect is a file that changes, or a command that changes something); a shell runs DISTURBANCE
before the first call of COMMAND.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Callable

from ansible_collections.aicluster.slurm.plugins.module_utils import command
from module_arguments import module_arguments

CHANGING = (["systemctl", "restart"], ["systemctl", "stop"], ["scontrol", "reconfigure"], ["scontrol", "update"])


class Effects:
    """Counts what changes the host."""

    def __init__(self, last: int) -> None:
        self.left = last

    def count(self) -> None:
        """One more, which may have been the last."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, change: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted when it has done its work."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            result = change(*args, **kwargs)
            self.count()
            return result

        return counted


def watch(effects: Effects) -> None:
    """Count what changes files and daemons."""
    # Every file that is written, and every link that moves, ends with this.
    os.replace = effects.after(os.replace)
    execute = command.execute

    def counted(argv: Sequence[str], *args: Any, **kwargs: Any) -> command.Result:
        result = execute(argv, *args, **kwargs)
        if list(argv[:2]) in CHANGING:
            effects.count()
        return result

    command.execute = counted


def disturb(words: list[str], disturbance: str) -> None:
    """Have a shell run something before the first call of a command that begins with these words."""
    execute = command.execute
    left = [disturbance]

    def disturbed(argv: Sequence[str], *args: Any, **kwargs: Any) -> command.Result:
        if list(argv[: len(words)]) == words and left:
            subprocess.run(left.pop(), shell=True, check=True, stdin=subprocess.DEVNULL)
        return execute(argv, *args, **kwargs)

    command.execute = disturbed


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--kill-after", type=int, default=0)
    parser.add_argument("--before", nargs=2)
    wanted = parser.parse_args(sys.argv[1:])
    if wanted.kill_after:
        watch(Effects(wanted.kill_after))
    if wanted.before:
        disturb(wanted.before[0].split(), wanted.before[1])
    with module_arguments(json.load(sys.stdin)):
        runpy.run_module(f"ansible_collections.aicluster.slurm.plugins.modules.{wanted.module}", run_name="__main__")


main()
