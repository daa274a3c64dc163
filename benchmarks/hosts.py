# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fresh hosts that are reached by ssh, and how Ansible is run on them; for the benchmark and for tests/chaos."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KEY, HOSTS = "/tmp/bench/key", Path("/tmp/bench")
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
SETTINGS = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_SSH_COMMON_ARGS": SSH}


def playing(inventory: Path, *arguments: str) -> list[str]:
    """The command line of ansible-playbook on these hosts."""
    tool = str(Path(sys.executable).parent / "ansible-playbook")
    return [tool, "-i", str(inventory), "-u", "root", "--private-key", KEY, *arguments]


def write_inventory(path: Path, addresses: Mapping[str, str]) -> None:
    """An inventory of a head, the first one, and its nodes."""
    lines = [f"{name} ansible_host={address}" for name, address in addresses.items()]
    path.write_text("\n".join(["[head]", *lines[:1], "[nodes]", *lines[1:], ""]), encoding="utf-8")


def timed(argv: Sequence[str], **environment: str) -> float:
    """Seconds that a command takes; its output is shown when it fails."""
    began = time.monotonic()
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return round(seconds, 1)


@contextmanager
def fresh(prefix: str, hosts: Sequence[str]) -> Iterator[dict[str, str]]:
    """Fresh containers, by their names; gone afterwards."""
    try:
        timed([str(HERE / "floor/hosts-up"), prefix, *hosts])
        lines = (HOSTS / f"{prefix}.hosts").read_text(encoding="utf-8").splitlines()
        yield dict(line.split() for line in lines)
    finally:
        timed([str(HERE / "floor/hosts-down"), prefix, *hosts])
