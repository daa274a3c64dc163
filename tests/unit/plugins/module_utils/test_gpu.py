# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import gres
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import (
    Device,
    Found,
    GpuError,
    Mig,
    Naming,
    below,
    card_findings,
    counts,
    device_record,
    drift,
    gres_groups,
    mig_profile,
    missing,
    parse_gres,
    record,
    short_type,
    slurm_type,
    without,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import Card

SLURM, SHORT = Naming(False, {}), Naming(True, {})
OLD, NEW = (22, 5), (24, 11)


def device(number: int, name: str = "NVIDIA A100-SXM4-80GB", **changes: Any) -> Device:
    made = Device("nvidia", f"0000:0{number}:00.0", name, f"GPU-{number}", f"/dev/nvidia{number}", 81920, "535", "8.0")
    return made._replace(**changes)


def instance(profile: str, number: int) -> Mig:
    return Mig(profile, f"MIG-{number}", ("/dev/nvidia0", f"/dev/nvidia-caps/nvidia-cap{number}"))


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slurm", "short"),
    [
        # The first four as slurmd's detection has them in public logs.
        ("NVIDIA H100 80GB HBM3", "nvidia_h100_80gb_hbm3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "nvidia_a100-sxm4-80gb", "a100"),
        ("Tesla P100-SXM2-16GB", "tesla_p100-sxm2-16gb", "p100"),
        ("AMD Instinct MI300X OAM", "amd_instinct_mi300x_oam", "mi300x"),
        ("NVIDIA L40S", "nvidia_l40s", "l40s"),
        ("NVIDIA H100 PCIe", "nvidia_h100_pcie", "h100"),
        ("NVIDIA GH200 480GB", "nvidia_gh200_480gb", "gh200"),
        ("NVIDIA RTX A6000", "nvidia_rtx_a6000", "rtx_a6000"),
        ("NVIDIA GeForce RTX 4090", "nvidia_geforce_rtx_4090", "rtx_4090"),
        ("NVIDIA GeForce RTX 2080 Ti", "nvidia_geforce_rtx_2080_ti", "rtx_2080_ti"),
        ("NVIDIA RTX 5880 Ada Generation", "nvidia_rtx_5880_ada_generation", "rtx_5880_ada"),
        (
            "NVIDIA RTX PRO 6000 Blackwell Server Edition",
            "nvidia_rtx_pro_6000_blackwell_server_edition",
            "rtx_pro_6000_blackwell",
        ),
        ("Intel(R) Data Center GPU Max 1550", "intelr_data_center_gpu_max_1550", "max_1550"),
        # A job that asks for gpu:840m or gpu:2000 asks for a count.
        ("GeForce 840M", "geforce_840m", "geforce_840m"),
        ("Quadro 2000", "quadro_2000", "quadro_2000"),
    ],
)
def test_types(name: str, slurm: str, short: str) -> None:
    assert (slurm_type(name), short_type(name)) == (slurm, short)


@pytest.mark.parametrize(
    ("profile", "plain"), [("1g.10gb", "1g.10gb"), ("1g.10gb+me", "1g.10gb"), ("1c.3g.20gb", "3g.20gb")]
)
def test_profiles(profile: str, plain: str) -> None:
    assert mig_profile(profile) == plain


def test_names_that_were_given_come_first() -> None:
    naming = Naming(True, {"NVIDIA A100-SXM4-80GB": "big", "1g.10gb": "small"})
    assert naming.card(device(0)) == "big"
    assert naming.instance(device(0), instance("1g.10gb", 1)) == "small"
    assert naming.instance(device(0), instance("2g.20gb", 1)) == "2g.20gb"


# --- generic resources ------------------------------------------------------------------------------------------------


def test_devices_that_are_alike_are_one_record() -> None:
    groups = gres_groups([device(0), device(1), device(2, "NVIDIA L40S")], SLURM, {}, NEW)
    assert [record(group) for group in groups] == [
        {
            "name": "gpu",
            "type": "nvidia_a100-sxm4-80gb",
            "count": 2,
            "files": ["/dev/nvidia[0-1]"],
            "flags": ["nvidia_gpu_env"],
        },
        {"name": "gpu", "type": "nvidia_l40s", "count": 1, "files": ["/dev/nvidia2"], "flags": ["nvidia_gpu_env"]},
    ]
    assert gres.node_gres(groups) == "gpu:nvidia_a100-sxm4-80gb:2,gpu:nvidia_l40s:1"


def test_each_mig_instance_is_a_record_with_all_its_files() -> None:
    cut = device(0, mig=(instance("1g.10gb", 1), instance("3g.40gb", 2)))
    groups = gres_groups([cut, device(1)], SHORT, {}, NEW)
    assert gres.local_lines(groups) == [
        "Name=gpu Type=a100 File=/dev/nvidia1 Flags=nvidia_gpu_env",
        "Name=gpu Type=1g.10gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap1 Flags=nvidia_gpu_env",
        "Name=gpu Type=3g.40gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap2 Flags=nvidia_gpu_env",
    ]
    assert gres.parse_all([record(group) for group in groups], "node1") == groups


def test_an_old_slurmd_gets_one_file_an_instance() -> None:
    cut = device(0, mig=(instance("1g.10gb", 1), instance("1g.10gb", 2)))
    assert gres.local_lines(gres_groups([cut], SHORT, {}, OLD)) == [
        "Name=gpu Type=1g.10gb File=/dev/nvidia-caps/nvidia-cap[1-2] Flags=nvidia_gpu_env"
    ]


def test_cores_stand_in_all_records_or_in_none() -> None:
    near = [device(0, cores="0-7"), device(1, cores="8-15")]
    assert [group.cores for group in gres_groups(near, SLURM, {}, NEW)] == ["0-7", "8-15"]
    assert [group.cores for group in gres_groups([*near, device(2)], SLURM, {}, NEW)] == [None]


def test_parts_are_those_of_whole_cards() -> None:
    groups = gres_groups([device(0), device(1, mig=(instance("1g.10gb", 1),))], SHORT, {"mps": 0, "shard": 8}, NEW)
    assert gres.node_gres(groups) == "gpu:a100:1,gpu:1g.10gb:1,shard:8"
    assert gres_groups([], SHORT, {"shard": 8}, NEW) == ()


def test_a_device_is_a_record() -> None:
    made = device_record(device(0, mig=(instance("1g.10gb", 1),)), SHORT)
    assert (made["bus_id"], made["type"], made["memory_mb"]) == ("0000:00:00.0", "a100", 81920)
    files = ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap1"]
    assert made["mig"] == [{"profile": "1g.10gb", "uuid": "MIG-1", "files": files, "type": "1g.10gb"}]


# --- findings, the floor ----------------------------------------------------------------------------------------------


def test_a_card_that_no_driver_offers_is_a_finding_once() -> None:
    cards = [
        Card(f"0000:0{number}:00.0", "nvidia", "2330", driver, 0, ()) for number, driver in ((0, "nvidia"), (1, ""))
    ]
    assert card_findings(cards, Found([device(0)], [])) == [
        "0000:01:00.0: a card of nvidia (PCI device 2330) with no driver"
    ]
    assert card_findings(cards, Found([device(0)], ["0000:01:00.0: nvidia-smi: GPU is lost"])) == []


@pytest.mark.parametrize(
    ("capability", "floor", "weak"), [("2.1", "3.0", True), ("3.0", "3.0", False), ("10.0", "9.0", False)]
)
def test_floor(capability: str, floor: str, weak: bool) -> None:
    found = below([device(0, compute_capability=capability)], floor)
    message = f"0000:00:00.0 (NVIDIA A100-SXM4-80GB): compute capability: found {capability}; accepted: {floor} or more"
    assert found == ([message] if weak else [])


def test_a_card_that_tells_no_capability_passes_the_floor() -> None:
    assert below([device(0, compute_capability="")], "3.0") == []


def test_a_floor_that_is_no_version() -> None:
    with pytest.raises(GpuError, match="compute capability: found 'ada'; accepted: two numbers"):
        below([], "ada")


@pytest.mark.parametrize("word", ["0000:01:00.0", "00000000:01:00.0", "gpu-1", "/dev/nvidia1"])
def test_ignored(word: str) -> None:
    assert without([device(0), device(1)], [word, ""]) == [device(0)]


def test_links_are_those_of_the_cards_that_stay() -> None:
    """As in a DGX Station; slurmd refuses a line with more links than there are GPUs."""
    rows = ["-1,1,1,2", "1,-1,2,1", "1,2,-1,1", "2,1,1,-1"]
    cards = [device(number, links=links) for number, links in enumerate(rows)]
    assert [card.links for card in without(cards, ["gpu-3"])] == ["-1,1,1", "1,-1,2", "1,2,-1"]
    assert [card.links for card in without(cards, ["gpu-3", "gpu-2"])] == [None, None]
    assert without(cards, []) == cards


def test_links_are_left_out_where_they_would_not_count_every_device() -> None:
    """gres.conf(5), Links: one number a device, and each MIG instance is one; slurmctld drains for too many."""
    rows = ["-1,1,2", "1,-1,1", "2,1,-1"]
    cards = [device(number, links=links) for number, links in enumerate(rows)]
    assert [group.links for group in gres_groups(cards, SHORT, {}, NEW)] == rows
    cut = cards[0]._replace(mig=(instance("1g.10gb", 1), instance("1g.10gb", 2)))
    for beside in (cut, device(0)):
        for version in (OLD, NEW):
            groups = gres_groups([beside, *cards[1:]], SHORT, {}, version)
            assert {group.links for group in groups} == {None}


# --- drift ------------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named_by_bus_id() -> None:
    before = [device_record(device(number), SHORT) for number in range(4)]
    here = [device(number) for number in (0, 2, 3)]
    gone = missing(before, here, SHORT, False)
    assert gone == {"gpu:a100": "0000:01:00.0"}
    found = counts(gres_groups(here, SHORT, {}, NEW))
    assert drift("expected", {"gpu:a100": 4}, found, gone) == ["gpu:a100: expected 4, found 3: 0000:01:00.0 missing"]


def known(*devices: Device) -> list[dict[str, Any]]:
    """What the node store has of devices."""
    keys = ("bus_id", "uuid", "type", "mig")
    return [{key: device_record(device, SHORT)[key] for key in keys} for device in devices]


@pytest.mark.parametrize(
    ("here", "gone"),
    [
        # A new network card has moved the others.
        ([device(number, bus_id=f"0000:0{number + 1}:00.0") for number in range(3)], {}),
        ([device(1, bus_id="0000:02:00.0"), device(2, bus_id="0000:03:00.0")], {"gpu:a100": "0000:00:00.0"}),
        # One was replaced in its slot, one in another.
        ([device(0), device(1, uuid="GPU-new"), device(2)], {}),
        ([device(0), device(1), device(5)], {}),
        ([device(0), device(1), device(5, name="NVIDIA L40S")], {"gpu:a100": "0000:02:00.0"}),
    ],
)
def test_cards_that_moved_are_not_missing(here: list[Device], gone: dict[str, str]) -> None:
    assert missing(known(device(0), device(1), device(2)), here, SHORT, False) == gone


def test_parts_of_a_card_count() -> None:
    """MI300X in mode CPX: eight devices of one UUID in one place."""
    parts = [device(0, file=f"/dev/dri/renderD{128 + number}") for number in range(8)]
    assert missing(known(*parts), parts[:1], SHORT, False) == {"gpu:a100": ", ".join(["0000:00:00.0"] * 7)}


def test_mig_instances_are_missing_unless_their_layout_is_declared() -> None:
    before = [device_record(device(0, mig=(instance("1g.10gb", 1), instance("1g.10gb", 2))), SHORT)]
    here = [device(0, mig=(instance("1g.10gb", 1),))]
    assert missing(before, here, SHORT, False) == {"gpu:1g.10gb": "1 of MIG 1g.10gb on 0000:00:00.0"}
    assert missing(before, here, SHORT, True) == {}
    assert missing(before, [], SHORT, True) == {"gpu:1g.10gb": "0000:00:00.0"}


def test_drift_names_every_type_that_differs() -> None:
    words = drift("slurmctld has", {"gpu:a100": 2, "gpu": 1}, {"gpu:a100": 2, "gpu:h100": 1}, {})
    assert words == ["gpu: slurmctld has 1, found 0", "gpu:h100: slurmctld has 0, found 1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:a100:8(S:0-1),shard:32", {"gpu:a100": 8, "shard": 32}),
        ("gpu:1g.10gb:7,gpu:a100:1", {"gpu:1g.10gb": 7, "gpu:a100": 1}),
        ("", {}),
        ("gpu:2", {"gpu": 2}),
    ],
)
def test_gres_of_slurmctld(text: str, found: dict[str, int]) -> None:
    assert parse_gres(text) == found
