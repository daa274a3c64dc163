# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another munge key for the whole cluster, in one run that tells no secret."""

from __future__ import annotations

import base64
import hashlib
import os

from ..e2e import play
from .conftest import Lab

DIGEST = "sha256sum </etc/munge/munge.key"


def secrets(lab: Lab) -> dict[str, str]:
    """What nobody but its owner may read, as far as it is text: private keys, a line of each, and hashed passwords."""
    found = {}
    for machine in lab.cluster.machines:
        paths = machine.output(
            "ls /etc/ssh/ssh_host_*_key /etc/ssh/*/id_* /root/.ssh/id_* /home/*/.ssh/id_* 2>/dev/null || true"
        )
        for path in (path for path in paths.split() if not path.endswith(".pub")):
            found[f"{machine.name}: {path}"] = machine.output(f"sed -n 2p {path}")
        hashes = machine.output("cut -d: -f1,2 /etc/shadow").splitlines()
        found.update((f"{machine.name}: {line}", line.partition(":")[2]) for line in hashes if "$" in line)
    return found


def test_a_changed_key_reaches_all_hosts_in_one_run(lab: Lab) -> None:
    key = os.urandom(128)
    now = base64.b64encode(key).decode()
    given = {"common_munge_key": now}
    job = lab.cluster.head.output("cd / && sbatch --parsable --output=/dev/null --wrap 'sleep 60'").strip()
    before = lab.cluster.head.output("base64 --wrap=0 /etc/munge/munge.key")
    with lab.sampled():
        run = lab.play(given, "-vvv", "--diff", playbook=play.SITE)
    assert run.rc == 0, run.printed
    for secret in (before, now):
        assert lab.told(secret, run) == []
    assert not {name for name, secret in secrets(lab).items() if secret in run.said}
    hosts = lab.cluster.slurm_hosts
    assert {host.name: host.output(DIGEST).split()[0] for host in hosts} == dict.fromkeys(
        (host.name for host in hosts), hashlib.sha256(key).hexdigest()
    )
    # In use, on both ends, and by Slurm; no job was lost.
    for node in lab.cluster.nodes:
        credential = node.output("munge -n")
        assert "Success (0)" in lab.cluster.head.shell.run("echo %s | unmunge", credential).stdout
    nodes = len(lab.cluster.nodes)
    assert len(lab.cluster.head.output(f"cd / && srun --overlap -N{nodes} -t1 hostname").split()) == nodes
    shown = lab.cluster.head.output(f"scontrol show job -o {job}")
    assert "JobState=RUNNING" in shown
    assert "Restarts=0" in shown
    lab.cluster.head.output(f"scancel {job}")
    # Whoever is asked later finds nothing to do, also without it: the head has it, and the others have the head's.
    for variables in (given, {}):
        again = lab.play(variables, playbook=play.SITE)
        assert (again.rc, again.changed) == (0, 0), again.printed
