# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import InventoryError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.wizard import (
    PROBE,
    Answers,
    Probe,
    files,
    parse_probe,
    read_answers,
    report,
)

LAB = {
    "configure_head": "head1=10.0.0.3",
    "configure_storage": "storage1",
    "configure_compute": "cpu[01-02], login",
    "configure_gpu": "gpu[1-2]=10.0.2.[1-2]",
    "configure_user": "admin",
    "configure_shared_path": "/data",
}
ANSWERS = Answers(
    head="head1",
    storage="storage1",
    nodes=["cpu01", "cpu02", "login", "gpu1", "gpu2"],
    gpu=["gpu1", "gpu2"],
    addresses={"head1": "10.0.0.3", "gpu1": "10.0.2.1", "gpu2": "10.0.2.2"},
    user="admin",
    shared_path="/data",
)
PROBES = {
    "head1": Probe("10.0.0.3", 4, 7900, ""),
    "gpu1": Probe("10.0.2.1", 64, 515000, "8 NVIDIA"),
    "cpu01": Probe("10.0.1.1", 1, 900, "1 AMD"),
    "gpu2": Probe("", 2, 4000, ""),
    "login": None,
}


def test_answers() -> None:
    assert read_answers(LAB) == ANSWERS
    assert ANSWERS.hosts == ["storage1", "head1", "cpu01", "cpu02", "login", "gpu1", "gpu2"]


def test_one_machine() -> None:
    found = read_answers({"configure_head": "box", "configure_storage": "box", "configure_compute": "box"})
    assert found == Answers("box", "box", ["box"], [], {}, "", "/data")
    assert found.hosts == ["box"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        (" a,b  c,,", ["a", "b", "c"]),
        ("n[1-2,4],m", ["n1", "n2", "n4", "m"]),
        ("n[1-2],n[2-3]", ["n1", "n2", "n3"]),
        ("n[1-2].lab,m[3-4].x.y", ["n1.lab", "n2.lab", "m3.x.y", "m4.x.y"]),
        (["n[1-2]", "m,k"], ["n1", "n2", "m", "k"]),
        ("rp4n1.local fedml-node_1", ["rp4n1.local", "fedml-node_1"]),
    ],
)
def test_host_lists(text: object, names: list[str]) -> None:
    assert read_answers({**LAB, "configure_gpu": "", "configure_compute": text}).nodes == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"configure_head": ""}, "configure_head: found no host; accepted: one host"),
        ({"configure_head": None}, "configure_head: found no host; accepted: one host"),
        ({"configure_head": "a,b"}, "configure_head: found a, b; accepted: one host"),
        ({"configure_storage": "a b"}, "configure_storage: found a, b; accepted: one host, or none where"),
        (
            {"configure_compute": "", "configure_gpu": ""},
            "configure_compute: found no host; accepted: one host or more",
        ),
        ({"configure_compute": "n[1-"}, "configure_compute: host list 'n[1-': found '[' at character 2"),
        ({"configure_compute": "n]"}, "configure_compute: host list ']': found ']'"),
        ({"configure_compute": "n:1"}, "configure_compute: found the host name 'n:1'; accepted: letters"),
        (
            {"configure_compute": "10.0.0.1"},
            "configure_compute: found 10.0.0.1; accepted: a name; its address may stand",
        ),
        ({"configure_head": "head"}, "configure_head: found head; accepted: a name that no group of the inventory has"),
        (
            {"configure_compute": "n[1-2]=10.0.0.1"},
            "configure_compute: found 'n[1-2]=10.0.0.1'; accepted: an address for",
        ),
        ({"configure_compute": "n=lan"}, "configure_compute: found 'n=lan'; accepted: an address for each name"),
        (
            {"configure_compute": "head1=10.0.0.9"},
            "configure_compute: found head1=10.0.0.9; accepted: head1=10.0.0.3, as",
        ),
        (
            {"configure_compute": "n=10.0.0.3"},
            "n: found 10.0.0.3, which head1 has as well; accepted: every address once",
        ),
        ({"configure_user": "a b"}, "configure_user: found 'a b'; accepted: the name of an account"),
        ({"configure_shared_path": "data"}, "configure_shared_path: found 'data'; accepted: an absolute path"),
        ({"configure_shared_path": "/srv/../etc"}, "configure_shared_path: found '/srv/../etc'; accepted: an absolute"),
        ({"configure_shared_path": "/srv/./x"}, "configure_shared_path: found '/srv/./x'; accepted: an absolute path"),
        ({"configure_compute": [1]}, "configure_compute: found [1]; accepted: host lists, with commas or as a list"),
        ({"configure_compute": {"n1": 1}}, "configure_compute: found {'n1': 1}; accepted: host lists"),
        (
            {"configure_compute": "n=0.0.0.0"},
            "configure_compute: found 'n=0.0.0.0'; accepted: an address for each name",
        ),
        ({"configure_compute": "n=fd00::1,m=FD00:0::1"}, "m: found fd00::1, which n has as well; accepted: every"),
        ({"configure_shared_path": "/"}, "configure_shared_path: found '/'; accepted: an absolute path"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InventoryError) as error:
        read_answers({**LAB, **changes})
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("path", ["/srv/data/", "/srv//data", "//srv/data//"])
def test_slashes_too_many(path: str) -> None:
    assert read_answers({**LAB, "configure_shared_path": path}).shared_path == "/srv/data"


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("aicluster-probe address=10.0.0.1 cpus=4 memory_kb=8000000 gpus=", Probe("10.0.0.1", 4, 7812, "")),
        (
            "Welcome!\r\naicluster-probe address= cpus=64 memory_kb=1048576 gpus=8,NVIDIA,1,AMD\r\n",
            Probe("", 64, 1024, "8 NVIDIA, 1 AMD"),
        ),
        ("aicluster-probe address=10.0.0.1 cpus= memory_kb= gpus=", None),
        ("sh: getconf: not found", None),
        ("", None),
    ],
)
def test_probe(text: str, probe: Probe | None) -> None:
    assert parse_probe(text) == probe


