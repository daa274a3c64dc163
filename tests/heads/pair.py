# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of two heads do and ask: jobs, controllers, containers."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ..e2e.cluster import Cluster, Machine, wait_for


class Job:
    """A job on a node that runs until it is told to end."""

    def __init__(self, cluster: Cluster, machine: Machine) -> None:
        self.cluster = cluster
        self.flag = f"$HOME/end-{time.time_ns()}"
        script = f"until test -e {self.flag}; do sleep 0.5; done; hostname"
        self.id = as_user(cluster, machine, f"cd; sbatch --parsable --nodelist=node1 --wrap={shlex.quote(script)}")
        assert wait_for(lambda: self.state(machine), lambda state: state == "RUNNING", 90) == "RUNNING"
        # A controller that is killed knows after it what it has written down: some seconds after a change.
        began = float(machine.output("date +%s.%N"))
        machine.output(f"scontrol update JobId={self.id} Comment=runs")
        assert wait_for(lambda: self.written(machine), lambda when: when > began) > began

    @staticmethod
    def written(machine: Machine) -> float:
        return float(machine.output("stat --format=%.Y /data/slurmctld/job_state"))

    def state(self, machine: Machine) -> str:
        shown = machine.output(f"scontrol --oneliner show job {self.id}")
        return next(word.split("=")[1] for word in shown.split() if word.startswith("JobState="))

    def end(self, machine: Machine) -> str:
        as_user(self.cluster, machine, f"touch {self.flag}")
        return wait_for(lambda: self.state(machine), lambda state: state not in ("RUNNING", "COMPLETING"))


def as_user(cluster: Cluster, machine: Machine, command: str) -> str:
    """What a command prints that the cluster's user runs after a login there."""
    return machine.output(f"timeout 120 runuser -l {cluster.user} -c {shlex.quote(command)}")


def new_job(cluster: Cluster, machine: Machine) -> str:
    return as_user(cluster, machine, "srun --nodes=2 hostname")


def ping(machine: Machine) -> list[str]:
    """The first word after the name of each controller."""
    lines = machine.shell.run("scontrol ping").stdout.splitlines()
    return [line.split()[-1] for line in lines if line.startswith("Slurmctld(")]


def states(machine: Machine) -> set[str]:
    """The states that nodes have."""
    return set(machine.output("sinfo --noheader --Node --format=%T").split())


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True)


def hosts_with(cluster: Cluster, folder: Path, heads: Sequence[str]) -> str:
    """A copy of the inventory, in which the group head has these hosts; those that are in no other group are gone."""
    inventory = Path(cluster.inventory)
    copy = shutil.copytree(inventory.parent, folder / "inventory")
    lines = (copy / inventory.name).read_text().splitlines()
    hosts = {line.split()[0]: line for line in lines if " ansible_docker_host=" in line}
    kept, section = [], ""
    for line in lines:
        section = line if line.startswith("[") else section
        if section != "[head]" or line == section:
            kept.append(line)
        if line == "[head]":
            kept += [hosts[name] for name in heads]
    (copy / inventory.name).write_text("\n".join(kept) + "\n")
    return str(copy / inventory.name)
