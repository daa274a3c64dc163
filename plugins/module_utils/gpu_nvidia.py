# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""NVIDIA GPUs as nvidia-smi and the driver's files under /proc tell of them, and the layout of their MIG instances.

Sources: nvidia-smi(1) of driver 580 and its `--help-query-gpu`, NVIDIA's MIG User Guide; outputs as public reports of
drivers 331 to 610 show them, see tests/unit/fixtures/gpu.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Iterable, Mapping, NamedTuple, Sequence
from xml.etree import ElementTree

from ansible_collections.aicluster.slurm.plugins.module_utils.command import (
    NOT_THERE,
    CommandError,
    Result,
    Runner,
    require,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import (
    BUS_ID,
    Device,
    Found,
    GpuError,
    Mig,
    mig_profile,
    names_of,
    plain_bus_id,
    plain_name,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.sysfs import NVIDIA, Card, Tree

FIELDS = (
    "index",
    "uuid",
    "pci.bus_id",
    "name",
    "memory.total",
    "driver_version",
    "mig.mode.current",
    "compute_cap",
)
"""What is asked of each GPU; the last two are unknown to old drivers."""

LIST = ("nvidia-smi", "-L")
LOG = ("nvidia-smi", "-q", "-x")
TOPOLOGY = ("nvidia-smi", "topo", "-m")

# Printed among or instead of the rows, for a card that fell off the bus; how it names the card changed by version.
_LOST = re.compile(r"Unable to determine the device handle for GPU", re.IGNORECASE)
_LOST_VALUE = re.compile(r"\[((?:GPU|Unknown)[^\]]*)\]")
_UNKNOWN_FIELD = re.compile(r'Field "([a-z_.]+)" is not a valid field to query')
_NO_DEVICES = re.compile(r"No devices (were )?found", re.IGNORECASE)
_NO_DRIVER = re.compile(r"couldn't communicate with the NVIDIA driver")


def query_argv(fields: Sequence[str], bus_id: str = "") -> list[str]:
    """The command that describes all GPUs, or one of them."""
    one = [f"--id={bus_id}"] if bus_id else []
    return ["nvidia-smi", *one, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]


# --- Reading ----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What nvidia-smi tells of one GPU, in the order of FIELDS."""

    number: str
    """Its index."""
    uuid: str
    bus_id: str
    name: str
    memory: str
    driver: str
    mig_mode: str
    compute_capability: str


def parse_query(text: str, fields: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The rows of `query_argv`, and what the other lines and broken rows say is wrong.

    Raises GpuError for a line that is neither.
    """
    rows, findings = [], []
    for line in filter(str.strip, text.splitlines()):
        values = [value.strip() for value in line.split(",")]
        if _LOST.search(line):
            bus_id = BUS_ID.search(line)
            findings.append(f"{plain_bus_id(bus_id[0]) if bus_id else 'a GPU'}: nvidia-smi: {line.strip()}")
        elif line.startswith("WARNING"):
            findings.append(f"nvidia-smi: {line.strip()}")
        elif len(values) != len(fields):
            raise GpuError(f"nvidia-smi: found the line {line[:80]!r}; accepted: {', '.join(fields)}")
        else:
            told = dict(zip(fields, values))
            row = Row(*(_known(told.get(field, "")) for field in FIELDS))
            broken = next(filter(None, map(_LOST_VALUE.fullmatch, values)), None)
            if broken:
                findings.append(f"{plain_bus_id(row.bus_id) if row.bus_id else 'a GPU'}: nvidia-smi: {broken[1]}")
            else:
                rows.append(row)
    return rows, findings


def _known(value: str) -> str:
    """The value itself, empty for the ways in which nvidia-smi says that it has none."""
    return "" if value in ("[N/A]", "N/A", "[Not Supported]", "[Not Found]") or _LOST_VALUE.fullmatch(value) else value


def read(run: Runner, tree: Tree, cards: Sequence[Card]) -> Found:
    """The NVIDIA GPUs of this host; none where it has no driver.

    `cards` are those on the PCI bus. Raises CommandError and GpuError.
    """
    mine = [card for card in cards if card.vendor == NVIDIA]
    rows, findings = _query(run, mine)
    minors = {row.bus_id: _minor(tree, row) for row in rows}
    instances = _instances(run, tree, minors) if any(row.mig_mode == "Enabled" for row in rows) else {}
    topology = _topology(run) if len(rows) > 1 else {}
    devices = []
    for row in sorted(rows, key=lambda row: plain_bus_id(row.bus_id)):
        bus_id, minor = plain_bus_id(row.bus_id), minors[row.bus_id]
        if row.mig_mode == "Enabled" and not instances.get(bus_id):
            findings.append(f"{bus_id}: MIG mode is on and there is no instance, so no job can use this card")
        devices.append(
            Device(
                vendor=NVIDIA,
                bus_id=bus_id,
                name=row.name,
                uuid=row.uuid,
                file=f"/dev/nvidia{minor}",
                memory_mb=int(row.memory) if row.memory.isdigit() else None,
                driver=row.driver,
                compute_capability=row.compute_capability,
                mig=tuple(instances.get(bus_id, ())) if row.mig_mode == "Enabled" else None,
                mig_capable=row.mig_mode in ("Enabled", "Disabled"),
            )
        )
    order = [row.number for row in sorted(rows, key=lambda row: plain_bus_id(row.bus_id))]
    links = links_of(topology, order)
    return Found([device._replace(links=link) for device, link in zip(devices, links)], findings)


def _query(run: Runner, cards: Sequence[Card]) -> tuple[list[Row], list[str]]:
    fields = list(FIELDS)
    result = run(query_argv(fields))
    unknown = _UNKNOWN_FIELD.search(result.stdout)
    while unknown and unknown[1] in fields:
        fields.remove(unknown[1])
        result = run(query_argv(fields))
        unknown = _UNKNOWN_FIELD.search(result.stdout)
    # A tool without its driver is an error only where there is a card for it.
    if result.rc == NOT_THERE or _NO_DEVICES.search(_said(result)) or (not cards and _NO_DRIVER.search(_said(result))):
        return [], []
    if result.rc == 0 or _LOST.search(_said(result)):
        rows, findings = parse_query(result.stdout + result.stderr if result.rc else result.stdout, fields)
        if rows or result.rc == 0:
            return rows, findings
        # Older drivers say nothing of the other cards while one is lost, unless they are asked one by one.
        for card in cards:
            single = run(query_argv(fields, card.bus_id))
            if single.rc == 0:
                rows += parse_query(single.stdout, fields)[0]
        return rows, findings
    raise CommandError(result)


def _said(result: Result) -> str:
    return result.stdout + result.stderr


def _minor(tree: Tree, row: Row) -> int:
    """The number of the card's device file; where the driver's files are hidden (containers), its index."""
    text = tree.text(f"/proc/driver/nvidia/gpus/{plain_bus_id(row.bus_id)}/information")
    match = re.search(r"^Device Minor:\s*([0-9]+)", text, re.MULTILINE)
    if not match and not row.number.isdigit():
        raise GpuError(f"nvidia-smi: index: found {row.number!r}; accepted: a number")
    return int(match[1] if match else row.number)


# --- Links ------------------------------------------------------------------------------------------------------------


def _topology(run: Runner) -> dict[str, dict[str, int]]:
    result = run(TOPOLOGY)
    return parse_topology(result.stdout) if result.rc == 0 else {}


def parse_topology(text: str) -> dict[str, dict[str, int]]:
    """Numbers of NVLinks between GPUs, by their indices, from `nvidia-smi topo -m`."""
    columns: list[str] = []
    links: dict[str, dict[str, int]] = {}
    # Columns are underlined on a terminal, and by some versions always.
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        words = line.split()
        names = [word[3:] for word in words if re.fullmatch(r"GPU[0-9]+", word)]
        if not columns:
            columns = names
        elif len(names) == 1 and words[0] == f"GPU{names[0]}":
            values = words[1 : len(columns) + 1]
            links[names[0]] = {
                column: int(value[2:]) if re.fullmatch(r"NV[0-9]+", value) else 0
                for column, value in zip(columns, values)
            }
    return links


def links_of(topology: Mapping[str, Mapping[str, int]], order: Sequence[str]) -> list[str | None]:
    """Links of each GPU, in this order of indices. None where all pairs are alike: nothing could be chosen by them."""
    rows = [[topology.get(one, {}).get(other, 0) for other in order] for one in order]
    if len({value for place, row in enumerate(rows) for other, value in enumerate(row) if place != other}) < 2:
        return [None for _index in order]
    return [
        ",".join(str(-1 if place == other else row[other]) for other in range(len(row)))
        for place, row in enumerate(rows)
    ]


# --- MIG --------------------------------------------------------------------------------------------------------------


def parse_list(text: str) -> dict[str, list[tuple[str, str]]]:
    """Profile and UUID of the MIG instances by the UUID of their card, from `nvidia-smi -L`, in its order."""
    found: dict[str, list[tuple[str, str]]] = {}
    card = ""
    for line in text.splitlines():
        gpu = re.match(r"GPU [0-9]+:.*\(UUID: (\S+)\)", line)
        instance = re.match(r"\s+MIG (\S+)\s+Device\s+[0-9]+: \(UUID: (\S+)\)", line)
        if gpu:
            card = gpu[1]
            found[card] = []
        elif instance and card:
            found[card].append((instance[1], instance[2]))
    return found


def parse_log(text: str) -> dict[str, tuple[str, list[tuple[int, int]]]]:
    """UUID of each card, and GPU instance and compute instance of its MIG instances, by bus id.

    From `nvidia-smi -q -x`, in its order, which is that of `nvidia-smi -L`. Raises GpuError.
    """
    found = {}
    try:
        for gpu in ElementTree.fromstring(text).iter("gpu"):
            ids = [
                (
                    int(_child(mig, "index")),
                    int(_child(mig, "gpu_instance_id")),
                    int(_child(mig, "compute_instance_id")),
                )
                for mig in gpu.iterfind("mig_devices/mig_device")
            ]
            found[plain_bus_id(gpu.attrib["id"])] = (_child(gpu, "uuid"), [(gi, ci) for _index, gi, ci in sorted(ids)])
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise GpuError(f"nvidia-smi -q -x: found text that cannot be read: {error}") from None
    return found


def _child(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(name)
    if text is None:
        raise KeyError(name)
    return text.strip()


_MINORS = "/proc/driver/nvidia-caps/mig-minors"


def _instances(run: Runner, tree: Tree, minors: Mapping[str, int]) -> dict[str, list[Mig]]:
    listed, logged = parse_list(_complete(run(LIST)).stdout), _logged(run, sorted(minors))
    files = {plain_bus_id(bus_id): minor for bus_id, minor in minors.items()}
    access = dict(re.findall(r"^(gpu\S+)/access ([0-9]+)$", tree.text(_MINORS), re.MULTILINE))
    found: dict[str, list[Mig]] = {}
    for bus_id, (card, ids) in logged.items():
        names = listed.get(card, [])
        if len(names) != len(ids):
            raise GpuError(f"{bus_id}: nvidia-smi lists {len(names)} MIG instances with -L and {len(ids)} with -q -x")
        for (profile, uuid), (gi, ci) in zip(names, ids):
            # The numbers are those of the device file, not of nvidia-smi's index (MIG User Guide, device nodes).
            instance = f"gpu{files.get(bus_id)}/gi{gi}"
            if instance not in access or f"{instance}/ci{ci}" not in access:
                raise GpuError(
                    f"{_MINORS}: found no {instance}/ci{ci}; accepted: a line for each instance of nvidia-smi"
                )
            caps = [f"/dev/nvidia-caps/nvidia-cap{access[key]}" for key in (instance, f"{instance}/ci{ci}")]
            found.setdefault(bus_id, []).append(Mig(profile, uuid, (f"/dev/nvidia{files[bus_id]}", *caps)))
    return found


def _complete(result: Result) -> Result:
    """The result, which also ends with an error where only a lost card is left out."""
    return result if _LOST.search(_said(result)) else require(result)


def _logged(run: Runner, bus_ids: Sequence[str]) -> dict[str, tuple[str, list[tuple[int, int]]]]:
    """The log of all cards; one by one where a lost one spoils it."""
    result = run(LOG)
    if not _LOST.search(_said(result)):
        return parse_log(require(result).stdout)
    found = {}
    for bus_id in bus_ids:
        found.update(parse_log(require(run([*LOG, f"--id={bus_id}"])).stdout))
    return found


class Layout(NamedTuple):
    """What has to be done to one card so that it has the wanted instances."""

    bus_id: str
    words: str
    """How it differs."""
    commands: list[list[str]]


_LAYOUT = re.compile(r"(?P<profile>[0-9]+g\.[0-9]+gb[^\s:]*)(?::(?P<number>[1-9][0-9]*))?")


def parse_layout(value: Any, where: str) -> Counter[str]:
    """Wanted instances by profile: `1g.10gb:7`, several with commas or as a list; nothing for a card as a whole.

    Raises GpuError.
    """
    items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else (value or [])
    wanted: Counter[str] = Counter()
    for item in items:
        match = _LAYOUT.fullmatch(str(item))
        if not match:
            raise GpuError(f"{where}: found {item!r}; accepted: profiles with numbers, such as 3g.40gb:1 or 1g.10gb:7")
        wanted[match["profile"]] += int(match["number"] or 1)
    return wanted


def plan_layout(devices: Sequence[Device], layout: Mapping[str, Any], gone: Iterable[str] = ()) -> list[Layout]:
    """The cards whose MIG instances differ from the layout, and the commands for each, in order.

    Keys of the layout are bus ids, UUIDs, device files, or `all` for every other card; those of `gone` mean cards that
    were there once. Raises GpuError.
    """
    wanted = {plain_name(str(key)): parse_layout(value, f"mig: {key}") for key, value in layout.items()}
    mine = [device for device in devices if device.vendor == NVIDIA]
    known = {name for device in mine for name in names_of(device)} | {"all", *gone}
    for key in wanted:
        if key not in known:
            raise GpuError(f"mig: found {key!r}; accepted: all, or a bus id, UUID or device file of this host's cards")
    plans = []
    for device in mine:
        own = next((name for name in names_of(device) if name in wanted), None)
        if own and not device.mig_capable:
            raise GpuError(f"mig: {own}: found a card without MIG ({device.name}); accepted: one that has it")
        target = own or ("all" if "all" in wanted and device.mig_capable else None)
        if not target:
            continue
        if (_profiles(device), device.mig is not None) != (_bare(wanted[target]), bool(wanted[target])):
            plans.append(_layout(device, wanted[target]))
    return plans


def _bare(profiles: Mapping[str, int]) -> Counter[str]:
    """Numbers by profile without what nvidia-smi lists for some versions only (+me)."""
    bare: Counter[str] = Counter()
    for profile, number in profiles.items():
        bare[mig_profile(profile)] += number
    return bare


def _profiles(device: Device) -> Counter[str]:
    return _bare(Counter(mig.profile for mig in device.mig or ()))


def _layout(device: Device, wanted: Mapping[str, int]) -> Layout:
    one = f"--id={device.bus_id}"
    commands = []
    if wanted and device.mig is None:
        commands.append(["nvidia-smi", one, "--multi-instance-gpu=1"])
    if device.mig is not None:
        # Also where none is listed: a run that was stopped can have left GPU instances without a compute instance.
        commands += [["nvidia-smi", "mig", one, "-dci"], ["nvidia-smi", "mig", one, "-dgi"]]
    if wanted:
        # The largest first: they fit in few places.
        sizes = sorted(wanted, key=lambda profile: (-int(profile.split("g")[0]), profile))
        names = [profile for profile in sizes for _instance in range(wanted[profile])]
        commands.append(["nvidia-smi", "mig", one, "-cgi", ",".join(names), "-C"])
    elif device.mig is not None:
        commands.append(["nvidia-smi", one, "--multi-instance-gpu=0"])
    there = ", ".join(f"{profile}:{number}" for profile, number in _profiles(device).items())
    target = ", ".join(f"{profile}:{number}" for profile, number in wanted.items())
    return Layout(device.bus_id, f"{device.bus_id}: MIG: found {there or 'none'}, wanted {target or 'none'}", commands)


_NOTHING = re.compile(r"No (compute|GPU) instances found", re.IGNORECASE)
_PENDING = re.compile(r"pending (enable|disable) state", re.IGNORECASE)


def follow(run: Runner, argv: Sequence[str]) -> None:
    """Run a command of a plan. Raises CommandError, and GpuError for a mode that waits for a reset."""
    result = run(argv)
    said = _said(result)
    if _PENDING.search(said):
        words = " / ".join(said.split("\n")).strip(" /")
        raise GpuError(f"`{' '.join(argv)}`: {words}; the card needs a reset or a reboot to change its mode")
    if not _NOTHING.search(said):
        require(result)


PROCESSES = ("nvidia-smi", "--query-compute-apps=gpu_bus_id,pid,process_name", "--format=csv,noheader")


def users(run: Runner, plans: Sequence[Layout]) -> list[str]:
    """The processes that use these cards, one a line. Raises CommandError."""
    changed = {plan.bus_id for plan in plans}
    lines = require(run(PROCESSES)).stdout.splitlines()
    return [line for line in lines if ":" in line and plain_bus_id(line.split(",")[0]) in changed]
