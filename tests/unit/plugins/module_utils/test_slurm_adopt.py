# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_adopt import extra, kept, missing, yaml_lines
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import Cluster, render
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import Configuration, diff, read

ROOT = Path(__file__).resolve().parents[4]
VERSION = "24.11.5"
LIVE = {
    "slurm.conf": """\
ClusterName=lab
SlurmctldHost=head
GresTypes=gpu
MailProg="/bin/mail -x"
prolog=/a
Prolog=/b
NodeSet=fast Nodes=n1
NodeName=n[1-3] CPUs=4
NodeName=old Reason="two \\# words" State=DOWN
DownNodes=old State=DRAIN
PartitionName=main Nodes=n[1-3] MaxTime=60 Default=YES
PartitionName=long Nodes=ALL
""",
    "gres.conf": "NodeName=n[1-3] Name=gpu File=/dev/gpu[0-1]\nName=license Count=2\n",
    "cgroup.conf": "ConstrainDevices=yes\nConstrainCores=yes\n",
    "plugstack.conf": "required a.so\nrequired b.so x\n",
}
WANTED = Cluster(
    config={"ClusterName": "lab", "SlurmctldHost": ["head"], "mailprog": "/bin/true", "GresTypes": "gpu"},
    nodes=[{"NodeName": "n1", "NodeAddr": "10.0.0.1", "CPUs": 16}],
    partitions={"main": {"Nodes": "ALL"}},
    nodesets={},
    cgroup={"ConstrainCores": False},
    plugstack=["required b.so x"],
)


def lost(live: dict[str, str], wanted: dict[str, str]) -> dict[str, Any]:
    before, after = read(live, VERSION), read(wanted, VERSION)
    return missing(before, after, diff(before, after))


def adopted(live: dict[str, str], wanted: Cluster) -> tuple[Cluster, Configuration]:
    """What is kept, and how Slurm reads it."""
    before = read(live, VERSION)
    changes = diff(before, read(render(wanted), VERSION))
    cluster = kept(wanted, json.loads(json.dumps(extra(wanted, before, changes))), changes)
    return cluster, read(render(cluster), VERSION)


# --- missing ----------------------------------------------------------------------------------------------------------


def test_missing() -> None:
    found = lost(LIVE, render(WANTED))
    assert found == {
        "cluster_config": {"prolog": ["/a", "/b"]},
        "nodes of the inventory": {
            "n2": {"NodeAddr": "n2", "CPUs": "4"},
            "n3": {"NodeAddr": "n3", "CPUs": "4"},
            "old": {"NodeAddr": "old", "State": "DRAIN", "Reason": "Set in slurm.conf"},
        },
        "cluster_partitions": {"long": {"Nodes": "ALL"}},
        "cluster_nodesets": {"fast": {"Nodes": "n1"}},
        "cluster_cgroup": {"ConstrainDevices": "YES"},
        "cluster_gres": [
            {"NodeName": "n[1-3]", "Name": "gpu", "File": "/dev/gpu[0-1]"},
            {"Name": "license", "Count": "2"},
        ],
        "cluster_plugstack": ["required a.so"],
    }
    specs = yaml.safe_load((ROOT / "roles/cluster/meta/argument_specs.yml").read_text(encoding="utf-8"))
    assert set(found) - {"nodes of the inventory"} <= set(specs["argument_specs"]["variables"]["options"])
    assert yaml.safe_load("\n".join(yaml_lines(found))) == found


def test_nothing_is_missing() -> None:
    assert lost(LIVE, LIVE) == {}
    # What has another value stands in the plan; it is not lost.
    other = LIVE["slurm.conf"].replace(" MaxTime=60", "").replace("=lab", "=other").replace("/b\n", "/c\n")
    assert lost(LIVE, {**LIVE, "slurm.conf": other}) == {}


def test_text_is_given_back_as_it_was_before_it_was_quoted() -> None:
    slurm = 'MailProg="/bin/mail \\# -x"\nMailDomain=a\\\\b\nNodeName=n1 Reason="two words"\n'
    assert lost({"slurm.conf": slurm}, {}) == {
        "cluster_config": {"MailProg": "/bin/mail # -x", "MailDomain": "a\\b"},
        "nodes of the inventory": {"n1": {"NodeAddr": "n1", "Reason": "two words"}},
    }


