# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import Change
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_overrides import Override, lost, lost_logging

# As 22.05.8 and 24.11.5 print them, shortened.
PARTITION = (
    "PartitionName=main AllowGroups=ALL AllowAccounts=ALL Default=YES MaxNodes=UNLIMITED MaxTime=01:00:00"
    " Nodes=n[1-2] OverSubscribe=NO State=UP TotalCPUs=8 TotalNodes=2 DefMemPerNode=UNLIMITED"
    " TRES=cpu=8,mem=2M,node=2,billing=8 \n"
)
NODE = (
    "NodeName=n1 Arch=x86_64 CoresPerSocket=1 CPUAlloc=0 AvailableFeatures=a,b ActiveFeatures=a,b"
    " Gres=gpu:2 NodeAddr=n1 State=IDLE ThreadsPerCore=1 Weight=1 Comment=x Reason=swap Weight=7 soon [root@2026]\n"
)
LONGER = PARTITION.replace("01:00:00", "1-00:00:00")


def test_what_only_scontrol_has_set() -> None:
    assert lost("partition", LONGER, PARTITION, []) == [
        Override("partition", "main", "MaxTime", "1-00:00:00", "01:00:00")
    ]
    assert lost("partition", PARTITION, PARTITION, []) == []
    now = NODE.replace("Weight=1 ", "Weight=5 ").replace("AvailableFeatures=a,b", "AvailableFeatures=a,b,c")
    assert lost("node", now, NODE, []) == [
        Override("node", "n1", "Weight", "5", "1"),
        Override("node", "n1", "AvailableFeatures", "a,b,c", "a,b"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        PARTITION.replace("State=UP", "State=DOWN"),
        PARTITION.replace("TotalCPUs=8", "TotalCPUs=12"),
        PARTITION.replace("TotalNodes=2", "TotalNodes=3").replace("n[1-2]", "n[1-3]").replace("node=2", "node=3"),
    ],
    ids=["state", "cpus", "nodes"],
)
def test_what_a_partition_shows_of_its_nodes_and_its_state(other: str) -> None:
    assert lost("partition", PARTITION, other, []) == []


@pytest.mark.parametrize(
    "other",
    [
        NODE.replace("State=IDLE", "State=IDLE+DRAIN"),
        NODE.replace("CPUAlloc=0", "CPUAlloc=4"),
        NODE.replace("ActiveFeatures=a,b", "ActiveFeatures=a"),
        NODE.replace("Comment=x", "Comment=y Gres=z"),
        NODE.replace("swap Weight=7", "swap Weight=8 Gres=none AvailableFeatures=z"),
    ],
    ids=["state", "use", "active features", "comment", "reason"],
)
def test_what_a_node_shows_besides(other: str) -> None:
    assert lost("node", NODE, other, []) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (Change("partition", "main", "MaxTime", "60", "90"), 0),
        (Change("partition", "main", "maxtime", "60", "90"), 0),
        (Change("partition", "other", "MaxTime", "60", "90"), 1),
        (Change("partition", "main", "DefaultTime", "60", "90"), 1),
        (Change("node", "main", "MaxTime", "60", "90"), 1),
    ],
)
def test_what_the_change_is_about_is_not_lost(change: Change, found: int) -> None:
    assert len(lost("partition", LONGER, PARTITION, [change])) == found


@pytest.mark.parametrize(
    ("kind", "change", "now", "then"),
    [
        ("node", Change("node", "n1", "Features", "", ""), "AvailableFeatures=a,b", "AvailableFeatures=c"),
        ("node", Change("node", "n1", "Feature", "", ""), "AvailableFeatures=a,b", "AvailableFeatures=c"),
        ("partition", Change("partition", "main", "Shared", "", ""), "OverSubscribe=NO", "OverSubscribe=YES"),
        # A key for the whole cluster shows in each partition.
        ("partition", Change("slurm.conf", "", "DefMemPerNode", "", "9"), "DefMemPerNode=UNLIMITED", "DefMemPerNode=9"),
    ],
)
def test_keys_that_scontrol_calls_otherwise(kind: str, change: Change, now: str, then: str) -> None:
    shown = NODE if kind == "node" else PARTITION
    assert now in shown
    assert len(lost(kind, shown, shown.replace(now, then), [])) == 1
    assert lost(kind, shown, shown.replace(now, then), [change]) == []


def test_items_that_come_and_go_and_lines_that_are_none() -> None:
    other = LONGER.replace("main", "new")
    assert lost("partition", LONGER, other, []) == []
    assert lost("partition", "No partitions in the system\n", PARTITION, []) == []
    assert lost("node", "", NODE, []) == []


# As both versions print them.
CONFIG = "DebugFlags              = (null)\nSlurmctldDebug          = info\nSlurmctldSyslogDebug    = (null)\n"
TALKATIVE = CONFIG.replace("= info", "= debug2").replace("= (null)\nSlurmctldDebug", "= Backfill,Gres\nSlurmctldDebug")


@pytest.mark.parametrize("conf", [{}, {"SlurmctldDebug": 3}, {"SlurmctldDebug": "Info", "DebugFlags": []}])
def test_how_slurmctld_logs(conf: dict[str, object]) -> None:
    assert lost_logging(CONFIG, conf.get, []) == lost_logging("", conf.get, []) == []
    assert lost_logging(TALKATIVE, conf.get, []) == [
        Override("slurm.conf", "", "SlurmctldDebug", "debug2", "info"),
        Override("slurm.conf", "", "DebugFlags", "backfill,gres", "none"),
    ]
    assert lost_logging(TALKATIVE, conf.get, [Change("slurm.conf", "", "DebugFlags", "", "Backfill")]) == [
        Override("slurm.conf", "", "SlurmctldDebug", "debug2", "info")
    ]


def test_what_slurm_conf_says_of_logging() -> None:
    conf = {"SlurmctldDebug": "6", "DebugFlags": ["gres", "Backfill"]}
    assert lost_logging(TALKATIVE, conf.get, []) == []
