# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""scripts/vm makes each machine once, whoever was killed before, and leaves nothing behind. By a double of qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Like qemu it keeps what files it was given, goes to the background and says its number. With KVM it is asked to boot a
# kernel, which does or does not.
QEMU = f"""#!{sys.executable}
import pathlib, subprocess, sys, time
if "-pidfile" not in sys.argv:
    if pathlib.Path(sys.argv[0]).with_name("boots").exists():
        console = sys.argv[sys.argv.index("-serial") + 1].removeprefix("file:")
        pathlib.Path(console).write_text("[ 0.0] Linux version 6\\n")
    time.sleep(600)
idle = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen([*idle, *sys.argv[1:]], close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
pathlib.Path(sys.argv[sys.argv.index("-pidfile") + 1]).write_text(str(child.pid))
"""


@dataclass(frozen=True)
class Site:
    """A checkout of its own, and the folder of its machines."""

    root: Path
    machines: Path

    def vm(self, action: str, *words: str) -> subprocess.Popen[bytes]:
        """Begin a run of scripts/vm."""
        path = f"{self.root}/bin:{os.environ['PATH']}"
        argv = [str(self.root / "scripts/vm"), action, str(self.machines), *words]
        return subprocess.Popen(argv, env={"PATH": path, "SUITE": "bookworm", "KVM": str(self.root / "kvm")})

    def create(self, host: str, number: int) -> subprocess.Popen[bytes]:
        """Begin to create a machine."""
        return self.vm("create", host, f"10.0.0.{number}", "1", "disk=1G")

    def process(self, host: str) -> int:
        """The id of a machine."""
        return int((self.machines / host / "pid").read_text(encoding="utf-8"))


def lives(process: int) -> bool:
    """Whether it runs; who has ended and waits for its parent to look, does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / ".cache/vm/bookworm").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name, text in {"qemu-system-x86_64": QEMU, "qemu-img": "#!/bin/sh\n"}.items():
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    machines = tmp_path / "run"
    machines.mkdir()
    (machines / "accelerator").write_text("-accel tcg\n", encoding="utf-8")
    site = Site(tmp_path, machines)
    yield site
    assert site.vm("remove").wait(60) == 0


def test_each_machine_is_made_once_also_beside_a_run_that_was_killed(site: Site) -> None:
    runs = [site.create("a", 1), site.create("b", 2), site.create("a", 1)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    processes = [site.process("a"), site.process("b")]
    assert all(map(lives, processes))
    # No machine keeps the lock.
    assert site.create("a", 1).wait(60) == 0
    assert [site.process("a"), site.process("b")] == processes
    ports = {host: (site.machines / host / "port").read_text(encoding="utf-8").strip() for host in ("a", "b")}
    for host, port in ports.items():
        shown = subprocess.run(
            ["ssh", "-G", "-F", site.machines / "ssh_config", host], capture_output=True, text=True, check=True
        )
        assert f"\nport {port}\n" in shown.stdout


def test_what_was_left_half_made_is_made_anew(site: Site) -> None:
    (site.machines / "a").mkdir()
    (site.machines / "a/ssh_config").write_text("Host a\n    Port 1\n", encoding="utf-8")
    assert site.create("a", 1).wait(60) == 0
    assert "Port 1\n" not in (site.machines / "a/ssh_config").read_text(encoding="utf-8")
    assert lives(site.process("a"))


def test_power_that_is_lost_and_comes_back(site: Site) -> None:
    assert site.create("a", 1).wait(60) == 0
    before = site.process("a")
    assert site.vm("kill", "a").wait(60) == 0
    assert not lives(before)
    assert site.vm("start", "a").wait(60) == 0
    assert lives(site.process("a"))
    assert site.process("a") != before


@pytest.mark.parametrize(
    ("device", "boots", "found"),
    [
        (True, True, "-accel kvm -cpu host"),
        (True, False, "-accel tcg,thread=multi"),
        (False, True, "-accel tcg,thread=multi"),
    ],
)
def test_kvm_is_used_where_a_kernel_boots(site: Site, device: bool, boots: bool, found: str) -> None:
    (site.machines / "accelerator").unlink()
    for name, wanted in {"kvm": device, "bin/boots": boots}.items():
        if wanted:
            (site.root / name).touch()
    assert site.create("a", 1).wait(60) == 0
    assert (site.machines / "accelerator").read_text(encoding="utf-8").startswith(found)
    assert not [line for line in Path("/proc").glob("[0-9]*/cmdline") if probes(line, site.root)]


def probes(process: Path, root: Path) -> bool:
    """Whether it is the question whether KVM works."""
    try:
        command = process.read_bytes().decode().split("\0")
    except OSError:
        return False
    return "-pidfile" not in command and str(root / "bin/qemu-system-x86_64") in command


def test_logs_of_a_machine_that_never_started(site: Site) -> None:
    (site.machines / "a").mkdir()
    (site.machines / "a/argv").touch()
    assert site.vm("logs").wait(60) == 0


def test_nothing_is_left_behind_and_nothing_else_ended(site: Site) -> None:
    assert [run.wait(60) for run in (site.create("a", 1), site.create("b", 2))] == [0, 0]
    machine = site.process("a")
    # The id of a machine that ended long ago was given to somebody else.
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            site.vm("kill", "b").wait(60)
            (site.machines / "b/pid").write_text(str(other.pid), encoding="utf-8")
            assert site.vm("remove").wait(60) == 0
            assert other.poll() is None
        finally:
            other.kill()
    assert not lives(machine)
    assert not site.machines.exists()