def test_the_probe_runs_here() -> None:
    printed = subprocess.run(["sh", "-c", PROBE], capture_output=True, text=True, check=True).stdout
    probe = parse_probe(printed)
    assert probe
    assert probe.cpus >= 1
    assert probe.memory_mb > 100


def test_the_probe_counts_cards(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030200"),
        ("0000:02:00.0", "0x10de", "0x030000"),
        ("0000:02:00.1", "0x10de", "0x040300"),
        ("0000:03:00.0", "0x1002", "0x120000"),
        ("0000:05:00.0", "0x8086", "0x038000"),
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    script = PROBE.replace("/sys/bus/pci/devices", str(tmp_path))
    printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    probe = parse_probe(printed)
    assert probe
    assert probe.gpus == "1 AMD, 1 Intel, 2 NVIDIA"


def test_report() -> None:
    assert report(ANSWERS, PROBES) == [
        "storage1: did not answer; site.yml finds its values when it does",
        "head1: 10.0.0.3, 4 CPUs, 8 GiB",
        "cpu01: 10.0.1.1, 1 CPUs, 900 MiB, GPUs: 1 AMD (not in configure_gpu, so its GPUs stay unused)",
        "cpu02: did not answer; site.yml finds its values when it does",
        "login: did not answer; site.yml finds its values when it does",
        "gpu1: 10.0.2.1, 64 CPUs, 503 GiB, GPUs: 8 NVIDIA",
        "gpu2: no address, 2 CPUs, 4 GiB (in configure_gpu, and no GPU was seen)",
    ]


def test_files() -> None:
    made = files(ANSWERS, PROBES)
    assert set(made) == {"hosts", "group_vars/all.yml"}
    bare = [line for line in made["hosts"].splitlines() if line and not line.startswith("#")]
    assert bare == [
        "[nfs]",
        "storage1 # did not answer; site.yml finds its values when it does",
        "[head]",
        "head1 ansible_host=10.0.0.3 # 10.0.0.3, 4 CPUs, 8 GiB",
        "[nodes]",
        "cpu01 # 10.0.1.1, 1 CPUs, 900 MiB, GPUs: 1 AMD",
        "cpu02 # did not answer; site.yml finds its values when it does",
        "login # did not answer; site.yml finds its values when it does",
        "gpu1 ansible_host=10.0.2.1 # 10.0.2.1, 64 CPUs, 503 GiB, GPUs: 8 NVIDIA",
        "gpu2 ansible_host=10.0.2.2 # no address, 2 CPUs, 4 GiB",
        "[gpu]",
        "gpu1",
        "gpu2",
    ]
    values = [line for line in made["group_vars/all.yml"].splitlines() if line and not line.startswith("#")]
    assert values == ["---", "ansible_user: admin", "cluster_shared_path: /data"]


def test_without_a_user_ssh_decides() -> None:
    made = files(ANSWERS._replace(user=""), {})
    assert "\n# ansible_user: admin\n" in made["group_vars/all.yml"]
