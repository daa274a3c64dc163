# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The double of nvidia-smi plays the fixtures, and nothing that the true tool was not seen to do."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests/unit/fixtures/gpu"


def play(host: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [ROOT / "tests/doubles/nvidia-smi", *arguments],
        env={"PATH": "/usr/bin:/bin", "NVIDIA_SMI_DOUBLE": str(FIXTURES / host)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("arguments", "file"), [("-L", "list.txt"), ("-q -x", "log.xml"), ("topo -m", "topology.txt")])
def test_files_as_they_are(arguments: str, file: str) -> None:
    assert play("a100-mig", *arguments.split()) == (0, (FIXTURES / "a100-mig" / file).read_text(encoding="utf-8"))


def test_fields_in_the_order_that_is_asked() -> None:
    expected = "7.0, 570.86.15, NVIDIA TITAN V, 0\n8.9, 570.86.15, NVIDIA RTX 5880 Ada Generation, 1\n"
    fields = "compute_cap,driver_version,name,index"
    assert play("mix", f"--query-gpu={fields}", "--format=csv,noheader,nounits") == (0, expected)


def test_one_card() -> None:
    argv = ["--id=0000:17:00.0", "--query-gpu=index", "--format=csv,noheader,nounits"]
    assert play("mix", *argv) == (0, "1\n")
    assert play("mix", "--id=0000:99:00.0", *argv[1:]) == (6, "No devices were found\n")


def test_a_field_that_is_not_known() -> None:
    argv = ["--query-gpu=index,compute_cap", "--format=csv,noheader,nounits"]
    assert play("old-driver", *argv) == (2, 'Field "compute_cap" is not a valid field to query.\n')


@pytest.mark.parametrize(("host", "rc"), [("mismatch", 18), ("no-driver", 9), ("none", 6)])
def test_failures(host: str, rc: int) -> None:
    assert play(host, "-L") == (rc, (FIXTURES / host / "failure.txt").read_text(encoding="utf-8"))


def test_other_commands_are_refused() -> None:
    assert play("mix", "--gpu-reset") == (2, "")


def test_the_devices_that_can_be_opened(tmp_path: Path) -> None:
    # What opening a socket gives is what a device without a driver gives: ENXIO.
    endpoint = socket.socket(socket.AF_UNIX)
    endpoint.bind(str(tmp_path / "no-driver"))
    (tmp_path / "driver").touch()
    names = ["no-driver", "driver", "absent"]
    (tmp_path / "devices.txt").write_text("".join(f"{tmp_path / name}\n" for name in names), encoding="utf-8")
    assert play(str(tmp_path), "-L") == (0, f"GPU 0: {tmp_path}/no-driver\nGPU 1: {tmp_path}/driver\n")
