# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two heads on the hosts of molecule/heads: one of them fails, is gone, comes back. The tests build on each other."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

import pytest

from ..e2e import play
from ..e2e.cluster import Cluster, Machine, wait_for
from .pair import Job, as_user, docker, hosts_with, new_job, ping

PARTITION = {"cluster_partitions": {"main": {"MaxTime": "02:00:00"}}}
"""What the administrator changes while the first head is gone."""
SHORTER = {"cluster_partitions": {"main": {"MaxTime": "01:00:00"}}}
"""And while Ansible alone does not reach it."""
SECONDS = 25
"""How much longer than SlurmctldTimeout it may take until a job has started: clients ask every ten seconds."""


def test_both_heads_have_the_same(cluster: Cluster, heads: tuple[Machine, Machine]) -> None:
    for path in ("/etc/slurm/slurm.conf", "/etc/munge/munge.key", "/var/lib/aicluster/nodes.json", "/etc/hosts"):
        wanted = "grep -v localhost /etc/hosts | grep head" if path == "/etc/hosts" else f"sha256sum {path}"
        first, second = (set(head.output(wanted).splitlines()) for head in heads)
        assert first & second if path == "/etc/hosts" else first == second
    assert [ping(head) for head in heads] == [["UP", "UP"]] * 2
    assert cluster.config()["SlurmctldHost[1]"].startswith(f"{heads[1].output('hostname')}(")
    for node in cluster.nodes:
        assert node.output("grep -o 'conf-server.*' /etc/default/aicluster-slurmd").count(":6817") == 2


def test_users_work_on_each_head(cluster: Cluster, heads: tuple[Machine, Machine]) -> None:
    for head in heads:
        job = Job(cluster, head)
        assert job.end(head) == "COMPLETED"
        assert len(new_job(cluster, head).split()) == 2


def test_heads_run_jobs_before_the_nodes_do(cluster: Cluster, heads: tuple[Machine, Machine]) -> None:
    weights = {name: node["Weight"] for name, node in cluster.slurm_nodes().items()}
    assert {weights[head.node] for head in heads} == {"0"}
    assert {weights[node.node] for node in cluster.group("nodes")} == {"1"}
    assert as_user(cluster, heads[0], "srun hostname") in [head.output("hostname") for head in heads]


@pytest.mark.parametrize("how", ["systemctl stop slurmctld", "systemctl kill --signal=KILL slurmctld"])
@pytest.mark.usefixtures("without_the_first")
def test_the_backup_takes_over(cluster: Cluster, heads: tuple[Machine, Machine], timeout: int, how: str) -> None:
    job = Job(cluster, heads[0])
    heads[0].output(how)
    began = time.monotonic()
    assert len(new_job(cluster, heads[1]).split()) == 2
    assert time.monotonic() - began < timeout + SECONDS
    assert ping(heads[1]) == ["DOWN", "UP"]
    assert job.state(heads[1]) == "RUNNING"
    assert job.end(heads[1]) == "COMPLETED"


@pytest.mark.usefixtures("without_the_first")
def test_ansible_alone_does_not_reach_the_first(
    cluster: Cluster, heads: tuple[Machine, Machine], tmp_path: Path
) -> None:
    """Its slurmctld controls the cluster, and a reconfigure would go there: the second one takes over first."""
    job = Job(cluster, heads[0])
    (tmp_path / "unreached").write_text("[head]\nhead0 ansible_docker_host=nobody\n")
    play.site(cluster.inventory, "-i", str(tmp_path / "unreached"), "-e", json.dumps(SHORTER), "--limit", "!head0")
    assert ping(heads[1]) == ["DOWN", "UP"]
    assert "MaxTime=01:00:00" in heads[1].output("scontrol show partition main")
    assert job.state(heads[1]) == "RUNNING"
    assert job.end(heads[1]) == "COMPLETED"


