# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slurm's configuration files from data: rendered in a stable order, with folded host lists, and checked before that.

Keys are Slurm's own, see slurm.conf(5), cgroup.conf(5) and gres.conf(5) of Slurm 22.05 and 24.11. A key whose value is
None or empty is left out. Slurm does not care about the case of a key; of two spellings the later one wins.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils import gres, hostlist

HEADER = "# Written by Ansible (aicluster.slurm) from the inventory: changes made here are lost at the next run.\n"

FIRST_KEYS = ("ClusterName", "SlurmctldHost", "Nodes")
"""Keys that a reader looks for first; all others follow in alphabetical order."""

REPEATED_KEYS = ("SlurmctldHost", "Prolog", "Epilog", "PrologSlurmctld", "EpilogSlurmctld")
"""Keys that stand on a line for each value, instead of one line with commas."""

NEEDED_KEYS = ("ClusterName", "SlurmctldHost")
"""Keys without which nothing starts."""

MANAGED_FILES = ("cgroup.conf", "gres.conf", "plugstack.conf", "slurm.conf")
"""The files that every configuration has; slurm.conf, which names what the others have to be there for, comes last."""

LINE_KEYS = {"NodeName": "nodes", "NodeSet": "nodesets", "PartitionName": "partitions"}
"""Keys that start a line of their own, and where their data belongs."""

