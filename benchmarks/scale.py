# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What grows with the number of nodes: `.venv/bin/python benchmarks/scale.py` (docs/scaling.md holds what it printed).

Seconds and peak memory (MB) of: the files and the plan for 10,000 nodes; the inventory plugin for 10,000 and 100,000
hosts; the modules slurm_config and slurm_node on a real slurmctld that knows 1,000 nodes, none of which runs; and the
module host_users with 500 people. For the modules it is what the process on the head takes, and then the whole task as
the person at the control host sees it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import inventory
from hosts import ROOT, SETTINGS, fresh, playing, timed

sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_conf, slurm_files, slurm_plan

VERSION = "24.11.5"
MANY, DEFINED, PEOPLE = 10_000, 1_000, 500
PREFIX = "scale"

CONFIG = {
    "ClusterName": "scale",
    "SlurmctldHost": ["head"],
    "SlurmUser": "slurm",
    "StateSaveLocation": "/var/spool/slurmctld",
    "SelectType": "select/cons_tres",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "GresTypes": "gpu",
    "ReturnToService": 2,
}

GPUS = [{"name": "gpu", "type": "h100", "files": ["/dev/nvidia[0-7]"]}]

PREPARE = """
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends slurmctld slurm-client munge
systemctl enable --now munge
install -d -o slurm -g slurm -m 0755 /var/spool/slurmctld /var/log/slurm
mkdir -p /etc/slurm
"""

# Between Ansible and the Python of the host: writes down how long each module took there, and its peak memory.
MEASURED = """#!/usr/bin/python3
import os, sys, time
begin = time.monotonic()
child = os.fork()
if not child:
    os.execv("/usr/bin/python3", ["python3", *sys.argv[1:]])
_child, status, usage = os.wait4(child, 0)
with open("/var/tmp/measured", "a") as file:
    print(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, file=file)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Cost(NamedTuple):
    """What something took; seconds of the processor hardly depend on what else the machine does."""

    seconds: float
    processor: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.seconds:7.2f} s, {self.processor:6.2f} s of the processor, {self.megabytes:5.0f} MB"


def of_process(argv: Sequence[str]) -> Cost:
    """What a command takes. It has to succeed."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    began = time.monotonic()
    process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)}: {process.returncode}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def nodes(count: int) -> list[dict[str, Any]]:
    """As many nodes, half of them with GPUs."""
    hardware = {"CPUs": 64, "Boards": 1, "SocketsPerBoard": 2, "CoresPerSocket": 16, "ThreadsPerCore": 2}
    return [
        {
            "NodeName": f"node{number:05}",
            "NodeAddr": f"198.18.{number // 250}.{number % 250 + 1}",
            **hardware,
            "RealMemory": 256_000,
            **({"Gres": GPUS} if number % 2 else {}),
        }
        for number in range(1, count + 1)
    ]


def cluster(count: int, **partition: Any) -> slurm_conf.Cluster:
    """A whole cluster as data."""
    return slurm_conf.Cluster(CONFIG, nodes(count), {"main": {"Nodes": "ALL", "Default": "YES", **partition}}, {})


