# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import GpuError
from ansible_collections.aicluster.slurm.plugins.module_utils.gres_local import BEGIN, END, autodetect, with_block

LINES = ["AutoDetect=off", "Name=gpu Type=a100 File=/dev/nvidia0"]
BLOCK = "\n".join([BEGIN, *LINES, END, ""])


@pytest.mark.parametrize("before", ["", "# mine\n", "Name=nic File=/dev/mlx0\n", "# Name=gpu File=/dev/nvidia0\n"])
def test_the_block_comes_and_goes(before: str) -> None:
    after = with_block(before, LINES)
    assert after == before + BLOCK
    assert with_block(after, LINES) == after
    assert with_block(after, []) == before


def test_a_block_that_changed_is_replaced() -> None:
    assert with_block(BLOCK.replace("a100", "h100") + "Name=nic Count=1", LINES) == "Name=nic Count=1\n" + BLOCK


@pytest.mark.parametrize("line", ["NodeName=n1 name=GPU File=/dev/nvidia0", "AutoDetect=nvml", "Name=shard Count=8"])
def test_lines_of_others_that_speak_of_gpus(line: str) -> None:
    with pytest.raises(GpuError, match=f"gres.conf: found the line '{line}'; accepted: GPUs only in the block"):
        with_block(f"{line}\n", LINES)
    assert with_block(f"{line}\n", []) == f"{line}\n"


@pytest.mark.parametrize(
    ("wanted", "version", "has_nvml", "mode"),
    [
        ("off", (22, 5), True, "off"),
        ("auto", (22, 5), False, "off"),
        ("auto", (22, 5), True, "nvml"),
        ("auto", (24, 11), False, "nvidia"),
        ("nvidia", (24, 11), False, "nvidia"),
        ("nvml", (22, 5), True, "nvml"),
    ],
)
def test_autodetect(wanted: str, version: tuple[int, int], has_nvml: bool, mode: str) -> None:
    assert autodetect(wanted, version, has_nvml) == mode


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nvidia", "found nvidia with Slurm 22.05; accepted: nvidia from 24.11 on"),
        ("nvml", "found nvml, and no plugin"),
    ],
)
def test_autodetect_that_this_slurm_has_not(wanted: str, message: str) -> None:
    with pytest.raises(GpuError, match=message):
        autodetect(wanted, (22, 5), False)
