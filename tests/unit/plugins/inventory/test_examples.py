# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventories that users are shown, as Ansible's own tools read them."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
FIXTURES = ROOT / "tests" / "unit" / "fixtures" / "slurm-24.11"
CPU = [f"cpu{number:02}" for number in range(1, 65)]
GPU = [f"gpu{number}" for number in range(1, 9)]


def run(*argv: str, **environment: str) -> str:
    """What a tool that lies beside the Python of this run prints; its exit code has to be 0."""
    tool = str(Path(sys.executable).parent / argv[0])
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LOG_PATH": "/dev/null",
        **environment,
    }
    done = subprocess.run(
        [tool, *argv[1:]], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout


def inventory(name: str, **environment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("ansible-inventory", "-i", f"inventories/{name}", "--list", **environment))
    return found


@pytest.mark.parametrize("name", ["example/hosts", "example/cluster.yml"])
def test_one_cluster_in_two_ways(name: str) -> None:
    found = inventory(name)
    groups = {group: sorted(found[group]["hosts"]) for group in ("nfs", "head", "nodes", "gpu")}
    assert groups == {"nfs": ["storage1"], "head": ["head1"], "nodes": CPU + GPU, "gpu": GPU}
    hostvars = found["_meta"]["hostvars"]
    assert hostvars["head1"]["ansible_host"] == "10.0.0.3"
    assert hostvars["cpu07"]["cluster_name"] == "lab"
    assert hostvars["cpu07"]["cluster_partitions"]["main"]["Nodes"] == "cpu[01-64]"
    gpu = hostvars["gpu8"]
    assert gpu["nodes_features"] == ["gpu", "h100"]
    assert gpu["nodes_weight"] == 100


def test_the_libraries_that_are_delivered_and_those_that_are_a_choice() -> None:
    [ml] = inventory("example/hosts")["_meta"]["hostvars"]["head1"]["delivery_environments"]
    assert (ml["name"], ml["requirements"]) == ("ml", ["numpy", "scipy", "pandas", "scikit-learn", "mpi4py"])
    # Large ones stand there too, for whoever takes the comment away.
    lines = (ROOT / "inventories/example/group_vars/all.yml").read_text().splitlines()
    choices = yaml.safe_load("\n".join(line.strip(" #") for line in lines if line.startswith("  # - {")))
    assert [item["requirements"] for item in choices] == [["torch"], ["fedml[MPI]"]]


def test_the_topology_is_short_and_counts_addresses() -> None:
    lines = (ROOT / "inventories/example/cluster.yml").read_text().split("---\n")[1].splitlines()
    assert len(lines) <= 20
    hostvars = inventory("example/cluster.yml")["_meta"]["hostvars"]
    assert [hostvars[name]["ansible_host"] for name in ("cpu01", "cpu64", "gpu8")] == [
        "10.0.1.1",
        "10.0.1.64",
        "10.0.2.8",
    ]


def test_hosts_json() -> None:
    """The scenario example of Molecule deploys it; the variables of the other examples are not its own."""
    found = inventory("example/older-system/hosts.json")
    assert found["nodes"]["hosts"] == ["c02", "c03"]
    assert found["label_spark_worker"]["hosts"] == ["c02", "c03"]
    hostvars = found["_meta"]["hostvars"]
    assert hostvars["c02"]["nodes_features"] == ["spark-worker"]
    network = ipaddress.ip_network(hostvars["c01"]["cluster_network"])
    assert all(ipaddress.ip_address(each["ansible_host"]) in network for each in hostvars.values())
    assert list(hostvars["c01"]["cluster_partitions"]) == ["workers"]


def test_running_slurm(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\ncase "$*" in "head1 scontrol show config") cat {FIXTURES}/scontrol_show_config.txt ;;\n'
        f'"head1 scontrol --all show nodes --json") cat {FIXTURES}/scontrol_show_nodes.json ;; *) exit 9 ;; esac\n'
    )
    ssh.chmod(0o755)
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/collections",
    }
    assert inventory("example/live.cluster.yml", **settings)["slurm_state_down"]["hosts"] == ["tx-n7"]
    ssh.unlink()  # from the cache
    assert inventory("example/live.cluster.yml", **settings)["slurm_state_down"]["hosts"] == ["tx-n7"]


def test_graph_and_documentation() -> None:
    assert "  |--@gpu:\n  |  |--gpu1\n" in run("ansible-inventory", "-i", "inventories/example/cluster.yml", "--graph")
    assert "> INVENTORY aicluster.slurm.cluster" in run(
        "ansible-doc", "-t", "inventory", "aicluster.slurm.cluster", ANSIBLE_NOCOLOR="1"
    )


def test_one_command_on_every_host() -> None:
    python = f"ansible_python_interpreter={sys.executable}"
    printed = run("ansible", "all", "-i", "inventories/standalone/hosts", "-e", python, "-a", "ls -al")
    assert printed.startswith("solo | CHANGED | rc=0 >>\ntotal ")
