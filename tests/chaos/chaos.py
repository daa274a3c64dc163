# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""First deploys that are disturbed, and one full run that has to make good: `make chaos SEEDS=1,2,3`.

Each seed gets three fresh hosts (a head, two nodes) that are reached by ssh. While site.yml deploys them for the first
time, ansible-playbook is killed (-9), or a host is while its dpkg runs, or a node is frozen. Where and when is drawn by
the seed, by tasks and not by seconds, so that a slow machine plays the same. A frozen node has to fail alone. After it
one run of site.yml must end well, no package may be left half installed, and a job must run over both nodes.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hosts import HERE, ROOT, SETTINGS, fresh, playing, write_inventory

PREFIX = "chaos"
HEAD, NODES = "head", ("node1", "node2")
HOSTS = (HEAD, *NODES)
TASKS = 40
"""The one of a first run's 50 that configures Slurm: after it a node has a few seconds of work left, and no more."""
SECONDS = 400
"""How long anything may take; the run with a frozen node waits a minute for it, a few times."""
KINDS = ("playbook", "dpkg", "playbook", "dpkg", "frozen")


def docker(*arguments: str) -> str:
    """What docker prints; CalledProcessError when it fails."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def inside(host: str, *command: str) -> str:
    """What a command on a host prints; CalledProcessError when it fails."""
    return docker("exec", f"{PREFIX}-{host}", *command)


def programs(host: str) -> list[str]:
    """The names of the programs that run on a host."""
    return [line.split()[-1] for line in docker("top", f"{PREFIX}-{host}", "-eo", "pid,comm").splitlines()]


def until(what: str, true: Callable[[], object], pause: float = 0.2) -> None:
    """Wait for something. Raises TimeoutError."""
    end = time.monotonic() + SECONDS
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {SECONDS} s")
        time.sleep(pause)


class Run:
    """A run of site.yml in the background, in a session of its own."""

    def __init__(self, inventory: Path, log: Path) -> None:
        self.log = log
        scope = ["-e", f"@{HERE / 'scope.yml'}", str(ROOT / "playbooks" / "site.yml")]
        with log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                playing(inventory, *scope),
                cwd=log.parent,
                env={**os.environ, **SETTINGS, "ANSIBLE_LOG_PATH": str(log.with_suffix(".ansible"))},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def tasks(self) -> list[str]:
        """The tasks that have begun."""
        return re.findall(r"^TASK \[(.*)\] \**$", self.log.read_text(encoding="utf-8"), re.MULTILINE)

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it with all its workers."""
        if not self.ended:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def result(self) -> int:
        """Its exit status, once it has ended. Raises TimeoutError."""
        try:
            until("the end of site.yml", lambda: self.ended)
        finally:
            self.kill()
        return self.process.returncode


def disturb(draw: random.Random, kind: str, run: Run) -> str:
    """Disturb the run; tells how. A frozen host stays so."""
    host = draw.choice(HOSTS if kind == "dpkg" else NODES)
    number, seconds = draw.randrange(3, TASKS), draw.uniform(0, 2)
    if kind == "dpkg":
        until(f"dpkg on {host}", lambda: run.ended or "dpkg" in programs(host), 0.02)
    else:
        until(f"task {number}", lambda: run.ended or len(run.tasks) >= number, 0.05)
    time.sleep(seconds)
    if run.ended:
        raise RuntimeError("site.yml ended before it could be disturbed")
    where = f"in task {len(run.tasks)}, {run.tasks[-1]}"
    if kind == "playbook":
        run.kill()
        return f"ansible-playbook killed {where}"
    docker("kill" if kind == "dpkg" else "pause", f"{PREFIX}-{host}")
    return f"{host} {'killed' if kind == 'dpkg' else 'frozen'} {where}"


def check_without(lost: str) -> None:
    """The others are a working cluster. Raises AssertionError."""
    (other,) = set(NODES) - {lost}
    assert inside(HEAD, "srun", "--immediate=30", "-w", other, "hostname").strip() == other


def revive(host: str) -> None:
    """Start a killed host again."""

    def booted() -> bool:
        asking = ["docker", "exec", f"{PREFIX}-{host}", "systemctl", "is-system-running"]
        said = subprocess.run(asking, capture_output=True, text=True, check=False).stdout.strip()
        return said in ("running", "degraded")

    docker("start", f"{PREFIX}-{host}")
    until(f"systemd on {host}", booted)
    inside(host, "systemctl", "start", "ssh")


def check() -> None:
    """Everything is as if nothing had happened. Raises AssertionError."""
    for host in HOSTS:
        assert inside(host, "dpkg", "--audit") == "", f"{host} has packages that are half installed"
    assert sorted(inside(HEAD, "srun", "--immediate=30", "-N2", "hostname").split()) == list(NODES)


def play(seed: int, folder: Path) -> str:
    """One seed; tells what happened. Raises whatever is wrong."""
    draw, kind, inventory = random.Random(seed), KINDS[(seed - 1) % len(KINDS)], folder / "hosts"
    with fresh(PREFIX, HOSTS) as addresses:
        write_inventory(inventory, addresses)
        run = Run(inventory, folder / "disturbed.log")
        try:
            told = disturb(draw, kind, run)
            lost = told.split()[0]
            result = run.result()
        finally:
            run.kill()
        if kind == "dpkg":
            revive(lost)
        if kind == "frozen":
            assert result != 0, "a run that lost a node told of success"
            check_without(lost)
            docker("unpause", f"{PREFIX}-{lost}")
        began = time.monotonic()
        again = Run(inventory, folder / "again.log")
        assert again.result() == 0, f"{told}; the run after it ended with {again.process.returncode}"
        check()
        return f"{told}; all is well after one run of {time.monotonic() - began:.0f} s"


def main(seeds: Sequence[int]) -> int:
    """Play the seeds; how many went wrong."""
    wrong = 0
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
        try:
            print(f"seed {seed}: {play(seed, folder)}", flush=True)
        except (AssertionError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            wrong += 1
            print(f"FAILED seed {seed}: {error!r}; logs are in {folder}", flush=True)
            for log in sorted(folder.glob("*.log")):
                print(f"== the end of {log.name}\n" + "\n".join(log.read_text(encoding="utf-8").splitlines()[-40:]))
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main([int(seed) for text in sys.argv[1:] for seed in text.split(",")] or range(1, 26)) else 0)
