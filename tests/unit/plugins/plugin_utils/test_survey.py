# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.preflight import finding
from ansible_collections.aicluster.slurm.plugins.plugin_utils.survey import (
    CHECKS,
    Rules,
    View,
    control_findings,
    groups_of,
    inventory_finding,
    levels,
    lost_findings,
    minima,
    pairs,
    paths,
    refused_findings,
    survey_findings,
)

GROUPS = {"nfs": ["s"], "head": ["h"], "nodes": ["n1", "n2"], "gpu": ["n2"]}
ADDRESSES = {"s": "10.0.0.1", "h": "10.0.0.2", "n1": "10.0.0.3", "n2": "10.0.0.4"}
RULES = Rules(
    minima={
        "head": {"cpus": 2, "memory_gb": 2, "size_gb": {"/": 10}, "free_gb": {"/var/lib": 10}},
        "nodes": {"cpus": 2, "memory_gb": 2, "size_gb": {"/": 10}},
    },
    clock_skew=20,
    compute_capability="2.1",
    writes_etc_hosts=True,
)
GOOD: dict[str, Any] = {
    "addresses": {},
    "ahead": [-0.9, 0.4],
    "architecture": "aarch64",
    "conflicts": [],
    "cpus": 8,
    "disks": {"/": {"size_gb": 100.0, "free_gb": 50.0}, "/var/lib": {"size_gb": 100.0, "free_gb": 50.0}},
    "gpus": {"counted": {}, "driver": False, "capabilities": {}},
    "kernel": {"nfs": True, "nfsd": True, "cgroup_v2": True, "user_namespaces": True},
    "loopback": [],
    "memory_mb": 8000,
    "names": {},
    "packages": {"there": [], "lacking": [], "strangers": []},
    "python": "3.11.2",
    "slurm": "24.11",
    "uid": 0,
    "unreachable": [],
}


def view(name: str, **changes: Any) -> View:
    """A host; keys of View go there, all others into its answers."""
    mine = {key: changes.pop(key) for key in list(changes) if key in View._fields}
    groups = groups_of(name, GROUPS, GROUPS["nodes"])
    good = View(name, name, ADDRESSES[name], groups, {**GOOD, **changes}, {}, False, 0)
    return good._replace(**{"declares_gpus": "gpu" in groups, **mine})


# --- questions --------------------------------------------------------------------------------------------------------


def test_pairs() -> None:
    found = pairs(GROUPS, ["n1", "n2"], ADDRESSES, set(ADDRESSES))
    assert {name: {(each["host"], each["port"]) for each in found[name]} for name in found} == {
        "h": {
            *((ADDRESSES[n], port) for n in ("n1", "n2") for port in (6818, 22)),
            ("10.0.0.1", 2049),
            ("10.0.0.1", 22),
        },
        "n1": {("10.0.0.2", 6817), ("10.0.0.4", 6818), ("10.0.0.1", 2049), ("10.0.0.1", 22)},
        "n2": {("10.0.0.2", 6817), ("10.0.0.3", 6818), ("10.0.0.1", 2049), ("10.0.0.1", 22)},
    }


def test_pairs_of_a_new_node() -> None:
    found = pairs(GROUPS, ["n1", "n2"], ADDRESSES, {"n2"})
    assert {name: sorted(each["port"] for each in found[name]) for name in found} == {
        "h": [22, 6818],
        "n1": [6818],
        "n2": [22, 2049, 6817, 6818],
    }
    assert pairs(GROUPS, ["n1", "n2"], ADDRESSES, set()) == {}
    assert all(each["host"] for each in pairs(GROUPS, ["n1"], {**ADDRESSES, "h": ""}, {"n1"})["n1"])
    assert pairs({"head": ["x"], "nodes": ["x"]}, ["x"], {"x": "10.0.0.1"}, {"x"}) == {}


def test_many_nodes_do_not_ask_each_other_all() -> None:
    nodes = [f"n{number}" for number in range(1000)]
    found = pairs({"head": ["h"], "nodes": nodes}, nodes, dict.fromkeys([*nodes, "h"], "10.0.0.1"), set(nodes))
    assert max(len(each) for name, each in found.items() if name != "h") == 2


def test_paths() -> None:
    assert paths(["head", "nodes"], RULES.minima) == ["/", "/var/lib"]
    assert paths(["nfs"], RULES.minima) == []