def test_only_what_gres_conf_says_of_the_nodes_that_go() -> None:
    gres = "NodeName=n[1-2] Name=gpu File=/dev/a\n"
    assert lost(LIVE, {**LIVE, "gres.conf": gres})["cluster_gres"] == [
        {"NodeName": "n3", "Name": "gpu", "File": "/dev/gpu[0-1]"},
        {"Name": "license", "Count": "2"},
    ]


# --- yaml_lines -------------------------------------------------------------------------------------------------------


def test_yaml_lines() -> None:
    data: dict[str, Any] = {
        "a": {"MaxTime": "4:00:00", "Default": "NO", "b": {}},
        "c": 'x: "é" # \\',
        "d": ["on", {"NodeName": "n1", "Count": "2"}],
        "e": [],
    }
    lines = yaml_lines({key: value for key, value in data.items() if key != "e"})
    assert lines[:2] == ["a:", '  MaxTime: "4:00:00"']
    assert lines[-1] == '  - {"NodeName": "n1", "Count": "2"}'
    assert yaml.safe_load("\n".join(lines)) == {key: value for key, value in data.items() if key != "e"}


@pytest.mark.parametrize("name", ["no", "On", "NULL", "007", "1.5", "1e3", "a: b", "-", "~", "é", "x#y"])
def test_names_that_yaml_would_read_as_something_else(name: str) -> None:
    assert yaml.safe_load("\n".join(yaml_lines({"p": {name: {"Nodes": "ALL"}}}))) == {"p": {name: {"Nodes": "ALL"}}}


def test_names_that_need_no_quotes_have_none() -> None:
    assert yaml_lines({"nodes of the inventory": {"node-1": {}}}) == ["nodes of the inventory:", "  node-1: {}"]


# --- kept -------------------------------------------------------------------------------------------------------------


def test_kept() -> None:
    cluster, found = adopted(LIVE, WANTED)
    assert found.nodes == ["n1", "n2", "n3", "old"]
    assert cluster.nodes[0] == WANTED.nodes[0]
    assert cluster.nodes[-1]["State"] == "DRAIN"
    assert cluster.partitions == {"long": {"Nodes": "ALL"}, "main": {"Nodes": "ALL"}}
    assert cluster.nodesets == {"fast": {"Nodes": "n1"}}
    assert found.cgroup == {"ConstrainDevices": True, "ConstrainCores": False}
    assert cluster.plugstack == ["required a.so", "required b.so x"]
    assert cluster.config["mailprog"] == "/bin/true"
    assert "MailProg" not in cluster.config
    # Only what the data has, and has otherwise, changes in the files.
    before = read(LIVE, VERSION)
    changes = diff(before, found)
    assert {(change.kind, change.name) for change in changes} == {
        ("slurm.conf", ""),
        ("cgroup.conf", ""),
        ("partition", "main"),
        ("node", "n1"),
        ("gres.conf", "every node"),
    }
    assert [(change.key, change.after) for change in changes if change.kind == "gres.conf"] == [("AutoDetect", "off")]
    assert missing(before, found, changes) == {}


def test_a_key_without_a_value_is_not_kept() -> None:
    cluster, found = adopted(LIVE, WANTED._replace(config={**WANTED.config, "PROLOG": None}))
    assert found.value("Prolog") is None
    assert "prolog" not in cluster.config


def test_the_gpus_of_a_node_are_not_kept_beside_those_of_the_data() -> None:
    gpus = [{"name": "gpu", "count": 2, "files": ["/dev/nvidia[0-1]"]}]
    live = {**LIVE, "gres.conf": "NodeName=n[1-3] Name=gpu File=/dev/gpu[0-1]\n"}
    _cluster, found = adopted(live, WANTED._replace(nodes=[{**WANTED.nodes[0], "Gres": gpus}]))
    assert [line for line in found.gres if "NodeName" in line] == [
        {"NodeName": "n[2-3]", "Name": "gpu", "File": "/dev/gpu[0-1]"},
        {"NodeName": "n1", "Name": "gpu", "File": "/dev/nvidia[0-1]"},
    ]


def test_gpus_that_slurmd_finds_are_kept() -> None:
    live = {"slurm.conf": LIVE["slurm.conf"].replace("CPUs=4", "CPUs=4 Gres=gpu:2"), "gres.conf": "AutoDetect=nvml\n"}
    _cluster, found = adopted(live, WANTED)
    assert found.gres == [{"AutoDetect": "nvml"}]
