# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The daemons have nothing to complain about."""

from __future__ import annotations

import re

from .cluster import Cluster, Machine

COMPLAINT = re.compile(r"\b(error|fatal): ")

# Complaints that say nothing about this cluster.
IGNORED = [
    # The first start of a new slurmctld: there is no state yet.
    re.compile(
        r"Could not open \w+ state file .*: No such file or directory|NOTE: Trying backup (\w+ )?state save file"
    ),
    # Slurm tries every MPI plugin that Debian ships; the library of this one comes with the MPI that a site installs.
    re.compile(
        r"mpi/pmix.*(can not load PMIx library|Plugin init\(\) callback failed)|Cannot create context for mpi/pmix"
    ),
    # A minimal host has no program to send mail with.
    re.compile(r"Configured MailProg is invalid"),
    # An srun that is gone before it is told that its job ended; 22.05 has the number of the message.
    re.compile(r"msg_type=(SRUN_JOB_COMPLETE|7004)\b"),
    # The controller asks a new cluster's nodes before their slurmd is up, and lists them five minutes later, although
    # they answered long since. A node that really does not answer is also set DOWN, which is another line.
    re.compile(r"error: Nodes \S+ not responding$"),
    # slurmctld times the machine when it starts, and one that has other work is late.
    re.compile(r"High latency for 1000 calls to gettimeofday\(\)"),
    # The tests cancel jobs, and let an ordinary user try to change a node.
    re.compile(r"Security violation, UPDATE_NODE RPC from uid=10000"),
    re.compile(r"\*\*\* (JOB|STEP) [\d.]+ ON \S+ CANCELLED AT "),
]


def complaints(machine: Machine, daemon: str) -> list[str]:
    """The lines of a daemon's log that ought not to be there."""
    log = machine.output(f"cat /var/log/slurm/{daemon}.log")
    assert log, f"{machine.name}: {daemon} logs somewhere else"
    lines = [line for line in log.splitlines() if COMPLAINT.search(line)]
    return [f"{machine.name}: {line}" for line in lines if not any(known.search(line) for known in IGNORED)]


def test_slurmctld_log(cluster: Cluster) -> None:
    assert complaints(cluster.head, "slurmctld") == []


def test_slurmd_logs(cluster: Cluster) -> None:
    assert [line for machine in cluster.nodes for line in complaints(machine, "slurmd")] == []