def people() -> dict[str, Any]:
    """A group and its people, with a key each, as host_users takes them."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
    users = [
        {
            "name": f"user{number:03}",
            "uid": 20_000 + number,
            "group": "lab",
            "home": f"/data/home/user{number:03}",
            "create_home": False,
            "authorized_keys": [f"{key}{number:043} user{number:03}@laptop"],
        }
        for number in range(1, PEOPLE + 1)
    ]
    return {"groups": [{"name": "lab", "gid": 20_000}], "users": users}


def render() -> None:
    """The files for many nodes."""
    slurm_conf.render(cluster(MANY))


def plan() -> None:
    """The plan when many nodes are there and get more memory, and a partition another limit."""
    there = slurm_files.read(slurm_conf.render(cluster(MANY)), VERSION)
    more = cluster(MANY, MaxTime="1:00:00")
    more = more._replace(nodes=[{**node, "RealMemory": 512_000} for node in more.nodes])
    wanted = slurm_files.read(slurm_conf.render(more), VERSION)
    made = slurm_plan.make(
        slurm_files.diff(there, wanted), slurm_plan.Live(VERSION, active=True, applied=True), wanted.nodes
    )
    slurm_plan.as_text(made, [])
    slurm_plan.as_data(made)


def inventories() -> None:
    """The inventory plugin."""
    with tempfile.TemporaryDirectory() as name:
        for count in (MANY, 10 * MANY):
            path = inventory.write(Path(name) / f"{count}.cluster.yml", count)
            print(
                f"{of_process([inventory.TOOL, '-i', str(path), '--graph'])}  inventory of {count:,} hosts", flush=True
            )


def tasks() -> list[tuple[str, dict[str, Any]]]:
    """What is asked of the modules, in turn."""
    shape = cluster(DEFINED)
    config = {"config": shape.config, "nodes": shape.nodes, "partitions": shape.partitions}
    limit = {**config, "partitions": {"main": {**shape.partitions["main"], "MaxTime": "1:00:00"}}}
    names = f"node[00001-{DEFINED:05}]"
    drained = {"name": names, "state": "drained", "reason": "measured"}
    return [
        (f"slurm_config, {DEFINED:,} nodes: first run", {"slurm_config": config}),
        (f"slurm_config, {DEFINED:,} nodes: unchanged", {"slurm_config": config}),
        (f"slurm_config, {DEFINED:,} nodes: plan of one partition", {"slurm_config": {**limit, "state": "planned"}}),
        (f"slurm_config, {DEFINED:,} nodes: one partition", {"slurm_config": limit}),
        (f"slurm_node, {DEFINED:,} nodes: drained", {"slurm_node": drained}),
        (f"slurm_node, {DEFINED:,} nodes: unchanged", {"slurm_node": drained}),
        (f"host_users, {PEOPLE} people: first run", {"host_users": people()}),
        (f"host_users, {PEOPLE} people: unchanged", {"host_users": people()}),
    ]


def modules() -> None:
    """The modules on a slurmctld."""
    with fresh(PREFIX, ["head"]) as addresses, tempfile.TemporaryDirectory() as name:
        container = ["docker", "exec", "-i", f"{PREFIX}-head"]
        timed([*container, "bash", "-c", PREPARE])
        put = "cat >/usr/local/bin/measured; chmod +x /usr/local/bin/measured"
        subprocess.run([*container, "bash", "-c", put], input=MEASURED, text=True, check=True)
        hosts, book = Path(name) / "hosts", Path(name) / "book.yml"
        hosts.write_text(f"head ansible_host={addresses['head']} ansible_python_interpreter=/usr/local/bin/measured\n")
        for label, task in tasks():
            whole = play(hosts, book, [{f"aicluster.slurm.{module}": options} for module, options in task.items()])
            told = subprocess.run(
                [*container, "tail", "-n1", "/var/tmp/measured"], capture_output=True, text=True, check=True
            )
            cost = Cost(*map(float, told.stdout.split()))
            print(f"{cost}  {label} (ansible-playbook {whole:.1f} s)", flush=True)


def play(hosts: Path, book: Path, steps: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a playbook of these tasks."""
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": steps}]), encoding="utf-8")
    return timed(playing(hosts, str(book)), **SETTINGS)


def main() -> None:
    """Measure and print; with the name of a part, only do that."""
    parts = {"render": render, "plan": plan}
    if sys.argv[1:]:
        parts[sys.argv[1]]()
        return
    for part, function in parts.items():
        print(f"{of_process([sys.executable, __file__, part])}  {function.__doc__} ({MANY:,} nodes)", flush=True)
    inventories()
    modules()


if __name__ == "__main__":
    main()
