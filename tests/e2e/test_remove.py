# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command takes a node out of the cluster, after its jobs; the next run of site.yml brings it back."""

from __future__ import annotations

import json

import pytest

from . import play
from .cluster import Cluster, wait_for

pytestmark = pytest.mark.disruptive

REMOVE = str(play.ROOT / "playbooks" / "remove.yml")


def test_out_and_in_again(cluster: Cluster) -> None:
    stays, goes = cluster.nodes[0], cluster.nodes[-1]
    assert stays is not goes
    jobs = [
        cluster.as_user(f"sbatch --parsable -w {machine.node} --mem=50 -o /dev/null --wrap 'sleep {seconds}'").strip()
        for machine, seconds in ((stays, 600), (goes, 20))
    ]
    wait_for(
        lambda: cluster.head.output("squeue --noheader --states=R --format=%A"), lambda text: len(text.split()) == 2
    )

    report = play.run(
        play.command("ansible-playbook", "-i", cluster.inventory, REMOVE, "-e", f"cluster_remove={goes.name}")
    )
    assert (goes.name, "Stop slurmd, and keep it from starting") in play.changes(report)
    assert set(cluster.slurm_nodes()) == {machine.node for machine in cluster.nodes if machine is not goes}
    assert goes.shell.run("systemctl is-enabled slurmd").stdout.strip() == "masked"
    assert goes.shell.run("systemctl is-active slurmd").rc != 0
    assert stays.shell.run(f"grep -w {goes.node} /etc/hosts").rc == 1
    assert goes.node not in json.loads(cluster.head.output("cat /var/lib/aicluster/nodes.json"))["nodes"]
    assert "JobState=RUNNING" in cluster.head.output(f"scontrol show job {jobs[0]}")
    assert "JobState=COMPLETED" in cluster.head.output(f"scontrol show job {jobs[1]}")

    play.site(cluster.inventory)
    assert cluster.slurm_nodes()[goes.node]["State"] == "IDLE"
    assert "JobState=RUNNING" in cluster.head.output(f"scontrol show job {jobs[0]}")
    cluster.as_user(f"scancel {jobs[0]}")
    wait_for(lambda: cluster.slurm_nodes()[stays.node]["State"], lambda state: state == "IDLE")


@pytest.mark.parametrize("hosts", ["nobody", ""])
def test_what_cannot_be_taken_out(cluster: Cluster, hosts: str) -> None:
    with pytest.raises(
        AssertionError, match=r"cluster_remove: found (nobody|nothing); accepted: some, but not all, of"
    ):
        play.run(play.command("ansible-playbook", "-i", cluster.inventory, REMOVE, "-e", f"cluster_remove={hosts}"))
