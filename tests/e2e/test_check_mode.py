# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode tells what a run would change, all of it and nothing else, and changes nothing itself."""

from __future__ import annotations

import json
import re

import pytest

from . import play
from .cluster import Cluster, Machine, wait_for

pytestmark = pytest.mark.disruptive

PREVIEW = ("--check", "--diff")

# Where configuration and state live. A folder that a host does not have is no error: not every host has each role.
WATCHED = "/etc /var/lib/aicluster /var/lib/slurm /var/spool/slurm*"
DAEMONS = "munge slurmctld slurmd chrony ssh"

# What changes while nothing happens. A slurmctld writes a heartbeat for a backup every few seconds, and all of its
# state every five minutes (to .new, then renamed), with the time in it: what that state says of nodes and partitions is
# compared in its place.
# It removes the scripts of jobs some minutes after their end. A slurmd writes its copy of the configuration when it
# fetches that anew.
RESTLESS = re.compile(
    r"/slurmctld/(heartbeat|(\w+_state|\w+_usage|last_tres|priority_last_decay_ran)(\.old|\.new)?)$"
    r"|/slurmctld/hash\.\d(/|$)|/conf-cache(/|$)"
)
STATE = "sinfo --noheader --Node --format='%N %P %T %E'; scontrol show partition --oneliner"


def fingerprint(cluster: Cluster) -> dict[str, str]:
    """Kind, mode, owner, time, target and content of each watched file; since when each daemon runs."""
    found = {f"{machine.name}: {key}": value for machine in cluster.machines for key, value in _of(machine).items()}
    return found | {"Slurm's state": cluster.head.output(STATE)}


def _of(machine: Machine) -> dict[str, str]:
    # The time of a folder moves with the restless files in it; its other files tell what happened there.
    files = machine.output(f"find {WATCHED} -printf '%p\\t%y %m %U:%G %l\\n' 2>/dev/null; true").splitlines()
    times = machine.output(f"find {WATCHED} -type f -printf '%p (time)\\t%T@\\n' 2>/dev/null; true").splitlines()
    sums = machine.output(f"find {WATCHED} -type f -exec sha256sum {{}} + 2>/dev/null; true").splitlines()
    found = dict(line.split("\t", 1) for line in files + times)
    found |= {f"{path} (content)": checksum for checksum, path in (line.split(maxsplit=1) for line in sums)}
    found = {path: value for path, value in found.items() if not RESTLESS.search(path.split(" (")[0])}
    shown = machine.output(f"systemctl show {DAEMONS} -p Id -p MainPID -p ActiveEnterTimestamp").split("\n\n")
    return found | {next(line for line in unit.splitlines() if line.startswith("Id=")): unit for unit in shown}


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What two fingerprints do not have in common, a line each."""
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


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
