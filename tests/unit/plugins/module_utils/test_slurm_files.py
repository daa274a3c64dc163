# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import MANAGED_FILES
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import ReadError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import (
    EVERY_NODE,
    NAMES,
    Change,
    beside,
    diff,
    read,
)

OLD, NEW = "22.05.8", "24.11.5"
BASE = """\
ClusterName=lab
SlurmctldHost=head
GresTypes=gpu
NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2
PartitionName=main Nodes=n[1-3] MaxTime=60 Default=YES
PartitionName=long Nodes=ALL
"""
GRES = "AutoDetect=off\nNodeName=n[1-3] Name=gpu Type=fake File=/dev/gpu[0-1]\n"
CGROUP = "ConstrainCores=yes\n"
FILES = {"slurm.conf": BASE, "gres.conf": GRES, "cgroup.conf": CGROUP}


def changes(slurm: str = BASE, gres: str = GRES, cgroup: str = CGROUP, **further: str) -> list[Change]:
    """What differs from FILES; the name of another file has _ for the point."""
    others = {name.replace("_", "."): text for name, text in further.items()}
    return between(FILES, {"slurm.conf": slurm, "gres.conf": gres, "cgroup.conf": cgroup, **others})


def between(before: dict[str, str], after: dict[str, str], version: str = OLD) -> list[Change]:
    return diff(read(before, version), read(after, version))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_what_files_say() -> None:
    slurm = BASE.replace("SlurmctldHost=head", "SlurmctldHost=head(10.0.0.1)\nSlurmctldHost=spare")
    found = read({**FILES, "slurm.conf": slurm, "plugstack.conf": "# x\nrequired   x.so\ta\n", "b.conf": "1\n"}, OLD)
    assert found.nodes == ["n1", "n2", "n3"]
    assert found.controllers == ["head", "spare"]
    assert found.gres[1]["File"] == "/dev/gpu[0-1]"
    assert found.cgroup == {"ConstrainCores": True}
    assert found.plugstack == ["required x.so a"]
    assert found.others == {"b.conf": ["1"]}


def test_files_that_are_not_there_are_empty_ones() -> None:
    found = read({}, OLD)
    assert (found.nodes, found.controllers, found.gres, found.cgroup) == ([], [], [], {})
    assert (found.plugstack, found.others, found.value("ClusterName")) == ([], {}, None)
    assert between({}, {"slurm.conf": ""}) == []
    assert [change.key for change in between({}, {"slurm.conf": "ClusterName=lab\n"})] == ["ClusterName"]
    assert NAMES == MANAGED_FILES


def test_a_value_is_found_however_its_key_is_spelled() -> None:
    found = read({"slurm.conf": "statesavelocation=/x\nslurmctldhost=head(10.0.0.1)\n"}, OLD)
    assert found.value("StateSaveLocation") == "/x"
    assert found.controllers == ["head"]


@pytest.mark.parametrize("text", ["Nonsense=1\n", "Include other.conf\n", "NodeName=n1\nNodeName=n1\n"])
def test_what_slurm_or_this_does_not_read(text: str) -> None:
    with pytest.raises(ReadError):
        read({"slurm.conf": text}, OLD)


def test_an_included_file_is_read_from_the_set_or_from_beside(tmp_path: Path) -> None:
    (tmp_path / "nodes.conf").write_text("NodeName=n[1-2]\n", encoding="utf-8")
    (tmp_path / "gres.conf").write_text("Name=gpu\n", encoding="utf-8")
    texts = {"slurm.conf": f"Include nodes.conf\nInclude {tmp_path}/nodes.conf\nInclude parts.conf\n"}
    texts["slurm.conf"] = texts["slurm.conf"].replace(f"Include {tmp_path}/nodes.conf\n", "")
    texts["parts.conf"] = "PartitionName=main Nodes=ALL\n"
    found = read(texts, OLD, beside(str(tmp_path)))
    assert (found.nodes, list(found.slurm.partitions)) == (["n1", "n2"], ["main"])
    # One of the names that every configuration has is never read from beside.
    assert found.gres == []
    whole = read({"slurm.conf": f"Include {tmp_path}/nodes.conf\n"}, OLD, beside("/nowhere"))
    assert whole.nodes == ["n1", "n2"]


