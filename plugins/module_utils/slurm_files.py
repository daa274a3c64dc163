# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""All files of a configuration, read as Slurm reads them, and what differs between two such sets.

Order, comments, the case of keys and the folding of host lists do not count.
"""

from __future__ import annotations

import errno
import glob
import os
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import hostlist, slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import MANAGED_FILES, render_value
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import (
    Keys,
    Place,
    Read,
    ReadError,
    SlurmConf,
    read_cgroup_conf,
    read_gres_conf,
    read_slurm_conf,
)

PLUGSTACK = "plugstack.conf"
NAMES = MANAGED_FILES
"""The files that every configuration has."""

EVERY_NODE = "every node"
"""The name in changes of gres.conf for lines without NodeName."""


class Further(NamedTuple):
    """Files that an included path leads to, outside the set."""

    read: Read
    find: Callable[[str], Sequence[str]]
    """The paths that match a pattern, sorted."""


class Configuration(NamedTuple):
    """What the files of one configuration say."""

    slurm: SlurmConf
    gres: list[Keys]
    """The keys of each line of gres.conf."""
    cgroup: Keys
    plugstack: list[str]
    """The lines of plugstack.conf and of what it includes."""
    others: Mapping[str, Sequence[str]]
    """The lines of further files, by name."""

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes."""
        return [node["NodeName"] for node in self.slurm.nodes]

    @property
    def controllers(self) -> list[str]:
        """The host names in SlurmctldHost."""
        return [host.split("(")[0] for host in self.value("SlurmctldHost") or []]

    def value(self, key: str) -> Any:
        """The value of a key of slurm.conf, however it is spelled there; None without."""
        return next((value for name, value in self.slurm.config.items() if name.lower() == key.lower()), None)


class Change(NamedTuple):
    """One key that differs. An item that is added has no `before`, one that is removed has no `after`."""

    kind: str
    """A kind of slurm_keys, or the name of another file."""
    name: str
    """The node, partition or node set; empty for a key of the file itself."""
    key: str
    """Empty when the whole item is added or removed."""
    before: str
    after: str

    @property
    def added(self) -> bool:
        """Whether a whole item comes."""
        return bool(self.name) and not self.key and not self.before

    @property
    def removed(self) -> bool:
        """Whether a whole item goes."""
        return bool(self.name) and not self.key and not self.after

    @property
    def keys(self) -> list[str]:
        """The key that differs; all that it has of an item that comes or goes."""
        return [self.key] if self.key else [word.split("=")[0] for word in (self.before or self.after).split()]

    def __str__(self) -> str:
        where = " ".join(word for word in (self.kind, self.name, self.key) if word)
        return f"{where}: {self.before or 'nothing'} -> {self.after or 'nothing'}"


def _nothing(_path: str) -> str:
    raise OSError(errno.ENOENT, "only the files of the configuration are read here")


