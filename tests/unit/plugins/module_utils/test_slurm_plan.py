# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_plan
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import Cluster, render
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import ReadError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_plan import Change, Job, Live, Plan

OLD, NEW = "22.05.8", "24.11.5"
BASE = """\
ClusterName=lab
SlurmctldHost=head
StateSaveLocation=/var/spool/slurmctld
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2
PartitionName=main Nodes=n[1-3] MaxTime=60 Default=YES
PartitionName=long Nodes=ALL
"""
GRES = "AutoDetect=off\nNodeName=n[1-3] Name=gpu Type=fake File=/dev/gpu[0-1]\n"
FILES = {"slurm.conf": BASE, "gres.conf": GRES, "cgroup.conf": "ConstrainCores=yes\n"}
NODES = ["n1", "n2", "n3"]

GPU_JOB = Job("1", "ann", "main", ("n1", "n2"), "gres/gpu:1")
CPU_JOB = Job("2", "bob", "long", ("n2",), "")
ADDED = BASE.replace("NodeName=n[1-3]", "NodeName=n[1-4]")
REMOVED = BASE.replace("NodeName=n[1-3]", "NodeName=n[1-2]").replace("Nodes=n[1-3]", "Nodes=n[1-2]")


def changes(
    slurm: str = BASE, gres: str = GRES, cgroup: str = FILES["cgroup.conf"], version: str = OLD
) -> list[Change]:
    return slurm_plan.diff(FILES, {"slurm.conf": slurm, "gres.conf": gres, "cgroup.conf": cgroup}, version)


def plan(
    found: list[Change],
    version: str = OLD,
    active: bool = True,
    applied: bool = True,
    jobs: tuple[Job, ...] = (GPU_JOB, CPU_JOB),
) -> Plan:
    return slurm_plan.make(found, Live(version, active, applied, jobs), NODES)


def ids(found: list[Change], version: str = OLD) -> list[str]:
    return [job.id for job in plan(found, version).jobs_at_risk]


# --- diff -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        "# a comment\n\n" + BASE,
        "\n".join(reversed(BASE.splitlines())) + "\n",
        BASE.replace("ClusterName", "clustername").replace("MaxTime", "MAXTIME").replace("CPUs", "cpus"),
        BASE.replace("Nodes=n[1-3]", "Nodes=n3,n1,n2"),
        BASE.replace("NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2", "NodeName=n2,n[1,3] Gres=gpu:fake:2 \\\n  CPUs=4"),
        BASE.replace("NodeName=n[1-3] CPUs=4", "NodeName=DEFAULT CPUs=4\nNodeName=n[1-3]"),
        BASE.replace("Default=YES", "Default=true"),
    ],
    ids=["comment", "order", "case", "nodes", "lines", "default", "boolean"],
)
def test_what_slurm_reads_alike_is_no_change(same: str) -> None:
    assert changes(same) == []


def test_gres_lines_with_other_folding_are_no_change() -> None:
    lines = "".join(f"NodeName=n{number} File=/dev/gpu[0-1] type=fake name=gpu\n" for number in (3, 1, 2))
    assert changes(gres="# x\nAutoDetect=off\n" + lines.replace("File", "Name=gpu File").replace(" name=gpu", "")) == []


def test_a_partition_key() -> None:
    found = changes(BASE.replace("MaxTime=60", "MaxTime=1-0"))
    assert found == [Change("partition", "main", "MaxTime", "60", "1-0")]
    assert str(found[0]) == "partition main MaxTime: 60 -> 1-0"


