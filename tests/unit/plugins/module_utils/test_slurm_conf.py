# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import expand
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import (
    HEADER,
    MANAGED_FILES,
    Cluster,
    ConfigError,
    render,
    render_value,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# The same cases in every run: a failure is a change of the code, not of the dice.
CASES = settings(derandomize=True, max_examples=300, deadline=None)

GPUS = [{"name": "gpu", "type": "a100", "count": 2, "files": ["/dev/nvidia[0-1]"]}]
CONFIG = {"ClusterName": "lab", "SlurmctldHost": ["head0(10.0.0.1)"]}
PARTITIONS = {"main": {"Nodes": "ALL", "Default": True}}


def node(name: str = "node1", address: str = "10.0.0.11", **keys: Any) -> dict[str, Any]:
    return {"NodeName": name, "NodeAddr": address, **keys}


def cluster(
    config: Mapping[str, Any] | None = None,
    nodes: Sequence[Mapping[str, Any]] | None = None,
    partitions: Mapping[str, Any] | None = None,
    nodesets: Mapping[str, Any] | None = None,
    cgroup: Mapping[str, Any] | None = None,
    **further: Any,
) -> Cluster:
    """A cluster that works, but for what is given; ``config`` goes over the keys that it needs."""
    return Cluster(
        config={**CONFIG, **(config or {})},
        nodes=[node()] if nodes is None else nodes,
        partitions=PARTITIONS if partitions is None else partitions,
        nodesets=nodesets or {},
        cgroup=cgroup or {},
        **further,
    )


def slurm_conf(**parts: Any) -> list[str]:
    """The lines of slurm.conf without its header and without empty ones."""
    return [line for line in render(cluster(**parts))["slurm.conf"].splitlines() if line and line[0] != "#"]


def findings(**parts: Any) -> list[str]:
    """What is wrong; a test that expects none fails with it."""
    try:
        render(cluster(**parts))
    except ConfigError as error:
        return error.findings
    return []


# --- whole files ------------------------------------------------------------------------------------------------------

WHOLE = Cluster(
    config={
        "SlurmctldParameters": {"enable_configless": True, "idle_on_node_suspend": False, "max_dbd_msg_action": "exit"},
        "SlurmctldHost": ["head0(10.0.0.1)", "head1(10.0.0.2)"],
        "ClusterName": "lab",
        "SlurmctldTimeout": 120,
        "MailProg": None,
        "TrackWCKey": False,
        "LaunchParameters": ["use_interactive_step", "mpir_use_nodeaddr"],
        "MailDomain": "lab #3",
    },
    nodes=[
        {**node("node10", "10.0.0.20", CPUs=64, RealMemory=250000, Feature=["ib", "a100"]), "Gres": GPUS},
        node("login", "10.0.9.1", CPUs=4, RealMemory=8000, Weight=10),
        {**node("node2", "10.0.0.12", CPUs=64, RealMemory=250000, Feature=["ib", "a100"]), "Gres": GPUS},
        {**node("node1", "10.0.0.11", CPUs=64, RealMemory=250000, Feature=["ib", "a100"]), "Gres": GPUS},
    ],
    partitions={
        "main": {"State": "UP", "Nodes": "ALL", "Default": True, "MaxTime": "INFINITE"},
        "gpu": {"Nodes": ["gpus", "node10"], "MaxTime": "4:00:00", "AllowAccounts": None},
        "old": None,
        "DEFAULT": {"OverSubscribe": False},
    },
    nodesets={"gpus": {"Nodes": "node[1-2]"}, "tagged": {"Feature": "a100"}, "none": None},
    cgroup={"ConstrainRAMSpace": True, "ConstrainCores": True, "AllowedSwapSpace": 0},
)

WHOLE_SLURM_CONF = r"""
ClusterName=lab
SlurmctldHost=head0(10.0.0.1)
SlurmctldHost=head1(10.0.0.2)
GresTypes=gpu
LaunchParameters=use_interactive_step,mpir_use_nodeaddr
MailDomain="lab \#3"
SlurmctldParameters=enable_configless,max_dbd_msg_action=exit
SlurmctldTimeout=120
TrackWCKey=NO

NodeSet=gpus Nodes=node[1-2]
NodeSet=tagged Feature=a100
NodeName=login NodeAddr=10.0.9.1 CPUs=4 RealMemory=8000 Weight=10
NodeName=node[1-2,10] NodeAddr=10.0.0.[11-12,20] CPUs=64 Feature=ib,a100 Gres=gpu:a100:2 RealMemory=250000

PartitionName=DEFAULT OverSubscribe=NO
PartitionName=gpu Nodes=gpus,node10 MaxTime=4:00:00
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""".lstrip("\n")

WHOLE_GRES_CONF = """
AutoDetect=off
NodeName=node[1-2,10] Name=gpu Type=a100 File=/dev/nvidia[0-1]
""".lstrip("\n")

WHOLE_CGROUP_CONF = """
AllowedSwapSpace=0
ConstrainCores=YES
ConstrainRAMSpace=YES
""".lstrip("\n")


def test_whole_files() -> None:
    assert render(WHOLE) == {
        "slurm.conf": HEADER + WHOLE_SLURM_CONF,
        "gres.conf": HEADER + WHOLE_GRES_CONF,
        "cgroup.conf": HEADER + WHOLE_CGROUP_CONF,
        "plugstack.conf": HEADER,
    }


def test_the_smallest_cluster() -> None:
    assert render(cluster()) == {
        "slurm.conf": HEADER
        + "ClusterName=lab\nSlurmctldHost=head0(10.0.0.1)\n\n"
        + "NodeName=node1 NodeAddr=10.0.0.11\n\n"
        + "PartitionName=main Nodes=ALL Default=YES\n",
        "gres.conf": HEADER,
        "cgroup.conf": HEADER,
        "plugstack.conf": HEADER,
    }


def shuffled(value: Any, dice: random.Random) -> Any:
    """The same data with every map in another order; lists keep theirs."""
    if isinstance(value, dict):
        pairs = list(value.items())
        dice.shuffle(pairs)
        return {key: shuffled(item, dice) for key, item in pairs}
    return [shuffled(item, dice) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_the_data_does_not_count(seed: int) -> None:
    dice = random.Random(seed)
    parts: list[Any] = [shuffled(part, dice) for part in WHOLE]
    dice.shuffle(parts[1])
    # What a map in a value says keeps its order: it may count for Slurm.
    parts[0]["SlurmctldParameters"] = WHOLE.config["SlurmctldParameters"]
    assert render(Cluster(*parts)) == render(WHOLE)


# --- nodes ------------------------------------------------------------------------------------------------------------


def pairs_of(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Name and address of each node, as Slurm pairs them."""
    pairs: list[tuple[str, str]] = []
    for line in lines:
        words = dict(word.split("=", 1) for word in line.split())
        if "NodeName" in words:
            names, addresses = expand(words["NodeName"]), expand(words["NodeAddr"])
            assert len(names) == len(addresses)
            pairs += zip(names, addresses)
    return pairs


def test_only_nodes_that_are_alike_share_a_line() -> None:
    nodes = [node(f"n{number}", f"10.0.0.{200 - number}", CPUs=2 + number % 2) for number in (3, 1, 2, 4)]
    assert slurm_conf(nodes=nodes)[2:4] == [
        "NodeName=n[1,3] NodeAddr=10.0.0.[199,197] CPUs=3",
        "NodeName=n[2,4] NodeAddr=10.0.0.[198,196] CPUs=2",
    ]


def test_keys_in_another_order_or_case_are_alike() -> None:
    one = {"NodeName": "n1", "NodeAddr": "10.0.0.1", "CPUs": 2, "RealMemory": 100}
    two = {"realmemory": "100", "cpus": 2, "nodeaddr": "10.0.0.2", "nodename": "n2"}
    assert slurm_conf(nodes=[two, one])[2] == "NodeName=n[1-2] NodeAddr=10.0.0.[1-2] CPUs=2 RealMemory=100"


@CASES
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("n", "rack1n", "n-", "n1-ib", "N")),
            st.integers(0, 30),
            st.sampled_from(("", "0", "00")),
            st.integers(0, 2),
        ),
        max_size=30,
        min_size=1,
    ),
    st.permutations(range(30)),
    st.sampled_from(("10.0.{high}.{low}", "fd00::{low:x}", "box{low}.example.org", "{low}-{high}.net")),
)
def test_names_and_addresses_pair_by_position(
    parts: list[tuple[str, int, str, int]], order: list[int], address: str
) -> None:
    names = list(dict.fromkeys(f"{prefix}{padding}{number}" for prefix, number, padding, _rest in parts))
    addresses = [address.format(high=number % 3, low=number * 7 + 1) for number in order]
    nodes = [node(name, where, CPUs=1 + parts[index][3]) for index, (name, where) in enumerate(zip(names, addresses))]
    wanted = [(each["NodeName"], each["NodeAddr"]) for each in nodes]
    assert sorted(pairs_of(slurm_conf(nodes=nodes))) == sorted(wanted)


def test_ten_thousand_nodes_cost_little() -> None:
    nodes = [
        {**node(f"node{number:05}", f"10.0.{number // 250}.{number % 250}", CPUs=64 + number % 5), "Gres": GPUS}
        for number in range(10000)
    ]
    random.Random(1).shuffle(nodes)
    start = time.process_time()
    lines = slurm_conf(nodes=nodes)
    assert time.process_time() - start < 2
    assert len(pairs_of(lines)) == 10000


# --- keys and values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "YES"),
        (False, "NO"),
        (0, "0"),
        (1.5, "1.5"),
        ("text", "text"),
        (["a", 1], "a,1"),
        (("a", "b"), "a,b"),
        ({"a": True, "b": False, "c": None, "d": 0, "e": "x"}, "a,d=0,e=x"),
        # Slurm takes # for a comment also in quotes, and a backslash for an escape also without.
        ("two words", '"two words"'),
        ("a#b", r"a\#b"),
        ("a #b", r'"a \#b"'),
        ("a\\b", r"a\\b"),
        ("a\\", "a\\\\"),
        (["a b", "c"], '"a b,c"'),
        ({"a": "x y"}, '"a=x y"'),
        ("'single'", "'single'"),
        ("mülltonne", "mülltonne"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert render_value(value) == text
    assert slurm_conf(config={"MailDomain": value})[2] == f"MailDomain={text}"
    assert slurm_conf(cgroup={"X": 1}, nodes=[node(Reason=value)])[2].endswith(f" Reason={text}")


@pytest.mark.parametrize("nothing", [None, "", [], {}, {"a": False, "b": None}])
def test_what_has_no_value_is_left_out(nothing: object) -> None:
    parts = {
        "config": {"MailProg": nothing, "GresTypes": nothing},
        "nodes": [{**node(CPUs=nothing, Feature=nothing), "Gres": nothing}],
        "partitions": {"main": {"Nodes": "ALL", "MaxTime": nothing, "Default": nothing}},
        "nodesets": {"s": {"Nodes": nothing}},
        "cgroup": {"ConstrainCores": nothing},
    }
    assert slurm_conf(**parts) == [
        "ClusterName=lab",
        "SlurmctldHost=head0(10.0.0.1)",
        "NodeSet=s",
        "NodeName=node1 NodeAddr=10.0.0.11",
        "PartitionName=main Nodes=ALL",
    ]
    assert render(cluster(cgroup={"ConstrainCores": nothing}))["cgroup.conf"] == HEADER


def test_the_last_spelling_of_a_key_wins() -> None:
    config = {"MailProg": "/a", "mailprog": "/b", "MAILPROG": "/c", "maildomain": "d", "MailDomain": None}
    assert slurm_conf(config=config)[2:3] == ["MAILPROG=/c"]
    assert "MailDomain" not in "".join(slurm_conf(config=config))
    assert slurm_conf(nodes=[node(nodeaddr="10.0.0.9", Weight=1, weight=2)])[2] == (
        "NodeName=node1 NodeAddr=10.0.0.9 weight=2"
    )
    assert slurm_conf(partitions={"main": {"nodes": "node1", "Nodes": "ALL"}})[3] == "PartitionName=main Nodes=ALL"


def test_partitions_and_node_sets_have_a_case() -> None:
    lines = slurm_conf(
        partitions={"main": {"Nodes": "a"}, "MAIN": {"Nodes": "A"}},
        nodesets={"a": {"Nodes": "node1"}, "A": {"Feature": "x"}},
    )
    assert lines[2:4] + lines[5:] == [
        "NodeSet=A Feature=x",
        "NodeSet=a Nodes=node1",
        "PartitionName=MAIN Nodes=A",
        "PartitionName=main Nodes=a",
    ]


def test_the_order_of_partitions() -> None:
    # DEFAULT counts for the partitions after it.
    lines = slurm_conf(partitions={name: {"Nodes": "ALL"} for name in ("p10", "A", "p9", "DEFAULT")})
    assert [line.split()[0] for line in lines[3:]] == [
        f"PartitionName={name}" for name in ("DEFAULT", "A", "p9", "p10")
    ]


def test_slurmctld_hosts() -> None:
    assert slurm_conf(config={"slurmctldhost": "head0"})[1] == "SlurmctldHost=head0"
    hosts = ["b(10.0.0.2)", "a(fd00::1)", "c.example.org"]
    assert slurm_conf(config={"SlurmctldHost": hosts})[1:4] == [f"SlurmctldHost={host}" for host in hosts]


# --- gres -------------------------------------------------------------------------------------------------------------


def test_gres_types_come_from_the_nodes() -> None:
    nic = [{"name": "nic", "count": 1}]
    nodes = [
        {**node("n1", "10.0.0.1"), "gres": GPUS + nic},
        {**node("n2", "10.0.0.2"), "Gres": "shard:8,gpu:h100:2(S:0,1),license"},
        node("n3", "10.0.0.3"),
    ]
    lines = slurm_conf(nodes=nodes, gres=[{"Name": kind} for kind in ("shard", "gpu", "license")])
    assert lines[2:5] == [
        "GresTypes=gpu,license,nic,shard",
        "NodeName=n1 NodeAddr=10.0.0.1 Gres=gpu:a100:2,nic:1",
        "NodeName=n2 NodeAddr=10.0.0.2 Gres=shard:8,gpu:h100:2(S:0,1),license",
    ]
    listed = slurm_conf(nodes=[nodes[0]], config={"grestypes": ["nic", "mps", "gpu"]})
    assert listed[2] == "GresTypes=nic,mps,gpu"


def gres_conf(**parts: Any) -> list[str]:
    return render(cluster(**parts))["gres.conf"].splitlines()[1:]


def test_further_lines_of_gres_conf() -> None:
    lines = [
        {"File": "/dev/mic[0-1]", "name": "mic", "NodeName": "node1"},
        {"Count": 4, "Name": "license", "Flags": ["CountOnly"], "Type": None},
    ]
    # Each begins as gres.conf(5) wants it, and they come in their order.
    assert gres_conf(gres=lines) == [
        "AutoDetect=off",
        "NodeName=node1 Name=mic File=/dev/mic[0-1]",
        "Name=license Count=4 Flags=CountOnly",
    ]
    assert gres_conf(gres=lines[1:], nodes=[node(Gres=GPUS)])[1:] == [
        "Name=license Count=4 Flags=CountOnly",
        "NodeName=node1 Name=gpu Type=a100 File=/dev/nvidia[0-1]",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([{"AutoDetect": "nvml"}], ["AutoDetect=nvml"]),
        ([{"autodetect": "off"}, {"Name": "gpu", "Count": 1}], ["AutoDetect=off", "Name=gpu Count=1"]),
        # Of one node only: for the others slurmd must not look for more than is said.
        ([{"NodeName": "node1", "AutoDetect": "nvml"}], ["AutoDetect=off", "NodeName=node1 AutoDetect=nvml"]),
    ],
)
def test_what_slurmd_looks_for_itself(lines: list[dict[str, Any]], expected: list[str]) -> None:
    assert gres_conf(nodes=[node(Gres="gpu:2")], gres=lines) == expected


MIXED = [node("n1", "10.0.0.1", Gres=GPUS), node("n2", "10.0.0.2", Gres="gpu:2,mic:1"), node("n3", "10.0.0.3")]


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        ([], ["gpu", "mic"]),
        ([{"Name": "gpu"}], ["mic"]),
        ([{"NodeName": "n[2-3]", "Name": "gpu"}, {"NodeName": "n2", "name": "mic"}], []),
        ([{"NodeName": "n1", "Name": "gpu"}, {"NodeName": "n[", "Name": "mic"}], ["gpu", "mic"]),
        ([{"AutoDetect": "nvml"}], []),
        ([{"NodeName": "n2", "AutoDetect": "nvml"}], []),
        ([{"NodeName": "n1", "AutoDetect": "nvml"}], ["gpu", "mic"]),
        ([{"AutoDetect": "off"}], ["gpu", "mic"]),
    ],
)
def test_gres_that_slurmd_would_not_find(lines: list[dict[str, Any]], kinds: list[str]) -> None:
    assert findings(nodes=MIXED, gres=lines) == [
        f"node n2: Gres: found gpu:2,mic:1 and no line of gres.conf for {kind}; accepted: records of the devices"
        " (gpu_devices), or a line in gres (cluster_gres)"
        for kind in kinds
    ]


def test_gres_outside_gres_types() -> None:
    lines = [{"Name": "gpu"}, {"Name": "mic"}]
    assert findings(nodes=MIXED, gres=lines, config={"GresTypes": "gpu, mic".replace(" ", "")}) == []
    assert findings(nodes=MIXED, gres=lines, config={"grestypes": ["mic"]}) == [
        "slurm.conf: GresTypes: found mic; accepted: also gpu, for nodes n[1-2]",
    ]


def test_a_line_of_gres_conf_that_cannot_stand_there() -> None:
    lines = [{"Name": "gpu"}, {"Name": "a\nb"}, {"PartitionName": "x"}, {"a b": 1}]
    assert [text.split("; ")[0] for text in findings(gres=lines)] == [
        "gres[1]: Name: found 'a\\nb'",
        "gres[2]: PartitionName: found among other keys",
        "gres[3]: found the key 'a b'",
    ]


# --- plugstack.conf and further files ---------------------------------------------------------------------------------


def test_plugstack_conf() -> None:
    lines = ["required  spank_pyxis.so\targ=1 ", "optional /usr/lib/x+y.so"]
    text = "required spank_pyxis.so arg=1\noptional /usr/lib/x+y.so\n"
    assert render(cluster(plugstack=lines))["plugstack.conf"] == HEADER + text


@pytest.mark.parametrize(
    "line", ["", "spank.so", "required", "include /etc/x", "required a.so\x00", "Required a.so", "# x", 1, None]
)
def test_a_line_that_plugstack_conf_cannot_have(line: object) -> None:
    found = findings(plugstack=["required a.so", line])
    assert [text.split("; accepted: ")[0] for text in found] == [f"plugstack[1]: found {line!r}"]


def test_further_files() -> None:
    texts = render(cluster(files={"topology.conf": "SwitchName=s\n", "acct_gather.conf": "", "gone.conf": None}))
    assert list(texts)[:2] == ["acct_gather.conf", "topology.conf"]
    assert list(texts)[-1] == "slurm.conf"
    # They are as they were given.
    assert (texts["topology.conf"], texts["acct_gather.conf"]) == ("SwitchName=s\n", "")
    assert "gone.conf" not in texts
    # YAML reads some names as numbers.
    assert list(render(cluster(files={15: "a", "b.conf": "b"})))[:2] == ["15", "b.conf"]


@pytest.mark.parametrize(
    "name", [*MANAGED_FILES, "slurmdbd.conf", "", ".hidden", "../x", "a/b.conf", "a b", "é", "a\n", "x" * 200]
)
def test_a_name_that_no_further_file_has(name: object) -> None:
    assert findings(files={name: None}) == [
        f"files: found the name {name!r}; accepted: a file that Slurm reads beside slurm.conf"
    ]


@pytest.mark.parametrize("text", [1, ["a"], {}, True, b"a"])
def test_a_further_file_that_is_no_text(text: object) -> None:
    assert findings(files={"topology.conf": text}) == [
        f"files: topology.conf: found {text!r}; accepted: the text of the file, or null for none"
    ]


def test_a_mistake_of_many_nodes_is_one_line() -> None:
    nodes = [node(f"n{number}", f"10.0.0.{number}", CPUs=0, Gres="gpu:2") for number in range(1, 101)]
    nodes[4]["CPUs"] = 1
    assert [text.split("; accepted: ")[0] for text in findings(nodes=nodes, partitions={"p": {"Nodes": "ALL"}})] == [
        "nodes n[1-4,6-100]: CPUs: found 0",
        "nodes n[1-100]: Gres: found gpu:2 and no line of gres.conf for gpu",
    ]
    # Names that are no names cannot be folded.
    nodes = [node("a[", "10.0.0.1", CPUs=0), node("b[", "10.0.0.2", CPUs=0)]
    assert "nodes a[, b[: CPUs: found 0" in "\n".join(findings(nodes=nodes, partitions={"p": {"Nodes": "ALL"}}))


# --- findings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "finding"),
    [
        ({"config": {"ClusterName": None}}, "slurm.conf: ClusterName: found nothing; accepted: a value"),
        ({"config": {"clustername": ""}}, "slurm.conf: ClusterName: found nothing"),
        ({"config": {"SlurmctldHost": []}}, "slurm.conf: SlurmctldHost: found nothing"),
        (
            {"config": {"SlurmctldHost": ["head0()"]}},
            "slurm.conf: SlurmctldHost: found 'head0()'; accepted: NAME or NA",
        ),
        ({"config": {"SlurmctldHost": "(10.0.0.1)"}}, "slurm.conf: SlurmctldHost: found '(10.0.0.1)'; accepted: NAME"),
        ({"config": {"SlurmctldHost": ["a,b"]}}, "slurm.conf: SlurmctldHost: found 'a,b'"),
        ({"config": {"nodename": "n1"}}, "slurm.conf: NodeName: found among other keys; accepted: in nodes"),
        ({"config": {"NodeSet": "s"}}, "slurm.conf: NodeSet: found among other keys; accepted: in nodesets"),
        ({"config": {"PartitionName": "p"}}, "slurm.conf: PartitionName: found among other keys; accepted: in partit"),
        ({"nodes": []}, "nodes: found none; accepted: one or more"),
        ({"partitions": {}}, "partitions: found none; accepted: one or more"),
        ({"partitions": {"main": None}}, "partitions: found none"),
    ],
)
def test_a_configuration_without_what_slurm_needs(parts: dict[str, Any], finding: str) -> None:
    assert [text[: len(finding)] for text in findings(**parts)][:1] == [finding]


@pytest.mark.parametrize(
    ("nodes", "finding"),
    [
        ([{"NodeAddr": "10.0.0.1"}], "nodes[0]: NodeName: found nothing; accepted: one name or address"),
        ([{"NodeName": "n1"}], "node n1: NodeAddr: found nothing; accepted: one name or address"),
        ([node("n1", "")], "node n1: NodeAddr: found nothing"),
        ([node("n[1-2]")], "node n[1-2]: NodeName: found n[1-2]; accepted: one name or address"),
        ([node("n 1")], "node n 1: NodeName: found n 1;"),
        ([node("n1\nPartitionName=x")], "node n1\nPartitionName=x: NodeName: found n1\n"),
        ([node("n#1")], "node n#1: NodeName: found n#1;"),
        ([node("ALL")], "node ALL: NodeName: found ALL;"),
        ([node("default")], "node default: NodeName: found default;"),
        ([node("n1", "10.0.0.1,10.0.0.2")], "node n1: NodeAddr: found 10.0.0.1,10.0.0.2;"),
        ([node("n1", "10.0.0.1 CPUs=2")], "node n1: NodeAddr: found 10.0.0.1 CPUs=2;"),
        ([node("n" + "9" * 30)], "nodes: host name 'n999999999999999999999999999999': found the number"),
        ([node("n" + "9" * 5000)], "node n9999"),
        (
            [node("n1", "10.0.0.1"), node("n1", "10.0.0.2")],
            "node n1: NodeName: found n1 on another node too; accepted:",
        ),
        ([node("n1", "10.0.0.1"), node("n2", "10.0.0.1")], "node n2: NodeAddr: found 10.0.0.1 on another node too;"),
        (
            [node("n1", "10.0.0.1"), {"nodename": "n1", "NODEADDR": "10.0.0.2"}],
            "node n1: NodeName: found n1 on another node too;",
        ),
        ([node(RealMemory=0)], "node node1: RealMemory: found 0; accepted: a whole number above 0 after the reserve"),
        ([node(RealMemory=-56)], "node node1: RealMemory: found -56; accepted: a whole number above 0 after the"),
        ([node(realmemory=-56)], "node node1: RealMemory: found -56;"),
        ([node(RealMemory="much")], "node node1: RealMemory: found 'much';"),
        ([node(RealMemory=1.5)], "node node1: RealMemory: found 1.5;"),
        ([node(RealMemory=True)], "node node1: RealMemory: found True;"),
        ([node(RealMemory=[1])], None),
        ([node(CPUs=0)], "node node1: CPUs: found 0; accepted: a whole number above 0"),
        ([node(ThreadsPerCore="2x")], "node node1: ThreadsPerCore: found '2x';"),
        ([node(PartitionName="p")], "node node1: PartitionName: found among other keys; accepted: in partitions"),
        ([node(Gres=[{"typ": "a100"}])], "node node1: Gres[0]: found the key 'typ', meant type?"),
        ([node(gres=["gpu:2"])], "node node1: Gres[0]: found 'gpu:2'; accepted: a mapping"),
        ([node(Gres=GPUS[0])], "node node1: Gres: found {'name': 'gpu'"),
        ([node(Gres=True)], "node node1: Gres: found True; accepted: a list of gres records"),
        ([node(Gres="gpu:2\n")], "node node1: Gres: found 'gpu:2\\n'; accepted: one line of text"),
    ],
)
def test_a_node_that_slurm_would_not_take(nodes: list[dict[str, Any]], finding: str | None) -> None:
    assert [text[: len(finding or "")] for text in findings(nodes=nodes)] == ([finding] if finding else [])


@pytest.mark.parametrize(
    ("partition", "finding"),
    [
        ({"Nodes": "node1,node3"}, "partition p: Nodes: found node3; accepted: nodes of the cluster"),
        ({"nodes": ["node[1-4]", "x"]}, "partition p: Nodes: found node[3-4],x;"),
        ({"Nodes": "ALL,node1"}, "partition p: Nodes: found ALL;"),
        ({"Nodes": "node[1-"}, "partition p: Nodes: host list 'node[1-': found '['"),
        ({"Nodes": True}, "partition p: Nodes: found YES;"),
        ({"MaxTime": 14400}, "partition p: MaxTime: found the number 14400; accepted: a time in quotes, such as '4:00"),
        ({"maxtime": 90.5}, "partition p: MaxTime: found the number 90.5;"),
        ({"DefaultTime": 60}, "partition p: DefaultTime: found the number 60;"),
        ({"NodeName": "n3"}, "partition p: NodeName: found among other keys; accepted: in nodes"),
        ("node1", "partition p: found 'node1'; accepted: a map of its keys, or null for none"),
        (["node1"], "partition p: found ['node1']; accepted: a map of its keys"),
        (True, "partition p: found True; accepted: a map of its keys"),
    ],
)
def test_a_partition_that_slurm_would_not_take(partition: object, finding: str) -> None:
    nodes = [node("node1", "10.0.0.1"), node("node2", "10.0.0.2")]
    found = findings(nodes=nodes, partitions={"p": partition})
    assert [text[: len(finding)] for text in found] == [finding]


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a#b", 'a"b', "a=b", "a[1]", "a*", "ü", "-a", "a\nNodeName=x"])
def test_a_name_that_no_partition_can_have(name: str) -> None:
    found = f"partition {name}: found the name {name!r}; accepted: letters, digits and _ . : -"
    assert findings(partitions={**PARTITIONS, name: {"Nodes": "ALL"}}) == [found]


@pytest.mark.parametrize(
    "nodes", ["ALL", "all", "node[1-2]", ["node2", "node1"], "node1 node2", "set1,node2", "set[1-2]"]
)
def test_nodes_of_a_partition(nodes: object) -> None:
    both = [node("node1", "10.0.0.1"), node("node2", "10.0.0.2")]
    sets = {"set1": {"Nodes": "node1"}, "set2": {"Feature": "x"}}
    assert findings(nodes=both, nodesets=sets, partitions={"p": {"Nodes": nodes, "MaxTime": "14400"}}) == []


@pytest.mark.parametrize(
    ("nodesets", "finding"),
    [
        ({"node1": {"Nodes": "node1"}}, "nodeset node1: found a name that nodes have; accepted: a name of its own"),
        ({"All": {"Nodes": "node1"}}, "nodeset All: found a name that nodes have"),
        ({"s": {"Nodes": "node3"}}, "nodeset s: Nodes: found node3; accepted: nodes of the cluster"),
        # 22.05 ends with these two, 24.11 with the second.
        ({"s": {"Nodes": "ALL"}}, "nodeset s: Nodes: found ALL;"),
        ({"s": {"Nodes": "node1"}, "t": {"Nodes": "s"}}, "nodeset t: Nodes: found s;"),
        ({"s": "node1"}, "nodeset s: found 'node1'; accepted: a map of its keys"),
        ({"a b": {"Nodes": "node1"}}, "nodeset a b: found the name 'a b';"),
    ],
)
def test_a_node_set_that_slurm_would_not_take(nodesets: dict[str, Any], finding: str) -> None:
    assert [text[: len(finding)] for text in findings(nodesets=nodesets)] == [finding]


@pytest.mark.parametrize("yes", [True, "YES", "yes", "Up", "true", "1", 1])
def test_two_default_partitions(yes: object) -> None:
    both = {"b": {"Nodes": "ALL", "Default": True}, "a": {"Nodes": "ALL", "default": yes}}
    assert findings(partitions=both) == ["partitions: Default: found a, b; accepted: one partition with Default"]


@pytest.mark.parametrize("no", [False, "NO", None, "", 0])
def test_one_default_partition(no: object) -> None:
    assert findings(partitions={"b": {"Nodes": "ALL", "Default": True}, "a": {"Nodes": "ALL", "Default": no}}) == []


BAD_VALUES = {
    "a newline": ("a\nNodeName=x", "accepted: one line of text without double quotes"),
    "a carriage return": ("a\r", "accepted: one line"),
    "a tab": ("a\tb", "accepted: one line"),
    "NUL": ("a\x00", "accepted: one line"),
    "a separator of lines": ("a\u2028b", "accepted: one line"),
    "a lone surrogate": ("a\ud800", "accepted: one line"),
    "a quote": ('a"b', "accepted: one line"),
    "quotes around it": ('"a b"', "accepted: one line"),
    "a newline in a list": (["a", "b\n"], "accepted: one line"),
    "a newline in a map": ({"a": "b\n"}, "accepted: one line"),
    "a newline in a key of a map": ({"a\n": True}, "accepted: one line"),
    "None in a list": (["a", None], "accepted: text, a number, a flat list or map"),
    "a truth in a list": (["a", True], "accepted: text, a number"),
    "a list in a list": (["a", ["b"]], "accepted: text, a number"),
    "a map in a list": ([{"a": 1}], "accepted: text, a number"),
    "a map in a map": ({"a": {"b": 1}}, "accepted: text, a number"),
    "a list in a map": ({"a": [1]}, "accepted: text, a number"),
    "a strange object": (object, "accepted: text, a number"),
}
BAD_KEYS = ["", " ", "a b", "a=b", "a\nb", "ü", "a#", '"', "_a", "1a", ("a",)]


def placed(place: str, key: Any, value: object) -> tuple[str, dict[str, Any]]:
    """A cluster that works but for a key in one of the places where keys stand, and how a finding names the place."""
    places: dict[str, tuple[str, dict[str, Any]]] = {
        "config": ("slurm.conf", {"config": {key: value}}),
        "cgroup": ("cgroup.conf", {"cgroup": {key: value}}),
        "nodes": ("node node1", {"nodes": [{**node(), key: value}, node("node2", "10.0.0.12")]}),
        "partitions": ("partition main", {"partitions": {"main": {"Nodes": "ALL", key: value}}}),
        "nodesets": ("nodeset s", {"nodesets": {"s": {"Nodes": "node1", key: value}}}),
        "gres": ("gres[0]", {"gres": [{"Name": "gpu", key: value}]}),
    }
    return places[place]


PLACES = ("config", "cgroup", "nodes", "partitions", "nodesets", "gres")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("value", "accepted"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_values_that_cannot_stand_in_a_file(place: str, value: object, accepted: str) -> None:
    where, parts = placed(place, "MailDomain", value)
    start = f"{where}: MailDomain: found {value!r}; {accepted}"
    assert [text[: len(start)] for text in findings(**parts)] == [start]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_that_cannot_stand_in_a_file(place: str, key: object) -> None:
    where, parts = placed(place, key, 1)
    assert findings(**parts) == [f"{where}: found the key {str(key)!r}; accepted: a key of letters and digits"]


def test_the_error_says_every_finding() -> None:
    with pytest.raises(ConfigError) as caught:
        render(cluster(nodes=[], partitions={}))
    assert len(caught.value.findings) == 2
    assert str(caught.value).split("\n") == caught.value.findings


def test_all_findings_come_at_once() -> None:
    found = findings(
        config={"ClusterName": None, "MailDomain": '"'},
        nodes=[node("n1", "", RealMemory=0), node("n2", Gres=[{}])],
        partitions={"p": {"Nodes": "n3"}},
    )
    assert [re.sub(": found.*", "", text) for text in found] == [
        "slurm.conf: MailDomain",
        "slurm.conf: ClusterName",
        "node n1: NodeAddr",
        "node n1: RealMemory",
        "partition p: Nodes",
        "node n2: Gres[0]: files",
    ]


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(),
    st.sampled_from(
        ("ALL", "DEFAULT", "node1", "n[1-2]", "n[", "yes", "a b", "#", "\\", '"', "=", "\n", "ü", "9" * 5000)
    ),
    st.text(max_size=3),
)
ODD_VALUES = st.recursive(
    ODD, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(ODD, inner, max_size=2)), max_leaves=4
)
ODD_KEYS = st.one_of(
    st.sampled_from(("NodeName", "nodename", "NodeAddr", "Gres", "gres", "RealMemory", "Nodes", "MaxTime", "Default")),
    ODD,
)
PLAIN_LINE = re.compile(r'[A-Za-z]\w*=("[^"]*"|[^\s"]+)( [A-Za-z]\w*=("[^"]*"|[^\s"]+))*', re.ASCII)


@settings(CASES, max_examples=1500)
@given(st.sampled_from((*PLACES, "a partition", "a node set")), ODD_KEYS, ODD_VALUES)
def test_odd_data_is_a_finding_or_a_file_that_slurm_can_read(place: str, key: Any, value: object) -> None:
    if place == "a partition":
        parts: dict[str, Any] = {"partitions": {**PARTITIONS, key: value}}
    elif place == "a node set":
        parts = {"nodesets": {key: value}}
    else:
        parts = placed(place, key, value)[1]
    try:
        texts = render(cluster(**parts))
    except ConfigError:
        return
    for text in texts.values():
        lines = [line for line in text.split("\n") if line and not line.startswith("#")]
        assert all(PLAIN_LINE.fullmatch(line) for line in lines), text
        text.encode()
