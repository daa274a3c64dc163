# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the configuration files of Slurm that people wrote, into the data that module_utils/slurm_conf renders.

What counts is what Slurm makes of them: how it splits lines (parse_config.c), what a DEFAULT line hands on and which of
two equal keys wins (read_config.c), how lists in a line pair (node_conf.c), of releases 22.05 and 24.11. The words are
those of slurm.conf(5).
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, Callable, Dict, Iterator, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import hostlist, slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import Cluster

Read = Callable[[str], str]
"""Gives the text of the file at a path, or raises OSError."""
Keys = Dict[str, Any]

DOWN_REASON = "Set in slurm.conf"
"""The reason that Slurm writes for DownNodes without one."""

_BLANKS = " \t\r\v\f"
"""What separates words; text.split() and str.strip() know more blanks than Slurm does."""
# Up to a # that no backslash escapes.
_UNCOMMENTED = re.compile(r"(?:[^\\#]+|\\.|\\$)*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_INCLUDE = re.compile(r"include\s+(\S*)(.*)", re.ASCII | re.DOTALL | re.IGNORECASE)
# The operator before = has no meaning in these files, but Slurm takes it.
_PAIR = re.compile(r'\s*([A-Za-z0-9_.]+)\s*[-*+/]?=\s*(?:"([^"]*)"|(\S+))(?=\s|\Z)', re.ASCII)

# What PartitionName=DEFAULT says of these does not reach the partitions.
_NOT_INHERITED = (
    "DisableRootJobs",
    "ExclusiveTopo",
    "ExclusiveUser",
    "PowerDownOnIdle",
    "SelectTypeParameters",
    "SuspendTime",
)
# Two names of one key, of which a line's own one wins over the other one of a DEFAULT line.
_FEATURES = ("Feature", "Features")
_OLDER_CONTROLLERS = (("controlmachine", "controladdr"), ("backupcontroller", "backupaddr"))
_OF_ONE_NODE = ("NodeAddr", "NodeHostname", "BcastAddr")


class Place(NamedTuple):
    """Where a logical line begins."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}: line {self.line}" if self.line else self.file


class ReadError(ValueError):
    """What Slurm refuses in a file, as one line that says where it stands, what was found and what is accepted."""

    def __init__(self, place: Place, message: str) -> None:
        self.file, self.line = place
        super().__init__(message)


class SlurmConf(NamedTuple):
    """A slurm.conf with all that it includes. Numbers and booleans are such, everything else is text."""

    config: Keys
    """Global keys, spelled as they were at first; a list where Slurm collects lines, always for SlurmctldHost."""
    nodes: list[Keys]
    """Each with NodeName, NodeAddr and what its line and the DEFAULT lines before it say."""
    partitions: dict[str, Keys]
    nodesets: dict[str, Keys]
    downnodes: list[Keys]
    """Each with DownNodes, State and Reason, as far as the line has them."""

    def cluster(self, cgroup: Keys | None = None) -> Cluster:
        """The data that slurm_conf renders; what DownNodes says stands in the nodes, where it has the same effect."""
        nodes = {node["NodeName"]: dict(node) for node in self.nodes}
        for down in self.downnodes:
            state = down.get("State", "DOWN")
            for name in hostlist.expand(down["DownNodes"]):
                if name in nodes:  # Slurm only logs the others
                    nodes[name].update({} if state.upper() == "UNKNOWN" else {"State": state})
                    nodes[name]["Reason"] = down.get("Reason", DOWN_REASON)
        return Cluster(self.config, list(nodes.values()), self.partitions, self.nodesets, cgroup or {})


def read_slurm_conf(path: str, read: Read, version: str) -> SlurmConf:
    """Read slurm.conf and what it includes, as the Slurm of that version does. Raises ReadError."""
    reader = _SlurmConfReader(version)
    for place, text in _lines(path, read, version, reader.config):
        reader.take(place, text)
    return reader.result()


def read_cgroup_conf(path: str, read: Read, version: str) -> Keys:
    """Read cgroup.conf: its keys, spelled as they were at first. Raises ReadError."""
    config = _Config(version, slurm_keys.CGROUP)
    for place, text in _lines(path, read, version, config):
        config.take(place, _pairs(place, text))
    return config.keys


def read_gres_conf(path: str, read: Read, version: str) -> list[Keys]:
    """Read gres.conf: the keys of each line as text, in the manual's spelling. Raises ReadError."""
    lines = []
    for place, text in _lines(path, read, version, _Config(version, slurm_keys.GRES)):
        pairs = _pairs(place, text)
        first = pairs[0][0].lower() if pairs else "name"
        if first not in ("name", "nodename", "autodetect"):
            raise _refusal(place, pairs[0][0], "a line that begins with Name, NodeName or AutoDetect")
        if first == "autodetect" and len(pairs) > 1:
            raise _refusal(place, pairs[1][0], "nothing after AutoDetect and its value")
        keys = {_key(place, version, slurm_keys.GRES, key).name: value for key, value in pairs}
        lines += [keys] if keys else []
    return lines


class _Config:
    """Keys that stand on a line each: the last one wins, but for those that Slurm collects."""

    def __init__(self, version: str, kind: str = slurm_keys.GLOBAL) -> None:
        self.keys: Keys = {}
        self._version = version
        self._kind = kind
        self._repeatable = slurm_keys.repeatable(version)
        self._spelling: dict[str, str] = {}

    def get(self, lower: str) -> str | None:
        """The value so far of a key, given in lower case."""
        return self.keys.get(self._spelling.get(lower, ""))

    def take(self, place: Place, pairs: Sequence[tuple[str, str]]) -> None:
        """Add the one key of a line."""
        if len(pairs) > 1:
            raise _refusal(place, pairs[1][0], f"nothing after {pairs[0][0]} and its value")
        for key, text in pairs:
            known = _key(place, self._version, self._kind, key)
            value = _value(place, known, text)
            name = self._spelling.setdefault(key.lower(), key)
            if key.lower() == "slurmctldhost":
                self.keys.setdefault(name, []).append(_controller(place, text))
            elif key.lower() in self._repeatable and name in self.keys:
                before = self.keys[name]
                self.keys[name] = [*before, value] if isinstance(before, list) else [before, value]
            else:
                self.keys[name] = value

    def result(self) -> Keys:
        """The keys, with SlurmctldHost in the place of the older keys for it, which Slurm reads where it is missing."""
        older = {key: self.get(key) for pair in _OLDER_CONTROLLERS for key in pair}
        if not older["controlmachine"] or "slurmctldhost" in self._spelling:
            return self.keys
        hosts = [(older[name], older[address]) for name, address in _OLDER_CONTROLLERS if older[name]]
        others = {key: value for key, value in self.keys.items() if key.lower() not in older}
        return {**others, "SlurmctldHost": [f"{name}({address})" if address else name for name, address in hosts]}


class _SlurmConfReader:
    """Takes the lines of a slurm.conf one by one."""

    def __init__(self, version: str) -> None:
        self.config = _Config(version)
        self._version = version
        self._nodes: dict[str, Keys] = {}
        self._node_default: Keys = {}
        self._partitions: dict[str, Keys] = {}
        self._partition_default: Keys = {}
        self._nodesets: dict[str, Keys] = {}
        self._downnodes: list[Keys] = []

    def take(self, place: Place, text: str) -> None:
        """Add what a line says."""
        pairs = _pairs(place, text)
        if not pairs:
            return
        (first, name), rest = pairs[0], pairs[1:]
        if first.lower() == "nodename":
            self._take_nodes(place, name, self._line(place, slurm_keys.NODE, rest))
        elif first.lower() == "partitionname":
            self._take_partition(place, name, self._line(place, slurm_keys.PARTITION, rest))
        elif first.lower() == "nodeset":
            # Slurm uses the first one of a name.
            self._nodesets.setdefault(name, self._line(place, slurm_keys.NODESET, rest))
        elif first.lower() == "downnodes":
            _expand(place, name)
            self._downnodes.append({"DownNodes": name, **self._line(place, slurm_keys.DOWNNODES, rest)})
        else:
            self.config.take(place, pairs)

    def result(self) -> SlurmConf:
        """All that was taken."""
        partitions = {name: dict(keys) for name, keys in self._partitions.items()}
        defaults = [keys for keys in partitions.values() if keys.get("Default")]
        for keys in defaults[:-1]:  # the last one that says so is the default
            del keys["Default"]
        return SlurmConf(self.config.result(), list(self._nodes.values()), partitions, self._nodesets, self._downnodes)

    def _line(self, place: Place, kind: str, pairs: Sequence[tuple[str, str]]) -> Keys:
        """The keys of a line, in the manual's spelling; of two equal ones the last wins."""
        keys = {}
        for key, text in pairs:
            found = _key(place, self._version, kind, key)
            if found.name == "NodeName":
                raise _refusal(place, key, "NodeName at the beginning of a line")
            keys[found.name] = _value(place, found, text)
        return keys

    def _take_nodes(self, place: Place, name: str, line: Keys) -> None:
        if name.upper() == "DEFAULT":
            for key in _OF_ONE_NODE:
                if key in line:
                    raise _refusal(place, key, "NodeName=DEFAULT without addresses")
            self._node_default.update(line)
            return
        if name.upper() == "ALL":
            raise _refusal(place, f"NodeName={name}", "another name, because this one is reserved")
        displaced = _FEATURES if any(key in line for key in _FEATURES) else ()
        inherited = {key: value for key, value in self._node_default.items() if key not in displaced}
        for node in _expand_nodes(place, name, {**inherited, **line}):
            if node["NodeName"] in self._nodes:
                raise _refusal(place, f"NodeName={node['NodeName']} again", "each node once")
            self._nodes[node["NodeName"]] = node

    def _take_partition(self, place: Place, name: str, line: Keys) -> None:
        if name.upper() == "DEFAULT":
            self._partition_default.update(line)
            return
        if name in self._partitions:
            raise _refusal(place, f"PartitionName={name} again", "each partition once")
        inherited = {key: value for key, value in self._partition_default.items() if key not in _NOT_INHERITED}
        self._partitions[name] = {**inherited, **line}


def _expand_nodes(place: Place, text: str, keys: Keys) -> Iterator[Keys]:
    """Each node of a line, with the addresses, host name and port that are its own by position."""
    names = _expand(place, text)
    if not names:
        raise _refusal(place, "NodeName without a name", "the name of a node, or a list of names")
    hostnames = _paired(place, keys, "NodeHostname", len(names)) or names
    addresses = _paired(place, keys, "NodeAddr", len(names)) or hostnames
    broadcast = _paired(place, keys, "BcastAddr", len(names))
    ports = _paired(place, keys, "Port", len(names))
    shared = {key: value for key, value in keys.items() if key not in (*_OF_ONE_NODE, "Port")}
    for number, name in enumerate(names):
        node: Keys = {"NodeName": name, "NodeAddr": addresses[number]}
        if hostnames[number] != name:
            node["NodeHostname"] = hostnames[number]
        if broadcast:
            node["BcastAddr"] = broadcast[number]
        if ports:
            node["Port"] = _port(place, ports[number])
        yield {**node, **shared}


def _paired(place: Place, keys: Keys, key: str, count: int) -> list[str]:
    """The values of a key for so many nodes; none where the key is not there."""
    text = keys.get(key, "")
    if key == "Port" and not text.startswith("[") and re.search("[-,]", text):
        text = f"[{text}]"
    values = _expand(place, text)
    if len(values) == 1:
        return values * count
    # Of addresses and host names, Slurm 22.05 leaves out what is too much.
    if values and (len(values) < count or (key == "Port" and len(values) > count)):
        raise _refusal(place, f"{len(values)} of {key} for {count} nodes", f"one, or {count}")
    return values[:count]


def _port(place: Place, text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 2**16:
        raise _refusal(place, f"Port={text}", "a number from 1 to 65535")
    return int(text)


def _controller(place: Place, text: str) -> str:
    """A SlurmctldHost: NAME or NAME(ADDRESS)."""
    if not re.fullmatch(r"[^()]*(\([^()]*\))?", text):
        raise _refusal(place, f"SlurmctldHost={text}", "NAME or NAME(ADDRESS)")
    return text


def _expand(place: Place, text: str) -> list[str]:
    try:
        return hostlist.expand(text)
    except hostlist.HostlistError as error:
        raise _refusal(place, text, f"a host list ({error})") from error


def _key(place: Place, version: str, kind: str, key: str) -> slurm_keys.Key:
    found = slurm_keys.known(version, kind).get(key.lower())
    if found:
        return found
    for finding in slurm_keys.findings(version, kind, str(place), [key]):
        raise ReadError(place, finding)
    return slurm_keys.Key(key, "text", frozenset(), False)


def _value(place: Place, key: slurm_keys.Key, text: str) -> Any:
    try:
        return slurm_keys.parse_value(key, text)
    except ValueError as error:
        raise _refusal(place, f"{key.name}={text}", str(error)) from error


def _lines(
    path: str, read: Read, version: str, config: _Config, above: Sequence[str] = (), place: Place | None = None
) -> Iterator[tuple[Place, str]]:
    """The logical lines of a file, with those of the files that it includes in their places."""
    place = place or Place(path, 0)
    try:
        text = read(path)
    except OSError as error:
        found = f"the file {path}, which cannot be read ({error.strerror})"
        raise _refusal(place, found, "a file that can be read") from error
    for number, line in _logical_lines(text):
        place = Place(path, number)
        if "\0" in line:
            raise _refusal(place, line, "a line of text")
        include = _INCLUDE.fullmatch(line)
        if not include:
            yield place, line
            continue
        name, rest = include.groups()
        if not name or rest.strip(_BLANKS):
            raise _refusal(place, line, "Include and the name of one file")
        # Before Slurm 23.02 a name was relative to the file that has it; since then it is to the first one.
        beside = path if slurm_keys.parse_version(version) < (23, 2) else (*above, path)[0]
        target = _included(place, name, config, beside)
        if target in (path, *above):
            raise _refusal(place, line, "a file that does not include itself")
        yield from _lines(target, read, version, config, (*above, path), place)


def _included(place: Place, name: str, config: _Config, beside: str) -> str:
    """The path of an included file, whose name is relative to the file `beside`."""
    if "%c" in name:
        cluster = config.get("clustername")
        if not cluster:
            raise _refusal(place, f"Include {name}", "%c after the line with ClusterName only")
        name = name.replace("%c", cluster.lower())
    return posixpath.join(posixpath.dirname(beside), name)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, joined where they end in a backslash, without escapes; with the number of their first."""
    first, parts = 1, []
    for number, line in enumerate(text.split("\n"), start=1):
        match = _UNCOMMENTED.match(line)
        content = match[0] if match else ""
        stripped = content.rstrip(_BLANKS)
        if (len(stripped) - len(stripped.rstrip("\\"))) % 2:
            parts.append(stripped[:-1])
            continue
        yield first, _ESCAPED.sub(r"\1", "".join([*parts, content]))
        first, parts = number + 1, []
    if parts:
        yield first, _ESCAPED.sub(r"\1", "".join(parts))


def _pairs(place: Place, text: str) -> list[tuple[str, str]]:
    """The keys and values of a line."""
    pairs, end = [], 0
    match = _PAIR.match(text)
    while match:
        key, quoted, bare = match.groups()
        pairs.append((key, bare if quoted is None else quoted))
        end = match.end()
        match = _PAIR.match(text, end)
    if text[end:].strip(_BLANKS):
        raise _refusal(place, text[end:].strip(_BLANKS), "KEY=VALUE, with quotes around a value that has blanks")
    return pairs


def _refusal(place: Place, found: str, accepted: str) -> ReadError:
    return ReadError(place, f"{place}: found {found if len(found) <= 80 else found[:77] + '...'}; accepted: {accepted}")
