# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gres.conf of a host that reads one of its own, and how slurmd may detect GPUs itself.

Sources: gres.conf(5) of Slurm 22.05.8 and 24.11.5, slurmd(8).
"""

from __future__ import annotations

import re
from typing import Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import GpuError

BEGIN = "# BEGIN aicluster.slurm.gpu_gres: changes made here are lost at the next run"
END = "# END aicluster.slurm.gpu_gres"

_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n?", re.MULTILINE | re.DOTALL)
# Keys are case-insensitive, and a global AutoDetect counts for every line of the file.
_FOREIGN = re.compile(r"(?i)^(?!\s*#).*\b(?:name=(?:gpu|mps|shard)\b|autodetect=)")

PLUGINS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
"""Where packages put Slurm's plugins: in slurm or slurm-wlm, below this or below the architecture's folder."""

AUTODETECT_NVIDIA = (24, 11)
"""The first version that detects NVIDIA GPUs without their library (gres.conf(5), AutoDetect)."""


def with_block(text: str, lines: Sequence[str]) -> str:
    """The file with these lines as the block of ours; without a block where there are no lines.

    Raises GpuError where other lines speak of GPUs, because slurmd would count their devices twice.
    """
    rest = _BLOCK.sub("", text)
    for line in rest.splitlines():
        if lines and _FOREIGN.search(line):
            raise GpuError(
                f"gres.conf: found the line {line.strip()!r}; accepted: GPUs only in the block of this module"
            )
    if not lines:
        return rest
    gap = "" if not rest or rest.endswith("\n") else "\n"
    return rest + gap + "\n".join([BEGIN, *lines, END]) + "\n"


def autodetect(wanted: str, version: tuple[int, int], has_nvml: bool) -> str:
    """The value of AutoDetect for `wanted`; `auto` is the best that this version has. Raises GpuError."""
    if wanted == "auto":
        return "nvml" if has_nvml else "nvidia" if version >= AUTODETECT_NVIDIA else "off"
    if wanted == "nvidia" and version < AUTODETECT_NVIDIA:
        raise GpuError(
            f"autodetect: found nvidia with Slurm {version[0]}.{version[1]:02}; accepted: nvidia from 24.11 on"
        )
    if wanted == "nvml" and not has_nvml:
        raise GpuError(
            "autodetect: found nvml, and no plugin gpu_nvml.so; accepted: nvml where Slurm was built with it"
        )
    return wanted
