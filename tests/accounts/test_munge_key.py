# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another munge key for the whole cluster, in one run."""

from __future__ import annotations

import base64
import hashlib
import os

from .conftest import PLAYBOOK, Lab

DIGEST = "sha256sum </etc/munge/munge.key"


def test_a_changed_key_reaches_all_hosts_in_one_run(lab: Lab) -> None:
    key = os.urandom(128)
    given = {"common_munge_key": base64.b64encode(key).decode()}
    job = lab.cluster.head.output("cd / && sbatch --parsable --output=/dev/null --wrap 'sleep 60'").strip()
    run = lab.play(given, "-vvv", "--diff", playbook=PLAYBOOK)
    assert run.rc == 0, run.printed
    assert given["common_munge_key"] not in run.said
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
        again = lab.play(variables, playbook=PLAYBOOK)
        assert (again.rc, again.changed) == (0, 0), again.printed