def test_plugstack_conf_with_what_it_includes(tmp_path: Path) -> None:
    folder = tmp_path / "plugstack.conf.d"
    folder.mkdir()
    (folder / "b.conf").write_text("optional b.so\nInclude deeper.conf\n", encoding="utf-8")
    (folder / "a.conf").write_text("# a\nrequired a.so x=1\n", encoding="utf-8")
    (tmp_path / "deeper.conf").write_text("optional c.so\n", encoding="utf-8")
    text = f"include {folder}/*.conf\nrequired last.so\ninclude {tmp_path}/none/*\n"
    found = read({"plugstack.conf": text}, OLD, beside(str(tmp_path)))
    assert found.plugstack == ["required a.so x=1", "optional b.so", "optional c.so", "required last.so"]
    # Alone, a pattern matches nothing.
    assert read({"plugstack.conf": text}, OLD).plugstack == ["required last.so"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include folder\n", r"^plugstack.conf: include: found .*/folder, which cannot be read \(Is a directory\); "),
        ("include self.conf\n", r"^\S*/self.conf: include: found \S*/self.conf, which includes itself; accepted: a "),
    ],
)
def test_includes_of_plugstack_conf_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "self.conf").write_text("include self.conf\n", encoding="utf-8")
    with pytest.raises(ReadError, match=message):
        read({"plugstack.conf": text}, OLD, beside(str(tmp_path)))


# --- what differs -----------------------------------------------------------------------------------------------------


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
    lines = "".join(f"NodeName=n{number} name=gpu File=/dev/gpu[0-1] type=fake\n" for number in (3, 1, 2))
    assert changes(gres="# x\nAutoDetect=off\n" + lines) == []


def test_a_partition_key() -> None:
    found = changes(BASE.replace("MaxTime=60", "MaxTime=1-0"))
    assert found == [Change("partition", "main", "MaxTime", "60", "1-0")]
    assert str(found[0]) == "partition main MaxTime: 60 -> 1-0"
    assert (found[0].added, found[0].removed) == (False, False)


def test_nodes_that_come_go_and_change() -> None:
    come = changes(BASE.replace("NodeName=n[1-3]", "NodeName=n[1-4]"))
    assert come == [Change("node", "n4", "", "", "NodeAddr=n4 CPUs=4 Gres=gpu:fake:2")]
    assert (come[0].added, come[0].removed) == (True, False)
    gone = changes(BASE.replace("n[1-3]", "n[1-2]"))
    assert gone == [
        Change("node", "n3", "", "NodeAddr=n3 CPUs=4 Gres=gpu:fake:2", ""),
        Change("partition", "main", "Nodes", "n[1-3]", "n[1-2]"),
    ]
    assert (gone[0].added, gone[0].removed) == (False, True)
    assert [change.keys for change in (*come, *gone)] == [["NodeAddr", "CPUs", "Gres"]] * 2 + [["Nodes"]]
    assert str(gone[0]).endswith("-> nothing")
    changed = changes(BASE.replace("CPUs=4", "CPUs=8"))
    assert changed == [Change("node", name, "CPUs", "4", "8") for name in ("n1", "n2", "n3")]


def test_a_key_of_the_whole_that_comes_and_goes() -> None:
    with_it = BASE + 'MailProg="/bin/mail -x"\n'
    come = changes(with_it)
    assert come == [Change("slurm.conf", "", "MailProg", "", '"/bin/mail -x"')]
    # Only lines with a name of their own are items that come and go.
    assert not come[0].added
    gone = between({**FILES, "slurm.conf": with_it}, FILES)
    assert gone == [Change("slurm.conf", "", "MailProg", '"/bin/mail -x"', "")]
    assert not gone[0].removed


