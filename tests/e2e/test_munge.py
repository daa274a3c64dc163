# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One munge key everywhere, and credentials that hold both ways."""

from __future__ import annotations

from .cluster import Cluster


def test_key_is_the_same_everywhere_and_secret(cluster: Cluster) -> None:
    modes = {machine.name: machine.output("stat -c '%a %U %G' /etc/munge/munge.key") for machine in cluster.slurm_hosts}
    assert modes == dict.fromkeys(modes, "400 munge munge")

    keys = {machine.output("sha256sum < /etc/munge/munge.key") for machine in cluster.slurm_hosts}
    assert len(keys) == 1


def test_credentials_hold_both_ways(cluster: Cluster) -> None:
    for node in cluster.nodes:
        for sender, receiver in ((cluster.head, node), (node, cluster.head)):
            credential = sender.output("munge -n")
            decoded = receiver.shell.run("echo %s | unmunge", credential)
            assert "Success (0)" in decoded.stdout, f"{sender.name} -> {receiver.name}: {decoded}"
