# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPUs of a host, whoever made them, and what becomes of them as generic resources of Slurm.

Sources: gres.conf(5) of Slurm 22.05.8 and 24.11.5, and for the names of types its plugins gpu/nvml and gpu/nvidia.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.gres import GresGroup
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import fold
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import AMD, INTEL, NVIDIA, Card


class GpuError(Exception):
    """What a host says of its GPUs cannot be used, or what is wanted of them cannot be had."""


class Mig(NamedTuple):
    """An instance of an NVIDIA GPU in MIG mode."""

    profile: str
    """As nvidia-smi calls it: 1g.10gb, 1g.10gb+me, 1c.3g.20gb."""
    uuid: str
    files: tuple[str, ...]
    """The card's device file, and those that give access to the GPU instance and the compute instance."""


class Device(NamedTuple):
    """A GPU that the host can use."""

    vendor: str
    bus_id: str
    """Such as 0000:4e:00.0."""
    name: str
    """As its maker calls it: NVIDIA H100 80GB HBM3."""
    uuid: str
    file: str
    """Its device file."""
    memory_mb: int | None
    """In MiB; None where it has none of its own."""
    driver: str
    """The driver's version, empty where nothing tells it."""
    compute_capability: str
    """Of NVIDIA GPUs, such as 9.0; empty where the driver does not tell it."""
    numa_node: int | None = None
    cores: str | None = None
    """Slurm's numbers of the cores that are near."""
    links: str | None = None
    """Numbers of links to the host's other GPUs, as gres.conf(5) wants them."""
    mig: tuple[Mig, ...] | None = None
    """Its MIG instances; None where it is not in MIG mode."""
    mig_capable: bool = False


class Found(NamedTuple):
    """The GPUs of a host in the order of their bus ids, and what is wrong with others, in words."""

    devices: list[Device]
    findings: list[str]


# --- Names of types ---------------------------------------------------------------------------------------------------

_NO_MODEL = re.compile(
    r"nvidia|tesla|quadro|geforce|amd|instinct|radeon|intel(\(r\))?|data|center|gpu|generation|edition|server"
    r"|workstation|oam|pcie|nvl|hbm[0-9]e?|[0-9]+gb"
)
# A job that asks for gpu:840m asks for a count.
_COUNT_LIKE = re.compile(r"[0-9]+[kmgtp]?")


def slurm_type(name: str) -> str:
    """The type that slurmd's own detection gives to a card: nvidia_h100_80gb_hbm3."""
    return re.sub(r"[^a-z0-9_.+-]", "", name.lower().replace(" ", "_")).lstrip("_.+-")


def short_type(name: str) -> str:
    """The model alone: h100, rtx_a6000, mi300x."""
    words = [word.split("-")[0] for word in name.lower().split()]
    short = slurm_type(" ".join(word for word in words if not _NO_MODEL.fullmatch(word)))
    return slurm_type(name) if not short or _COUNT_LIKE.fullmatch(short) else short


def mig_profile(profile: str) -> str:
    """A profile as slurmd's own detection counts it: GPU slices and memory, 3g.20gb for 1c.3g.20gb+me."""
    return re.sub(r"^[0-9]+c\.", "", profile).split("+")[0]


class Naming(NamedTuple):
    """How types are named."""

    short: bool
    """Models alone, instead of the names that slurmd's own detection gives."""
    names: Mapping[str, str]
    """Types by the maker's name of a card, or by MIG profile; they come first."""

    def card(self, device: Device) -> str:
        """The type of a whole card."""
        return self.names.get(device.name) or (short_type if self.short else slurm_type)(device.name)

    def instance(self, device: Device, mig: Mig) -> str:
        """The type of a MIG instance."""
        if mig.profile in self.names:
            return self.names[mig.profile]
        return mig.profile if self.short else f"{slurm_type(device.name).split('-')[0]}_{mig_profile(mig.profile)}"


# --- Generic resources ------------------------------------------------------------------------------------------------

# Else ROCm would look at CUDA_VISIBLE_DEVICES too (gres.conf(5), Flags).
_ENVIRONMENT = {NVIDIA: "nvidia_gpu_env", AMD: "amd_gpu_env", INTEL: "intel_gpu_env"}

SHARED = ("mps", "shard")
"""Resources that are parts of a GPU (gres.conf(5)); a cluster can have one of them."""


MULTIPLE_FILES = (24, 11)
"""The first version that was seen to take the files of a MIG instance as one device.

slurmd 22.05 makes a device of each file in MultipleFiles.
"""


def gres_groups(
    devices: Sequence[Device], naming: Naming, shared: Mapping[str, int], version: tuple[int, int]
) -> tuple[GresGroup, ...]:
    """The devices as records of this version: alike ones together; and so many parts of each whole GPU.

    Cores stand in all of them or in none, because slurmd miscounts otherwise.
    """
    placed = all(device.cores for device in devices)
    groups: dict[tuple[str, str | None, str | None, str], list[str]] = {}
    instances: list[GresGroup] = []
    for device in devices:
        cores, flag = device.cores if placed else None, _ENVIRONMENT[device.vendor]
        if device.mig is None:
            groups.setdefault((naming.card(device), cores, device.links, flag), []).append(device.file)
            continue
        for mig in device.mig:
            kind = naming.instance(device, mig)
            if version >= MULTIPLE_FILES:
                instances.append(GresGroup("gpu", kind, 1, (), cores, None, (flag,), multiple_files=mig.files))
            else:
                # Who cannot open the last one, the compute instance's own, cannot use the instance.
                groups.setdefault((kind, cores, None, flag), []).append(mig.files[-1])
    whole = [
        GresGroup("gpu", kind, len(files), tuple(files), cores, links, (flag,))
        for (kind, cores, links, flag), files in groups.items()
    ]
    number = sum(device.mig is None for device in devices)
    # Without files slurmd spreads them evenly over the GPUs.
    parts = [GresGroup(name, None, number * each, (), None, None, ()) for name, each in shared.items() if each]
    return (*whole, *instances, *(parts if number else []))


