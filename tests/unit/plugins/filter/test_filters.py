# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import inventory_findings
from jinja2 import Environment

PACKAGE = "ansible_collections.aicluster.slurm.plugins.filter"
FOLDER = Path(__file__).parents[4] / "plugins" / "filter"

NETWORK = "10.0.0.0/24"
DEBIAN = {"distribution": "Debian", "distribution_version": "12.9", "distribution_major_version": "12"}
HARDWARE = {"cpus": 2, "boards": 1, "sockets": 1, "cores": 2, "threads": 1, "memory_mb": 10000}
GPUS = [{"name": "gpu", "files": ["/dev/nvidia0"]}]
GROUPS = {"head": ["head0"], "nodes": ["node1.local", "node2", "node3"], "gpu": ["node1.local"], "all": ["other"]}


def reached(address: str, **variables: Any) -> dict[str, Any]:
    return {
        "ansible_facts": {
            **DEBIAN,
            "hostname": "debian",
            "all_ipv4_addresses": ["192.168.1.1", address],
            "default_ipv4": {"address": "192.168.1.1"},
        },
        **variables,
    }


HOSTVARS: dict[str, dict[str, Any]] = {
    "head0": reached("10.0.0.1"),
    "node1.local": reached(
        "10.0.0.11",
        gpu_devices=GPUS,
        nodes_memory_reserve_mb=2000,
        __nodes_detected={**HARDWARE, "cgroup_v2": True},
    ),
    # Off in this run, known from an earlier one; and one that nobody ever saw.
    "node2": {},
    "node3": {"ansible_host": "10.0.0.13"},
    "other": {},
}
STORE = {
    "node2": {**HARDWARE, "cpus": 8, "cgroup_v2": True, "address": "10.0.0.12", "hostname": "two", "when": "monday"},
    "gone": {**HARDWARE, "when": "monday"},
}


def use(name: str, *arguments: Any, **options: Any) -> Any:
    """Call a filter as Ansible does: by its name, out of the FilterModule of its file."""
    filters = importlib.import_module(f"{PACKAGE}.{name}").FilterModule().filters()
    assert list(filters) == [name]
    return filters[name](*arguments, **options)


def test_every_filter_is_tested() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert {path.stem for path in FOLDER.glob("*.py")} <= set(re.findall(r"^def test_(\w+)\(", tests, re.MULTILINE))


def test_cluster_hosts() -> None:
    hosts = use("cluster_hosts", ["head0", "node1.local", "node2", "node3"], HOSTVARS, NETWORK, STORE)
    assert {name: (host["node"], host["address"], host["hostname"]) for name, host in hosts.items()} == {
        "head0": ("head0", "10.0.0.1", "debian"),
        "node1.local": ("node1", "10.0.0.11", "debian"),
        "node2": ("node2", "10.0.0.12", "two"),
        "node3": ("node3", "10.0.0.13", ""),
    }
    assert use("cluster_hosts", ["head0"], HOSTVARS)["head0"]["address"] == "192.168.1.1"
    assert use("cluster_hosts", ["head0"], HOSTVARS, None, None)["head0"]["name"] == "head0"
    with pytest.raises(AnsibleFilterError, match="cluster_network: found 'lan'"):
        use("cluster_hosts", ["head0"], HOSTVARS, "lan")


def test_head_answers() -> None:
    told = {"item": "head0", "survey": {"head": {"running": True, "generation": 4, "store": {"nodes": {}}}}}
    found = use("head_answers", ["head0"], HOSTVARS, [], [told])
    assert (found["heads"], found["head"], found["key"], found["up"]) == (["head0"], "head0", "head0", ["head0"])
    assert (found["store"], found["findings"]) == ({"nodes": {}}, [])


def test_doubtful_ways() -> None:
    class Variables(dict[str, Any]):
        def raw_get(self, name: str) -> Any:
            return self[name]

    variables = Variables(head0={"ansible_host": "{{ inventory_hostname }}.lan"}, head1={"ansible_host": "10.0.0.1"})
    assert use("doubtful_ways", ["head0", "head1"], variables) == ["head0"]


def test_etc_hosts() -> None:
    hosts = use("cluster_hosts", ["head0", "node1.local", "node2", "other"], HOSTVARS, NETWORK, STORE)
    assert use("etc_hosts", hosts) == ["10.0.0.1 head0 debian", "10.0.0.11 node1 node1.local", "10.0.0.12 node2 two"]