COUNT_KEYS = ("CPUs", "Boards", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore", "RealMemory")
"""Node keys that hold a number above 0."""

TIME_KEYS = ("MaxTime", "DefaultTime")
"""Partition keys that hold a time. YAML reads an unquoted 4:00:00 as the number 14400, for Slurm that many minutes."""

_KNOWN = (*FIRST_KEYS, *LINE_KEYS, *COUNT_KEYS, *TIME_KEYS, "NodeAddr", "Gres", "GresTypes", "Default")
_KNOWN += ("AutoDetect", "Name", "Type")
_SPELLING = {key.lower(): key for key in _KNOWN}

_IS_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*").fullmatch
_NAME = r"[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,254}"
_IS_NAME = re.compile(_NAME).fullmatch
_IS_CONTROLLER = re.compile(rf"{_NAME}(\({_NAME}\))?").fullmatch
_IS_COUNT = re.compile(r"0*[1-9][0-9]*").fullmatch
# No other daemon's file, which holds a password, and no hidden one.
_IS_FILE = re.compile(r"(?!slurmdbd\.conf$)[A-Za-z0-9][A-Za-z0-9_.-]{0,100}").fullmatch
_IS_PLUGIN = re.compile(r"(required|optional) +/?[A-Za-z0-9_.+/-]+( .*)?").fullmatch
_GRES_NAMES = re.compile(r"(?:^|,)([A-Za-z0-9_.+-]+)(?=[:,]|$)").findall
_OF_NODE = re.compile(r"node (\S+): (.+)", re.DOTALL).fullmatch
_RESERVED = ("ALL", "DEFAULT")
_TRUE = ("YES", "UP", "TRUE", "1")


class ConfigError(ValueError):
    """Data that would not become a working configuration; one line a finding."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = _folded(findings)
        super().__init__("\n".join(self.findings))


class Cluster(NamedTuple):
    """The whole wanted configuration, as data."""

    config: Mapping[str, Any]
    """Keys of slurm.conf."""
    nodes: Sequence[Mapping[str, Any]]
    """Each with NodeName, NodeAddr and further keys; Gres is text, or a list of gres records."""
    partitions: Mapping[str, Any]
    """PartitionName to the keys of its line; None is no partition."""
    nodesets: Mapping[str, Any]
    """NodeSet to the keys of its line; None is no node set."""
    cgroup: Mapping[str, Any] = {}
    """Keys of cgroup.conf."""
    gres: Sequence[Mapping[str, Any]] = ()
    """Further lines of gres.conf, before those that follow from the records of the nodes."""
    plugstack: Sequence[str] = ()
    """Lines of plugstack.conf."""
    files: Mapping[str, Any] = {}
    """The text of further files, by name; None is no file."""


def render(cluster: Cluster) -> dict[str, str]:
    """File name to text, for every file of the configuration.

    Raises ConfigError for data that Slurm would refuse, or accept and then break on.
    """
    cluster = _normal(cluster)
    devices, findings = _devices(cluster.nodes)
    findings = _check(cluster) + findings + _check_gres(cluster, devices) + _check_files(cluster)
    if findings:
        raise ConfigError(findings)
    nodes = sorted(cluster.nodes, key=lambda node: hostlist.natural_key(_text(node["NodeName"])))
    gres_texts = [gres.node_gres(devices.get(_text(node["NodeName"]), ())) or _text(node.get("Gres")) for node in nodes]
    types = sorted({name for text in gres_texts for name in _GRES_NAMES(text)})
    try:
        gres_lines, node_lines = gres.conf_lines(devices), _node_lines(zip(nodes, gres_texts))
    except hostlist.HostlistError as error:
        raise ConfigError([f"nodes: {error}"]) from error
    gres_lines = [*(_words(line) for line in cluster.gres), *gres_lines]
    detects = any(list(line) == ["AutoDetect"] for line in cluster.gres)
    texts = {
        "cgroup.conf": _key_lines(cluster.cgroup),
        "gres.conf": ["AutoDetect=off", *gres_lines] if gres_lines and not detects else gres_lines,
        "plugstack.conf": cluster.plugstack,
        "slurm.conf": [
            *_key_lines(_present({"GresTypes": types, **cluster.config})),
            "",
            *_lines("NodeSet", cluster.nodesets),
            *node_lines,
            "",
            *_lines("PartitionName", cluster.partitions),
        ],
    }
    whole = {name: HEADER + "".join(line + "\n" for line in lines) for name, lines in texts.items()}
    return {**{name: text for name, text in sorted(cluster.files.items()) if text is not None}, **whole}


def render_value(value: object) -> str:
    """A value as slurm.conf spells it.

    True and False are YES and NO; a list has commas; a map is a list of NAME=VALUE, or of NAME alone where the value is
    True, and without those that are False or None. Text with blanks is quoted; # and the backslash are escaped.
    """
    text = _text(value).replace("\\", "\\\\").replace("#", "\\#")
    return f'"{text}"' if " " in text else text


def _folded(findings: Sequence[str]) -> list[str]:
    """The findings, those that say the same of several nodes as one: a mistake of 1,000 nodes is one line, too."""
    nodes: dict[str, list[str]] = {}
    for finding in findings:
        match = _OF_NODE(finding)
        names = nodes.setdefault(match[2] if match else finding, [])
        names += [match[1]] if match else []
    return [f"{_nodes(names)}: {text}" if names else text for text, names in nodes.items()]


def _nodes(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"node {names[0]}"
    try:
        return f"nodes {hostlist.fold_sorted(names)}"
    except hostlist.HostlistError:  # that is a finding, too
        return f"nodes {', '.join(names)}"


def _check(cluster: Cluster) -> list[str]:
    """What Slurm would refuse, or accept and then break on: one line a finding."""
    findings = _check_config(cluster.config) + _check_keys("cgroup.conf", cluster.cgroup)
    for key, found in (("nodes", cluster.nodes), ("partitions", cluster.partitions)):
        if not found:
            findings.append(f"{key}: found none; accepted: one or more, because slurmctld does not start without")
    findings += _check_nodes(cluster.nodes)
    known = {_text(node.get("NodeName")) for node in cluster.nodes}
    return findings + line_findings(cluster.partitions, cluster.nodesets, known)


def line_findings(partitions: Mapping[str, Any], nodesets: Mapping[str, Any], nodes: Collection[str]) -> list[str]:
    """What is wrong with partitions and node sets, by their names, where the nodes have these names."""
    findings, known = [], set(nodes)
    nodesets = _named(nodesets)
    for name, keys in nodesets.items():
        if name in known or name.upper() in _RESERVED:
            findings.append(f"nodeset {name}: found a name that nodes have; accepted: a name of its own")
        findings += _check_line(f"nodeset {name}", name, keys, known)
    return findings + partition_findings(partitions, known | set(nodesets))


def partition_findings(partitions: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """What is wrong with partitions whose nodes are to be among these nodes and node sets."""
    partitions, findings = _named(partitions), []
    for name, keys in partitions.items():
        findings += _check_line(f"partition {name}", name, keys, known, may_have_all=True)
    named = sorted((name, keys) for name, keys in partitions.items() if isinstance(keys, Mapping))
    defaults = [name for name, keys in named if _text(keys.get("Default")).upper() in _TRUE]
    if len(defaults) > 1:
        findings.append(f"partitions: Default: found {', '.join(defaults)}; accepted: one partition with Default")
    return findings


def _check_config(config: Mapping[str, Any]) -> list[str]:
    findings = _check_keys("slurm.conf", config)
    for key in NEEDED_KEYS:
        if key not in config:
            findings.append(f"slurm.conf: {key}: found nothing; accepted: a value, Slurm does not start without")
    for host in _items(config.get("SlurmctldHost", ())):
        if not _IS_CONTROLLER(_text(host)):
            findings.append(f"slurm.conf: SlurmctldHost: found {host!r}; accepted: NAME or NAME(ADDRESS)")
    return findings


def _check_nodes(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    findings = []
    seen: dict[str, set[str]] = {"NodeName": set(), "NodeAddr": set()}
    for index, node in enumerate(nodes):
        where = f"node {_text(node['NodeName'])}" if "NodeName" in node else f"nodes[{index}]"
        for key, values in seen.items():
            value = _text(node.get(key))
            if not _IS_NAME(value) or value.upper() in _RESERVED:
                findings.append(f"{where}: {key}: found {value or 'nothing'}; accepted: one name or address")
            elif value in values:
                findings.append(f"{where}: {key}: found {value} on another node too; accepted: one of each")
            values.add(value)
        for key in COUNT_KEYS:
            if key in node and not _IS_COUNT(_text(node[key])):
                # A node whose reserve is larger than its memory ends here.
                hint = " after the reserve (nodes_memory_reserve_mb)" if key == "RealMemory" else ""
                findings.append(f"{where}: {key}: found {node[key]!r}; accepted: a whole number above 0{hint}")
        words = {
            key: value for key, value in node.items() if key not in seen and (key != "Gres" or isinstance(value, str))
        }
        findings += _check_keys(where, words)
    return findings


def _check_gres(cluster: Cluster, devices: Mapping[str, Sequence[gres.GresGroup]]) -> list[str]:
    """Findings for gres.conf, and for Gres that slurmd would not find there: the node would be drained as invalid."""
    findings = []
    for index, line in enumerate(cluster.gres):
        findings += _check_keys(f"gres[{index}]", line, may_have=["NodeName"])
    lines = [(set(_hosts(line["NodeName"])) if "NodeName" in line else None, line) for line in cluster.gres]
    listed = {_text(name) for name in _items(cluster.config.get("GresTypes", ()))}
    types = {name for text in listed for name in text.split(",")}
    not_listed: dict[str, list[str]] = {}
    for node in cluster.nodes:
        name = _text(node.get("NodeName"))
        here = [line for names, line in lines if names is None or name in names]
        found = devices.get(name)
        text = node.get("Gres", "")
        # What is neither records nor one line of text is a finding of its own.
        named = _GRES_NAMES(text) if isinstance(text, str) and text.isprintable() else ()
        kinds = {group.name for group in found} if found else set(named)
        for kind in sorted(kinds):
            if types and kind not in types:
                not_listed.setdefault(kind, []).append(name)
            detected = any(_text(line.get("AutoDetect", "off")).lower() not in ("off", "no") for line in here)
            if not found and not detected and not any(_text(line.get("Name")) == kind for line in here):
                findings.append(
                    f"node {name}: Gres: found {text} and no line of gres.conf for {kind}; accepted:"
                    " records of the devices (gpu_devices), or a line in gres (cluster_gres)"
                )
    for kind, names in sorted(not_listed.items()):
        found_types = ",".join(sorted(types))
        findings.append(f"slurm.conf: GresTypes: found {found_types}; accepted: also {kind}, for {_nodes(names)}")
    return findings


def _hosts(text: object) -> list[str]:
    try:
        return hostlist.expand(_text(text))
    except hostlist.HostlistError:
        return []


def _check_files(cluster: Cluster) -> list[str]:
    """Findings for plugstack.conf and for further files."""
    findings = []
    for index, line in enumerate(cluster.plugstack):
        if not isinstance(line, str) or not line.isprintable() or not _IS_PLUGIN(line):
            findings.append(
                f"plugstack[{index}]: found {line!r}; accepted: required or optional, the path of a plugin, and its"
                " arguments; no include, which does not reach nodes that fetch their configuration"
            )
    for name, text in cluster.files.items():
        if not _IS_FILE(name) or name in MANAGED_FILES:
            findings.append(f"files: found the name {name!r}; accepted: a file that Slurm reads beside slurm.conf")
        if text is not None and not isinstance(text, str):
            findings.append(f"files: {name}: found {text!r}; accepted: the text of the file, or null for none")
    return findings


def _check_line(where: str, name: str, keys: object, known: Collection[str], may_have_all: bool = False) -> list[str]:
    """Findings for a partition or a node set."""
    if not isinstance(keys, Mapping):
        return [f"{where}: found {keys!r}; accepted: a map of its keys, or null for none"]
    findings = []
    if not _IS_NAME(name):
        findings.append(f"{where}: found the name {name!r}; accepted: letters, digits and _ . : -")
    for key in TIME_KEYS:
        if isinstance(keys.get(key), (int, float)):
            findings.append(
                f"{where}: {key}: found the number {keys[key]}; accepted: a time in quotes, such as '4:00:00' or"
                " '60' (minutes), because YAML reads 4:00:00 without them as 14400"
            )
    text = _text(keys.get("Nodes"))
    if not (may_have_all and text.upper() == "ALL"):
        findings += _unknown_nodes(where, text, known)
    return findings + _check_keys(where, keys)


def _unknown_nodes(where: str, text: str, known: Collection[str]) -> list[str]:
    try:
        missing = [name for name in hostlist.expand(text) if name not in known]
    except hostlist.HostlistError as error:
        return [f"{where}: Nodes: {error}"]
    if not missing:
        return []
    found = hostlist.fold_sorted(missing)
    return [f"{where}: Nodes: found {found}; accepted: nodes of the cluster; in a partition also node sets, or ALL"]


def _check_keys(where: str, keys: Mapping[str, Any], may_have: Sequence[str] = ()) -> list[str]:
    """Keys and values that cannot stand in a line of a configuration file."""
    findings = []
    for key, value in keys.items():
        text = _text(value)
        if not _IS_KEY(key):
            findings.append(f"{where}: found the key {key!r}; accepted: a key of letters and digits")
        if key in LINE_KEYS and key not in may_have:
            findings.append(f"{where}: {key}: found among other keys; accepted: in {LINE_KEYS[key]}")
        if not _is_plain(value):
            findings.append(f"{where}: {key}: found {value!r}; accepted: text, a number, a flat list or map")
        elif not text.isprintable() or '"' in text:
            findings.append(f"{where}: {key}: found {value!r}; accepted: one line of text without double quotes")
    return findings


def _is_plain(value: object) -> bool:
    """Whether a value is text, a number, true or false, or a list or map that holds no further one."""
    if isinstance(value, Mapping):
        return all(item is None or isinstance(item, (str, int, float)) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in value)
    return isinstance(value, (str, int, float))


def _devices(nodes: Iterable[Mapping[str, Any]]) -> tuple[dict[str, tuple[gres.GresGroup, ...]], list[str]]:
    """The devices of each node whose Gres is records (text stands for itself), and what is wrong with the records."""
    devices, findings = {}, []
    for node in nodes:
        name, value = _text(node.get("NodeName")), node.get("Gres")
        if value is not None and not isinstance(value, str):
            try:
                devices[name] = gres.parse_all(value, f"node {name}: Gres")
            except gres.GresError as error:
                findings.append(str(error))
    return devices, findings


def _node_lines(nodes: Iterable[tuple[Mapping[str, Any], str]]) -> list[str]:
    """NodeName lines: nodes that are alike but for name and address share one; names and addresses pair by position."""
    alike: dict[str, tuple[list[str], list[str]]] = {}
    for node, gres_text in nodes:
        keys = {key: gres_text if key == "Gres" else value for key, value in node.items()}
        names, addresses = alike.setdefault(_words(keys, without=("NodeName", "NodeAddr")), ([], []))
        names.append(_text(node["NodeName"]))
        addresses.append(_text(node["NodeAddr"]))
    return [
        f"NodeName={hostlist.fold(names)} NodeAddr={hostlist.fold(addresses)} {words}".rstrip()
        for words, (names, addresses) in alike.items()
    ]


def _lines(kind: str, named: Mapping[str, Any]) -> list[str]:
    """Lines of partitions or node sets; DEFAULT, which counts for the lines after it, comes first."""
    order = sorted(named, key=lambda name: (name != "DEFAULT", hostlist.natural_key(name)))
    return [f"{kind}={name} {_words(named[name])}".rstrip() for name in order]


def _words(keys: Mapping[str, Any], without: Sequence[str] = ()) -> str:
    return " ".join(f"{key}={render_value(value)}" for key, value in keys.items() if key not in without)


def _key_lines(keys: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in keys.items():
        lines += [f"{key}={render_value(item)}" for item in (_items(value) if key in REPEATED_KEYS else [value])]
    return lines


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _text(value: object) -> str:
    """A value in one line, before anything in it is quoted."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "YES" if value else "NO"
    if isinstance(value, Mapping):
        chosen = ((name, item) for name, item in value.items() if item is not None and item is not False)
        return ",".join(str(name) if item is True else f"{name}={item}" for name, item in chosen)
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _normal(cluster: Cluster) -> Cluster:
    """The same data without what has no value, and with keys in one order and, where they count here, one spelling."""
    return Cluster(
        config=_present(cluster.config),
        nodes=[_present(node) for node in cluster.nodes],
        partitions=_named(cluster.partitions),
        nodesets=_named(cluster.nodesets),
        cgroup=_present(cluster.cgroup),
        gres=[_gres_line(line) for line in cluster.gres],
        plugstack=[" ".join(line.split()) if isinstance(line, str) else line for line in cluster.plugstack],
        files={str(name): text for name, text in cluster.files.items()},
    )


def _gres_line(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a line of gres.conf, which has to begin with one of these (gres.conf(5))."""
    present = _present(keys)
    first = [key for key in ("NodeName", "AutoDetect", "Name") if key in present]
    return {key: present[key] for key in [*first, *present]}


def _named(lines: Mapping[str, Any]) -> dict[str, Any]:
    """The partitions or node sets that are wanted; their names, unlike keys, have a case."""
    wanted = {str(name): keys for name, keys in lines.items() if keys is not None}
    return {name: _present(keys) if isinstance(keys, Mapping) else keys for name, keys in wanted.items()}


def _present(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that have a value, each in its last spelling, in the order of a file or a line."""
    last: dict[str, tuple[str, Any]] = {}
    for key, value in keys.items():
        lower = str(key).lower()
        last[lower] = (_SPELLING.get(lower, str(key)), value)
    present = {key: value for key, value in last.values() if _text(value)}
    return {key: present[key] for key in sorted(present, key=_rank)}


def _rank(key: str) -> tuple[int, str]:
    return FIRST_KEYS.index(key) if key in FIRST_KEYS else len(FIRST_KEYS), key.lower()
