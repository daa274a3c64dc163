# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generic resources (GPUs and others) of nodes: one record, from which both ``Gres=`` and gres.conf are rendered.

Sources: gres.conf(5) and slurm.conf(5) Gres of Slurm 22.05.8 and 24.11.5, and what ``slurmd -G`` of both made of each
rule below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches

from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import (
    HostlistError,
    expand,
    fold,
    fold_sorted,
    natural_key,
)

# gres.conf(5) of 24.11; 22.05 does not know explicit. slurmd ignores an unknown flag without a word, so it stops here.
FLAGS = (
    "CountOnly",
    "all_sharing",
    "amd_gpu_env",
    "explicit",
    "intel_gpu_env",
    "no_gpu_env",
    "nvidia_gpu_env",
    "one_sharing",
    "opencl_env",
)

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# `--gres=gpu:4` and `gpu:2g` ask for a count, so a type of this look could never be asked for.
_COUNT_LIKE = re.compile(r"[0-9]+[KMGTP]?", re.IGNORECASE)
# Nothing that gres.conf would take for a comment, a quote or another key.
_PATH = re.compile(r"/[A-Za-z0-9_./:@+-]+")
_CORES = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")
_LINKS = re.compile(r"-?[0-9]+(,-?[0-9]+)*")


class GresError(ValueError):
    """A gres record that Slurm would refuse, ignore or read as something else; names the place, found, accepted."""


@dataclass(frozen=True)
class GresGroup:
    """Devices of a node that are alike in everything but their files."""

    name: str
    """The kind of resource, as in GresTypes: gpu."""
    type: str | None
    """The model, as a job asks for it (a100, 1g.10gb); None where the resource has none."""
    count: int
    """How many; with files, their number."""
    files: tuple[str, ...]
    """Device files, one a device, expanded, in the order of the devices."""
    cores: str | None
    """Logical core numbers near the devices, such as 0-7,16-23."""
    links: str | None
    """Connections to device 0, 1, ... of the node; -1 is the device itself. Only for a group of one device."""
    flags: tuple[str, ...]
    """Of FLAGS."""
    multiple_files: tuple[str, ...] = ()
    """All device files of the one device of this group, such as the three of a MIG instance; instead of files."""


_KEYS = tuple(field.name for field in fields(GresGroup))


def parse(record: object, where: str) -> GresGroup:
    """Check one gres record and return it as a group; ``dataclasses.asdict`` of the group is such a record again.

    Keys are those of GresGroup: name is gpu, count is the number of files when they are left out. Files may be host
    list expressions (``/dev/nvidia[0-3]``). ``where`` says in errors whose record it is: "node1: gpu_devices[0]".

    Raises GresError.
    """
    if not isinstance(record, Mapping):
        raise _error(where, "", record, f"a mapping with the keys {', '.join(_KEYS)}")
    for key in record:
        if key not in _KEYS:
            near = "".join(f", meant {match}?" for match in get_close_matches(str(key), _KEYS, n=1))
            raise GresError(f"{where}: found the key {key!r}{near}; accepted: {', '.join(_KEYS)}")
    name = _text(record, "name", where, _WORD, "letters, digits and _ . + -, such as gpu") or "gpu"
    files, multiple = _files(record, "files", where), _files(record, "multiple_files", where)
    if files and multiple:
        raise _error(where, "multiple_files", record["multiple_files"], "files or multiple_files, not both")
    group = GresGroup(
        name=name,
        type=_type(record, where),
        count=_count(record, where, name, files, multiple),
        files=files,
        cores=_text(record, "cores", where, _CORES, "core numbers and ranges, such as 0-7,16-23"),
        links=_text(record, "links", where, _LINKS, "numbers with commas, such as -1,4,4,4"),
        flags=_flags(record, where),
        multiple_files=multiple,
    )
    if group.links and group.count > 1:
        raise _error(where, "links", group.links, f"links in a group of one device; this has {group.count}")
    return group


def parse_all(records: object, where: str) -> tuple[GresGroup, ...]:
    """Check all gres records of one node; None is no record. ``where`` is as in ``parse``, without the index.

    Raises GresError, also for what only shows between the groups: a device used twice (slurmd ends), and types (slurmd
    ends), files or cores (it logs errors or miscounts) for some devices of a resource only.
    """
    if records is None:
        return ()
    if not isinstance(records, (list, tuple)):
        raise _error(where, "", records, "a list of gres records")
    groups = tuple(parse(record, f"{where}[{index}]") for index, record in enumerate(records))
    owners: dict[str, int] = {}
    firsts: dict[str, GresGroup] = {}
    for index, group in enumerate(groups):
        # Without files the type stands for all the devices, so it too may be there once. The instances of a MIG device
        # share its first file.
        devices = group.files or (",".join(group.multiple_files) or f"{group.name}:{group.type}",)
        for device in devices:
            if owners.setdefault(device, index) != index:
                raise _error(f"{where}[{index}]", "", device, f"what {where}[{owners[device]}] does not have")
        first = firsts.setdefault(group.name, group)
        for key in ("type", "files", "cores"):
            if _has(group, key) != _has(first, key):
                accepted = f"{key} for all {group.name} of a node, or for none"
                raise _error(f"{where}[{index}]", key, getattr(group, key), accepted)
        number = sum(other.count for other in groups if other.name == group.name)
        if group.links and group.links.count(",") + 1 != number:
            # slurmctld takes too few for no links, and drains the node for too many.
            accepted = f"{number} numbers, one for each {group.name} of the node"
            raise _error(f"{where}[{index}]", "links", group.links, accepted)
    return groups