def test_nodes_added_removed_and_changed() -> None:
    added = changes(ADDED)
    assert added == [Change("node", "n4", "", "", "NodeAddr=n4 CPUs=4 Gres=gpu:fake:2")]
    removed = changes(REMOVED)
    assert removed == [
        Change("node", "n3", "", "NodeAddr=n3 CPUs=4 Gres=gpu:fake:2", ""),
        Change("partition", "main", "Nodes", "n[1-3]", "n[1-2]"),
    ]
    changed = changes(BASE.replace("CPUs=4", "CPUs=8"))
    assert changed == [Change("node", name, "CPUs", "4", "8") for name in NODES]
    assert [plan(found).nodes(added=True) for found in (added, removed, changed)] == [["n4"], [], []]
    assert [plan(found).nodes(removed=True) for found in (added, removed, changed)] == [[], ["n3"], []]
    assert [plan(found).nodes() for found in (added, removed, changed)] == [[], [], NODES]


def test_a_key_of_the_whole_that_comes_and_goes() -> None:
    with_it = BASE + 'MailProg="/bin/mail -x"\n'
    assert changes(with_it) == [Change("slurm.conf", "", "MailProg", "", '"/bin/mail -x"')]
    gone = slurm_plan.diff({**FILES, "slurm.conf": with_it}, FILES, OLD)
    assert gone == [Change("slurm.conf", "", "MailProg", '"/bin/mail -x"', "")]
    assert str(gone[0]).endswith("-> nothing")


def test_a_file_of_gres_counts_for_each_node() -> None:
    gres = GRES.replace("n[1-3]", "n[1-2]") + "NodeName=n3 Name=gpu Type=fake File=/dev/gpu[2-3]\n"
    assert changes(gres=gres) == [Change("gres.conf", "n3", "File", "/dev/gpu[0-1]", "/dev/gpu[2-3]")]


def test_a_cgroup_key() -> None:
    assert changes(cgroup="ConstrainCores=no\n") == [Change("cgroup.conf", "", "ConstrainCores", "YES", "NO")]


def test_files_that_are_not_there_are_empty_ones() -> None:
    assert slurm_plan.diff({}, {"slurm.conf": ""}, OLD) == []
    assert [change.key for change in slurm_plan.diff({}, {"slurm.conf": "ClusterName=lab\n"}, OLD)] == ["ClusterName"]


def test_another_file_counts_by_its_lines() -> None:
    found = slurm_plan.diff({"topology.conf": "# a\nx\n"}, {"topology.conf": "  x  \n\ny\n"}, OLD)
    assert found == [Change("topology.conf", "", "", "x", "x; y")]
    assert plan(found).action == "reconfigure"
    assert slurm_plan.diff({"topology.conf": "# a\nx\n"}, {"topology.conf": "x\n"}, OLD) == []


@pytest.mark.parametrize("text", ["Nonsense=1\n", "Include other.conf\n", "NodeName=n1\nNodeName=n1\n"])
def test_what_slurm_or_this_does_not_read(text: str) -> None:
    with pytest.raises(ReadError):
        slurm_plan.diff({"slurm.conf": text}, FILES, OLD)


# --- make -------------------------------------------------------------------------------------------------------------

NEEDS_RESTART_ON_OLD = {
    "node added": ADDED,
    "node removed": REMOVED,
    "CPUs": BASE.replace("CPUs=4", "CPUs=8"),
    "Gres": BASE.replace("gpu:fake:2", "gpu:fake:1"),
    "SelectTypeParameters": BASE.replace("CR_Core_Memory", "CR_Core"),
}


@pytest.mark.parametrize("text", NEEDS_RESTART_ON_OLD.values(), ids=NEEDS_RESTART_ON_OLD)
def test_restart_on_the_old_and_reconfigure_on_the_new(text: str) -> None:
    assert plan(changes(text), OLD).action == "restart"
    assert plan(changes(text, version=NEW), NEW).action == "reconfigure"
    assert plan(changes(text), OLD).slurmd == []


@pytest.mark.parametrize("version", [OLD, NEW])
def test_what_every_version_takes_at_reconfigure(version: str) -> None:
    found = changes(BASE.replace("MaxTime=60", "MaxTime=90"), version=version)
    assert plan(found, version)[1:] == ("reconfigure", [], [])


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_change_for_slurmd_of_every_node(version: str) -> None:
    found = changes(BASE + "SlurmdPort=7000\n", version=version)
    assert plan(found, version)[1:3] == ("restart", NODES)


