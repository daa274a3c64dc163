# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Linux tells of a machine's processors and PCI devices under /sys and /proc.

Sources: Documentation/ABI/stable/sysfs-devices-system-cpu and testing/sysfs-bus-pci of Linux 6.1.
"""

from __future__ import annotations

import os
import re
from typing import Iterable, NamedTuple, Sequence


class Tree:
    """The files below a folder that stands for /; what is not there, or cannot be read, is empty."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """Where an absolute path lies."""
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str) -> str:
        """The text of a file without blanks at its ends."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return ""

    def number(self, path: str, base: int = 10) -> int | None:
        """The number in a file; None where there is none."""
        try:
            return int(self.text(path), base)
        except ValueError:
            return None

    def names(self, path: str) -> list[str]:
        """The entries of a folder, sorted."""
        try:
            return sorted(os.listdir(self.path(path)))
        except OSError:
            return []

    def link(self, path: str) -> str:
        """The last part of where a link leads."""
        try:
            return os.path.basename(os.readlink(self.path(path)))
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether a file of any kind is there."""
        return os.path.exists(self.path(path))


def parse_cpus(text: str) -> tuple[int, ...]:
    """The numbers of a list such as 0-3,8-11, as the kernel writes it."""
    numbers: list[int] = []
    for first, last in re.findall(r"([0-9]+)(?:-([0-9]+))?", text):
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def fold_numbers(numbers: Iterable[int]) -> str:
    """Numbers as such a list."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


# --- Processors -------------------------------------------------------------------------------------------------------

_CPUS = "/sys/devices/system/cpu"
_NODES = "/sys/devices/system/node"


class Core(NamedTuple):
    """A core of the machine."""

    cpus: frozenset[int]
    """The system's numbers of its hardware threads."""
    socket: frozenset[int]
    """Those of its whole socket."""


def read_cores(tree: Tree) -> list[Core]:
    """The cores that are online, in Slurm's order: the place in the list is the logical number that gres.conf means.

    That is the order of `lstopo -l` (gres.conf(5), Cores): whatever holds the core, from the socket down, comes in the
    order of its lowest CPU, be it a die, a NUMA node or a shared cache.
    """
    online = parse_cpus(tree.text(f"{_CPUS}/online"))
    nodes = [parse_cpus(tree.text(f"{_NODES}/{name}/cpulist")) for name in tree.names(_NODES) if name[4:].isdigit()]
    cores: dict[frozenset[int], tuple[tuple[int, ...], Core]] = {}
    for cpu in online:
        topology = f"{_CPUS}/cpu{cpu}/topology"
        # The second names are those of kernels before 5.7.
        core = _siblings(tree, topology, ("core_cpus_list", "thread_siblings_list")) or frozenset({cpu})
        if core in cores:
            continue
        socket = _siblings(tree, topology, ("package_cpus_list", "core_siblings_list")) or frozenset(online)
        holders = [socket, _siblings(tree, topology, ("die_cpus_list",)), core]
        holders += [frozenset(node) for node in nodes if cpu in node]
        caches = f"{_CPUS}/cpu{cpu}/cache"
        holders += [_siblings(tree, f"{caches}/{name}", ("shared_cpu_list",)) for name in tree.names(caches)]
        # A socket first, also where a NUMA node holds several.
        inner = sorted((holder & socket for holder in holders if holder), key=len, reverse=True)
        cores[core] = (tuple(min(holder) for holder in [socket, *inner]), Core(core, socket))
    # Tuples of unlike length: the tail of minima ends in the core's own, so that every two differ before an end.
    return [core for _place, core in sorted(cores.values(), key=lambda entry: entry[0])]


def _siblings(tree: Tree, folder: str, names: Sequence[str]) -> frozenset[int]:
    return frozenset(next(filter(None, (parse_cpus(tree.text(f"{folder}/{name}")) for name in names)), ()))


def near_cores(cores: Sequence[Core], cpus: Iterable[int]) -> str | None:
    """Slurm's numbers of the cores of the socket that these CPUs belong to, such as 0-7.

    None where that would say nothing, or too much: all sockets of the machine, or none. Always the whole socket,
    because gres.conf(5) wants all its cores together.
    """
    wanted = frozenset(cpus)
    sockets = {core.socket for core in cores if core.cpus & wanted}
    if len(sockets) != 1 or len({core.socket for core in cores}) == 1:
        return None
    return fold_numbers(number for number, core in enumerate(cores) if core.socket in sockets)


# --- PCI --------------------------------------------------------------------------------------------------------------

_PCI = "/sys/bus/pci/devices"

NVIDIA, AMD, INTEL = "nvidia", "amd", "intel"
_VENDORS = {"0x10de": NVIDIA, "0x1002": AMD, "0x8086": INTEL}
# VGA, 3D, other display controllers, and processing accelerators such as the MI300X.
_CLASSES = ("0x0300", "0x0302", "0x0380", "0x1200")


class Card(NamedTuple):
    """A graphics card or accelerator on the PCI bus."""

    bus_id: str
    """Such as 0000:4e:00.0."""
    vendor: str
    """NVIDIA, AMD or INTEL."""
    device: str
    """The device's PCI number, such as 2330."""
    driver: str
    """The kernel driver that has it; empty for none."""
    numa_node: int | None
    cpus: tuple[int, ...]
    """The system's numbers of the CPUs that are near."""


def read_cards(tree: Tree) -> list[Card]:
    """The cards of the vendors whose GPUs Slurm hands out, without graphics that are part of an Intel processor."""
    cards = []
    for bus_id in tree.names(_PCI):
        folder = f"{_PCI}/{bus_id}"
        vendor = _VENDORS.get(tree.text(f"{folder}/vendor"))
        if not vendor or tree.text(f"{folder}/class")[:6] not in _CLASSES:
            continue
        if vendor == INTEL and bus_id.startswith("0000:00:"):
            continue
        if tree.link(f"{folder}/physfn"):
            continue  # a part of another card, for virtual machines
        node = tree.number(f"{folder}/numa_node")
        cards.append(
            Card(
                bus_id=bus_id,
                vendor=vendor,
                device=tree.text(f"{folder}/device")[2:],
                driver=tree.link(f"{folder}/driver"),
                numa_node=None if node is None or node < 0 else node,
                cpus=parse_cpus(tree.text(f"{folder}/local_cpulist")),
            )
        )
    return cards
