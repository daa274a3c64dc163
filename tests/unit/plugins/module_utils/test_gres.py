# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.gres import (
    FLAGS,
    GresError,
    GresGroup,
    conf_lines,
    local_lines,
    node_gres,
    parse,
    parse_all,
)

A100 = GresGroup("gpu", "a100", 4, tuple(f"/dev/nvidia{index}" for index in range(4)), None, None, ())
MIG = GresGroup("gpu", "1g.10gb", 7, tuple(f"/dev/nvidia-caps/nvidia-cap{n}" for n in range(1, 8)), None, None, ())
NIC = GresGroup("nic", None, 2, ("/dev/mlx0", "/dev/mlx1"), None, None, ())
CAPS = ("/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13")
INSTANCE = GresGroup("gpu", "2g.20gb", 1, (), None, None, (), multiple_files=CAPS)
BANDWIDTH = GresGroup("bandwidth", "lustre", 40, (), None, None, ("CountOnly",))


# --- parse ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "group"),
    [
        ({"name": "gpu", "type": "a100", "count": 4, "files": ["/dev/nvidia[0-3]"]}, A100),
        ({"type": "a100", "files": ["/dev/nvidia[0-1]", "/dev/nvidia2", "/dev/nvidia3"]}, A100),
        ({"type": "a100", "files": ["/dev/nvidia[0-3]"], "cores": None, "links": None, "flags": None}, A100),
        ({"type": "1g.10gb", "files": ["/dev/nvidia-caps/nvidia-cap[1-7]"]}, MIG),
        ({"name": "nic", "files": ["/dev/mlx[0-1]"]}, NIC),
        ({"name": "bandwidth", "type": "lustre", "count": 40, "flags": ["CountOnly"]}, BANDWIDTH),
        (
            {"files": ["/dev/nvidia0"], "cores": "0-7,16-23", "links": "-1,4,4,4", "flags": ["nvidia_gpu_env"]},
            GresGroup("gpu", None, 1, ("/dev/nvidia0",), "0-7,16-23", "-1,4,4,4", ("nvidia_gpu_env",)),
        ),
        # YAML makes a number of `cores: 3`.
        ({"files": ["/dev/nvidia0"], "cores": 3}, GresGroup("gpu", None, 1, ("/dev/nvidia0",), "3", None, ())),
    ],
)
def test_parse(record: dict[str, object], group: GresGroup) -> None:
    assert parse(record, "node1") == group


@pytest.mark.parametrize("group", [A100, MIG, INSTANCE, NIC, BANDWIDTH])
def test_a_group_is_a_record_again_after_json(group: GresGroup) -> None:
    assert parse(json.loads(json.dumps(asdict(group))), "node1") == group


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fils": []},
            "found the key 'fils', meant files?; accepted: name, type, count, files, cores, links, flags, multiple",
        ),
        ({"qqq": 1}, "found the key 'qqq'; accepted: name, type"),
        ({"name": ""}, "name: found ''; accepted: letters, digits"),
        ({"name": "g:u"}, "name: found 'g:u'"),
        ({"count": 3}, "count: found 3; accepted: 2, the number of files, or no count"),
        ({"count": 0}, "count: found 0; accepted: a number from 1"),
        ({"count": "2"}, "count: found '2'; accepted: a number from 1"),
        ({"count": True, "files": ["/dev/nvidia0"]}, "count: found True"),
        ({"files": "/dev/nvidia0"}, "files: found '/dev/nvidia0'; accepted: a list of paths"),
        ({"files": [1]}, "files: found [1]; accepted: a list of paths"),
        ({"files": ["nvidia0"]}, "files: found ['nvidia0']; accepted: a list of paths"),
        ({"files": ["/dev/a#b"]}, "files: found ['/dev/a#b']"),
        ({"files": ["/dev/nvidia0", "/dev/nvidia[0-1]"]}, "files: found ['/dev/nvidia0', '/dev/nvidia[0-1]']"),
        ({"files": ["/dev/nvidia[0-"]}, "files: host list '/dev/nvidia[0-': found '[' at character 12"),
        ({"files": []}, "files: found []; accepted: the device files of the GPUs"),
        ({"files": None, "count": 2}, "files: found None; accepted: the device files of the GPUs"),
        ({"name": "nic", "files": None}, "count: found None; accepted: a number from 1"),
        ({"cores": "0:1"}, "cores: found '0:1'; accepted: core numbers and ranges"),
        ({"cores": [0, 1]}, "cores: found [0, 1]"),
        ({"links": "4 4"}, "links: found '4 4'; accepted: numbers with commas"),
        ({"links": "-1,4"}, "links: found '-1,4'; accepted: links in a group of one device; this has 2"),
        ({"flags": "explicit"}, "flags: found 'explicit'; accepted: a list of CountOnly"),
        ({"flags": ["cuda"]}, "flags: found 'cuda'; accepted: a list of CountOnly, all_sharing"),
    ],
)
def test_parse_names_place_found_and_accepted(changes: dict[str, object], message: str) -> None:
    record = {"name": "gpu", "type": "a100", "files": ["/dev/nvidia[0-1]"], **changes}
    with pytest.raises(GresError, match=re.escape("node1: gpu_devices[0]: " + message)):
        parse(record, "node1: gpu_devices[0]")