def test_outside_network() -> None:
    addresses = ["192.0.2.7", "", "10.0.0.1"]
    assert use("outside_network", addresses, "10.0.0.0/24") == ["192.0.2.7"]
    assert use("outside_network", addresses) == ["192.0.2.7", "10.0.0.1"]


def test_sshd_findings() -> None:
    line = {
        "file": "/etc/ssh/sshd_config.d/00-site.conf",
        "keyword": "PasswordAuthentication",
        "value": "yes",
        "match": "",
    }
    assert use("sshd_findings", [line], ["ada"], True) == []
    assert len(use("sshd_findings", [line], ["ada"], False)) == 1


def test_mount_waits() -> None:
    files = use(
        "mount_waits", [{"path": "/data", "fstype": "nfs", "options": ["nofail"]}, {"path": "/local", "fstype": "xfs"}]
    )
    assert [Path(file["path"]).name for file in files] == ["wait.conf", "aicluster-mount-data.service"]


def test_expand_hostlist() -> None:
    assert use("expand_hostlist", "node[09-11],login") == ["node09", "node10", "node11", "login"]
    with pytest.raises(AnsibleFilterError, match=r"host list 'node\[1-': found '\['"):
        use("expand_hostlist", "node[1-")


def test_wrong_variables() -> None:
    described = {
        "cluster_uid": {"type": "int", "description": "A number."},
        "head_adopt": {"type": "str", "choices": ["fail", "keep"]},
        "nodes_hardware": {"type": "dict", "options": {"cpus": {"type": "int"}}},
    }

    def wrong(**variables: Any) -> Any:
        return use("wrong_variables", Environment().from_string("").new_context(variables), described)

    assert wrong() == wrong(cluster_uid="10", head_adopt="keep", other=1, nodes_hardware={"cpus": 2}) == []
    found = wrong(cluster_uid="ten", head_adopt="drop", nodes_hardware={"cores": 2})
    assert [next(name for name in described if name in text or "cores" in text) for text in found]
    assert len(found) == 3
    listed = {"common_users": {"type": "list", "default": []}, "nodes_hardware": {"type": "dict"}}
    nothing = Environment().from_string("").new_context({"common_users": None, "nodes_hardware": None})
    assert use("wrong_variables", nothing, listed) == [
        "common_users: found nothing; accepted: a list, or no such line for the default"
    ]
    with pytest.raises(AnsibleFilterError, match="found list; accepted: descriptions by name"):
        use("wrong_variables", Environment().from_string("").new_context({}), [])


def test_slurmd_hardware() -> None:
    assert use("slurmd_hardware", "NodeName=n CPUs=2 RealMemory=100") == {"cpus": 2, "memory_mb": 100}
    facts = {"memtotal_mb": 512, "processor_vcpus": 4}
    assert use("slurmd_hardware", "", facts)["cpus"] == 4
    assert use("slurmd_hardware", "NodeName=n CPUs=2", facts) == {"cpus": 2}
    assert use("slurmd_hardware", "") == {}


def test_node_records() -> None:
    records = use("node_records", GROUPS["nodes"], HOSTVARS, NETWORK, STORE, now="tuesday")
    assert [node["NodeName"] for node in records["nodes"]] == ["node1", "node2"]
    node1, node2 = records["nodes"]
    assert (node1["NodeAddr"], node1["RealMemory"], node1["Gres"]) == ("10.0.0.11", 8000, GPUS)
    assert (node2["NodeAddr"], node2["RealMemory"], node2["CPUs"]) == ("10.0.0.12", 9500, 8)
    assert records["store"] == {
        "node1": {**HARDWARE, "cgroup_v2": True, "address": "10.0.0.11", "hostname": "debian", "when": "tuesday"},
        "node2": STORE["node2"],
    }
    assert records["waiting"] == ["node3"]
    # So much that the jobs on the CPUs of the poorest node fit into it: 9500 MiB for 8.
    assert records["def_mem_per_cpu"] == 1187
    assert records["cgroup_v2"] is True
    assert use("node_records", GROUPS["nodes"], HOSTVARS, NETWORK, records["store"], now="wednesday") == records


def test_node_records_hold_the_gpus_that_were_found() -> None:
    gpus = {"gres": [{"type": "a100", "files": ["/dev/nvidia0"]}], "devices": [{"bus_id": "0000:17:00.0"}]}
    found = reached("10.0.0.12", __nodes_detected=HARDWARE, __gpu_detected=gpus)
    records = use("node_records", ["node2"], {"node2": found}, NETWORK, STORE, now="tuesday")
    assert records["store"]["node2"].items() >= gpus.items()
    assert records["nodes"][0]["Gres"] == gpus["gres"]


