# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scripts that role gpu renders, in every shape they take."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jinja2
import pytest

from .conftest import Values

ROOT = Path(__file__).parents[3]
UUID = "GPU-b5169cef-2205-c30e-f2b3-220cfa14bafd"


def render(folder: Path, name: str, files: list[Path], uuids: list[str], wait: int = 1) -> Path:
    """The script of a host with these device files and NVIDIA GPUs."""
    text = (ROOT / "roles/gpu/templates" / f"{name}.sh.j2").read_text(encoding="utf-8")
    # trim_blocks is what Ansible sets.
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    script = folder / name
    script.write_text(environment.from_string(text).render(__gpu_files=files, __gpu_nvidia=uuids, gpu_wait=wait))
    script.chmod(0o755)
    return script


def run(script: Path, **environment: str) -> tuple[int, str]:
    """As slurmd runs it: without a PATH."""
    done = subprocess.run([script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("uuids", [[], [UUID, "GPU-1"]])
@pytest.mark.parametrize("name", ["wait", "health"])
def test_they_are_sound(tmp_path: Path, name: str, uuids: list[str]) -> None:
    script = render(tmp_path, name, [Path("/dev/a"), Path("/dev/b")], uuids)
    subprocess.run([Path(sys.executable).parent / "shellcheck", script], check=True)


def test_a_job_without_gpus_is_not_looked_at(tmp_path: Path) -> None:
    assert run(render(tmp_path, "health", [tmp_path / "gone"], [UUID])) == (0, "")


def test_a_device_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gpu0").touch()
    script = render(tmp_path, "health", [tmp_path / "gpu0", tmp_path / "gpu1"], [])
    assert run(script, SLURM_JOB_GPUS="0") == (1, f"aicluster: GPU: {tmp_path}/gpu1 is missing")
    (tmp_path / "gpu1").touch()
    assert run(script, SLURM_JOB_GPUS="0") == (0, "")


def with_double(script: Path) -> Path:
    """The script with the double of nvidia-smi on its PATH."""
    script.write_text(script.read_text().replace("PATH=", f"PATH={ROOT}/tests/doubles:"))
    return script


def test_a_card_that_nvidia_smi_does_not_list(tmp_path: Path) -> None:
    fixtures = ROOT / "tests/unit/fixtures/gpu"
    script = with_double(render(tmp_path, "health", [], [UUID, "GPU-away"]))
    rc, said = run(script, SLURM_JOB_GPUS="0", NVIDIA_SMI_DOUBLE=str(fixtures / "mix"))
    assert (rc, said.startswith("aicluster: GPU: nvidia-smi does not list GPU-away: GPU-b5169cef")) == (1, True)
    script = with_double(render(tmp_path, "health", [], [UUID]))
    assert run(script, SLURM_JOB_GPUS="0", NVIDIA_SMI_DOUBLE=str(fixtures / "mix")) == (0, "")
    rc, said = run(script, SLURM_JOB_GPUS="0", NVIDIA_SMI_DOUBLE=str(fixtures / "mismatch"))
    assert (rc, said.splitlines()[0]) == (
        1,
        "aicluster: GPU: nvidia-smi: Failed to initialize NVML: Driver/library version mismatch",
    )


def test_slurmd_waits_no_longer_than_it_has_to(tmp_path: Path) -> None:
    device = tmp_path / "gpu0"
    script = render(tmp_path, "wait", [device], [])
    begin = time.monotonic()
    assert run(script, PATH="/usr/bin:/bin") == (0, f"{device} is not there after 1 s")
    assert time.monotonic() - begin < 20
    device.touch()
    assert run(script, PATH="/usr/bin:/bin") == (0, "")


# --- variables --------------------------------------------------------------------------------------------------------

CUT = ["nvidia-smi", "mig", "--id=0000:0f:00.0", "-dci"]


@pytest.mark.parametrize(
    ("commands", "cut"),
    [(None, []), ([], []), ([["scontrol", "update", "nodename=n1", "state=drain"]], []), ([CUT], [CUT])],
)
def test_a_node_comes_back_only_with_cards_that_are_as_before(
    role_value: Values, commands: list[list[str]] | None, cut: list[list[str]]
) -> None:
    failed = {"msg": "no"} if commands is None else {"msg": "no", "commands": commands}
    assert role_value("gpu", "__gpu_cut", ansible_failed_result=failed) == cut


@pytest.mark.parametrize(
    ("said", "vendor", "packages"),
    [
        ({"nodes_containers": True}, "nvidia", ["libnvidia-container-tools"]),
        ({"nodes_containers": True}, "amd", []),
        ({"nodes_containers": False}, "nvidia", []),
        ({}, "nvidia", []),
        ({"nodes_containers": True, "gpu_container_packages": []}, "nvidia", []),
        ({"nodes_containers": True, "__cluster_packages": ["libnvidia-container-tools"]}, "nvidia", []),
    ],
)
def test_cards_get_into_containers(role_value: Values, said: dict[str, Any], vendor: str, packages: list[str]) -> None:
    found = {"devices": [{"vendor": vendor, "uuid": "GPU-1"}]}
    value = role_value("gpu", "__gpu_into_containers", **{"__cluster_packages": [], "__gpu_found": found, **said})
    assert value == packages


@pytest.mark.parametrize(
    ("said", "perhaps"),
    [
        ({"nodes_containers": True}, ["libnvidia-container-tools"]),
        ({"nodes_containers": True, "gpu_container_packages": ["mine"]}, ["mine"]),
        ({"nodes_containers": False}, []),
        ({"gpu_repository": {"name": "cuda"}}, ["python3-debian"]),
        ({"gpu_packages": ["nvidia-driver"], "gpu_repository": {"name": "cuda"}}, ["nvidia-driver", "python3-debian"]),
        ({"gpu_packages": ["nvidia-driver"], "groups": {"gpu": ["n2"]}}, []),
        ({"nodes_containers": True, "groups": {"gpu": ["n2"]}}, []),
        ({"nodes_containers": True, "groups": {}}, []),
    ],
)
def test_the_survey_looks_for_what_cards_may_need(role_value: Values, said: dict[str, Any], perhaps: list[str]) -> None:
    assert role_value("common", "__common_perhaps", **{"groups": {"gpu": ["n1"]}, **said}) == perhaps


def test_declared_files_of_whole_cards_and_of_mig_instances_are_looked_for(role_value: Values) -> None:
    devices = [
        {"type": "h100", "files": ["/dev/nvidia[0-1]"]},
        {"type": "1g.10gb", "multiple_files": ["/dev/nvidia2", "/dev/nvidia-caps/nvidia-cap[21-22]"]},
    ]
    caps = [f"/dev/nvidia-caps/nvidia-cap{number}" for number in (21, 22)]
    found = role_value("gpu", "__gpu_declared_files", gpu_devices=devices)
    assert found == ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2", *caps]