def beside(folder: str) -> Further:
    """What files of this folder include: from there, or from anywhere by a whole path."""

    def one(path: str) -> str:
        with open(os.path.join(folder, path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    return Further(one, lambda pattern: sorted(glob.glob(os.path.join(folder, pattern))))


ALONE = Further(_nothing, lambda _pattern: ())
"""For a set of files that includes nothing from elsewhere."""


def read(texts: Mapping[str, str], version: str, further: Further = ALONE) -> Configuration:
    """Read a set of files, by name; one of NAMES that is not there is empty. Raises ReadError as Slurm refuses."""
    there = {**dict.fromkeys(NAMES, ""), **texts}

    def one(path: str) -> str:
        return there[path] if path in there else further.read(path)

    return Configuration(
        slurm=read_slurm_conf("slurm.conf", one, version),
        gres=read_gres_conf("gres.conf", one, version),
        cgroup=read_cgroup_conf("cgroup.conf", one, version),
        plugstack=_plugstack(PLUGSTACK, there[PLUGSTACK], further),
        others={name: _lines(text) for name, text in sorted(texts.items()) if name not in NAMES},
    )


def diff(before: Configuration, after: Configuration) -> list[Change]:
    """Every key that differs."""
    changes = _keys(slurm_keys.GLOBAL, "", before.slurm.config, after.slurm.config)
    changes += _items(slurm_keys.NODE, _node_map(before.slurm), _node_map(after.slurm))
    changes += _items(slurm_keys.PARTITION, before.slurm.partitions, after.slurm.partitions)
    changes += _items(slurm_keys.NODESET, before.slurm.nodesets, after.slurm.nodesets)
    changes += _items(slurm_keys.GRES, _gres_map(before.gres), _gres_map(after.gres))
    changes += _keys(slurm_keys.CGROUP, "", before.cgroup, after.cgroup)
    old = {PLUGSTACK: before.plugstack, **before.others}
    new = {PLUGSTACK: after.plugstack, **after.others}
    for name in sorted(set(old) | set(new)):
        was, becomes = old.get(name, ()), new.get(name, ())
        if list(was) != list(becomes):
            changes.append(Change(name, "", "", "; ".join(was), "; ".join(becomes)))
    return changes


def _plugstack(name: str, text: str, further: Further, above: Sequence[str] = ()) -> list[str]:
    lines = []
    for line in _lines(text):
        word, _blank, pattern = line.partition(" ")
        if word.lower() != "include":
            lines.append(line)
            continue
        # spank(8): a pattern, which may match nothing.
        for path in further.find(pattern):
            try:
                included = further.read(path)
            except OSError as error:
                raise _unreadable(name, f"{path}, which cannot be read ({error.strerror})") from error
            if path in above:
                raise _unreadable(name, f"{path}, which includes itself")
            lines += _plugstack(path, included, further, (*above, path))
    return lines


def _unreadable(name: str, found: str) -> ReadError:
    return ReadError(Place(name, 0), f"{name}: include: found {found}; accepted: a file that can be read")


def _lines(text: str) -> list[str]:
    """The lines that count, with single blanks."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _node_map(slurm: SlurmConf) -> dict[str, Keys]:
    return {
        node["NodeName"]: {key: value for key, value in node.items() if key != "NodeName"}
        for node in slurm.cluster().nodes
    }


def _gres_map(lines: Iterable[Keys]) -> dict[str, dict[str, Any]]:
    """Node to the keys of all its lines, each with the values in the order of the lines."""
    devices: dict[str, dict[str, Any]] = {}
    for line in lines:
        for name in hostlist.expand(str(line["NodeName"])) if "NodeName" in line else [EVERY_NODE]:
            for key, value in line.items():
                if key != "NodeName":
                    devices.setdefault(name, {}).setdefault(key, []).append(render_value(value))
    return devices


def _items(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    changes = []
    for name in sorted(set(before) | set(after), key=hostlist.natural_key):
        if name in before and name in after:
            changes += _keys(kind, name, before[name], after[name])
        else:
            gone, come = (_summary(side[name]) if name in side else "" for side in (before, after))
            changes.append(Change(kind, name, "", gone, come))
    return changes


def _keys(kind: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    if before == after:
        return []
    old = {key.lower(): (key, _canonical(key, value)) for key, value in before.items()}
    new = {key.lower(): (key, _canonical(key, value)) for key, value in after.items()}
    changes = []
    for lower in sorted(set(old) | set(new)):
        was, becomes = old.get(lower, ("", ""))[1], new.get(lower, ("", ""))[1]
        if was != becomes:
            changes.append(Change(kind, name, (new.get(lower) or old[lower])[0], was, becomes))
    return changes


def _canonical(key: str, value: Any) -> str:
    """The same text for values that mean the same."""
    text = render_value(value)
    if key.lower() == "nodes" and text.upper() != "ALL":
        try:
            return hostlist.fold_sorted(hostlist.expand(text))
        except hostlist.HostlistError:  # a node set
            return text
    return text


def _summary(keys: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={render_value(value)}" for key, value in keys.items()) or "present"
