# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is expected here, of the files in fixtures/slurm_conf and of the snippets, is held against a real Slurm by
tests/integration/read_slurm_conf.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_conf, slurm_conf_reader, slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import ReadError, SlurmConf
from hypothesis import given, settings
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[2] / "fixtures"
SITES = sorted((FIXTURES / "slurm_conf").iterdir())
VERSIONS = ("22.05.8", "24.11.5")

thousand = settings(max_examples=1_000, derandomize=True, deadline=None)


def files(texts: dict[str, str]) -> Callable[[str], str]:
    """Reads from texts by their names in /etc/slurm."""

    def read(path: str) -> str:
        try:
            return texts[path.replace("/etc/slurm/", "")]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    return read


def read_text(text: str, version: str = "24.11.5", **others: str) -> SlurmConf:
    """Read a slurm.conf; others are files beside it, by their names without .conf."""
    texts = {"slurm.conf": text, **{f"{name}.conf": other for name, other in others.items()}}
    return slurm_conf_reader.read_slurm_conf("/etc/slurm/slurm.conf", files(texts), version)


def read_site(site: Path, version: str) -> SlurmConf:
    """Read a configuration of the fixtures."""
    # No file of a repository keeps its carriage returns for long.
    end = "\r\n" if site.name == "crlf" else "\n"
    paths = site.rglob("*.conf")
    texts = {str(path.relative_to(site)): path.read_text(encoding="utf-8").replace("\n", end) for path in paths}
    return slurm_conf_reader.read_slurm_conf("/etc/slurm/slurm.conf", files(texts), version)


def refusal(text: str, version: str = "24.11.5", **others: str) -> str:
    """Why a text is refused."""
    with pytest.raises(ReadError) as caught:
        read_text(text, version, **others)
    return str(caught.value)


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_real_files(site: Path) -> None:
    expected = yaml.safe_load((site / "expected.yml").read_text(encoding="utf-8"))
    assert read_site(site, "24.11.5")._asdict() == expected


@pytest.mark.parametrize("site", [site for site in SITES if "-" not in site.name], ids=lambda site: site.name)
def test_both_versions_read_alike(site: Path) -> None:
    old, new = (read_site(site, version) for version in VERSIONS)
    if site.name == "includes":
        # Only for 22.05 a name is relative to the file that includes it.
        assert old.config.pop("MaxJobCount") == 11111
        assert new.config.pop("MaxJobCount") == 22222
    assert old == new


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.name)
def test_what_was_read_can_be_rendered_and_is_the_same_then(site: Path) -> None:
    # What devices there are stands in gres.conf.
    gres = [{"AutoDetect": "nvml"}]
    rendered = slurm_conf.render(read_site(site, "24.11.5").cluster()._replace(gres=gres))
    assert slurm_conf.render(read_text(rendered["slurm.conf"]).cluster()._replace(gres=gres)) == rendered


def test_other_files() -> None:
    read = files({path.name: path.read_text(encoding="utf-8") for path in (FIXTURES / "slurm_conf" / "gpu").iterdir()})
    assert slurm_conf_reader.read_cgroup_conf("cgroup.conf", read, "24.11.5") == {
        "CgroupMountpoint": "/sys/fs/cgroup",
        "constrainCores": True,
        "ConstrainRAMSpace": True,
        "AllowedRAMSpace": 98.5,
        "ConstrainDevices": True,
    }
    assert slurm_conf_reader.read_gres_conf("gres.conf", read, "24.11.5") == [
        {"AutoDetect": "off"},
        {"NodeName": "g[1-2]", "Name": "gpu", "Type": "a100", "File": "/dev/nvidia[0-3]", "Cores": "0-15"},
        {"Name": "shard", "Count": "16"},
        {"NodeName": "g3", "Name": "gpu", "Type": "1g.10gb", "File": "/dev/nvidia-caps/nvidia-cap[30-36]"},
        {"NodeName": "g4", "Name": "gpu", "File": "/dev/nvidia0"},
    ]