def test_a_head_that_computes_is_like_a_node() -> None:
    assert groups_of("h", GROUPS, ["h"]) == ["head", "nodes"]
    assert groups_of("n2", GROUPS, ["n2"]) == ["nodes", "gpu"]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_nothing_wrong() -> None:
    assert survey_findings([view(name) for name in ADDRESSES], RULES) == []
    assert survey_findings([], RULES) == []


@pytest.mark.parametrize(
    ("name", "changes", "check", "text"),
    [
        (
            "n1",
            {"cpus": 1},
            "cpu",
            "n1: CPUs: found 1; accepted: 2 or more for nodes. Take another machine for nodes, or",
        ),
        (
            "n1",
            {"memory_mb": 1600},
            "memory",
            "n1: memory: found 1.7 GB; accepted: 2 GB or more for nodes. Take another",
        ),
        (
            "h",
            {"disks": {**GOOD["disks"], "/": {"size_gb": 9.9, "free_gb": 9.0}}},
            "disk",
            "h: size of /: found 9.9 GB; accepted: 10 GB or more for head. Make room there, or change preflight_minima",
        ),
        (
            "h",
            {"disks": {**GOOD["disks"], "/var/lib": {"size_gb": 100.0, "free_gb": 9.9}}},
            "disk",
            "h: free space of /var/lib: found 9.9 GB; accepted: 10 GB or more for head",
        ),
        ("n1", {"disks": {}}, "disk", "n1: /: found no answer of its file system; accepted: one that answers in 5 s"),
        (
            "n1",
            {"python": "3.7.3"},
            "python",
            "n1: Python: found 3.7.3; accepted: 3.8 or newer. Set ansible_python_interp",
        ),
        (
            "n1",
            {"uid": 1000},
            "privileges",
            "n1: become: found the user id 1000; accepted: root, by sudo. Give the ssh user",
        ),
        (
            "n1",
            {"packages": {"strangers": ["slurm-smd"]}},
            "packages",
            "n1: conflicting packages: found slurm-smd; accepted: none of them. apt-get remove slurm-smd",
        ),
        (
            "n1",
            {"conflicts": ["user bob with the id 10000"]},
            "ids",
            "n1: the cluster's account: found user bob with the id 10000; accepted: names and ids that are free",
        ),
        (
            "n1",
            {"kernel": {**GOOD["kernel"], "user_namespaces": False}},
            "kernel",
            "n1: kernel: found no user_namespaces; accepted: user namespaces, for containers of users",
        ),
        ("n2", {"declares_gpus": False}, "gpu", "n2: GPUs: found none; accepted: a GPU on the PCI bus, or gpu_devices"),
        (
            "n2",
            {"mps": 100, "declares_gpus": False, "gpus": {"counted": {"AMD": 8}, "driver": True, "capabilities": {}}},
            "inventory",
            "n2: gpu_mps: found 100 with 8 AMD; accepted: NVIDIA GPUs, because MPS is CUDA's. Use gpu_shards",
        ),
        (
            "n2",
            {"gpus": {"counted": {"NVIDIA": 8}, "driver": False, "capabilities": {}}},
            "gpu",
            "n2: GPU driver: found 8 NVIDIA, and no device files; accepted: a loaded driver. Install",
        ),
        (
            "n2",
            {"gpus": {"counted": {"NVIDIA": 1}, "driver": True, "capabilities": {"Tesla C2075": "2.0", "H100": "9.0"}}},
            "gpu",
            "n2: compute capability: found 2.0 (Tesla C2075); accepted: newer than 2.1",
        ),
        (
            "n1",
            {"ahead": [600.0, 601.0]},
            "clock",
            "n1: clock: found 600 s ahead; accepted: within 20 s of the others. Set it, and",
        ),
        ("n1", {"ahead": [-31.0, -30.0]}, "clock", "n1: clock: found 30 s behind; accepted: within 20 s of the others"),
        (
            "n1",
            {"slurm": "22.05"},
            "version",
            "n1: Slurm: found 22.05; accepted: 24.11, as h has. Install the same release",
        ),
        (
            "n1",
            {"loopback": ["n1"]},
            "names",
            "n1: /etc/hosts: found n1 on a loopback address; accepted: its own name on",
        ),
        (
            "n1",
            {"asked": {"h": "10.0.0.2"}, "addresses": {"h": ["10.0.0.9"]}},
            "names",
            "n1: name resolution: found h at 10.0.0.9; accepted: h at 10.0.0.2. Correct /etc/hosts or the name server",
        ),
        (
            "n1",
            {"asked": {"h": "10.0.0.2"}, "names": {"10.0.0.2": ["n2.example.org"]}},
            "names",
            "n1: name resolution: found 10.0.0.2 named n2; accepted: 10.0.0.2 named h",
        ),
        (
            "n1",
            {"unreachable": ["10.0.0.2 port 6817 (Connection timed out)"]},
            "ports",
            "n1: way to others: found no way to h (10.0.0.2) port 6817 (Connection timed out); accepted: a port",
        ),
        (
            "n1",
            {"unreachable": ["10.0.0.99 port 22 (No route to host)"]},
            "ports",
            "n1: way to others: found no way to 10.0.0.99 port 22 (No route to host)",
        ),
    ],
)
def test_one_fault(name: str, changes: dict[str, Any], check: str, text: str) -> None:
    views = [view(each, **(dict(changes) if each == name else {})) for each in ADDRESSES]
    (found,) = survey_findings(views, RULES)
    assert found.check == check
    assert str(found).startswith(text)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        # A tenth less memory than 2 GB, which is what machines of 2 GB have
        ("n1", {"memory_mb": 1717}),
        ("s", {"cpus": 1, "memory_mb": 100}),
        ("n1", {"disks": {"/": {"size_gb": 10.0, "free_gb": 0.1}}}),
        ("s", {"kernel": {**GOOD["kernel"], "user_namespaces": False}}),
        ("n1", {"gpus": {"counted": {"NVIDIA": 1}, "driver": False, "capabilities": {}}}),
        ("n2", {"gpus": {"counted": {"AMD": 1}, "driver": True, "capabilities": {}}, "declares_gpus": False}),
        ("n1", {"ahead": [20.0, 21.0]}),
        # Of one that took a minute to answer, all that is known is that it may be right.
        ("n1", {"ahead": [-0.5, 60.0]}),
        ("n1", {"ahead": [-60.0, 0.5]}),
        ("n1", {"slurm": ""}),
        ("s", {"slurm": "22.05"}),
        ("n1", {"asked": {"h": "10.0.0.2"}}),
        ("n1", {"asked": {"h": "10.0.0.2"}, "addresses": {"h": ["10.0.0.2", "192.168.0.2"]}}),
        ("n1", {"asked": {"h": "10.0.0.2"}, "names": {"10.0.0.2": ["h.example.org", "www"]}}),
    ],
)
def test_no_fault(name: str, changes: dict[str, Any]) -> None:
    views = [view(each, **(dict(changes) if each == name else {})) for each in ADDRESSES]
    assert survey_findings(views, RULES) == []