@pytest.mark.parametrize(("version", "action"), [(OLD, "reconfigure"), (NEW, "reconfigure")])
def test_a_change_for_slurmd_of_one_node(version: str, action: str) -> None:
    lines = "NodeName=n[1-2] CPUs=4 Gres=gpu:fake:2\nNodeName=n3 CPUs=4 Gres=gpu:fake:2 Port=7000\n"
    found = changes(BASE.replace("NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2\n", lines), version=version)
    assert plan(found, version)[1:3] == (action, ["n3"])


def test_a_gres_line_without_nodes_is_for_all_of_them() -> None:
    before, after = ({"gres.conf": f"Name=gpu Type={kind} File=/dev/gpu0\n"} for kind in ("a", "b"))
    assert plan(slurm_plan.diff(before, after, OLD))[1:3] == ("restart", NODES)


def test_a_cgroup_key_for_slurmd() -> None:
    assert plan(changes(cgroup="ConstrainCores=yes\nCgroupPlugin=cgroup/v2\n"))[1:3] == ("reconfigure", NODES)


@pytest.mark.parametrize(
    ("version", "active", "applied", "action"),
    [
        (OLD, True, True, "none"),
        (NEW, True, True, "none"),
        (OLD, True, False, "restart"),
        (NEW, True, False, "reconfigure"),
        (OLD, False, False, "start"),
        (NEW, False, False, "start"),
    ],
)
def test_without_changes(version: str, active: bool, applied: bool, action: str) -> None:
    assert plan([], version, active, applied) == Plan([], action, [], [])


def test_an_inactive_one_starts() -> None:
    assert plan(changes(ADDED), active=False, jobs=()).action == "start"


# --- jobs at risk -----------------------------------------------------------------------------------------------------


def test_jobs_of_a_removed_node() -> None:
    n3 = Job("3", "eve", "long", ("n3",), "")
    assert plan(changes(REMOVED), jobs=(GPU_JOB, CPU_JOB, n3)).jobs_at_risk == [n3]


def test_jobs_of_a_removed_partition() -> None:
    assert ids(changes(BASE.replace("PartitionName=long Nodes=ALL\n", ""))) == ["2"]


def test_of_changed_gpus_only_jobs_with_gpus() -> None:
    assert ids(changes(BASE.replace("gpu:fake:2", "gpu:fake:1"))) == ["1"]


@pytest.mark.parametrize("key", ["StateSaveLocation", "statesavelocation"])
def test_all_jobs_when_the_state_moves(key: str) -> None:
    assert ids(changes(BASE.replace("StateSaveLocation=/var/spool/slurmctld", f"{key}=/elsewhere"))) == ["1", "2"]
    assert ids(changes(BASE.replace("ClusterName=lab", "ClusterName=other"))) == ["1", "2"]


@pytest.mark.parametrize("text", [ADDED, BASE.replace("CPUs=4", "CPUs=8"), BASE.replace("MaxTime=60", "MaxTime=1")])
def test_no_job_of_other_changes(text: str) -> None:
    assert ids(changes(text)) == []


def test_parse_jobs() -> None:
    text = "7|ann|main|n[1-2]|gres/gpu:2\n8|bob|long|n3|N/A\n9|bob|long||N/A\n10|x|y|n1|(null)\n\nodd line\n"
    found = slurm_plan.parse_jobs(text)
    assert found == [
        Job("7", "ann", "main", ("n1", "n2"), "gres/gpu:2"),
        Job("8", "bob", "long", ("n3",), ""),
        Job("10", "x", "y", ("n1",), ""),
    ]
    assert str(found[0]) == "7 of ann on n[1-2]"


