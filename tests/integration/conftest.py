# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine with systemd and slurmctld for the modules: `pytest tests/integration --image=aicluster-base:trixie`.

The image is a Debian with package sources that answer. PYTHONPATH has to hold benchmarks.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from scale import PREPARE

from ..e2e.cluster import Machine, parse_record, wait_for
from ..e2e.on_head import OnHead
from .read_slurm_conf import CONTROLLER, container

# What systemd needs, and namespaces for the private slurmctld of slurm_config; never --privileged.
SYSTEMD = (
    *("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),
)

# slurmd of 24.11 would look for a configuration for 90 s while its package is installed.
SLURMD = """
set -e
export DEBIAN_FRONTEND=noninteractive
systemctl mask slurmd
apt-get install -y -qq --no-install-recommends slurmd
systemctl unmask slurmd
echo 'SLURMD_OPTIONS="-N n1 -b"' >/etc/default/slurmd
"""

NODE = {"NodeName": "n1", "NodeAddr": "127.0.0.1", "CPUs": 1, "RealMemory": 100}
OPTIONS: dict[str, Any] = {
    "config": {
        "ClusterName": "real",
        "SlurmctldHost": [CONTROLLER],
        "SlurmUser": "slurm",
        "StateSaveLocation": "/var/spool/slurmctld",
        "SlurmdSpoolDir": "/var/spool/slurmd",
        "SlurmctldLogFile": "/var/log/slurm/slurmctld.log",
        "SlurmdLogFile": "/var/log/slurm/slurmd.log",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "ReturnToService": 2,
    },
    "nodes": [NODE],
    "partitions": {"main": {"Nodes": "ALL", "Default": "YES", "MaxTime": "INFINITE", "State": "UP"}},
}


class Controller:
    """A machine on which slurmctld runs as the modules configure it. Its one node that can run is itself, n1."""

    def __init__(self, name: str) -> None:
        self.machine = Machine(CONTROLLER, testinfra.get_host(f"docker://{name}"), {})
        # A machine that still starts empties /tmp under apt.
        wait_for(self.started, lambda state: state in ("running", "degraded"))
        for script in (PREPARE, SLURMD):
            self.output(f"bash -c {shlex.quote(script)}")
        self.module = OnHead(self.machine)
        self.version = tuple(map(int, self.output("slurmctld -V").split()[-1].split(".")[:2]))

    def started(self) -> str:
        """What systemd says of its start."""
        return str(self.machine.shell.run("systemctl is-system-running").stdout).strip()

    def output(self, command: str) -> str:
        """What a command prints that has to succeed."""
        return self.machine.output(command)

    def reset(self) -> None:
        """As if Slurm had just been installed."""
        self.output("systemctl stop slurmd slurmctld; pkill -x slurmstepd || true")
        self.output("rm -rf /etc/slurm/* /var/lib/aicluster /var/spool/slurmctld/* /var/spool/slurmd /var/log/slurm/*")

    @staticmethod
    def options(**config: Any) -> dict[str, Any]:
        """What slurm_config is told: OPTIONS, and these keys of slurm.conf."""
        options = copy.deepcopy(OPTIONS)
        options["config"].update(config)
        return options

    def run(self, module: str, **options: Any) -> dict[str, Any]:
        """What a module returns when it succeeds."""
        result = self.module.run(module, options)
        assert not result.get("failed"), result["msg"]
        return result

    def fails(self, module: str, **options: Any) -> str:
        """What a module says when it fails."""
        result = self.module.run(module, options)
        assert result.get("failed"), result
        return str(result["msg"])

    def use(self, options: dict[str, Any]) -> dict[str, Any]:
        """What slurm_config returns when it succeeds; afterwards it has nothing to do."""
        result = self.run("slurm_config", **options)
        again = self.run("slurm_config", **options)
        assert (again["changed"], again["plan"]["action"]) == (False, "none"), again["plan"]
        return result

    def pid(self) -> str:
        """slurmctld's."""
        return self.output("systemctl show -p MainPID --value slurmctld").strip()

    def shown(self, what: str) -> dict[str, dict[str, str]]:
        """What slurmctld says of each node or partition, by its name."""
        lines = self.output(f"scontrol --all --oneliner show {what}").splitlines()
        return {line.split()[0].split("=")[1]: parse_record(line) for line in lines if "=" in line}

    def state(self, name: str) -> set[str]:
        """The words of a node's state; empty where slurmctld does not show it."""
        return set(self.shown("nodes").get(name, {}).get("State", "").split("+")) - {""}

    def wait_for_state(self, name: str, *words: str) -> None:
        """A node's state is just these words, within a minute."""
        assert wait_for(lambda: self.state(name), lambda state: state == set(words), seconds=60) == set(words)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--image", help="the container image of a Debian, such as aicluster-base:trixie")


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Iterator[Controller]:
    """The machine, with Slurm installed."""
    image = request.config.getoption("--image")
    if not image:
        raise pytest.UsageError("which image? --image=aicluster-base:trixie")
    with container(image, *SYSTEMD, command=()) as started:
        yield Controller(started.name)


@pytest.fixture(scope="module")
def controller(machine: Controller) -> Controller:
    """The machine, and slurmctld as OPTIONS say."""
    machine.reset()
    machine.use(machine.options())
    return machine