def test_the_largest_need_of_a_host_counts() -> None:
    rules = RULES._replace(minima={"head": {"size_gb": {"/": 5}}, "nodes": {"size_gb": {"/": 500}}})
    (found,) = survey_findings([view("h", groups=["head", "nodes"])], rules)
    assert found.accepted == "500 GB or more for nodes"


def test_the_control_host_alone_has_another_clock() -> None:
    assert survey_findings([view(name, ahead=[3599.0, 3600.0]) for name in ADDRESSES], RULES) == []
    assert survey_findings([view("h", ahead=[-3601.0, -3600.0])], RULES) == []


def test_a_host_that_answers_at_once_among_slow_ones() -> None:
    views = [view(name, ahead=[-0.3, 35.0]) for name in ADDRESSES]
    assert survey_findings([*views[:-1], view(views[-1].name, ahead=[-0.4, 0.5])], RULES) == []
    (found,) = survey_findings([*views[:-1], view(views[-1].name, ahead=[-31.0, -30.0])], RULES)
    assert found.found == "30 s behind"


def test_most_decide_where_no_head_takes_part() -> None:
    views = [view("n1", slurm="22.05"), view("n2"), view("n2")._replace(name="n3")]
    (found,) = survey_findings(views, RULES)
    assert str(found).startswith("n1: Slurm: found 22.05; accepted: 24.11, as most has")


def test_names_that_nobody_writes() -> None:
    views = [view("n1", asked={"h": "10.0.0.2", "n1": "10.0.0.3"}, addresses={"n1": ["10.0.0.3"]})]
    (found,) = survey_findings(views, RULES._replace(writes_etc_hosts=False))
    assert str(found).startswith("n1: name resolution: found no address of h; accepted: an address of every host")


def test_control_host() -> None:
    minima = {"control": {"size_gb": {"/": 5}}}
    assert control_findings({"/": 5.0}, minima) == []
    assert control_findings({}, {}) == []
    (found,) = control_findings({"/": 4.94}, minima)
    assert str(found).startswith("control host: size of /: found 4.9 GB; accepted: 5 GB or more. Make room there")