def test_a_head_that_lives_cannot_be_left_out(cluster: Cluster, tmp_path: Path) -> None:
    """It would go on to control the cluster, and nobody would tell it."""
    with pytest.raises(AssertionError, match="SlurmctldHost: found head0, to be a controller no more"):
        play.site(hosts_with(cluster, tmp_path, ["head1"]), "--check")


@pytest.fixture(scope="module")
def job(cluster: Cluster, heads: tuple[Machine, Machine]) -> Job:
    """Runs while the first head is gone."""
    return Job(cluster, heads[0])


def test_a_head_that_is_gone(cluster: Cluster, heads: tuple[Machine, Machine], job: Job) -> None:
    docker("kill", heads[0].facts["container"])
    more = str(Path(cluster.inventory).parent / "more")
    play.site(cluster.inventory, "-i", more, "-e", json.dumps(PARTITION), "--limit", "!head0")
    assert "node3" in heads[1].output("sinfo --noheader --Node --format='%N %T'").split()
    assert "MaxTime=02:00:00" in heads[1].output("scontrol show partition main")
    assert as_user(cluster, heads[1], "srun --nodelist=node3 hostname") == "node3"
    # What others know of the head that is gone stays.
    assert "head0" in heads[1].output("grep SlurmctldHost= /etc/slurm/slurm.conf")
    assert heads[1].output("getent hosts head0")
    assert job.state(heads[1]) == "RUNNING"


def test_it_comes_back_with_the_newer_configuration(heads: tuple[Machine, Machine], job: Job) -> None:
    docker("start", heads[0].facts["container"])
    assert wait_for(lambda: ping(heads[0])[:1], lambda said: said == ["UP"], 120) == ["UP"]
    assert "took configuration" in heads[0].output("journalctl --unit=slurmctld --boot --no-pager")
    for path in ("/etc/slurm/slurm.conf", "/var/lib/aicluster/nodes.json", "/var/lib/aicluster/generation"):
        assert heads[0].output(f"cat {path}") == heads[1].output(f"cat {path}")
    assert "node3" in heads[0].output("sinfo --noheader --Node --format=%N").split()
    assert "MaxTime=02:00:00" in heads[0].output("scontrol show partition main")
    assert job.state(heads[0]) == "RUNNING"
    assert job.end(heads[0]) == "COMPLETED"


def test_a_munge_key_that_changed_meanwhile(cluster: Cluster, heads: tuple[Machine, Machine]) -> None:
    """Nobody would understand the first head: it leaves the control where it is until a run has brought it the key."""
    job = Job(cluster, heads[0])
    docker("kill", heads[0].facts["container"])
    more = ["-i", str(Path(cluster.inventory).parent / "more"), "-e", json.dumps(PARTITION)]
    key = base64.b64encode(os.urandom(128)).decode()
    play.site(cluster.inventory, *more, "-e", json.dumps({"common_munge_key": key}), "--limit", "!head0")
    docker("start", heads[0].facts["container"])
    ended = "systemctl show --property=Result slurmctld | grep -x Result=exit-code"
    assert wait_for(lambda: heads[0].shell.run(ended).rc == 0, bool, 60)
    assert "found an older key than the other heads'" in heads[0].output(
        "journalctl --unit=slurmctld --boot --no-pager"
    )
    assert ping(heads[1])[1:] == ["UP"]
    assert set(as_user(cluster, heads[1], "srun --nodelist=node1,node2 hostname").split()) == {"node1", "node2"}
    # The key is asked for no more: that of the second head is the newest.
    play.site(cluster.inventory, *more)
    digest = "sha256sum </etc/munge/munge.key"
    assert {machine.output(digest) for machine in cluster.slurm_hosts} == {heads[1].output(digest)}
    assert heads[1].output("base64 --wrap=0 /etc/munge/munge.key") == key
    assert wait_for(lambda: ping(heads[0])[:1], lambda said: said == ["UP"], 60) == ["UP"]
    assert job.state(heads[0]) == "RUNNING"
    assert job.end(heads[0]) == "COMPLETED"