def local_lines(groups: Iterable[GresGroup]) -> list[str]:
    """Return the lines of a gres.conf that is for its own host only: no NodeName."""
    return [_conf_line((), group) for group in groups]


def node_gres(groups: Iterable[GresGroup]) -> str:
    """Return the Gres= value of a node line: ``gpu:a100:4,gpu:1g.10gb:7``, in the order given; empty for no groups.

    Groups of one name and type, which differ in cores or links, are one entry.
    """
    counts: dict[tuple[str, ...], int] = {}
    for group in groups:
        label = (group.name, group.type) if group.type else (group.name,)
        counts[label] = counts.get(label, 0) + group.count
    return ",".join(f"{':'.join(label)}:{count}" for label, count in counts.items())


def conf_lines(nodes: Mapping[str, Sequence[GresGroup]]) -> list[str]:
    """Return the lines of gres.conf, without AutoDetect: one for each group, with all nodes that have it.

    The lines follow the nodes in natural order, and in each its groups as given. Raises HostlistError for a name of a
    node that cannot stand in a host list.
    """
    owners: dict[GresGroup, list[str]] = {}
    for node in sorted(nodes, key=natural_key):
        for group in nodes[node]:
            owners.setdefault(group, []).append(node)
    return [_conf_line(names, group) for group, names in owners.items()]


def _has(group: GresGroup, key: str) -> bool:
    return bool(getattr(group, key) or (key == "files" and group.multiple_files))


def _conf_line(nodes: Sequence[str], group: GresGroup) -> str:
    values = {
        "NodeName": fold_sorted(nodes),
        "Name": group.name,
        "Type": group.type,
        "Count": None if group.files or group.multiple_files else str(group.count),
        "File": fold(group.files),
        # As slurmd prints those that it detects itself.
        "MultipleFiles": ",".join(group.multiple_files),
        "Cores": group.cores,
        "Links": group.links,
        "Flags": ",".join(group.flags),
    }
    return " ".join(f"{key}={value}" for key, value in values.items() if value)


def _text(record: Mapping[str, object], key: str, where: str, pattern: re.Pattern[str], accepted: str) -> str | None:
    """Return the text at ``key``, or None; a lone number is the text of it (``cores: 3`` in YAML)."""
    value = record.get(key)
    if value is None:
        return None
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise _error(where, key, value, accepted)
    return text


def _type(record: Mapping[str, object], where: str) -> str | None:
    accepted = "letters, digits and _ . + -, not only a number, such as a100 or 1g.10gb"
    text = _text(record, "type", where, _WORD, accepted)
    # no_consume is a word of its own in Gres=.
    if text and (_COUNT_LIKE.fullmatch(text) or text == "no_consume"):
        raise _error(where, "type", text, accepted)
    return text


def _files(record: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    accepted = "a list of paths of device files, each once, such as [/dev/nvidia[0-3]]"
    value = record.get(key)
    files: list[str] = []
    for path in _strings(value, key, where, accepted):
        try:
            files += expand(path)
        except HostlistError as error:
            raise GresError(f"{where}: {key}: {error}") from error
    if len(set(files)) < len(files) or not all(map(_PATH.fullmatch, files)):
        raise _error(where, key, value, accepted)
    return tuple(files)


def _count(record: Mapping[str, object], where: str, name: str, files: Sequence[str], multiple: Sequence[str]) -> int:
    count = record.get("count")
    if multiple:
        if count not in (None, 1) or isinstance(count, bool):
            raise _error(where, "count", count, "1, because multiple_files are those of one device, or no count")
        return 1
    if not files and name == "gpu":
        # slurmd leaves out a GPU without a file, and the node drains for want of it.
        raise _error(where, "files", record.get("files"), "the device files of the GPUs, such as [/dev/nvidia[0-3]]")
    if count is None and files:
        return len(files)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise _error(where, "count", count, "a number from 1")
    if files and count != len(files):
        raise _error(where, "count", count, f"{len(files)}, the number of files, or no count")
    return count


def _flags(record: Mapping[str, object], where: str) -> tuple[str, ...]:
    accepted = f"a list of {', '.join(FLAGS)}"
    flags = tuple(_strings(record.get("flags"), "flags", where, accepted))
    for flag in flags:
        if flag not in FLAGS:
            raise _error(where, "flags", flag, accepted)
    return flags


def _strings(value: object, key: str, where: str, accepted: str) -> Iterable[str]:
    """Return the list of strings in ``value``; None is an empty list."""
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(entry, str) for entry in value):
        raise _error(where, key, value, accepted)
    return value


def _error(where: str, key: str, found: object, accepted: str) -> GresError:
    place = f"{where}: {key}" if key else where
    return GresError(f"{place}: found {found!r}; accepted: {accepted}")