@pytest.mark.parametrize("record", [None, "gpu:4", ["gpu"], 4])
def test_parse_wants_a_mapping(record: object) -> None:
    with pytest.raises(GresError, match=r"node1: found .*; accepted: a mapping with the keys name, type, count"):
        parse(record, "node1")


@pytest.mark.parametrize("type_", ["a100", "1g.10gb", "1g.10gb+me", "nvidia_h100_80gb_hbm3", "A-100", "2x"])
def test_types_that_slurm_takes(type_: str) -> None:
    assert parse({"type": type_, "files": ["/dev/nvidia0"]}, "node1").type == type_


@pytest.mark.parametrize(
    "type_", ["", "100", 100, "4k", "2G", "no_consume", "a b", "a:b", "a,b", "a=b", "a#b", "a(b", "a'b", 'a"b', "ü", []]
)
def test_types_that_slurm_misreads(type_: object) -> None:
    with pytest.raises(GresError, match=re.escape(f"node1: type: found {str(type_) if type_ == 100 else type_!r}")):
        parse({"type": type_, "files": ["/dev/nvidia0"]}, "node1")


def test_every_flag_is_taken() -> None:
    assert parse({"files": ["/dev/nvidia0"], "flags": list(FLAGS)}, "node1").flags == FLAGS


# --- parse_all --------------------------------------------------------------------------------------------------------


def test_parse_all_keeps_the_order() -> None:
    records = [asdict(group) for group in (MIG, NIC, BANDWIDTH)]
    assert parse_all(records, "node1: gpu_devices") == (MIG, NIC, BANDWIDTH)
    assert parse_all([], "node1: gpu_devices") == parse_all(None, "node1: gpu_devices") == ()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"name": "gpu"}, "gpu_devices: found {'name': 'gpu'}; accepted: a list of gres records"),
        ("gpu", "gpu_devices: found 'gpu'; accepted: a list of gres records"),
        ([asdict(A100), {"typ": "a100"}], "gpu_devices[1]: found the key 'typ', meant type?"),
        (
            [asdict(A100), {"type": "h100", "files": ["/dev/nvidia3"]}],
            "gpu_devices[1]: found '/dev/nvidia3'; accepted: what gpu_devices[0] does not have",
        ),
        (
            [asdict(BANDWIDTH), asdict(replace(BANDWIDTH, type="nfs")), asdict(BANDWIDTH)],
            "gpu_devices[2]: found 'bandwidth:lustre'; accepted: what gpu_devices[0] does not have",
        ),
        (
            [asdict(A100), {"files": ["/dev/nvidia4"]}],
            "gpu_devices[1]: type: found None; accepted: type for all gpu of a node, or for none",
        ),
        (
            [asdict(A100), {"type": "a100", "files": ["/dev/nvidia4"], "cores": "0-7"}],
            "gpu_devices[1]: cores: found '0-7'; accepted: cores for all gpu of a node, or for none",
        ),
        (
            [{"files": ["/dev/nvidia0"], "links": "-1,4,0"}, {"files": ["/dev/nvidia1"], "links": "4,-1"}],
            "gpu_devices[0]: links: found '-1,4,0'; accepted: 2 numbers, one for each gpu of the node",
        ),
        (
            [asdict(NIC), {"name": "nic", "count": 2}],
            "gpu_devices[1]: files: found (); accepted: files for all nic of a node, or for none",
        ),
    ],
)
def test_parse_all_names_what_is_wrong_between_groups(records: object, message: str) -> None:
    with pytest.raises(GresError, match=re.escape(message)):
        parse_all(records, "gpu_devices")