def test_as_data() -> None:
    found = changes(REMOVED.replace("MaxTime=60", "MaxTime=1") + "SlurmdPort=7000\n")
    data = slurm_plan.as_data(plan(found, jobs=(Job("3", "eve", "long", ("n3",), ""),)))
    assert data["nodes"] == {"added": [], "changed": [], "removed": ["n3"]}
    assert data["action"] == "restart"
    assert data["daemons"] == [
        {"daemon": "slurmctld", "do": "restart", "hosts": []},
        {"daemon": "slurmd", "do": "restart", "hosts": NODES},
    ]
    assert data["jobs_at_risk"] == ["3 of eve on n3"]
    wanted = {"kind": "partition", "name": "main", "key": "MaxTime", "before": "60", "after": "1"}
    assert wanted in data["changes"]
    assert slurm_plan.as_data(plan([]))["daemons"] == []


# --- adoption ---------------------------------------------------------------------------------------------------------

FOREIGN = BASE + 'MailProg="/bin/mail -x"\nNodeSet=fast Nodes=n1\nNodeName=old Reason="two words" State=DOWN\n'


def test_missing() -> None:
    found = slurm_plan.diff({**FILES, "slurm.conf": FOREIGN, "cgroup.conf": "ConstrainDevices=yes\n"}, FILES, OLD)
    lost = slurm_plan.missing(found)
    assert lost == {
        "cluster_config": {"MailProg": "/bin/mail -x"},
        "nodes of the inventory": {"old": {"NodeAddr": "old", "State": "DOWN", "Reason": "two words"}},
        "cluster_nodesets": {"fast": {"Nodes": "n1"}},
        "cluster_cgroup": {"ConstrainDevices": "YES"},
    }
    assert yaml.safe_load("\n".join(slurm_plan.yaml_lines(lost))) == lost
    # What has another value stands in the plan; it is not lost.
    assert slurm_plan.missing(changes(BASE.replace("MaxTime=60", "").replace("=lab", "=other"))) == {}


def test_yaml_lines() -> None:
    data: dict[str, Any] = {"a": {"MaxTime": "4:00:00", "Default": "NO", "b": {}}, "c": 'x: "é" # \\'}
    lines = slurm_plan.yaml_lines(data)
    assert lines[:2] == ["a:", '  MaxTime: "4:00:00"']
    assert yaml.safe_load("\n".join(lines)) == data


def test_kept() -> None:
    wanted = Cluster(
        config={"ClusterName": "lab", "SlurmctldHost": ["head"], "mailprog": "/bin/true", "GresTypes": "gpu"},
        nodes=[{"NodeName": "n1", "NodeAddr": "10.0.0.1", "CPUs": 16}],
        partitions={"main": {"Nodes": "ALL"}},
        nodesets={},
        cgroup={"ConstrainCores": False},
    )
    live = {"slurm.conf": FOREIGN, "cgroup.conf": "ConstrainDevices=yes\nConstrainCores=yes\n"}
    kept = slurm_plan.kept(wanted, live, OLD)
    assert [node["NodeName"] for node in kept.nodes] == ["n1", "n2", "n3", "old"]
    assert kept.nodes[0] == wanted.nodes[0]
    assert kept.partitions == {"long": {"Nodes": "ALL"}, "main": {"Nodes": "ALL"}}
    assert kept.nodesets == {"fast": {"Nodes": "n1"}}
    assert kept.cgroup == {"ConstrainDevices": True, "ConstrainCores": False}
    assert kept.config["mailprog"] == "/bin/true"
    assert "MailProg" not in kept.config
    # Only what the data has, and has otherwise, changes in the files.
    found = slurm_plan.diff(live, render(kept), OLD)
    assert {change.name for change in found} == {"", "main", "n1"}
    assert slurm_plan.missing(found) == {}


def test_names() -> None:
    texts = {"slurm.conf": BASE.replace("=head", "=head(10.0.0.1)\nSlurmctldHost=spare")}
    assert slurm_plan.node_names(texts, OLD) == NODES
    assert slurm_plan.controllers(texts, OLD) == ["head", "spare"]
    assert slurm_plan.node_names({}, OLD) == slurm_plan.controllers({}, OLD) == []
