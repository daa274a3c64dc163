# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run that changes nothing leaves as it was: files, daemons, and what Slurm says of nodes and partitions."""

from __future__ import annotations

import re

from .cluster import Cluster, Machine

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
