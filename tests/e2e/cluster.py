# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A converged cluster as the tests see it: machines to run commands on, and what Slurm says of its nodes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import testinfra
from testinfra.host import Host

from . import play

T = TypeVar("T")

# Rendered by Ansible itself, because `ansible-inventory` prints the templates of an inventory as they are.
ASKED = """{{ {
  'groups': group_names,
  'connection': ansible_connection | default('ssh'),
  'container': ansible_docker_host | default(ansible_host | default(inventory_hostname)),
  'node': nodes_name | default(inventory_hostname.split('.')[0]),
  'computes': 'nodes' in group_names or ('head' in group_names and head_compute | default(false)),
  'gpus': gpu_devices | default([]) if 'gpu' in group_names else [],
  'memory_reserve': nodes_memory_reserve_mb | default(none),
  'network': cluster_network | default(''),
  'shared_path': cluster_shared_path | default('/data'),
  'user': cluster_user | default('cluster'),
  'ssh_config': ssh_config | default(''),
} }}"""


@dataclass(frozen=True)
class Machine:
    """One host of the inventory."""

    name: str
    shell: Host
    facts: dict[str, Any]

    @property
    def node(self) -> str:
        """Its name in Slurm."""
        return str(self.facts["node"])

    def output(self, command: str) -> str:
        """What a command prints that has to succeed."""
        return str(self.shell.check_output(command))


class Cluster:
    """All machines of an inventory; of several with commas between, where they are containers or name an ssh_config."""

    def __init__(self, inventory: str) -> None:
        # Ansible runs in another folder than pytest.
        self.inventory = inventory = ",".join(str(Path(path).resolve()) for path in inventory.split(","))
        asked = ("-m", "ansible.builtin.debug", "-a", f"msg={ASKED}")
        argv = play.command("ansible", "all", *play.sources(inventory), *asked)
        self.machines = [
            Machine(name, _shell(name, inventory, result["msg"]), result["msg"])
            for name, _task, result in play.results(play.run(argv))
        ]

    def group(self, name: str) -> list[Machine]:
        """The machines of one inventory group."""
        return [machine for machine in self.machines if name in machine.facts["groups"]]

    @cached_property
    def head(self) -> Machine:
        """Where slurmctld runs."""
        return self.group("head")[0]

    @cached_property
    def nodes(self) -> list[Machine]:
        """Where slurmd runs."""
        return [machine for machine in self.machines if machine.facts["computes"]]

    @cached_property
    def slurm_hosts(self) -> list[Machine]:
        """Where any daemon of Slurm runs."""
        return [machine for machine in self.machines if machine is self.head or machine in self.nodes]

    @property
    def user(self) -> str:
        """The cluster's own account."""
        return str(self.head.facts["user"])

    def as_user(self, command: str) -> str:
        """What a command prints that the cluster user runs on the head; a job that hangs ends after a minute."""
        return self.head.output(f"cd / && timeout 60 runuser -u {self.user} -- sh -c {shlex.quote(command)}")

    def slurm_nodes(self) -> dict[str, dict[str, str]]:
        """What slurmctld says of each node, by the node's name."""
        lines = self.head.output("scontrol show node -o").splitlines()
        nodes = (parse_record(line) for line in lines)
        return {node["NodeName"]: node for node in nodes}

    def config(self) -> dict[str, str]:
        """What slurmctld says of its own configuration."""
        lines = (line.partition("=") for line in self.head.output("scontrol show config").splitlines())
        return {key.strip(): value.strip() for key, separator, value in lines if separator}

    def without(self, away: Machine, folder: Path) -> str:
        """A copy of the inventory in which Ansible does not reach a machine, which has to be a container."""
        inventory = Path(self.inventory)
        copy = folder / "inventory" / inventory.name
        shutil.copytree(inventory.parent, copy.parent)
        container = "{{ demo_prefix }}" + away.facts["container"].removeprefix(os.environ.get("DEMO_PREFIX", "demo"))
        text = copy.read_text()
        assert container in text
        copy.write_text(text.replace(container, "no-such-container"))
        return str(copy)


def _shell(name: str, inventory: str, facts: dict[str, Any]) -> Host:
    if facts["connection"] == "community.docker.docker":
        return testinfra.get_host(f"docker://{facts['container']}")
    if facts["ssh_config"]:
        return testinfra.get_host(f"ssh://{name}?sudo=true&ssh_config={facts['ssh_config']}")
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)


def parse_record(line: str) -> dict[str, str]:
    """The keys and values of one line of `scontrol show ... -o`; values such as OS and Reason have blanks in them."""
    return dict(re.findall(r"(?:^|(?<=\s))([A-Z][A-Za-z:]*)=(.*?)(?=\s+[A-Z][A-Za-z:]*=|\s*$)", line))


def wait_for(probe: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 30) -> T:
    """What `probe` gives as soon as it is as wanted, and its last answer when that does not happen in time."""
    deadline = time.monotonic() + seconds
    while not wanted(found := probe()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found
