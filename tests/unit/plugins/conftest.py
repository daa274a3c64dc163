# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts with GPUs, of which tests/unit/fixtures/gpu says what nvidia-smi and the kernel's files tell."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import NOT_THERE, Result, bounded_runner

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests/unit/fixtures/gpu"
DOUBLES = ROOT / "tests/doubles"


class GpuHost:
    """One of the fixtures: a folder with its kernel files, and a runner in which the double plays nvidia-smi."""

    def __init__(self, name: str, root: Path) -> None:
        self.folder = FIXTURES / name
        self.root = root
        self.calls: list[list[str]] = []
        self.answers: dict[str, Result] = {}
        """Further commands, joined with blanks, and how they end; those of the double too."""
        tree = self.folder / "tree.txt"
        for line in tree.read_text(encoding="utf-8").splitlines() if tree.exists() else []:
            path, kind, value = line.split(" ", 2)
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind == "->":
                file.symlink_to(value)
            else:
                with file.open("a", encoding="utf-8") as text:
                    text.write(value + "\n")

    def __call__(self, argv: Sequence[str]) -> Result:
        self.calls.append(list(argv))
        told = self.answers.get(" ".join(argv))
        if told:
            return told
        assert argv[0] == "nvidia-smi", f"unexpected: {argv}"
        if not {"query.csv", "failure.txt"} & set(os.listdir(self.folder)):
            return Result(list(argv), NOT_THERE, "", "nvidia-smi: not installed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NVIDIA_SMI_DOUBLE", str(self.folder))
            result = bounded_runner(20)([str(DOUBLES / argv[0]), *argv[1:]])
        return result._replace(argv=list(argv))


@pytest.fixture
def gpu_host(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], GpuHost]:
    """Makes a host from the name of a fixture."""
    return lambda name: GpuHost(name, tmp_path_factory.mktemp(name))
