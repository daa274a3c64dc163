# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode tells what a run would change, all of it and nothing else, and changes nothing itself."""

from __future__ import annotations

import json

import pytest

from . import play
from .cluster import Cluster, Machine, wait_for
from .fingerprint import differences, fingerprint

pytestmark = pytest.mark.disruptive

PREVIEW = ("--check", "--diff")


def drift(node: Machine, head: Machine) -> str:
    """Damages two things by hand, and gives the variables of a run that is to change a third one."""
    node.output("chmod 0440 /etc/munge/munge.key")
    # Written in place: a container engine mounts this file, so it cannot be replaced.
    node.output(f'kept=$(grep -vw {head.node} /etc/hosts) && echo "$kept" > /etc/hosts')
    return json.dumps({"cluster_partitions": {"e2e": {"Nodes": node.node, "MaxTime": "00:10:00"}}})


def test_a_preview_names_what_the_run_then_changes(cluster: Cluster) -> None:
    node = cluster.nodes[-1]
    drifted = drift(node, cluster.head)
    before = fingerprint(cluster)
    foretold = play.changes(play.site(cluster.inventory, *PREVIEW, "-e", drifted))
    assert differences(before, fingerprint(cluster)) == []

    done = play.changes(play.site(cluster.inventory, "-e", drifted))
    assert sorted(foretold) == sorted(done)

    assert "PartitionName=e2e" in cluster.head.output("scontrol show partition e2e")
    assert node.output("stat -c %a /etc/munge/munge.key") == "400"
    assert node.output(f"grep -cw {cluster.head.node} /etc/hosts") == "1"
    # A preview and a run that both overlook something agree, too: one task each for the two damages and the partition.
    assert {host for host, _task in done} == {cluster.head.name, node.name}
    assert len(done) >= 3


def test_a_partition_goes_when_its_jobs_have_ended(cluster: Cluster) -> None:
    """The run drains their node, waits for them, and gives the node back."""
    node = cluster.nodes[-1].node
    drained = f"until scontrol show node {node} | grep -q DRAIN; do sleep 1; done; sleep 3"
    job = cluster.as_user(f"sbatch --parsable -p e2e --mem=50 -o /dev/null --wrap '{drained}'").strip()
    wait_for(lambda: cluster.head.output(f"scontrol show job {job}"), lambda text: "JobState=RUNNING" in text)
    report = play.site(cluster.inventory, "-e", "head_drain_timeout=300")
    assert any(task.endswith("Drain their nodes, and wait for them") for _host, task in play.changes(report))
    assert "JobState=COMPLETED" in cluster.head.output(f"scontrol show job {job}")
    assert cluster.head.shell.run("scontrol show partition e2e").rc == 1
    state = wait_for(lambda: cluster.slurm_nodes()[node]["State"], lambda text: text == "IDLE")
    assert state == "IDLE"


def test_an_unchanged_cluster_has_nothing_to_report(cluster: Cluster) -> None:
    before = fingerprint(cluster)
    report = play.site(cluster.inventory, *PREVIEW)
    assert play.changes(report) == set()
    assert differences(before, fingerprint(cluster)) == []
