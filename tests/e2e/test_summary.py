# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run says at its end: never success after a failure, and always why."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import play
from .cluster import Cluster, wait_for

SUMMARY = "Say how to use the cluster"

# Whole runs: one scenario of Molecule each has time for them.
PLAYED = os.environ.get("MOLECULE_SCENARIO_NAME")
two_hosts = pytest.mark.skipif(PLAYED not in (None, "two-hosts"), reason="the scenario two-hosts plays it")
one_host = pytest.mark.skipif(PLAYED not in (None, "standalone"), reason="the scenario standalone plays it")

PASSWORD = "a-word-for-nobody"


def site(inventory: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Play site.yml in a folder, as a person does."""
    settings = {"ANSIBLE_CONFIG": str(play.ROOT / "ansible.cfg"), **os.environ}
    return subprocess.run(
        play.command("ansible-playbook", *play.sources(inventory), *arguments, play.SITE),
        cwd=folder,
        env={**settings, "ANSIBLE_LOG_PATH": "/dev/null"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@two_hosts
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


@pytest.fixture
def job(cluster: Cluster) -> Iterator[str]:
    """One that runs all the while."""
    job = cluster.as_user("sbatch --parsable --mem=50 -o /dev/null --wrap 'sleep 600'").strip()
    shown = wait_for(lambda: cluster.head.output(f"scontrol show job {job}"), lambda text: "JobState=RUNNING" in text)
    assert "JobState=RUNNING" in shown
    yield job
    cluster.as_user(f"scancel {job}")


@one_host
@pytest.mark.disruptive
def test_a_failed_task_is_named_and_leaves_its_logs(cluster: Cluster, tmp_path: Path, job: str) -> None:
    # It would end the job, so it is refused when all is planned and nothing has changed.
    before = cluster.config()["ProctrackType"]
    config = {"ProctrackType": "proctrack/pgid", "JobCompPass": PASSWORD}
    done = site(cluster.inventory, tmp_path, "-e", json.dumps({"cluster_config": config}))
    assert done.returncode != 0
    assert "is ready" not in done.stdout
    head = cluster.head
    assert re.search(
        rf"{head.name} failed at \S*.*Configure Slurm: .*would end running jobs: found 1 \({job} ", done.stdout
    )
    (folder,) = tmp_path.glob("failed-*")
    assert f"logs are in {folder}" in done.stdout
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        f"{head.name}.log": 0o600,
        f"{head.name}.failed.json": 0o600,
    }

    log = (folder / f"{head.name}.log").read_text()
    sections = dict(part.split("\n", 1) for part in re.split("^== ", log, flags=re.MULTILINE)[1:])
    for unit in ("slurmctld", "slurmd", "munge"):
        # What systemd says of the unit, with the time before it.
        assert re.search(rf"^\w+ \d+ [\d:]+ .*{unit}", sections[f"journal of {unit}"], re.MULTILINE), unit
    for daemon in ("slurmctld", "slurmd"):
        assert re.search(r"^\[\d", sections[f"/var/log/slurm/{daemon}.log"], re.MULTILINE), daemon
    assert {
        line.split()[0] for line in sections["scontrol show node"].splitlines() if line.startswith("NodeName=")
    } == {f"NodeName={machine.node}" for machine in cluster.nodes}

    told = json.loads((folder / f"{head.name}.failed.json").read_text())
    assert "would end running jobs" in told["failed"]
    changes = {change["key"]: (change["before"], change["after"]) for change in told["plan"]["changes"]}
    assert changes["ProctrackType"] == (before, "proctrack/pgid")
    assert changes["JobCompPass"] == ("", "[not shown]")
    assert any(line.startswith(f"{job} of {cluster.user} on ") for line in told["plan"]["jobs_at_risk"])
    key = head.output("base64 -w0 /etc/munge/munge.key")
    for path in folder.iterdir():
        assert not any(secret in path.read_text() for secret in (key, PASSWORD)), path.name
    # And the cluster runs as before.
    assert cluster.config()["ProctrackType"] == before


@two_hosts
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