def test_node_records_of_an_empty_cluster() -> None:
    nothing = {"nodes": [], "store": {}, "cgroup_v2": False, "def_mem_per_cpu": 0, "waiting": []}
    assert use("node_records", [], HOSTVARS, now="tuesday") == nothing
    assert use("node_records", ["node3"], HOSTVARS, now="tuesday") == {**nothing, "waiting": ["node3"]}


def test_one_node_without_cgroup_v2_decides_for_all() -> None:
    store = {"node2": {**STORE["node2"], "cgroup_v2": False}}
    assert use("node_records", GROUPS["nodes"], HOSTVARS, NETWORK, store, now="tuesday")["cgroup_v2"] is False


def test_preflight_findings() -> None:
    assert inventory_findings(GROUPS, HOSTVARS, GROUPS["nodes"], NETWORK, STORE) == []


def test_preflight_findings_of_every_kind_at_once() -> None:
    groups = {**GROUPS, "nfs": ["a", "b"], "gpu": ["head0"]}
    hostvars = {
        **HOSTVARS,
        "a": reached("10.0.0.11"),
        "b": {**reached("172.16.0.1"), "nodes_name": "node2"},
        "node3": {"ansible_facts": {**reached("10.0.0.13")["ansible_facts"], "distribution_major_version": "11"}},
    }
    found = inventory_findings(groups, hostvars, GROUPS["nodes"], NETWORK, STORE)
    assert [": ".join(finding.split(": ")[:2]) for finding in found] == [
        "inventory: group nfs",
        "head0: group gpu",
        "b, node2: nodes_name",
        "b: nodes_address",
        "a, node1.local: nodes_address",
        "node3: operating system",
        "node3: operating system",
        "node1.local: gpu_devices",
    ]
    assert all(": found " in finding and "; accepted: " in finding for finding in found)
    allowed = inventory_findings(groups, hostvars, GROUPS["nodes"], NETWORK, STORE, allow_unsupported=True)
    assert len(found) == len(allowed) + 1


def test_preflight_findings_without_a_network_to_judge_by() -> None:
    found = inventory_findings({"nodes": ["node2"]}, HOSTVARS, ["node2"], "lan")
    assert [": ".join(finding.split(": ")[:2]) for finding in found] == [
        "inventory: group head",
        "all hosts: cluster_network",
    ]


WIZARD = {"configure_head": "n0", "configure_compute": "n[1-2]=10.0.0.1[1-2]", "configure_user": "admin"}


def test_wizard_answers() -> None:
    found = use("wizard_answers", WIZARD)
    assert found["hosts"] == {"n0": "", "n1": "10.0.0.11", "n2": "10.0.0.12"}
    assert found["user"] == "admin"
    assert "aicluster-probe" in found["probe"]
    with pytest.raises(AnsibleFilterError, match="configure_head: found no host; accepted: one host"):
        use("wizard_answers", {**WIZARD, "configure_head": ""})


def test_wizard_files() -> None:
    made = use(
        "wizard_files", WIZARD, {"n0": "aicluster-probe address=10.0.0.1 cpus=4 memory_kb=8388608 gpus=", "n1": ""}
    )
    assert "n0 # 10.0.0.1, 4 CPUs, 8 GiB\n" in made["files"]["hosts"]
    assert made["report"][1] == "n1: did not answer; site.yml finds its values when it does"


MINIMA = {"head": {"size_gb": {"/": 10}}, "nodes": {"free_gb": {"/var/lib": 1}}, "control": {"size_gb": {"/": 0}}}


def questions(store: dict[str, Any] | None = None, full: bool = False) -> Any:
    hosts = use("cluster_hosts", ["head0", "node1.local", "node2"], HOSTVARS, NETWORK, STORE)
    return use("preflight_questions", hosts, GROUPS, ["node1.local", "node2"], store, full)


