# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration that runs is the one that was written, and no compute host keeps a copy of its own."""

from __future__ import annotations

from .cluster import Cluster


def test_the_files_are_the_running_configuration(cluster: Cluster) -> None:
    # "Different" here means that slurm.conf was written and never applied.
    assert cluster.config()["HASH_VAL"] == "Match"


def test_keys_that_every_cluster_gets(cluster: Cluster) -> None:
    config = cluster.config()
    assert config["ReconfigFlags"] == "KeepPartState"
    assert int(config["DefMemPerCPU"]) > 0
    low, high = config["SrunPortRange"].split("-")
    assert 1024 < int(low) < int(high)
    assert "enable_configless" in config["SlurmctldParameters"]


def test_nodes_fetch_their_configuration(cluster: Cluster) -> None:
    for machine in cluster.nodes:
        command = machine.output("ps -o args= -C slurmd").split()
        assert "--conf-server" in command or any(word.startswith("--conf-server=") for word in command), machine.name
        assert command[command.index("-N") + 1] == machine.node
        if machine is not cluster.head:
            assert not machine.shell.file("/etc/slurm/slurm.conf").exists, machine.name


def test_a_partition_holds_all_nodes(cluster: Cluster) -> None:
    listed = cluster.as_user("sinfo -h -N -o '%N %P'").splitlines()
    default = {line.split()[0] for line in listed if line.endswith("*")}
    assert default == {machine.node for machine in cluster.nodes}
