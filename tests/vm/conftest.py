# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machines of molecule/vm: what only kernels of their own can prove. By default a short form of it."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testinfra.backend.base import CommandResult

from ..e2e import play
from ..e2e.cluster import Cluster, Machine, wait_for

# Emulated machines take their time, on a machine with other work still more.
PATIENCE = 900
ADDRESSES = {"nfs0": "10.77.0.10", "head0": "10.77.0.11", "node1": "10.77.0.21", "node2": "10.77.0.22"}
# What the role nfs writes on a host that uses a share.
MOUNTS = "/etc/fstab /etc/systemd/system"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--vm-parts", choices=["short", "whole"], default="short", help="what to play")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: left out of the short form")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what was not asked for."""
    if config.getoption("--vm-parts") == "short":
        whole = [item for item in items if item.get_closest_marker("whole")]
        items[:] = [item for item in items if item not in whole]
        config.hook.pytest_deselected(items=whole)


class Lab(Cluster):
    """A cluster whose machines can be switched off."""

    def machine(self, name: str) -> Machine:
        """One of them."""
        return next(machine for machine in self.machines if machine.name == name)

    @property
    def server(self) -> Machine:
        """Where the share is."""
        return self.group("nfs")[0]

    @property
    def folder(self) -> str:
        """Where scripts/vm keeps them."""
        return str(Path(self.server.facts["ssh_config"]).parent)

    def script(self, action: str, *machines: Machine) -> None:
        """Have scripts/vm start machines, or take the power from them."""
        for machine in machines:
            subprocess.run([play.ROOT / "scripts/vm", action, self.folder, machine.name], check=True)

    def boots(self, *machines: Machine) -> list[str]:
        """Which start of its kernel each machine is in; nothing for one that does not answer."""

        def boot(machine: Machine) -> str:
            return self.login("admin", machine, "cat /proc/sys/kernel/random/boot_id").stdout.strip()

        with ThreadPoolExecutor() as pool:
            return list(pool.map(boot, machines))

    def reboot(self, *machines: Machine) -> None:
        """Reboot machines at once, and wait until all have started everything."""
        before = self.boots(*machines)
        assert all(before)
        for machine in machines:
            # The connection may end before the command does.
            machine.shell.run("systemctl --no-block reboot")
        self.await_start(before, *machines)

    def await_start(self, before: list[str], *machines: Machine) -> None:
        """Wait until machines are in another start of their kernels, and systemd has nothing left to do."""
        pairs = list(zip(before, machines, strict=True))

        def are_new(boots: list[str]) -> bool:
            return all(boot not in ("", old) for boot, (old, _machine) in zip(boots, pairs, strict=True))

        assert are_new(wait_for(lambda: self.boots(*machines), are_new, PATIENCE)), "not all machines are back"
        for machine in machines:
            state = machine.shell.run("systemctl is-system-running --wait").stdout.strip()
            failed = machine.output("systemctl --failed --no-legend --plain")
            assert (machine.name, state, failed) == (machine.name, "running", "")

    def await_idle(self) -> None:
        """Wait until every node is of use again."""
        states = wait_for(self.states, lambda found: set(found.values()) == {"IDLE"}, PATIENCE)
        assert set(states.values()) == {"IDLE"}, states

    def states(self) -> dict[str, str]:
        """The state of each node, none while the controller does not answer."""
        shown = self.head.shell.run("sinfo --noheader --Node --format='%n %T'").stdout.splitlines()
        return {name: state.upper() for name, state in (line.split() for line in shown)} or {"controller": "AWAY"}

    def job(self, options: str, command: str) -> str:
        """What a job of the cluster user prints that has to succeed."""
        return self.head.output(self.srun(options, command))

    def srun(self, options: str, command: str) -> str:
        """The command line, on the head, of a job of the cluster user."""
        inner = f"srun --time=10 {options} sh -c {shlex.quote(command)}"
        return f"cd / && timeout {PATIENCE} runuser -u {self.user} -- {inner}"

    def submit(self, options: str, command: str) -> str:
        """The number of a batch job of the cluster user."""
        inner = f"sbatch --parsable --output=/dev/null {options} --wrap {shlex.quote(command)}"
        return self.head.output(f"cd / && runuser -u {self.user} -- {inner}")

    def job_state(self, number: str) -> str:
        """What slurmctld says of a job."""
        shown = self.head.output(f"scontrol show job -o {number}")
        return shown.split("JobState=")[1].split()[0]

    def await_job(self, number: str, state: str) -> None:
        """Wait until a job is in a state."""
        found = wait_for(lambda: self.job_state(number), lambda seen: seen == state, PATIENCE)
        assert found == state

    def storage(self, limit: str, **variables: object) -> dict[str, Any]:
        """The report on one run of the role nfs on some hosts."""
        asked = ["--limit", limit, "--extra-vars", json.dumps(variables), str(Path(__file__).parent / "storage.yml")]
        return play.run(play.command("ansible-playbook", "-i", self.inventory, *asked))

    @contextmanager
    def mounts_put_back(self, *machines: Machine, path: str) -> Iterator[None]:
        """Whatever this mounts at a path, is not there afterwards, nor what mounts it at the next start."""
        for machine in machines:
            machine.output(f"tar --create --file=/root/mounts.tar {MOUNTS}")
        try:
            yield
        finally:
            for machine in machines:
                machine.output("rm -rf /etc/systemd/system && tar --extract --file=/root/mounts.tar --directory=/")
                # What needs it would go with it.
                machine.output(f"systemctl daemon-reload; while umount {path} 2>/dev/null; do :; done")

    def login(self, user: str, machine: Machine, command: str) -> subprocess.CompletedProcess[str]:
        """Log in by ssh from here, with the key that Ansible has."""
        argv = ["ssh", "-F", machine.facts["ssh_config"], "-o", "ConnectTimeout=20", "-l", user, machine.name, command]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def visit(self, machine: Machine, command: str) -> CommandResult:
        """Log in by ssh from the head, as the cluster user."""
        inner = f"ssh -o BatchMode=yes -o ConnectTimeout=60 {machine.name} {shlex.quote(command)}"
        # From a refusal, 255, testinfra would conclude that it did not reach the head itself.
        return self.head.shell.run(f"cd / && runuser -u {self.user} -- {inner} || exit 1")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The machines; what they said is kept by molecule/vm/destroy.yml."""
    return Lab(str(request.config.getoption("ansible_inventory")))