def test_preflight_questions() -> None:
    first = questions()
    assert first["node1.local"] == {
        "resolve": {"node1": "10.0.0.11", "head0": "10.0.0.1"},
        "connect": [{"host": "10.0.0.1", "port": 6817}, {"host": "10.0.0.12", "port": 6818}],
    }
    assert len(first["head0"]["connect"]) == 4
    # Later only what a new node is part of, and nothing where there is none.
    one = questions({"node1": {}})
    assert one["node1.local"]["resolve"] == {}
    assert {each["host"] for each in one["head0"]["connect"]} == {"10.0.0.12"}
    assert one["node2"]["resolve"]
    assert questions({"node1": {}, "node2": {}}) == {}
    assert questions({"node1": {}, "node2": {}}, full=True) == first


SURVEY: dict[str, Any] = {
    "architecture": "x86_64",
    "ahead": [-0.9, 0.4],
    "conflicts": [],
    "cpus": 8,
    "disks": {"/": {"size_gb": 100.0, "free_gb": 50.0}, "/var/lib": {"size_gb": 100.0, "free_gb": 50.0}},
    "gpus": {"counted": {}, "driver": False, "capabilities": {}},
    "kernel": {"nfs": True, "nfsd": True, "cgroup_v2": True, "user_namespaces": True},
    "loopback": ["ip6-localhost"],
    "memory_mb": 8000,
    "packages": {"there": [], "lacking": [], "strangers": []},
    "python": "3.11.2",
    "share": {"source": "", "fstype": "", "hides": []},
    "slurm": {"release": "24.11", "slurmd": {}},
    "uid": 0,
}


def report(changes: dict[str, Any], **rules: Any) -> Any:
    answered = {
        name: {**HOSTVARS[name], "__cluster_survey": {"survey": {**SURVEY, **(changes if name == "head0" else {})}}}
        for name in ("head0", "node1.local", "node2")
    }
    unconfined = {**SURVEY, "kernel": {**SURVEY["kernel"], "cgroup_v2": False}}
    answered["node2"] = {**answered["node2"], "__cluster_survey": {"survey": unconfined}}
    groups = {**GROUPS, "nodes": ["node1.local", "node2", "node3"]}
    hosts = use("cluster_hosts", ["head0", "node1.local", "node2", "node3"], HOSTVARS, NETWORK, STORE)
    asked = use("preflight_questions", hosts, groups, groups["nodes"], {}, False)
    return use(
        "preflight_report",
        groups,
        {**HOSTVARS, **answered},
        {
            "run": list(hosts),
            "hosts": hosts,
            "questions": asked,
            "compute": groups["nodes"],
            "network": NETWORK,
            "store": STORE,
            "allow_unsupported": False,
            "confinement": "auto",
            "partitions": {"main": {"Nodes": "ALL", "Default": True}},
            "nodesets": {},
            "writes_etc_hosts": True,
            "minima": MINIMA,
            "levels": {},
            "clock_skew": 20,
            "compute_capability": "2.1",
            **rules,
        },
    )


def test_preflight_report() -> None:
    found = report({"uid": 1000, "kernel": {**SURVEY["kernel"], "nfsd": False}})
    assert [(each["check"], each["where"], each["level"]) for each in found["findings"]] == [
        ("privileges", "head0", "fail"),
        ("connection", "node3", "warn"),
        ("cgroup", "node2", "warn"),
    ]
    assert found["failed"] == [found["findings"][0]["text"]]
    assert len(found["warned"]) == 2
    assert found["hosts"]["node3"] is None
    assert found["hosts"]["head0"]["uid"] == 1000
    assert report({}, confinement="none", levels={"connection": "skip"})["findings"] == []
    assert report({}, minima={"control": {"size_gb": {"/": 10**9}}})["findings"][0]["where"] == "control host"
    with pytest.raises(AnsibleFilterError, match="preflight_levels: found 'x'"):
        report({}, levels={"x": "fail"})


@pytest.mark.parametrize(
    ("changes", "rules", "check", "text"),
    [
        ({"architecture": "i686"}, {}, "os", "head0: architecture: found i686; accepted: x86_64, aarch64, or any with"),
        (
            {},
            {"partitions": {"main": {"Nodes": "node[1-9]"}}},
            "inventory",
            "inventory: partition main: Nodes: found node[4-9]; accepted: nodes of the cluster",
        ),
        (
            {},
            {"partitions": {"main": {"Nodes": "ALL", "Maxtime": "1:00", "MaxNode": 1}}},
            "inventory",
            "inventory: partition main: found the unknown key MaxNode; accepted: a key of slurm.conf(5) for a",
        ),
        (
            {},
            {"partitions": {"main": "node1"}},
            "inventory",
            "inventory: partition main: found 'node1'; accepted: a map",
        ),
        (
            {},
            {"partitions": {name: {"Nodes": "ALL", "Default": "YES"} for name in "ab"}},
            "inventory",
            "inventory: partitions: Default: found a, b; accepted: one partition with Default",
        ),
        (
            {},
            {"nodesets": {"fat": {"Nodes": "node7"}}},
            "inventory",
            "inventory: nodeset fat: Nodes: found node7; accepted",
        ),
    ],
)
def test_preflight_report_tells(changes: dict[str, Any], rules: dict[str, Any], check: str, text: str) -> None:
    (found,) = report(changes, **rules, levels={"connection": "skip", "cgroup": "skip"})["findings"]
    assert (found["check"], found["level"]) == (check, "fail")
    assert found["text"].startswith(text)


