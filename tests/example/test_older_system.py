# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the hosts.json of inventories/example/older-system says of its hosts, as a user of the cluster meets it."""

from __future__ import annotations

import subprocess

import pytest

from ..e2e.cluster import Cluster

MASTER, *WORKERS = "c01", "c02", "c03"


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.config.getoption("ansible_inventory"))


def log_in(cluster: Cluster, command: str) -> list[str]:
    """The lines that a command of the cluster's user prints, who logs in on the master with the control host's key."""
    argv = ["ssh", "-F", cluster.head.facts["ssh_config"], "-l", cluster.user, MASTER, f"timeout 60 {command}"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_the_master_is_head_and_storage_and_alone_in_that(cluster: Cluster) -> None:
    assert [machine.name for machine in cluster.machines] == [MASTER, *WORKERS]
    for role in ("head", "nfs"):
        assert [machine.name for machine in cluster.group(role)] == [MASTER]
    controllers = [machine.name for machine in cluster.machines if machine.shell.service("slurmctld").is_running]
    assert controllers == [MASTER]


def test_a_job_without_a_wish_runs_on_the_master(cluster: Cluster) -> None:
    """head_compute: true, as the example says."""
    assert log_in(cluster, "srun hostname") == [MASTER]


def test_a_label_that_is_enabled_is_a_feature(cluster: Cluster) -> None:
    assert log_in(cluster, "srun --constraint=spark-worker --nodes=2 hostname") == WORKERS
    # The master's own spark-worker is disabled, so there is no third one.
    refused = cluster.head.shell.run(f"runuser -u {cluster.user} -- srun --constraint=spark-worker --nodes=3 hostname")
    assert refused.rc != 0
    assert "Requested node configuration is not available" in refused.stderr
    assert log_in(cluster, "srun --constraint=spark-master hostname") == [MASTER]


def test_the_partition_of_the_workers_is_beside_the_one_of_all(cluster: Cluster) -> None:
    assert log_in(cluster, "srun --partition=workers --nodes=2 hostname") == WORKERS
    assert log_in(cluster, "srun --partition=main --nodes=3 hostname") == [MASTER, *WORKERS]