def test_lost_hosts() -> None:
    lost, silent = lost_findings({"n1": "sudo: a password is required", "n2": ""})
    assert str(lost).startswith(
        "n1: connection: found sudo: a password is required; accepted: ssh, sudo, and Python 3.8"
    )
    assert str(silent).startswith("n2: connection: found no answer, or an error; accepted")


@pytest.mark.parametrize(
    ("line", "check"),
    [
        (finding("n1", "nodes_address", "10.0.0.1, 10.0.0.2", "one"), "address"),
        (finding("n1", "operating system", "Debian 11", "Debian 12"), "os"),
        (finding("inventory", "group head", "no host", "one"), "inventory"),
        (finding("n1", "architecture", "armv7l", "x86_64"), "os"),
        (finding("n1", "cluster_shared_path", "tmpfs (tmpfs) mounted at /data", "nothing yet"), "share"),
        (finding("n1", "nfs_mount", "a kernel that cannot", "another"), "share"),
    ],
)
def test_findings_of_the_inventory(line: str, check: str) -> None:
    found = inventory_finding(line)
    assert found.check == check
    assert found.fix
    assert str(found) == f"{line}. {found.fix}"
    with pytest.raises(ValueError, match="is no finding"):
        inventory_finding("nonsense")


def test_levels() -> None:
    assert levels({}) == {**CHECKS, "refused": "fail"}
    assert levels({"cpu": "fail", "disk": "skip"}) == {**CHECKS, "cpu": "fail", "disk": "skip", "refused": "fail"}
    with pytest.raises(ValueError, match=r"preflight_levels: found 'cpus', meant cpu\?; accepted: address"):
        levels({"cpus": "fail"})
    with pytest.raises(ValueError, match=r"preflight_levels\.cpu: found 'no'; accepted: fail, warn, skip"):
        levels({"cpu": "no"})


def test_minima() -> None:
    assert minima({"nodes": {"cpus": "4", "free_gb": {"/srv": 1}}, "nfs": None, "control": {"size_gb": None}}) == {
        "nodes": {"cpus": 4.0, "free_gb": {"/srv": 1.0}},
        "nfs": {},
        "control": {},
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"node": {}}, "preflight_minima: found 'node', meant nodes?; accepted: control, nfs, head, nodes, gpu"),
        ({"nodes": {"cpu": 9}}, "preflight_minima.nodes: found 'cpu', meant cpus?; accepted: cpus, memory_gb, size_gb"),
        ({"nodes": {"cpus": "many"}}, "preflight_minima.nodes.cpus: found 'many'; accepted: a number from 0 on"),
        ({"nodes": {"cpus": float("nan")}}, "preflight_minima.nodes.cpus: found nan; accepted: a number from 0 on"),
        ({"nodes": 3}, "preflight_minima.nodes: found 3; accepted: a map of cpus, memory_gb"),
        ({"head": {"size_gb": 3}}, "preflight_minima.head.size_gb: found 3; accepted: a map of paths"),
        (
            {"head": {"size_gb": {"var": 3}}},
            "preflight_minima.head.size_gb: found {'var': 3}; accepted: a map of paths",
        ),
        ({"head": {"size_gb": {"/": "x"}}}, "preflight_minima.head.size_gb./: found 'x'; accepted: a number"),
    ],
)
def test_minima_that_are_none(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        minima(wanted)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"n1": "n1: uid: found 5; accepted: 6\nn1: gid: found 7; accepted: 8"},
            ["n1: uid: found 5", "n1: gid: found 7"],
        ),
        ({"n1": "uid: found 5; accepted: 6", "n2": "uid: found 5; accepted: 6"}, ["n1, n2: uid: found 5"]),
        ({"n1": "Task failed: The filter plugin 'x' failed: mesh: a: found y; accepted: z"}, ["n1: mesh: a: found y"]),
        ({"n1": "Traceback\n  KeyError: 'x'"}, ["n1: closer look: found Traceback KeyError: 'x'"]),
    ],
)
def test_refused_findings(said: dict[str, str], told: list[str]) -> None:
    found = refused_findings({host: [text] for host, text in said.items()})
    assert [str(each).partition(";")[0] for each in found] == told
    assert {levels({"inventory": "skip"})[each.check] for each in found} == {"fail"}


def test_nobody_can_have_a_role_accept_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"preflight_levels: found 'refused'"):
        levels({"refused": "skip"})
