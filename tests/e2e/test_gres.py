# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPUs are handed out one by one, to the jobs that ask for them."""

from __future__ import annotations

import shlex

from .cluster import Cluster, Machine

SEEN = "echo step=$SLURM_STEP_GPUS cuda=$CUDA_VISIBLE_DEVICES"


def gpus(machine: Machine) -> int:
    """How many GPUs the inventory declares for a machine."""
    return sum(int(device["count"]) for device in machine.facts["gpus"])


def test_nodes_offer_what_the_inventory_declares(cluster: Cluster) -> None:
    shown = {name: node["Gres"] for name, node in cluster.slurm_nodes().items()}
    declared = {
        machine.node: ",".join(f"{gpu['name']}:{gpu['type']}:{gpu['count']}" for gpu in machine.facts["gpus"])
        or "(null)"
        for machine in cluster.nodes
    }
    assert shown == declared


def test_a_job_that_asks_for_one_gpu_gets_one(cluster: Cluster) -> None:
    for machine in filter(gpus, cluster.nodes):
        seen = cluster.as_user(f"srun -w {machine.node} -t1 --gres=gpu:1 sh -c {shlex.quote(SEEN)}")
        assert seen == "step=0 cuda=0", machine.name


def test_two_jobs_at_once_get_different_gpus(cluster: Cluster) -> None:
    for machine in filter(lambda node: gpus(node) > 1, cluster.nodes):
        # Each job waits until it sees the other one's mark, so that both really hold a GPU at the same time.
        marks = machine.output("mktemp -d")
        machine.output(f"chmod 1777 {marks}")
        both = f"[ $(ls {marks} | wc -l) = 2 ]"
        job = f"touch {marks}/$SLURM_JOB_ID; until {both}; do sleep 0.2; done; echo $SLURM_STEP_GPUS"
        srun = f"srun -w {machine.node} -n1 -t1 --mem=100 --gres=gpu:1 sh -c {shlex.quote(job)}"
        try:
            assert sorted(cluster.as_user(f"{srun} & {srun} & wait").split()) == ["0", "1"], machine.name
        finally:
            machine.output(f"rm -r {marks}")


def test_a_job_that_asks_for_too_many_gpus_is_refused(cluster: Cluster) -> None:
    refused = cluster.head.shell.run(f"cd / && timeout 20 runuser -u {cluster.user} -- srun -t1 --gres=gpu:99 true")
    assert refused.rc == 1
    expected = (
        "Requested node configuration is not available" if any(map(gpus, cluster.nodes)) else "Invalid generic resource"
    )
    assert expected in refused.stderr


def test_a_job_that_asks_for_none_gets_none(cluster: Cluster) -> None:
    for machine in cluster.nodes:
        assert cluster.as_user(f"srun -w {machine.node} -t1 sh -c {shlex.quote(SEEN)}") == "step= cuda=", machine.name
