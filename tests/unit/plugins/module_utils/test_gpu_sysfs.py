# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import Device
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu_sysfs import gfx, read_amd, read_intel
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import Tree, read_cards

GpuHost = Callable[[str], Any]


def test_amd(gpu_host: GpuHost) -> None:
    devices, findings = read_amd(Tree(str(gpu_host("mi300x").root)))
    assert findings == []
    assert [device.file for device in devices] == [f"/dev/dri/renderD{128 + 8 * number}" for number in range(8)]
    assert devices[1] == Device(
        vendor="amd",
        bus_id="0000:26:00.0",
        name="AMD Instinct MI300X OAM",
        uuid="GPU-8af705259683161",
        file="/dev/dri/renderD136",
        memory_mb=196592,
        driver="6.10.5",
        compute_capability="",
    )


def node(root: Path, *properties: str) -> Tree:
    folder = root / "sys/class/kfd/kfd/topology/nodes/1"
    folder.mkdir(parents=True)
    (folder / "gpu_id").write_text("4711\n")
    (folder / "properties").write_text("\n".join(["location_id 768", *properties, ""]))
    return Tree(str(root))


def test_a_card_of_amd_that_says_nothing_of_itself(tmp_path: Path) -> None:
    devices, _findings = read_amd(node(tmp_path, "gfx_target_version 110000", "drm_render_minor 128"))
    assert [(device.name, device.uuid, device.memory_mb) for device in devices] == [("AMD gfx1100", "", None)]


def test_a_card_of_amd_without_a_render_node_is_a_finding(tmp_path: Path) -> None:
    devices, findings = read_amd(node(tmp_path, "gfx_target_version 110000"))
    assert (devices, findings) == ([], ["0000:03:00.0: a card of amd without a render node, so no job can use it"])


@pytest.mark.parametrize(("version", "name"), [(90402, "gfx942"), (90010, "gfx90a"), (110501, "gfx1151")])
def test_architectures(version: int, name: str) -> None:
    assert gfx(version) == name


@pytest.mark.parametrize(
    ("version", "integrated"),
    # gfx1036 is in Raphael, as a Ryzen 7 7800X3D has it (ROCm/rocm-systems issue 11549), gfx1151 in Strix Halo (issue
    # 8476 there); gfx1100 is a card, gfx942 an MI300.
    [(100306, True), (110501, True), (90012, True), (110000, False), (90402, False), (90010, False)],
)
def test_what_is_part_of_a_processor(tmp_path: Path, version: int, integrated: bool) -> None:
    devices, _findings = read_amd(node(tmp_path, f"gfx_target_version {version}", "drm_render_minor 128"))
    assert [device.integrated for device in devices] == [integrated]


def test_intel(gpu_host: GpuHost) -> None:
    tree = Tree(str(gpu_host("intel-max").root))
    devices, findings = read_intel(tree, read_cards(tree))
    assert findings == []
    assert [(device.bus_id, device.name, device.file) for device in devices] == [
        ("0000:4d:00.0", "Intel Data Center GPU Max 1550", "/dev/dri/renderD129")
    ]


def test_parts_of_a_card_for_virtual_machines_are_none(gpu_host: GpuHost) -> None:
    root = gpu_host("intel-max").root
    (root / "sys/bus/pci/devices/0000:4d:00.0/physfn").symlink_to("../0000:4c:00.0")
    assert [card.bus_id for card in read_cards(Tree(str(root)))] == []