def test_down_nodes_are_keys_of_the_nodes() -> None:
    down = BASE + 'DownNodes=n[1-2] State=DRAIN Reason="bad fan"\n'
    assert changes(down) == [
        Change("node", name, key, "", value)
        for name in ("n1", "n2")
        for key, value in (("Reason", '"bad fan"'), ("State", "DRAIN"))
    ]
    # Written into the line of the nodes it is the same.
    split = 'NodeName=n[1-2] CPUs=4 Gres=gpu:fake:2 State=DRAIN Reason="bad fan"\nNodeName=n3 CPUs=4 Gres=gpu:fake:2'
    same = BASE.replace("NodeName=n[1-3] CPUs=4 Gres=gpu:fake:2", split)
    assert between({**FILES, "slurm.conf": down}, {**FILES, "slurm.conf": same}) == []


def test_gres_lines_count_for_each_node() -> None:
    gres = GRES.replace("n[1-3]", "n[1-2]") + "NodeName=n3 Name=gpu Type=fake File=/dev/gpu[2-3]\n"
    assert changes(gres=gres) == [Change("gres.conf", "n3", "File", "/dev/gpu[0-1]", "/dev/gpu[2-3]")]
    for_all = between({"gres.conf": "Name=gpu File=/dev/a\n"}, {"gres.conf": "Name=gpu File=/dev/b\n"})
    assert for_all == [Change("gres.conf", EVERY_NODE, "File", "/dev/a", "/dev/b")]


def test_a_cgroup_key() -> None:
    assert changes(cgroup="ConstrainCores=no\n") == [Change("cgroup.conf", "", "ConstrainCores", "YES", "NO")]


def test_plugstack_conf_counts_by_its_lines() -> None:
    assert changes(plugstack_conf="# nothing\n\n") == []
    found = changes(plugstack_conf="required  x.so \n# y\noptional y.so\n")
    assert found == [Change("plugstack.conf", "", "", "", "required x.so; optional y.so")]
    assert (found[0].added, str(found[0])) == (False, "plugstack.conf: nothing -> required x.so; optional y.so")
    # Their order is that in which they run.
    assert between({"plugstack.conf": "required x\nrequired y\n"}, {"plugstack.conf": "required y\nrequired x\n"}) == [
        Change("plugstack.conf", "", "", "required x; required y", "required y; required x")
    ]


def test_another_file_counts_by_its_lines() -> None:
    found = between({"topology.conf": "# a\nx\n"}, {"topology.conf": "  x  \n\ny\n"})
    assert found == [Change("topology.conf", "", "", "x", "x; y")]
    assert between({"topology.conf": "# a\nx\n"}, {"topology.conf": "x\n"}) == []
    assert between({"topology.conf": "x\n"}, {}) == [Change("topology.conf", "", "", "x", "")]
    assert between({}, {"topology.conf": "x\n", "b.conf": "y\n"}) == [
        Change("b.conf", "", "", "", "y"),
        Change("topology.conf", "", "", "", "x"),
    ]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_every_change_at_once_in_the_order_of_the_files(version: str) -> None:
    after = {
        "slurm.conf": BASE.replace("lab", "other").replace("CPUs=4", "CPUs=8").replace("=60", "=90")
        + "NodeSet=s Nodes=n1\n",
        "gres.conf": GRES.replace("gpu[0-1]", "gpu[2-3]"),
        "cgroup.conf": "",
        "plugstack.conf": "required x.so\n",
    }
    assert list(dict.fromkeys(change.kind for change in between(FILES, after, version))) == [
        "slurm.conf", "node", "partition", "nodeset", "gres.conf", "cgroup.conf", "plugstack.conf",
    ]  # fmt: skip