def test_partitions_that_are_no_more() -> None:
    gone = {"partitions": {"main": {"Nodes": "ALL", "MaxTime": None}, "old": None}, "nodesets": {"older": None}}
    assert report({}, **gone, levels={"connection": "skip", "cgroup": "skip"})["findings"] == []


def test_storage_and_lost_hosts_are_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "head0: cluster_shared_path: found tmpfs (tmpfs) mounted at /data; accepted: 10.0.0.1:/data, or nothing yet"
    monkeypatch.setitem(HOSTVARS, "head0", {**HOSTVARS["head0"], "__nfs_refused": [told]})
    unreachable = {"msg": "Failed to connect to the host via ssh:\n  Connection refused", "unreachable": True}
    monkeypatch.setitem(HOSTVARS, "node3", {**HOSTVARS["node3"], "__cluster_survey": unreachable})
    found = report({}, confinement="none")
    assert [(each["check"], each["level"]) for each in found["findings"]] == [("share", "fail"), ("connection", "warn")]
    assert found["failed"] == [f"{told}. Move away what is there, or unmount it"]
    assert found["warned"][0].startswith(
        "node3: connection: found Failed to connect to the host via ssh: Connection refused; accepted: ssh, sudo"
    )


def test_what_a_closer_look_refused_is_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "found none, with nodes_containers: true; accepted: a list"
    for name, said in (
        ("head0", "head0: StateSaveLocation: found no answer; accepted: a folder on storage"),
        ("node1.local", f"node1.local: nodes_containers_packages: {lines}"),
        ("node2", f"node2: nodes_containers_packages: {lines}"),
    ):
        monkeypatch.setitem(HOSTVARS, name, {**HOSTVARS[name], "__preflight_refused": [said]})
    found = report({}, levels={"connection": "skip", "cgroup": "skip", "inventory": "skip", "share": "skip"})
    assert found["failed"] == [
        "head0: StateSaveLocation: found no answer; accepted: a folder on storage."
        " Let its server give the folder to slurm",
        f"node1.local, node2: nodes_containers_packages: {lines}. Correct it in the inventory",
    ]


def test_preflight_report_of_the_way_to_others() -> None:
    own = report({"loopback": ["head0", "ip6-localhost"]}, levels={"connection": "skip", "cgroup": "skip"})
    assert [(each["check"], each["where"]) for each in own["findings"]] == [("names", "head0")]
    assert own["hosts"]["head0"]["loopback"] == ["head0"]
    assert own["hosts"]["head0"]["slurm"] == "24.11"


def test_cluster_summary() -> None:
    states = ["node1 idle none", "node2 mixed none", "node3 down* Not responding", "junk"]
    members = ["node1 idle main*", "node2 mixed main*", "node3 down* main*", "node1 idle debug", "junk"]
    gpus = [{"type": "h100", "files": ["/dev/nvidia[0-7]"]}]
    nodes = [
        {"NodeName": "node1", "CPUs": 64, "RealMemory": 256000, "Gres": gpus},
        {"NodeName": "node2", "CPUs": 64, "RealMemory": 256000, "Gres": gpus},
        {"NodeName": "node3", "CPUs": 2, "RealMemory": 1900},
        {"NodeName": "node4", "CPUs": 2, "RealMemory": 1900},
    ]
    assert use("cluster_summary", states, members, nodes) == [
        "partition debug: node1",
        "partition main (default): node[1-3]",
        "node[1-2]: 64 CPUs, 250 GiB for jobs, 8 gpu (h100)",
        "node[3-4]: 2 CPUs, 2 GiB for jobs",
        "not up: node3: down*, Not responding",
        "not up: node4: unknown to sinfo",
    ]