def record(group: GresGroup) -> dict[str, Any]:
    """A group as a gres record, files folded, without what it has not; for the node store and gpu_devices."""
    entries = {
        "name": group.name,
        "type": group.type,
        "count": group.count,
        "files": [fold(group.files)] if group.files else None,
        "multiple_files": list(group.multiple_files),
        "cores": group.cores,
        "links": group.links,
        "flags": list(group.flags),
    }
    return {key: value for key, value in entries.items() if value}


def device_record(device: Device, naming: Naming) -> dict[str, Any]:
    """A device as the module returns it and the node store keeps it."""
    entries = {**device._asdict(), "type": naming.card(device)}
    if device.mig is not None:
        instances = [{**mig._asdict(), "type": naming.instance(device, mig)} for mig in device.mig]
        entries["mig"] = [{**instance, "files": list(instance["files"])} for instance in instances]
    return entries


# --- Cards without a driver, the floor --------------------------------------------------------------------------------


def card_findings(cards: Iterable[Card], found: Found) -> list[str]:
    """What is on the PCI bus, is none of the devices, and was not found fault with yet: what the kernel says of it."""
    known = {device.bus_id for device in found.devices}
    findings = []
    for card in cards:
        if card.bus_id not in known and not any(card.bus_id in finding for finding in found.findings):
            state = f"driver {card.driver}, which does not list it" if card.driver else "no driver"
            findings.append(f"{card.bus_id}: a card of {card.vendor} (PCI device {card.device}) with {state}")
    return findings


def below(devices: Iterable[Device], floor: str) -> list[str]:
    """The devices whose compute capability is lower than the floor; those that tell none are left out."""
    least = _version(floor)
    return [
        f"{device.bus_id} ({device.name}): compute capability: found {device.compute_capability}; accepted: {floor} or"
        " more"
        for device in devices
        if device.compute_capability and _version(device.compute_capability) < least
    ]


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError:
        raise GpuError(f"compute capability: found {text!r}; accepted: two numbers, such as 8.0") from None


def is_ignored(device: Device, ignore: Iterable[str]) -> bool:
    """Whether one of the bus ids, UUIDs and device files means this device."""
    return not {device.bus_id, device.uuid.lower(), device.file}.isdisjoint(word.lower() for word in ignore)


# --- Drift ------------------------------------------------------------------------------------------------------------


def counts(groups: Iterable[GresGroup]) -> Counter[str]:
    """Numbers of devices by name and type, such as gpu:a100."""
    found: Counter[str] = Counter()
    for group in groups:
        found[f"{group.name}:{group.type}" if group.type else group.name] += group.count
    return found


def missing(expected: Sequence[Mapping[str, Any]], devices: Sequence[Device], layout_declared: bool) -> dict[str, str]:
    """Of the device records, those that are not there any more: what is missing, by the type that it had.

    A card counts by its bus id. MIG instances count too, unless the layout is declared and so meant to differ.
    """
    here = {device.bus_id: device for device in devices}
    gone: dict[str, list[str]] = {}
    for entry in expected:
        device = here.get(entry["bus_id"])
        kinds = Counter(mig["type"] for mig in entry["mig"]) if entry.get("mig") else Counter({entry["type"]: 1})
        if device is None:
            for kind in kinds:
                gone.setdefault(f"gpu:{kind}", []).append(entry["bus_id"])
        elif entry.get("mig") and not layout_declared:
            profiles = Counter(mig["profile"] for mig in entry["mig"])
            profiles.subtract(mig.profile for mig in device.mig or ())
            names = {mig["profile"]: mig["type"] for mig in entry["mig"]}
            for profile, number in profiles.items():
                if number > 0:
                    gone.setdefault(f"gpu:{names[profile]}", []).append(f"{number} of MIG {profile} on {device.bus_id}")
    return {kind: ", ".join(what) for kind, what in gone.items()}


def drift(said: str, wanted: Mapping[str, int], found: Mapping[str, int], gone: Mapping[str, str]) -> list[str]:
    """Where counts differ, in words: `gpu:a100: expected 8, found 7: 0000:4e:00.0 missing`."""
    words = []
    for kind in [*wanted, *(kind for kind in found if kind not in wanted)]:
        if wanted.get(kind, 0) != found.get(kind, 0):
            why = f": {gone[kind]} missing" if kind in gone else ""
            words.append(f"{kind}: {said} {wanted.get(kind, 0)}, found {found.get(kind, 0)}{why}")
    return words


def parse_gres(text: str) -> dict[str, int]:
    """The counts in a Gres= of slurmctld (scontrol show node): `gpu:a100:8(S:0-1),shard:32`."""
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", text).split(","):
        kind, _colon, number = item.rpartition(":")
        if number.isdigit():
            found[kind] = found.get(kind, 0) + int(number)
    return found
