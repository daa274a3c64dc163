# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the slurmd of a host says before it runs: the hardware, and its version (slurmd(8), as of 22.05 and 24.11)."""

from __future__ import annotations

from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils.command import NOT_THERE, Runner

HARDWARE = ["slurmd", "-C"]
VERSION = ["slurmd", "-V"]


def said(run: Runner) -> dict[str, Any]:
    """How `slurmd -C` ended and what it said, and the `version`; empty where no slurmd is installed."""
    hardware = run(HARDWARE)
    if hardware.rc == NOT_THERE:
        return {}
    version = run(VERSION).stdout.split()
    return {
        "rc": hardware.rc,
        "stdout": hardware.stdout,
        "stderr": hardware.stderr,
        "version": version[-1] if version else "",
    }
