# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""AMD and Intel GPUs as the kernel's drivers amdgpu, i915 and xe tell of them under /sys; no tool is needed.

Sources: Documentation/gpu/amdgpu of Linux 6.1, drivers/gpu/drm/amd/amdkfd/kfd_topology.c, and intel-gpu names of the
kernel's include/drm/intel/pciids.h. Which architectures are APUs is in LLVM's User Guide for AMDGPU Backend
(Processors); sysfs does not tell, and neither does amd-smi. For names amd-smi is not asked either: an MI300X in a
virtual machine is "AMD Radeon Graphics" to one version and "AMD Instinct MI300X VF" to another (dstack issue 2900), and
a type must not change with a tool.
"""

from __future__ import annotations

import re
from typing import Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import Device, Found
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import AMD, INTEL, Card, Tree

_KFD = "/sys/class/kfd/kfd/topology/nodes"
_PCI = "/sys/bus/pci/devices"
# HSA_HEAPTYPE_FRAME_BUFFER_PUBLIC and _PRIVATE.
_ON_CARD = (1, 2)

# Of processors only: Kaveri to Stoney Ridge, Raven Ridge to Cezanne, and those of RDNA. The MI300A (gfx942) is none of
# them: it is a computer's GPU, whatever it shares its package with.
_INTEGRATED = re.compile(r"gfx(700|801|810|902|909|90c|1013|1033|1035|1036|1103|115[0-3])")

# sysfs has no names of Intel's cards.
_INTEL = {
    "0bd5": "Intel Data Center GPU Max 1550",
    "0bda": "Intel Data Center GPU Max 1100",
    "56c0": "Intel Data Center GPU Flex 170",
    "56c1": "Intel Data Center GPU Flex 140",
}


def read_amd(tree: Tree) -> Found:
    """The GPUs that ROCm can use: nodes of the KFD topology with a render node."""
    devices, findings = [], []
    for node in tree.names(_KFD):
        properties = _properties(tree.text(f"{_KFD}/{node}/properties"))
        minor = properties.get("drm_render_minor", 0)
        if not tree.number(f"{_KFD}/{node}/gpu_id"):
            continue  # processors are nodes too
        bus_id = _bus_id(properties.get("domain", 0), properties.get("location_id", 0))
        if not minor:
            findings.append(f"{bus_id}: a card of amd without a render node, so no job can use it")
            continue
        unique, architecture = properties.get("unique_id", 0), gfx(properties.get("gfx_target_version", 0))
        devices.append(
            Device(
                vendor=AMD,
                bus_id=bus_id,
                name=tree.text(f"{_PCI}/{bus_id}/product_name") or f"AMD {architecture}",
                uuid=f"GPU-{unique:x}" if unique else "",
                file=f"/dev/dri/renderD{minor}",
                memory_mb=_card_memory(tree, f"{_KFD}/{node}/mem_banks"),
                driver=tree.text("/sys/module/amdgpu/version"),
                compute_capability="",
                integrated=bool(_INTEGRATED.fullmatch(architecture)),
            )
        )
    return Found(sorted(devices, key=lambda device: (device.bus_id, device.file)), findings)


def read_intel(tree: Tree, cards: Sequence[Card]) -> Found:
    """Intel's cards that have a driver with a render node."""
    devices = []
    for card in cards:
        nodes = [name for name in tree.names(f"{_PCI}/{card.bus_id}/drm") if re.fullmatch(r"renderD[0-9]+", name)]
        if card.vendor == INTEL and nodes:
            devices.append(
                Device(
                    vendor=INTEL,
                    bus_id=card.bus_id,
                    name=_INTEL.get(card.device, f"Intel {card.device}"),
                    uuid="",
                    file=f"/dev/dri/{nodes[0]}",
                    memory_mb=None,
                    driver="",
                    compute_capability="",
                )
            )
    return Found(devices, [])


def gfx(version: int) -> str:
    """The name of an architecture: gfx942 for 90402, gfx90a for 90010."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _bus_id(domain: int, location: int) -> str:
    return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"


def _properties(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"^(\w+) ([0-9]+)$", text, re.MULTILINE)}


def _card_memory(tree: Tree, folder: str) -> int | None:
    banks = (_properties(tree.text(f"{folder}/{bank}/properties")) for bank in tree.names(folder))
    size = sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in _ON_CARD)
    return size // 2**20 or None
