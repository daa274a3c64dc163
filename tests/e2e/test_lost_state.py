# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller whose state is gone: Slurm would end what runs, so no slurmctld starts before the state is back."""

from __future__ import annotations

import pytest

from . import play
from .cluster import Cluster, wait_for

pytestmark = pytest.mark.thorough


def test_the_job_runs_until_the_state_is_back(cluster: Cluster, job: str) -> None:
    head, state = cluster.head, cluster.config()["StateSaveLocation"]
    head.output(f"systemctl stop slurmctld && mv {state} {state}.aside && install -d -o slurm -g slurm {state}")
    try:
        with pytest.raises(AssertionError) as failed:
            play.site(cluster.inventory)
        assert f"running jobs: found 1 ({job} on {cluster.nodes[0].node}) that slurmctld does not know" in str(
            failed.value
        )
        assert head.shell.run("systemctl is-active slurmctld").rc != 0
    finally:
        head.output(
            f"systemctl stop slurmctld && rm -r {state} && mv {state}.aside {state} && systemctl start slurmctld"
        )
    shown = wait_for(lambda: head.shell.run("scontrol show job %s", job).stdout, bool)
    assert "JobState=RUNNING" in shown
    assert "Restarts=0" in shown
    idle = wait_for(cluster.slurm_nodes, lambda nodes: not any("*" in each["State"] for each in nodes.values()))
    assert not [name for name, each in idle.items() if "*" in each["State"]]
