# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs on a controller: whether slurmctld does, by which files, and what it has to be asked with."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol, slurm_failures
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import (
    USED,
    ConfigFiles,
    read_whole,
    write_whole,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_plan import JOBS, JOBS_TRES, Job, parse_jobs

SECONDS = 15
"""How long a slurmctld that runs has to answer: a killed run may have restarted it just now."""


class NoAnswerError(Exception):
    """slurmctld runs, and nobody can be asked what; so no change is safe."""


class Running(NamedTuple):
    """What slurmctld runs with."""

    active: bool
    applied: bool
    """Whether it is known to run with `texts`."""
    texts: Mapping[str, str]
    """The files that it runs with, as far as anybody knows."""
    ask: Runner
    """Runs a client of Slurm with the configuration by which it finds this slurmctld."""
    shown: str = ""
    """What `scontrol show config` says; empty where slurmctld does not run."""


def look(
    run: Runner,
    active: bool,
    files: ConfigFiles,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Running:
    """Find out what slurmctld runs with. Raises NoAnswerError.

    The files in place may be broken, or name another port, and then no client works with them; the copy of what was
    in use does.
    """
    there, used = files.read(), files.used()
    if not active:
        return Running(False, False, used or there, run)
    copy = _with_conf(run, os.path.join(files.path(USED), "slurm.conf"))
    asking = [(run, there)] if there == used or "slurm.conf" not in used else [(copy, used), (run, there)]
    end = clock() + SECONDS
    while True:
        answers = [(ask(["scontrol", "show", "config"]), ask, texts) for ask, texts in asking]
        answering = [(_matches(result), ask, texts, result.stdout) for result, ask, texts in answers if result.rc == 0]
        if answering:
            break
        if clock() > end:
            raise NoAnswerError(f"slurmctld runs, but does not answer: {slurm_failures.explain(answers[0][0])}")
        sleep(0.5)
    matches, ask, texts, shown = next((answer for answer in answering if answer[0]), answering[0])
    # The hash is of slurm.conf alone.
    others_alike = len(asking) == 1 or _others(there) == _others(used)
    applied = matches and others_alike and not files.pending
    return Running(True, applied, used if files.pending else texts, ask, shown)


def jobs(ask: Runner) -> list[Job]:
    """The running jobs. Raises CommandError: without an answer nobody knows what a change would end."""
    return parse_jobs(require(ask(JOBS)).stdout, require(ask(JOBS_TRES)).stdout)


def _matches(result: Result) -> bool:
    """Whether slurmctld has the slurm.conf that the client has."""
    return bool(re.search(r"^HASH_VAL\s*=\s*Match", result.stdout, re.MULTILINE))


def _others(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name != "slurm.conf"}


def _with_conf(run: Runner, path: str) -> Runner:
    def ask(argv: Sequence[str]) -> Result:
        return run(["env", f"SLURM_CONF={path}", *argv])

    return ask


class Note:
    """A small map, kept in a file until what it is for is done; a killed run leaves it for the next one."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """The map; empty where nothing is noted."""
        noted: dict[str, Any] = json.loads(read_whole(self.path) or "{}")
        return noted

    def write(self, noted: Mapping[str, Any]) -> None:
        """Note this instead of what was noted; an empty map is no note."""
        if noted:
            write_whole(self.path, json.dumps(noted))
        elif os.path.exists(self.path):
            os.unlink(self.path)


def start_times(names: Sequence[str], nodes: Mapping[str, scontrol.Node]) -> dict[str, int]:
    """When the slurmd of each node began, where that is known: of one that has to restart, it tells whether it has."""
    times = {name: nodes[name].slurmd_start_time for name in names if name in nodes}
    return {name: began for name, began in times.items() if began is not None}


def unfinished(noted: Mapping[str, int], nodes: Mapping[str, scontrol.Node]) -> list[str]:
    """The nodes whose slurmd is still the one that has to restart."""
    return [name for name in noted if name in nodes and nodes[name].slurmd_start_time in (None, noted[name])]
