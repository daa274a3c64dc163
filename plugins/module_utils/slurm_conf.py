# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slurm's configuration files from data: rendered in a stable order, with folded host lists, and checked before that.

Keys are Slurm's own, see slurm.conf(5), cgroup.conf(5) and gres.conf(5) of Slurm 22.05 and 24.11. A key whose value is
None is left out. Slurm does not care about the case of a key; of two spellings the later one wins.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Set, Tuple

from ansible_collections.aicluster.slurm.plugins.module_utils import gres, hostlist

HEADER = "# Written by Ansible (aicluster.slurm) from the inventory: changes made here are lost at the next run.\n"

FIRST_KEYS = ("clustername", "slurmctldhost")
"""Keys that a reader looks for first; all others follow in alphabetical order."""

REPEATED_KEYS = ("slurmctldhost",)
"""Keys that stand on a line for each value, instead of one line with commas."""

TIME_KEYS = ("maxtime", "defaulttime")
"""Partition keys that hold a time. YAML reads an unquoted 4:00:00 as the number 14400, which Slurm would take as minutes."""


class ConfigError(ValueError):
    """Data that would not become a working configuration; one line a finding."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(self.findings))


class Cluster(NamedTuple):
    """The whole wanted configuration, as data."""

    config: Mapping[str, Any]
    """Keys of slurm.conf."""
    nodes: Sequence[Mapping[str, Any]]
    """Each with NodeName, NodeAddr and further keys; Gres is text, or a list of gres records."""
    partitions: Mapping[str, Any]
    """PartitionName to the keys of its line."""
    nodesets: Mapping[str, Any]
    """NodeSet to the keys of its line."""
    cgroup: Mapping[str, Any]
    """Keys of cgroup.conf."""


def render(cluster: Cluster) -> Dict[str, str]:
    """File name to text, for every file of the configuration.

    Raises ConfigError for data that Slurm would refuse, or accept and then break on.
    """
    findings = check(cluster)
    if findings:
        raise ConfigError(findings)
    by_node = _gres_by_node(cluster.nodes)
    config = _present(cluster.config)
    types = gres.gres_types([group for groups in by_node.values() for group in groups])
    if types and "grestypes" not in _lower(config):
        config["GresTypes"] = types
    files = {
        "cgroup.conf": HEADER + "".join(_key_lines(_present(cluster.cgroup))),
        "gres.conf": HEADER + "".join(line + "\n" for line in gres.conf_lines(by_node)),
    }
    if by_node:
        files["gres.conf"] = files["gres.conf"].replace(HEADER, HEADER + "AutoDetect=off\n", 1)
    body = _key_lines(config)
    body += ["\n"] + [_line("NodeSet", name, keys) for name, keys in sorted(_present(cluster.nodesets).items())]
    body += node_lines(cluster.nodes)
    body += ["\n"] + [_line("PartitionName", name, keys) for name, keys in sorted(_present(cluster.partitions).items())]
    files["slurm.conf"] = HEADER + "".join(body)
    return files


def node_lines(nodes: Iterable[Mapping[str, Any]]) -> List[str]:
    """NodeName lines: nodes that are alike but for name and address share one; names and addresses pair by position."""
    alike: Dict[Tuple[str, ...], List[Tuple[str, str]]] = {}
    for node in sorted(nodes, key=lambda each: hostlist.natural_key(str(each["NodeName"]))):
        rest = tuple(
            "{0}={1}".format(key, render_value(_gres_text(value) if key.lower() == "gres" else value))
            for key, value in _present(node).items()
            if key.lower() not in ("nodename", "nodeaddr")
        )
        alike.setdefault(rest, []).append((str(node["NodeName"]), str(node["NodeAddr"])))
    lines = []
    for rest, pairs in alike.items():
        names, addresses = hostlist.fold([pair[0] for pair in pairs]), hostlist.fold([pair[1] for pair in pairs])
        lines.append(" ".join(["NodeName=" + names, "NodeAddr=" + addresses, *rest]) + "\n")
    return lines


def render_value(value: Any) -> str:
    """A value as slurm.conf spells it.

    True and False are YES and NO; a list has commas; a map is a list of NAME=VALUE, or NAME alone where the value is True,
    and without those that are False or None. Text with blanks is quoted, and # is escaped (slurm.conf(5)).
    """
    if isinstance(value, bool):
        return "YES" if value else "NO"
    if isinstance(value, Mapping):
        chosen = ((name, item) for name, item in value.items() if item is not None and item is not False)
        return ",".join(str(name) if item is True else "{0}={1}".format(name, item) for name, item in chosen)
    if isinstance(value, (list, tuple)):
        return ",".join(str(item) for item in value)
    text = str(value).replace("#", "\\#")
    return '"{0}"'.format(text) if " " in text or "\t" in text else text


def check(cluster: Cluster) -> List[str]:
    """What Slurm would refuse, or accept and then break on: one line a finding."""
    findings = _check_values("slurm.conf", cluster.config) + _check_values("cgroup.conf", cluster.cgroup)
    if not _lower(_present(cluster.config)).get("clustername"):
        findings.append("slurm.conf: ClusterName: found nothing; accepted: the name of the cluster")
    if not cluster.nodes:
        findings.append("nodes: found none; accepted: one node or more, because slurmctld does not start without")
    findings += _check_nodes(cluster.nodes)
    known = {str(node.get("NodeName")) for node in cluster.nodes}
    findings += _check_partitions(_present(cluster.partitions), known | set(_present(cluster.nodesets)))
    for name, keys in _present(cluster.nodesets).items():
        findings += _check_values("NodeSet " + name, keys or {})
        findings += _unknown_nodes("NodeSet " + name, _lower(keys or {}).get("nodes"), known)
    return findings


def _check_nodes(nodes: Sequence[Mapping[str, Any]]) -> List[str]:
    findings = []
    seen: Dict[str, Set[str]] = {"NodeName": set(), "NodeAddr": set()}
    for node in nodes:
        name = str(node.get("NodeName") or "")
        if not name:
            findings.append("nodes: NodeName: found nothing in {0!r}; accepted: a name".format(dict(node)))
            continue
        if not node.get("NodeAddr"):
            findings.append("node {0}: NodeAddr: found nothing; accepted: the address of the node".format(name))
        for key, values in seen.items():
            value = str(node.get(key) or "")
            if value and value in values:
                findings.append("node {0}: {1}: found {2} on another node too; accepted: one of each".format(name, key, value))
            values.add(value)
        memory = node.get("RealMemory")
        if memory is not None and int(memory) <= 0:
            findings.append(
                "node {0}: RealMemory: found {1} MiB after the reserve; accepted: a positive number"
                " (see nodes_memory_reserve_mb)".format(name, memory)
            )
        findings += _check_values("node " + name, {key: value for key, value in node.items() if key != "Gres"})
        if isinstance(node.get("Gres"), list):
            try:
                _gres_groups(name, node["Gres"])
            except gres.GresError as error:
                findings.append(str(error))
    return findings


def _check_partitions(partitions: Mapping[str, Any], known: Set[str]) -> List[str]:
    findings = []
    defaults = []
    for name, keys in partitions.items():
        keys = keys or {}
        where = "partition " + name
        findings += _check_values(where, keys)
        lower = _lower(keys)
        for key in TIME_KEYS:
            if isinstance(lower.get(key), int):
                findings.append(
                    "{0}: {1}: found the number {2}; accepted: a time in quotes, such as '4:00:00' or '60' (minutes),"
                    " because YAML reads 4:00:00 without them as 14400".format(where, key, lower[key])
                )
        findings += _unknown_nodes(where, lower.get("nodes"), known)
        if render_value(lower.get("default", False)).upper() == "YES":
            defaults.append(name)
    if len(defaults) > 1:
        findings.append("partitions: Default: found {0}; accepted: one partition with Default".format(", ".join(sorted(defaults))))
    return findings


def _unknown_nodes(where: str, nodes: Any, known: Set[str]) -> List[str]:
    text = render_value(nodes) if nodes is not None else ""
    if text.upper() in ("", "ALL"):
        return []
    try:
        missing = [name for name in hostlist.expand(text) if name not in known]
    except hostlist.HostlistError as error:
        return ["{0}: Nodes: {1}".format(where, error)]
    if not missing:
        return []
    return [
        "{0}: Nodes: found {1}; accepted: nodes of the cluster, node sets, or ALL".format(where, hostlist.fold_sorted(missing))
    ]


def _check_values(where: str, keys: Mapping[str, Any]) -> List[str]:
    """Keys and values that cannot stand in a line of a configuration file."""
    findings = []
    for key, value in keys.items():
        text = render_value(value) if value is not None else ""
        if not str(key).replace("_", "").isalnum():
            findings.append("{0}: found the key {1!r}; accepted: a key of letters and digits".format(where, key))
        if "\n" in text or '"' in text.strip('"'):
            findings.append("{0}: {1}: found {2!r}; accepted: one line without quotes in it".format(where, key, value))
    return findings


def _gres_by_node(nodes: Sequence[Mapping[str, Any]]) -> Dict[str, List[gres.GresGroup]]:
    return {
        str(node["NodeName"]): _gres_groups(str(node["NodeName"]), node["Gres"])
        for node in nodes
        if node.get("Gres") and isinstance(node["Gres"], list)
    }


def _gres_groups(name: str, records: Sequence[Mapping[str, Any]]) -> List[gres.GresGroup]:
    return list(gres.parse_all(records, "node {0}: gres".format(name)))


def _gres_text(value: Any) -> Any:
    return gres.node_gres(_gres_groups("", value)) if isinstance(value, list) else value


def _key_lines(keys: Mapping[str, Any]) -> List[str]:
    lines = []
    order = sorted(keys, key=lambda key: (key.lower() not in FIRST_KEYS, key.lower()))
    for key in order:
        value = keys[key]
        values = value if key.lower() in REPEATED_KEYS and isinstance(value, (list, tuple)) else [value]
        lines += ["{0}={1}\n".format(key, render_value(item)) for item in values]
    return lines


def _line(kind: str, name: str, keys: Mapping[str, Any]) -> str:
    words = ["{0}={1}".format(key, render_value(value)) for key, value in _present(keys or {}).items()]
    return " ".join(["{0}={1}".format(kind, name), *words]) + "\n"


def _present(keys: Mapping[str, Any]) -> Dict[str, Any]:
    """The keys that have a value, each in its last spelling."""
    last: Dict[str, Tuple[str, Any]] = {}
    for key, value in keys.items():
        last[str(key).lower()] = (str(key), value)
    return {key: value for key, value in last.values() if value is not None}


def _lower(keys: Mapping[str, Any]) -> Dict[str, Any]:
    return {str(key).lower(): value for key, value in keys.items()}
