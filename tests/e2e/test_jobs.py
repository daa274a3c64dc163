# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs share nodes as their requests allow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import Cluster, wait_for


@pytest.fixture
def two_small_jobs(cluster: Cluster) -> Iterator[list[str]]:
    """Two sleeping jobs of one CPU each, bound to the same node."""
    submit = f"sbatch --parsable -w {cluster.nodes[0].node} -n1 --mem=100 -t1 -D / -o /dev/null --wrap 'sleep 60'"
    jobs = [cluster.as_user(submit) for _number in range(2)]
    yield jobs
    cluster.as_user(f"scancel {' '.join(jobs)}")
    wait_for(lambda: cluster.head.output("squeue -h"), lambda queue: not queue)


def test_two_jobs_of_one_cpu_share_a_node(cluster: Cluster, two_small_jobs: list[str]) -> None:
    asked = f"squeue -h -o '%T %N' -j {','.join(two_small_jobs)}"
    together = [f"RUNNING {cluster.nodes[0].node}"] * 2
    assert wait_for(lambda: cluster.head.output(asked).splitlines(), lambda found: found == together) == together


def test_a_job_without_a_wish_gets_a_share_of_the_memory(cluster: Cluster) -> None:
    """DefMemPerCPU: without it the first job takes the whole memory of its node, and no second one fits beside it."""
    asked = "scontrol show job -o $SLURM_JOB_ID"
    given = cluster.as_user(f"srun -n1 -t1 sh -c '{asked}'")
    whole = int(cluster.slurm_nodes()[cluster.nodes[0].node]["RealMemory"])
    share = int(cluster.config()["DefMemPerCPU"])
    assert 0 < share < whole
    assert f"MinMemoryCPU={share}M" in given


def test_files_of_a_job_land_on_the_share(cluster: Cluster) -> None:
    """Every machine sees the same file system: what one writes, all read."""
    path = f"{cluster.head.facts['shared_path']}/e2e"
    cluster.head.output(f"install -d -m 1777 {path}")
    try:
        cluster.as_user(f"srun -N{len(cluster.nodes)} sh -c 'echo $SLURMD_NODENAME > {path}/$SLURMD_NODENAME'")
        for machine in cluster.machines:
            assert machine.output(f"ls {path}").split() == sorted(node.node for node in cluster.nodes), machine.name
    finally:
        cluster.head.output(f"rm -r {path}")