def test_instances_share_a_card() -> None:
    other = replace(INSTANCE, multiple_files=(*CAPS[:1], "/dev/nvidia-caps/nvidia-cap21"))
    assert parse_all([asdict(group) for group in (MIG, INSTANCE, other)], "node1") == (MIG, INSTANCE, other)
    with pytest.raises(GresError, match="what node1\\[0\\] does not have"):
        parse_all([asdict(INSTANCE), asdict(INSTANCE)], "node1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": ["/dev/nvidia1"]}, "accepted: files or multiple_files, not both"),
        ({"count": 2}, "count: found 2; accepted: 1, because multiple_files are those of one device"),
        ({"multiple_files": ["nvidia0"]}, "multiple_files: found ['nvidia0']; accepted: a list of paths"),
    ],
)
def test_multiple_files_are_those_of_one_device(changes: dict[str, object], message: str) -> None:
    with pytest.raises(GresError, match=re.escape(message)):
        parse({"type": "2g.20gb", "multiple_files": list(CAPS), **changes}, "node1")


# --- rendering --------------------------------------------------------------------------------------------------------


def test_node_gres() -> None:
    assert node_gres([]) == ""
    assert node_gres([A100, MIG, NIC, BANDWIDTH]) == "gpu:a100:4,gpu:1g.10gb:7,nic:2,bandwidth:lustre:40"


def test_node_gres_adds_up_groups_of_one_type() -> None:
    near = replace(A100, cores="0-7")
    far = replace(A100, files=("/dev/nvidia4", "/dev/nvidia5"), count=2, cores="8-15")
    assert node_gres([near, MIG, far]) == "gpu:a100:6,gpu:1g.10gb:7"


def test_conf_lines() -> None:
    alone = GresGroup("gpu", "h100", 1, ("/dev/nvidia0",), "0-7,16-23", "-1,4", ("nvidia_gpu_env", "explicit"))
    nodes = {
        "node10": [A100],
        "node2": [A100, NIC],
        "login": [],
        "node1": [A100],
        "mig1": [MIG, BANDWIDTH],
        "node3": [alone],
    }
    assert conf_lines(nodes) == [
        "NodeName=mig1 Name=gpu Type=1g.10gb File=/dev/nvidia-caps/nvidia-cap[1-7]",
        "NodeName=mig1 Name=bandwidth Type=lustre Count=40 Flags=CountOnly",
        "NodeName=node[1-2,10] Name=gpu Type=a100 File=/dev/nvidia[0-3]",
        "NodeName=node2 Name=nic File=/dev/mlx[0-1]",
        "NodeName=node3 Name=gpu Type=h100 File=/dev/nvidia0 Cores=0-7,16-23 Links=-1,4 Flags=nvidia_gpu_env,explicit",
    ]


def test_lines_of_one_host_name_no_node() -> None:
    line = (
        "Name=gpu Type=2g.20gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap12,/dev/nvidia-caps/nvidia-cap13"
    )
    assert local_lines([INSTANCE]) == [line]
    assert conf_lines({"n1": [INSTANCE], "n2": [INSTANCE]}) == [f"NodeName=n[1-2] {line}"]


def test_conf_lines_keep_the_order_of_files_and_not_of_nodes() -> None:
    group = replace(A100, count=3, files=("/dev/nvidia3", "/dev/nvidia0", "/dev/nvidia1"))
    lines = conf_lines({"n2": [group], "n1": [group]})
    assert lines == conf_lines({"n1": [group], "n2": [group]})
    assert lines == ["NodeName=n[1-2] Name=gpu Type=a100 File=/dev/nvidia[3,0-1]"]
    assert conf_lines({}) == []
