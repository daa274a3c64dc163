# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPUs of a host, whoever made them, and what becomes of them as generic resources of Slurm.

Sources: gres.conf(5) of Slurm 22.05.8 and 24.11.5, and for the names of types its plugins gpu/nvml and gpu/nvidia.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.gres import GresGroup
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import fold
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import AMD, INTEL, NVIDIA, Card

BUS_ID = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")
"""Of PCI, as sysfs and nvidia-smi write it."""


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
    integrated: bool = False
    """Part of a processor, as in desktops and laptops."""


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
    return re.split("[+-]", re.sub(r"^[0-9]+c\.", "", profile))[0]


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

    Cores stand in all of them or in none, because slurmd miscounts otherwise. Links are left out beside MIG
    instances and cards that tell none: they have to count every device, and too many of them drain the node.
    """
    placed = all(device.cores for device in devices)
    linked = all(device.links and device.mig is None for device in devices)
    groups: dict[tuple[str, str | None, str | None, str], list[str]] = {}
    instances: list[GresGroup] = []
    for device in devices:
        cores, flag = device.cores if placed else None, _ENVIRONMENT[device.vendor]
        if device.mig is None:
            links = device.links if linked else None
            groups.setdefault((naming.card(device), cores, links, flag), []).append(device.file)
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
    return (*whole, *instances, *parts(sum(device.mig is None for device in devices), shared))


def parts(number: int, shared: Mapping[str, int]) -> tuple[GresGroup, ...]:
    """So many parts of each of this number of whole GPUs, by name (SHARED)."""
    # Without files slurmd spreads them evenly over the GPUs.
    return tuple(
        GresGroup(name, None, number * each, (), None, None, ()) for name, each in shared.items() if number * each
    )


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


def plain_bus_id(text: str) -> str:
    """A bus id as sysfs writes it: 0000:4e:00.0 for 00000000:4E:00.0 of nvidia-smi. Raises GpuError."""
    if not BUS_ID.fullmatch(text.strip()):
        raise GpuError(f"nvidia-smi: pci.bus_id: found {text[:80]!r}; accepted: such as 00000000:4E:00.0")
    domain, _colon, rest = text.strip().lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def plain_name(word: str) -> str:
    """A bus id, UUID or device file, in whichever way it was spelt."""
    word = word.strip().lower()
    return plain_bus_id(word) if BUS_ID.fullmatch(word) else word


def names_of(device: Device) -> tuple[str, ...]:
    """By what a device can be named, in the spelling of plain_name."""
    return (device.bus_id, device.uuid.lower(), device.file.lower())


def without(devices: Sequence[Device], ignore: Iterable[str]) -> list[Device]:
    """The devices that none of these words means, with links between them alone."""
    words = set(map(plain_name, ignore))
    kept = [device for device in devices if words.isdisjoint(names_of(device))]
    linked = [device for device in devices if device.links]
    places = [place for place, device in enumerate(linked) if device in kept]
    if len(places) == len(linked):
        return kept
    rows = {linked[place].file: [(linked[place].links or "").split(",")[other] for other in places] for place in places}
    alike = len({link for row in rows.values() for link in row if link != "-1"}) < 2
    return [
        device._replace(links=None if alike else ",".join(rows[device.file])) if device.file in rows else device
        for device in kept
    ]


# --- Drift ------------------------------------------------------------------------------------------------------------


def counts(groups: Iterable[GresGroup]) -> Counter[str]:
    """Numbers of devices by name and type, such as gpu:a100."""
    found: Counter[str] = Counter()
    for group in groups:
        found[f"{group.name}:{group.type}" if group.type else group.name] += group.count
    return found


def missing(
    expected: Sequence[Mapping[str, Any]], devices: Sequence[Device], naming: Naming, layout_declared: bool
) -> dict[str, str]:
    """Of the device records, those that are not there any more: what is missing, by the type that it had.

    MIG instances count too, unless the layout is declared and so meant to differ.
    """
    gone: dict[str, list[str]] = {}
    for entry, device in zip(expected, _matches(expected, devices, naming)):
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


def _matches(expected: Sequence[Mapping[str, Any]], devices: Sequence[Device], naming: Naming) -> list[Device | None]:
    """For each record the device that it means, each device once; None for one that is gone.

    A card is known by its UUID and its place: with a new network card beside them all may have other bus ids. And where
    one of its type is in its stead, none is lost.
    """
    found: dict[int, Device] = {}
    left = list(devices)
    ways: list[Callable[[Mapping[str, Any], Device], bool]] = [
        # Parts of a card of AMD have its UUID and its place in common.
        lambda entry, device: _same_uuid(entry, device) and _same_place(entry, device),
        _same_uuid,
        _same_place,
        lambda entry, device: bool(entry["type"] == naming.card(device)),
    ]
    for is_it in ways:
        for number, entry in enumerate(expected):
            device = next((one for one in left if number not in found and is_it(entry, one)), None)
            if device:
                found[number] = device
                left.remove(device)
    return [found.get(number) for number in range(len(expected))]


def _same_uuid(entry: Mapping[str, Any], device: Device) -> bool:
    return bool(device.uuid and entry.get("uuid") == device.uuid)


def _same_place(entry: Mapping[str, Any], device: Device) -> bool:
    return bool(entry["bus_id"] == device.bus_id)


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
