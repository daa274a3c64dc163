# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run says at its end: never success after a failure, and always why."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from . import play
from .cluster import Cluster

SUMMARY = "Say how to use the cluster"

# Three whole runs: one scenario of Molecule has time for them.
pytestmark = pytest.mark.skipif(
    os.environ.get("MOLECULE_SCENARIO_NAME", "two-hosts") != "two-hosts", reason="the scenario two-hosts plays these"
)


def site(inventory: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Play site.yml in a folder, as a person does."""
    settings = {"ANSIBLE_CONFIG": str(play.ROOT / "ansible.cfg"), **os.environ}
    return subprocess.run(
        play.command("ansible-playbook", "-i", inventory, *arguments, play.SITE),
        cwd=folder,
        env={**settings, "ANSIBLE_LOG_PATH": "/dev/null"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_good_run_says_how_to_use_the_cluster(cluster: Cluster) -> None:
    results = play.results(play.site(cluster.inventory))
    (lines,) = (result["msg"] for _host, task, result in results if task.endswith(SUMMARY) and "msg" in result)
    text = "\n".join(lines)
    nodes = cluster.slurm_nodes()
    assert f"is ready: {len(nodes)} of {len(nodes)} nodes answer" in text
    assert f"log in: ssh {cluster.head.output('hostname -I').split()[0]}, then: srun" in text
    assert re.search(r"^partition main \(default\): ", text, re.MULTILINE)
    assert len(re.findall(r"^\S+: \d+ CPUs, \d+ GiB for jobs", text, re.MULTILINE)) >= 1
    assert "not up" not in text
    assert (", 2 gpu (fake)" in text) == any(machine.facts["gpus"] for machine in cluster.nodes)


@pytest.mark.disruptive
def test_a_failed_task_is_named_and_leaves_its_logs(cluster: Cluster, tmp_path: Path) -> None:
    done = site(cluster.inventory, tmp_path, "-e", json.dumps({"cluster_config": {"SlurmdTimeoutt": 1}}))
    assert done.returncode != 0
    assert "is ready" not in done.stdout
    assert re.search(rf"{cluster.head.name} failed at \S*.*Configure Slurm: .*SlurmdTimeoutt", done.stdout)
    (folder,) = tmp_path.glob("failed-*")
    assert f"logs are in {folder}" in done.stdout
    assert folder.stat().st_mode & 0o777 == 0o700
    log = (folder / f"{cluster.head.name}.log").read_text()
    for part in ("slurmctld", "munge"):
        assert f"== journal of {part}\n" in log
    assert "NodeName=" in log.split("== scontrol show node\n")[1]
    told = json.loads((folder / f"{cluster.head.name}.failed.json").read_text())
    assert "SlurmdTimeoutt" in told["failed"]
    key = cluster.head.output("base64 -w0 /etc/munge/munge.key")
    assert not any(key in path.read_text() for path in folder.iterdir())


@pytest.mark.disruptive
def test_a_host_that_is_off_is_named(cluster: Cluster, tmp_path: Path) -> None:
    alone = [
        machine for machine in cluster.nodes if machine is not cluster.head and "nfs" not in machine.facts["groups"]
    ]
    if cluster.head.facts["connection"] != "community.docker.docker" or len(alone) < 2:
        pytest.skip("needs a compute host that can be missed, in a container")
    away = alone[-1]
    done = site(cluster.without(away, tmp_path), tmp_path)
    assert done.returncode != 0
    assert "is ready" not in done.stdout
    assert re.search(rf"runs without {re.escape(away.name)}\b", done.stdout)
    assert f"{away.name}: not reached" in done.stdout
