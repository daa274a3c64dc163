# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Daemons run, come back after a restart of their machine, and nothing else failed beside them."""

from __future__ import annotations

from .cluster import Cluster


def test_daemons_run_and_are_enabled(cluster: Cluster) -> None:
    daemons = {(machine.name, "munge"): machine for machine in cluster.slurm_hosts}
    daemons |= {(machine.name, "slurmd"): machine for machine in cluster.nodes}
    daemons |= {(cluster.head.name, "slurmctld"): cluster.head}
    expected = dict.fromkeys(daemons, "enabled active")
    found = {
        (name, unit): machine.shell.run(
            f"echo $(systemctl is-enabled {unit}; systemctl is-active {unit})"
        ).stdout.strip()
        for (name, unit), machine in daemons.items()
    }
    assert found == expected


def test_no_unit_failed(cluster: Cluster) -> None:
    failed = {machine.name: machine.output("systemctl --failed --plain --no-legend") for machine in cluster.machines}
    assert failed == dict.fromkeys(failed, "")


def test_the_cluster_account_is_the_same_everywhere(cluster: Cluster) -> None:
    accounts = {machine.name: machine.output(f"id {cluster.user}") for machine in cluster.machines}
    assert len(set(accounts.values())) == 1, accounts
