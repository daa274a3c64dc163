# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed command of Slurm's means, and where to look.

Sources: the messages of Slurm 22.05.8 and 24.11.5, provoked.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result


class Cause(NamedTuple):
    """What a message of Slurm's means."""

    message: re.Pattern[str]
    words: str
    general: bool
    """Whether every other command would fail as well."""


# The first that matches counts.
_CAUSES = tuple(
    Cause(re.compile(message), words, general)
    for message, words, general in (
        (
            "Munge encode failed",
            "munged does not run on this host; look at `systemctl status munge`",
            True,
        ),
        (
            "Unable to contact slurm controller",
            "slurmctld does not answer; on the controller look at `systemctl status slurmctld` and the end of its log",
            True,
        ),
        (
            "Protocol authentication error|Zero Bytes were transmitted",
            "slurmctld does not accept what munge says of this host; compare /etc/munge/munge.key and the clock with"
            " the controller's, and look at munged's log there",
            True,
        ),
        (
            "Invalid user id|[Pp]ermission denied",
            "this user has no right to change nodes; run as root (become) or as SlurmUser",
            True,
        ),
        (
            "Unable to process configuration file|Could not establish a configuration source",
            "Slurm's commands have no valid slurm.conf on this host; look at /etc/slurm/slurm.conf",
            True,
        ),
        (
            "RebootProgram isn't defined",
            "slurm.conf has no RebootProgram",
            True,
        ),
        (
            "node table is full",
            "slurm.conf has no place for dynamic nodes; look at MaxNodeCount",
            True,
        ),
        (
            "Requested nodes are busy",
            "jobs run on the node; drain it and wait first",
            False,
        ),
        (
            "Invalid node state specified",
            "the node's state does not allow it: idle needs a node without jobs, powered_down and powered_up need"
            " SuspendProgram and ResumeProgram in slurm.conf",
            False,
        ),
    )
)


def cause_of(result: Result) -> Cause | None:
    """What made a command fail, if Slurm's message is a known one."""
    said = result.stderr + result.stdout if result.rc else result.stderr
    return next((cause for cause in _CAUSES if cause.message.search(said)), None)


def explain(result: Result) -> str:
    """Why a command failed and where to look, then what it said."""
    cause = cause_of(result)
    return f"{cause.words}: {CommandError(result)}" if cause else str(CommandError(result))
