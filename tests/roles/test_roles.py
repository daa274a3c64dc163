# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each role alone, by its full name, in somebody's own playbook: from an empty folder, with documented variables only,
and the collection as its tarball installs it.

The roles share one host, the first one of `--ansible-inventory`. Common comes last, so that no other role leans on it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..e2e import play
from ..e2e.cluster import Cluster, Machine


@dataclass(frozen=True)
class Case:
    """How a role is played alone, and what it then has done."""

    role: str
    groups: list[str]
    variables: dict[str, Any] = field(default_factory=dict)
    proof: str = "true"
    """A command on the host."""
    expected: str = ""
    """What that command prints."""


CASES = [
    Case(
        "head",
        ["head", "nodes"],
        # A node that was never reached has to be declared.
        {
            "cluster_confinement": "none",
            "nodes_hardware": {"cpus": 1, "memory_mb": 2000},
            "nodes_memory_reserve_mb": 500,
        },
        "scontrol ping; scontrol show node box -o | grep -o 'RealMemory=[0-9]*'",
        "Slurmctld(primary) at box is UP\nRealMemory=1500",
    ),
    Case(
        "nodes",
        ["nodes"],
        {"nodes_conf_server": "localhost:6817"},
        "srun -N1 -t1 sh -c 'echo $SLURMD_NODENAME'",
        "box",
    ),
    Case(
        "gpu",
        ["nodes", "gpu"],
        {"gpu_devices": [{"type": "fake", "files": ["/dev/fakegpu[0-1]"]}]},
        "/usr/local/lib/aicluster/gpu-wait && SLURM_JOB_GPUS=0 /etc/slurm/job.d/50-aicluster-gpu.sh && echo there",
        "there",
    ),
    Case(
        "nfs",
        ["nfs"],
        {"nfs_mode": "0751"},
        "stat -c '%a %U' /data; ls -A /data",
        "751 root\nhome",
    ),
    Case(
        "delivery",
        ["nfs"],
        {"delivery_scripts": [{"dest": "/opt/lab", "mode": "0750"}]},
        "stat -c '%a %u' /opt/lab /data/delivery /data/delivery/samples/hello.py",
        "750 0\n755 10000\n755 0",
    ),
    Case(
        "preflight",
        ["head", "nodes"],
        {"preflight_minima": {"nodes": {"cpus": 1000}}},
    ),
    Case(
        "common",
        ["nodes"],
        # Below what the engine gives a container: one without SYS_RESOURCE cannot raise it.
        {"common_limits": ["* - nofile 4096"]},
        "id -u cluster; munge -n | unmunge | grep -o 'Success (0)'; runuser -l cluster -c 'ulimit -n'",
        "10000\nSuccess (0)\n4096",
    ),
]


@pytest.fixture(scope="session")
def box(request: pytest.FixtureRequest) -> Machine:
    return Cluster(request.config.getoption("ansible_inventory")).machines[0]


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the collection is installed, out of its tarball, and what it depends on."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source/ansible_collections/aicluster/slurm"
    galaxy = play.command("ansible-galaxy", "collection")
    settings = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{folder}:{play.ROOT}/.cache/collections"}

    def run(*argv: str) -> None:
        subprocess.run(argv, check=True, env=settings, stdout=subprocess.DEVNULL)

    run(str(play.ROOT / "scripts/copy"), str(source))
    run(*galaxy, "build", "--output-path", str(folder), str(source))
    [tarball] = folder.glob("aicluster-slurm-*.tar.gz")
    run(*galaxy, "install", "--offline", "-p", str(folder), str(tarball))
    return settings["ANSIBLE_COLLECTIONS_PATH"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.role)
def test_role_alone(case: Case, box: Machine, collections: str, tmp_path: Path) -> None:
    connection = {"ansible_connection": box.facts["connection"], "ansible_docker_host": box.facts["container"]}
    host = {"box": connection | case.variables}
    inventory = {"all": {"hosts": host, "children": {group: {"hosts": {"box": None}} for group in case.groups}}}
    playbook = [{"hosts": "box", "become": True, "roles": [f"aicluster.slurm.{case.role}"]}]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (tmp_path / "play.yml").write_text(yaml.safe_dump(playbook))
    # Empty, so that neither this checkout's nor a user's own settings have a part in it.
    (tmp_path / "ansible.cfg").touch()

    argv = play.command("ansible-playbook", "-i", "hosts.yml", "play.yml")
    settings = {"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": collections}
    play.run(argv, tmp_path, **settings)
    assert box.output(case.proof) == case.expected
    assert play.changes(play.run(argv, tmp_path, **settings)) == set()
