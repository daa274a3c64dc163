# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""slurm_config comes to a controller that runs with files which a person wrote."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_conf

from ..e2e.cluster import wait_for
from .conftest import Controller

# The addresses are nobody's (RFC 5737).
FOREIGN = {
    "slurm.conf": """
# Do not touch! (2019)
ClusterName=real
slurmctldhost=ctl1
SlurmUser=slurm
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
GresTypes=gpu
MailProg=/bin/true
PriorityType = priority/multifactor  # fair
PriorityWeightAge=1000
Include nodes.conf
PartitionName=DEFAULT MaxTime=1-00:00:00
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=old Nodes=big
""",
    "nodes.conf": """
NodeName=DEFAULT CPUs=1 \\
    RealMemory=100
NodeName=n1 NodeAddr=127.0.0.1
NodeName=old[1-3] NodeAddr=192.0.2.[1-3] Gres=gpu:a100:2 Feature=big,west Weight=5
NodeSet=big Feature=big
""",
    "gres.conf": "NodeName=old[1-3] Name=gpu Type=a100 File=/dev/nvidia[0-1]\n",
    "cgroup.conf": "ConstrainCores=yes\n",
}
BIG = {"old1", "old2", "old3"}


@pytest.fixture
def foreign(machine: Controller) -> Controller:
    """A slurmctld that runs with FOREIGN, where no module ever was."""
    machine.reset()
    for name, text in FOREIGN.items():
        machine.output(f"printf %s {shlex.quote(text)} >/etc/slurm/{name}")
    machine.output("systemctl reset-failed slurmctld; systemctl start slurmctld")
    assert wait_for(lambda: machine.machine.shell.run("scontrol ping").rc, lambda rc: rc == 0) == 0
    assert set(machine.shown("nodes")) == {"n1", *BIG}
    return machine


def traces(controller: Controller) -> list[str]:
    """What a run must not change that ends before it began."""
    return [
        controller.pid(),
        controller.output("sha256sum /etc/slurm/*; find /etc/slurm /var/lib/aicluster 2>&1 || true"),
    ]


def lost(controller: Controller) -> dict[str, Any]:
    """What the module prints of FOREIGN that its data lacks."""
    before = traces(controller)
    said = controller.fails("slurm_config", **controller.options())
    assert traces(controller) == before
    found: dict[str, Any] = yaml.safe_load(said.partition("\n")[2])
    return found


def described(controller: Controller, what: str) -> dict[str, dict[str, str]]:
    """What slurmctld says of nodes or partitions, without what time changes, and lists in one order."""
    passing = {"State", "LastBusyTime", "BootTime", "SlurmdStartTime", "Reason"}
    return {
        name: {key: ",".join(sorted(value.split(","))) for key, value in shown.items() if key not in passing}
        for name, shown in controller.shown(what).items()
    }


def test_what_it_prints_makes_the_next_run_green(foreign: Controller) -> None:
    before = described(foreign, "nodes"), described(foreign, "partitions")
    found = lost(foreign)
    assert set(found) == {
        *("cluster_config", "cluster_cgroup", "cluster_partitions", "cluster_nodesets", "cluster_gres"),
        "nodes of the inventory",
    }
    # As the role head puts them together.
    options = foreign.options(**found["cluster_config"])
    options["nodes"] += [{"NodeName": name, **keys} for name, keys in found["nodes of the inventory"].items()]
    options["partitions"].update(found["cluster_partitions"])
    options.update(nodesets=found["cluster_nodesets"], gres=found["cluster_gres"], cgroup=found["cluster_cgroup"])
    result = foreign.use(options)
    assert result["validated"] == "deep"
    assert foreign.output("cat /etc/slurm/slurm.conf").startswith(slurm_conf.HEADER)
    assert (described(foreign, "nodes"), described(foreign, "partitions")) == before
    assert "/bin/true" in foreign.output("scontrol show config | grep MailProg")


def test_keep(foreign: Controller) -> None:
    before = described(foreign, "nodes"), described(foreign, "partitions")
    found = lost(foreign)
    foreign.use({**foreign.options(), "adopt": "keep"})
    assert (described(foreign, "nodes"), described(foreign, "partitions")) == before
    assert "/bin/true" in foreign.output("scontrol show config | grep MailProg")
    # Not in the files by hand, but in ours, where nobody says something else.
    found["cluster_gres"].insert(0, {"AutoDetect": "off"})
    assert lost(foreign) == found


def test_drop(foreign: Controller) -> None:
    foreign.use({**foreign.options(), "adopt": "drop"})
    assert set(foreign.shown("nodes")) == {"n1"}
    assert set(foreign.shown("partitions")) == {"main"}
    assert "/bin/true" not in foreign.output("scontrol show config | grep MailProg")
    # It stays to be looked at.
    assert "Do not touch" in foreign.output("cat /var/lib/aicluster/slurm/previous/slurm.conf")
