# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command takes a node out of the cluster, after its jobs; the next run of site.yml brings it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import play
from .cluster import Cluster, Machine, wait_for

pytestmark = pytest.mark.thorough

REMOVE = str(play.ROOT / "playbooks" / "remove.yml")


@pytest.fixture
def jobs(cluster: Cluster) -> Iterator[list[str]]:
    """A long job on the first node and a short one on the last; afterwards all nodes are back."""
    jobs = [
        cluster.as_user(f"sbatch --parsable -w {machine.node} --mem=50 -o /dev/null --wrap 'sleep {seconds}'").strip()
        for machine, seconds in ((cluster.nodes[0], 900), (cluster.nodes[-1], 20))
    ]
    wait_for(lambda: cluster.head.output("squeue -h --states=R --format=%A"), lambda text: len(text.split()) == 2)
    yield jobs
    play.site(cluster.inventory)
    assert "JobState=RUNNING" in cluster.head.output(f"scontrol show job {jobs[0]}")
    cluster.as_user(f"scancel {jobs[0]}")
    states = wait_for(
        lambda: {name: node["State"] for name, node in cluster.slurm_nodes().items()},
        lambda states: set(states.values()) == {"IDLE"},
    )
    assert states == {machine.node: "IDLE" for machine in cluster.nodes}


def test_one_command_takes_a_node_out(cluster: Cluster, jobs: list[str]) -> None:
    stays, goes = cluster.nodes[0], cluster.nodes[-1]
    argv = play.command(
        "ansible-playbook", *play.sources(cluster.inventory), REMOVE, "-e", f"cluster_remove={goes.name}"
    )
    changes = play.changes(play.run(argv))
    assert goes.name in {host for host, task in changes if task.endswith("Stop slurmd, and keep it from starting")}
    assert set(cluster.slurm_nodes()) == {machine.node for machine in cluster.nodes if machine is not goes}
    assert goes.shell.run("systemctl is-enabled slurmd").stdout.strip() == "masked"
    assert goes.shell.run("systemctl is-active slurmd").rc != 0
    assert stays.shell.run(f"grep -w {goes.node} /etc/hosts /etc/ssh/ssh_known_hosts").rc == 1
    for server in cluster.group("nfs"):
        admitted = server.output(f"cat /etc/ssh/authorized_keys.d/{cluster.user}")
        assert (f"key_{stays.name}" in admitted, f"key_{goes.name}" in admitted) == (True, False)
    assert goes.node not in json.loads(cluster.head.output("cat /var/lib/aicluster/nodes.json"))["nodes"]
    assert "JobState=RUNNING" in cluster.head.output(f"scontrol show job {jobs[0]}")
    assert "JobState=COMPLETED" in cluster.head.output(f"scontrol show job {jobs[1]}")


@pytest.fixture
def away(cluster: Cluster) -> Iterator[Machine]:
    """The first node, which is off; afterwards it is back, and the cluster is whole."""
    machine = cluster.nodes[0]
    if machine.facts["connection"] != "community.docker.docker":
        pytest.skip("needs a compute host that can be missed, in a container")
    yield machine
    machine.output("systemctl start slurmd")
    play.site(cluster.inventory)
    idle = {machine.node: "IDLE" for machine in cluster.nodes}
    states = wait_for(
        lambda: {name: node["State"] for name, node in cluster.slurm_nodes().items()}, lambda states: states == idle
    )
    assert states == idle


def test_a_node_joins_while_another_one_is_off(cluster: Cluster, away: Machine, tmp_path: Path) -> None:
    joins = cluster.nodes[-1]
    play.run(
        play.command("ansible-playbook", *play.sources(cluster.inventory), REMOVE, "-e", f"cluster_remove={joins.name}")
    )
    # The head, which is not in the run, gives it the cluster's.
    joins.output("head --bytes=128 /dev/urandom >/etc/munge/munge.key && systemctl restart munge")
    away.output("systemctl stop slurmd")
    cluster.head.output(f"scontrol update NodeName={away.node} State=DOWN Reason=off")
    play.site(cluster.without(away, tmp_path), "--limit", joins.name)
    states = wait_for(
        lambda: {name: node["State"] for name, node in cluster.slurm_nodes().items()},
        lambda states: states.get(joins.node) == "IDLE",
    )
    assert states[joins.node] == "IDLE"
    assert set(states) == {machine.node for machine in cluster.nodes}
    assert states[away.node].startswith("DOWN")
    assert cluster.as_user(f"srun -w {joins.node} --mem=50 -t1 hostname").strip()


@pytest.mark.parametrize("hosts", ["nobody", ""])
def test_what_cannot_be_taken_out(cluster: Cluster, hosts: str) -> None:
    with pytest.raises(
        AssertionError, match=r"cluster_remove: found (nobody|nothing); accepted: some, but not all, of"
    ):
        play.run(
            play.command("ansible-playbook", *play.sources(cluster.inventory), REMOVE, "-e", f"cluster_remove={hosts}")
        )