def test_down_nodes_in_the_nodes() -> None:
    nodes = read_site(FIXTURES / "slurm_conf" / "down", "24.11.5").cluster().nodes
    assert {node["NodeName"]: (node.get("State"), node.get("Reason")) for node in nodes} == {
        "d1": ("DOWN", "Set in slurm.conf"),
        "d2": ("DOWN", "Set in slurm.conf"),
        "d3": ("DOWN", "no power since Monday"),
        "d4": ("DOWN", "power supply"),
        "d5": ("FAIL", "board"),
        "d6": (None, "watched"),
        "d7": ("DRAIN", "moved"),
        "d8": (None, None),
        "d9": (None, None),
        "d10": ("DRAIN", "memory errors"),
        "d11": ("FUTURE", None),
        "d12": ("DOWN", None),
        "d13": ("CLOUD", None),
    }


def snippets() -> Iterator[tuple[str, str]]:
    """The verdict of Slurm, the same of both versions, and the file."""
    for line in (FIXTURES / "conf_snippets.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            verdict, text = line.split("\t", 1)
            yield verdict, text.encode().decode("unicode_escape")


@pytest.mark.parametrize(("verdict", "text"), list(snippets()))
@pytest.mark.parametrize("version", VERSIONS)
def test_refuses_what_slurm_refuses(version: str, verdict: str, text: str) -> None:
    read = files({"slurm.conf": text, "/dev/null": ""})
    try:
        slurm_conf_reader.read_slurm_conf("/etc/slurm/slurm.conf", read, version)
        found = "takes"
    except ReadError:
        found = "refuses"
    assert found == verdict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ClusterName=x\n\n# a\nSlurmdTimeot=5\n",
            "line 4: found the unknown key SlurmdTimeot; accepted: a key of slurm.conf(5), such as SlurmdTimeout",
        ),
        (
            "NodeName=n \\\n CPUs=2 \\\n Wieght=3\n",
            "line 1: found the unknown key Wieght;"
            " accepted: a key of slurm.conf(5) for a NodeName line, such as Weight",
        ),
        ("KillWait=soon", "line 1: found KillWait=soon; accepted: a number below 65536, or UNLIMITED"),
        ("NodeName=n Weight=a", "line 1: found Weight=a; accepted: a number below 4294967296, or UNLIMITED"),
        ("hello world", "line 1: found hello world; accepted: KEY=VALUE, with quotes around a value that has blanks"),
        ("ClusterName=a KillWait=3", "line 1: found KillWait; accepted: nothing after ClusterName and its value"),
        ("SlurmctldHost=a(b", "line 1: found SlurmctldHost=a(b; accepted: NAME or NAME(ADDRESS)"),
        ("NodeName=DEFAULT NodeAddr=a", "line 1: found NodeAddr; accepted: NodeName=DEFAULT without addresses"),
        ("NodeName=ALL", "line 1: found NodeName=ALL; accepted: another name, because this one is reserved"),
        ('NodeName=""', "line 1: found NodeName without a name; accepted: the name of a node, or a list of names"),
        (
            "NodeName=a\nNodeName=[a",
            "line 2: found [a; accepted: a host list (host list '[a': found '[' at character 1; accepted: a pair of"
            " brackets, not nested)",
        ),
        ("NodeName=a[1-2]\nNodeName=a2", "line 2: found NodeName=a2 again; accepted: each node once"),
        ("NodeName=a NodeName=b", "line 1: found NodeName; accepted: NodeName at the beginning of a line"),
        ("PartitionName=a\nPartitionName=a", "line 2: found PartitionName=a again; accepted: each partition once"),
        ("NodeName=a[1-3] NodeAddr=1.2.3.[4-5]", "line 1: found 2 of NodeAddr for 3 nodes; accepted: one, or 3"),
        ("NodeName=a[1-2] Port=7000-7002", "line 1: found 3 of Port for 2 nodes; accepted: one, or 2"),
        ("NodeName=a Port=0", "line 1: found Port=0; accepted: a number from 1 to 65535"),
        ("NodeName=a Port=70000", "line 1: found Port=70000; accepted: a number from 1 to 65535"),
        ("NodeName=a Port=x", "line 1: found Port=x; accepted: a number from 1 to 65535"),
        ("NodeName=a Port=\u00b2", "line 1: found Port=\u00b2; accepted: a number from 1 to 65535"),
        ("Include", "line 1: found Include; accepted: KEY=VALUE, with quotes around a value that has blanks"),
        ("Include a b", "line 1: found Include a b; accepted: Include and the name of one file"),
        ("Include %c.conf", "line 1: found Include %c.conf; accepted: %c after the line with ClusterName only"),
        ("Epilog=a\0b", "line 1: found Epilog=a\0b; accepted: a line of text"),
        ("x" * 200, f"line 1: found {'x' * 77}...; accepted: KEY=VALUE, with quotes around a value that has blanks"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    assert refusal(text) == f"/etc/slurm/slurm.conf: {message}"


def test_an_error_knows_its_file_and_line() -> None:
    with pytest.raises(ReadError) as caught:
        read_text("# a\nInclude b.conf\n", b="# c\n\nFoo=1\n")
    assert (caught.value.file, caught.value.line) == ("/etc/slurm/b.conf", 3)


def test_missing_files() -> None:
    assert refusal("ClusterName=x\nInclude gone.conf\n") == (
        "/etc/slurm/slurm.conf: line 2: found the file /etc/slurm/gone.conf, which cannot be read"
        " (No such file or directory); accepted: a file that can be read"
    )
    with pytest.raises(ReadError, match=r"^slurm\.conf: found the file slurm\.conf, which cannot be read"):
        slurm_conf_reader.read_slurm_conf("slurm.conf", files({}), "24.11.5")


def test_files_that_include_each_other() -> None:
    message = "/etc/slurm/a.conf: line 1: found Include slurm.conf; accepted: a file that does not include itself"
    assert refusal("Include a.conf", a="Include slurm.conf") == message
    assert read_text("Include a.conf\nInclude a.conf", a="KillWait=5").config == {"KillWait": 5}


def test_a_key_of_another_version() -> None:
    assert "which Slurm 22.05 does not know" in refusal("PreemptParameters=x", "22.05.8")
    assert read_text("PreemptParameters=x", "24.11.5").config == {"PreemptParameters": "x"}
    # Slurm itself has to judge what may be new.
    assert read_text("SomethingNew=x", "26.05.1").config == {"SomethingNew": "x"}


def test_only_24_11_collects_scripts() -> None:
    text = "prolog=a\nProlog=b\nPROLOG=c\n"
    assert read_text(text, "22.05.8").config == {"prolog": "c"}
    assert read_text(text, "24.11.5").config == {"prolog": ["a", "b", "c"]}


def test_empty_values_are_kept() -> None:
    assert read_text('Epilog=""\nPartitionName=p Nodes=""').partitions == {"p": {"Nodes": ""}}


def test_more_addresses_than_nodes() -> None:
    assert read_text("NodeName=n[1-2] NodeAddr=10.0.0.[1-3] NodeHostname=h").nodes == [
        {"NodeName": "n1", "NodeAddr": "10.0.0.1", "NodeHostname": "h"},
        {"NodeName": "n2", "NodeAddr": "10.0.0.2", "NodeHostname": "h"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Type=a100", "found Type; accepted: a line that begins with Name, NodeName or AutoDetect"),
        ("AutoDetect=off Name=gpu", "found Name; accepted: nothing after AutoDetect and its value"),
        ("Name=gpu Cors=1", "found the unknown key Cors; accepted: a key of gres.conf(5), such as Cores"),
    ],
)
def test_gres_conf_refusals(text: str, message: str) -> None:
    with pytest.raises(ReadError) as caught:
        slurm_conf_reader.read_gres_conf("gres.conf", files({"gres.conf": text}), "24.11.5")
    assert str(caught.value) == f"gres.conf: line 1: {message}"


# All that a file could take for its own, but the double quote, which the renderer refuses; empty text is none to it.
texts = st.text(" abYZ019\\#=,:;()[]{}%*+-/_.~!@$^&|<>?'\u00e4\u20ac", min_size=1, max_size=8)


def values(key: slurm_keys.Key) -> st.SearchStrategy[Any]:
    """Values of a key as the reader gives them."""
    if key.form == "text":
        return texts
    if key.form == "bool":
        return st.booleans()
    if key.form == "float":
        return st.integers(0, 1000) | st.just(12.5)
    # The renderer wants some of these above 0.
    return st.integers(1, 2 ** int(key.form[1:]) - 1)


def maps(kind: str, *without: str) -> st.SearchStrategy[dict[str, Any]]:
    """Some keys of a kind of line, with values."""
    keys = [key for key in slurm_keys.known("24.11.5", kind).values() if key.name not in without]
    pairs = [st.tuples(st.just(key.name), values(key)) for key in keys]
    return st.lists(st.one_of(pairs), max_size=4, unique_by=lambda pair: pair[0]).map(dict)


global_maps = maps("slurm.conf", "ClusterName", "SlurmctldHost", "GresTypes")
node_maps = maps("node", "NodeName", "NodeAddr", "NodeHostname", "BcastAddr", "Port", "Gres")
partition_maps = maps("partition", "Nodes", "Default")
cgroup_maps = maps("cgroup.conf")
names = st.sampled_from(["n1", "n2", "n3", "n10", "n010", "n11", "gpu", "rack1n1", "rack1n2", "rack2n1", "a-b", "A1"])


@st.composite
def clusters(draw: st.DrawFn) -> slurm_conf.Cluster:
    """Data for the renderer, as the reader gives it."""
    found = draw(st.lists(names, min_size=1, max_size=8, unique=True))
    addresses = draw(st.permutations([f"10.0.{number // 3}.{number * 7 % 256}" for number in range(len(found))]))
    alike = draw(st.lists(node_maps, min_size=1, max_size=2))
    port = draw(st.sampled_from([{}, {"Port": 7001}]))
    nodes = [
        {"NodeName": name, "NodeAddr": address, **port, **alike[number % len(alike)]}
        for number, (name, address) in enumerate(zip(found, addresses))
    ]
    partitions = {
        f"p{number}": {"Nodes": draw(st.sampled_from(["ALL", found[0]])), **keys}
        for number, keys in enumerate(draw(st.lists(partition_maps, min_size=1, max_size=3)))
    }
    partitions["p0"]["Default"] = True
    nodesets = {f"set{number}": {"Nodes": found[0]} for number in range(draw(st.integers(0, 2)))}
    config = {
        "ClusterName": "x",
        "SlurmctldHost": draw(st.lists(st.sampled_from(["a", "b(10.9.9.9)", "c.d"]), min_size=1, unique=True)),
        **draw(global_maps),
    }
    return slurm_conf.Cluster(config, nodes, partitions, nodesets, draw(cgroup_maps))


@thousand
@given(cluster=clusters())
def test_reads_what_was_rendered(cluster: slurm_conf.Cluster) -> None:
    rendered = slurm_conf.render(cluster)
    found = read_text(rendered["slurm.conf"])
    assert found.config == cluster.config
    assert {node["NodeName"]: node for node in found.nodes} == {node["NodeName"]: node for node in cluster.nodes}
    assert (found.partitions, found.nodesets, found.downnodes) == (cluster.partitions, cluster.nodesets, [])
    assert slurm_conf_reader.read_cgroup_conf("cgroup.conf", files(rendered), "24.11.5") == cluster.cgroup


words = st.sampled_from(
    [
        *("NodeName", "nodename", "PartitionName", "NodeSet", "DownNodes", "SlurmctldHost", "Include ", "DEFAULT"),
        *("CPUs", "Port", "NodeAddr", "Feature", "State", "Default", "ClusterName", "Prolog", "FrontendName", "ALL"),
        *("=", " = ", "+=", " ", "\t", "\n", "\r\n", "\\", "\\\n", "#", '"', ",", "[", "]", "[1-3]", "(", ")", "%c"),
        *("n1", "0", "65536", "-1", "YES", "INFINITE", "a.conf", "slurm.conf", "*", "\0", "\udc80", "\u2028", "\x85"),
    ]
)


@thousand
@given(text=st.lists(words | st.text(max_size=3), max_size=40).map("".join), version=st.sampled_from(VERSIONS))
def test_garbage_is_read_or_refused(text: str, version: str) -> None:
    read = files({"slurm.conf": text, "a.conf": text})
    for reader in (
        lambda: slurm_conf_reader.read_slurm_conf("/etc/slurm/slurm.conf", read, version).cluster(),
        lambda: slurm_conf_reader.read_gres_conf("/etc/slurm/slurm.conf", read, version),
        lambda: slurm_conf_reader.read_cgroup_conf("/etc/slurm/slurm.conf", read, version),
    ):
        try:
            reader()
        except ReadError as error:
            assert "; accepted: " in str(error)  # noqa: PT017  # garbage need not be an error


def test_ten_thousand_nodes() -> None:
    lines = (f"NodeName=n{number}x[0-99] NodeAddr=10.{number}.0.[0-99]\n" for number in range(100))
    nodes = read_text("NodeName=DEFAULT CPUs=2\n" + "".join(lines)).nodes
    assert len(nodes) == 10_000
    assert nodes[-1] == {"NodeName": "n99x99", "NodeAddr": "10.99.0.99", "CPUs": 2}
