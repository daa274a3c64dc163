# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to happen so that a running Slurm has the wanted configuration, and what that would cost.

Pure. Both sides are texts of configuration files, read as Slurm reads them, so that order, comments, the case of keys
and the folding of host lists do not count. Which keys need a restart is said by slurm_keys; see there for the sources.
"""

from __future__ import annotations

import errno
import json
import re
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import hostlist, slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import Cluster, render_value
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf_reader import (
    SlurmConf,
    read_cgroup_conf,
    read_gres_conf,
    read_slurm_conf,
)

RECONFIGURE_STARTS_ANEW = (23, 11)
"""The first version whose `scontrol reconfigure` starts a new process that reads everything (scontrol(1))."""

STATE_KEYS = ("clustername", "statesavelocation")
"""Keys that make slurmctld look for its saved state elsewhere: it would forget every job."""


EVERY_NODE = "every node"
"""The name in changes of gres.conf for lines without NodeName."""


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

    def __str__(self) -> str:
        where = " ".join(word for word in (self.kind, self.name, self.key) if word)
        return f"{where}: {self.before or 'nothing'} -> {self.after or 'nothing'}"


class Job(NamedTuple):
    """A running job."""

    id: str
    user: str
    partition: str
    nodes: tuple[str, ...]
    gres: str
    """What the job asked for on each node, empty without."""

    def __str__(self) -> str:
        return f"{self.id} of {self.user} on {hostlist.fold(self.nodes)}"


class Live(NamedTuple):
    """What is known of the Slurm that runs."""

    version: str
    """Such as 22.05.8."""
    active: bool
    """Whether slurmctld runs."""
    applied: bool
    """Whether it runs with the files that are in place."""
    jobs: Sequence[Job]


class Plan(NamedTuple):
    """What has to be done, and what it would cost."""

    changes: list[Change]
    action: str
    """What slurmctld does: none, start, reconfigure, or restart (with a reconfigure after it)."""
    slurmd: list[str]
    """The nodes whose slurmd has to restart."""
    jobs_at_risk: list[Job]

    def nodes(self, added: bool = False, removed: bool = False) -> list[str]:
        """The names of nodes that are added, removed, or (neither) changed."""
        nodes = [change for change in self.changes if change.kind == slurm_keys.NODE]
        chosen = [
            each.name
            for each in nodes
            if (added and not each.key and not each.before)
            or (removed and not each.key and not each.after)
            or (not added and not removed and each.key)
        ]
        return list(dict.fromkeys(chosen))


def diff(before: Mapping[str, str], after: Mapping[str, str], version: str) -> list[Change]:
    """Every key that differs between two sets of files, by file name. Raises ReadError for what Slurm would refuse."""
    old, new = _read(before, version), _read(after, version)
    changes = []
    for kind in old:
        if kind in (slurm_keys.GLOBAL, slurm_keys.CGROUP):
            changes += _keys(kind, "", old[kind], new[kind])
        else:
            changes += _items(kind, old[kind], new[kind])
    for name in sorted(set(before) | set(after)):
        if name not in _READ and _lines(before.get(name, "")) != _lines(after.get(name, "")):
            changes.append(
                Change(name, "", "", "; ".join(_lines(before.get(name, ""))), "; ".join(_lines(after.get(name, ""))))
            )
    return changes


def make(changes: Sequence[Change], live: Live, nodes: Sequence[str]) -> Plan:
    """The plan for these changes; `nodes` are the nodes that are wanted."""
    slurmctld = False
    slurmd: set[str] = set()
    for change in changes:
        restart = _restart(change, live.version)
        slurmctld = slurmctld or "slurmctld" in restart
        if "slurmd" in restart:
            slurmd.update(nodes if change.name in ("", EVERY_NODE) else [change.name])
    if not live.active:
        action = "start"
    elif not changes:
        # Nobody knows what differs, so 22.05 gets what always works.
        unknown = "reconfigure" if slurm_keys.parse_version(live.version) >= RECONFIGURE_STARTS_ANEW else "restart"
        action = "none" if live.applied else unknown
    else:
        action = "restart" if slurmctld else "reconfigure"
    return Plan(
        changes=list(changes),
        action=action,
        slurmd=[name for name in nodes if name in slurmd],
        jobs_at_risk=[job for job in live.jobs if any(_ends(change, job) for change in changes)],
    )


_VARIABLES = {
    slurm_keys.GLOBAL: "cluster_config",
    slurm_keys.CGROUP: "cluster_cgroup",
    slurm_keys.PARTITION: "cluster_partitions",
    slurm_keys.NODESET: "cluster_nodesets",
    slurm_keys.NODE: "nodes of the inventory",
}


def missing(changes: Iterable[Change]) -> dict[str, Any]:
    """What live files have and the data has not, by the variable of the roles that would hold it."""
    lost: dict[str, Any] = {}
    for change in changes:
        # A key of a line that stays is a change of that line, which the plan shows; only what is gone is lost.
        if change.after or change.kind not in _VARIABLES or (change.name and change.key):
            continue
        place = lost.setdefault(_VARIABLES[change.kind], {})
        if change.name:
            place[change.name] = {key: _unquoted(value) for key, value in _WORD.findall(change.before)}
        else:
            place[change.key] = _unquoted(change.before)
    return lost


def yaml_lines(data: Mapping[str, Any], indent: str = "") -> list[str]:
    """Nested maps of text as YAML; every value is quoted, so that none turns into a number or a time."""
    lines = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:" if value else f"{indent}{key}: {{}}", *yaml_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}")
    return lines


def kept(wanted: Cluster, live: Mapping[str, str], version: str) -> Cluster:
    """The wanted data, and under it what only the live files have."""
    there = _slurm_conf(live, version)
    names = {str(node.get("NodeName")) for node in wanted.nodes}
    spelled = {key.lower() for key in wanted.config}
    return Cluster(
        config={**{key: value for key, value in there.config.items() if key.lower() not in spelled}, **wanted.config},
        nodes=[*wanted.nodes, *(node for node in there.cluster().nodes if node["NodeName"] not in names)],
        partitions={**there.partitions, **wanted.partitions},
        nodesets={**there.nodesets, **wanted.nodesets},
        cgroup={**read_cgroup_conf("cgroup.conf", _reader(live), version), **wanted.cgroup},
    )


def node_names(texts: Mapping[str, str], version: str) -> list[str]:
    """The names of the nodes in these files."""
    return [node["NodeName"] for node in _slurm_conf(texts, version).nodes]


def controllers(texts: Mapping[str, str], version: str) -> list[str]:
    """The host names of SlurmctldHost in these files."""
    return [host.split("(")[0] for host in _slurm_conf(texts, version).config.get("SlurmctldHost", [])]


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as the module gives it back."""
    daemons = [{"daemon": "slurmctld", "do": plan.action, "hosts": []}] if plan.action != "none" else []
    if plan.slurmd:
        daemons.append({"daemon": "slurmd", "do": "restart", "hosts": plan.slurmd})
    return {
        "changes": [change._asdict() for change in plan.changes],
        "nodes": {"added": plan.nodes(added=True), "changed": plan.nodes(), "removed": plan.nodes(removed=True)},
        "action": plan.action,
        "daemons": daemons,
        "jobs_at_risk": [str(job) for job in plan.jobs_at_risk],
    }


def parse_jobs(text: str) -> list[Job]:
    """What `squeue --format="%A|%u|%P|%N|%b"` prints (squeue(1))."""
    jobs = []
    for line in text.splitlines():
        words = line.strip().split("|")
        if len(words) == 5 and words[3]:
            gres = "" if words[4] in ("N/A", "(null)") else words[4]
            jobs.append(Job(words[0], words[1], words[2], tuple(hostlist.expand(words[3])), gres))
    return jobs


def _restart(change: Change, version: str) -> frozenset[str]:
    """The daemons that have to restart for one change."""
    try:
        keys = slurm_keys.known(version, change.kind)
    except KeyError:  # another file
        return frozenset()
    key = change.key or {slurm_keys.NODE: "NodeName"}.get(change.kind, "")
    return keys[key.lower()].restart if key.lower() in keys else frozenset()


def _ends(change: Change, job: Job) -> bool:
    """Whether Slurm would end the job: its node or partition goes, its GPUs change, or slurmctld forgets it."""
    if change.kind == slurm_keys.GLOBAL:
        return change.key.lower() in STATE_KEYS and bool(change.before)
    gone = not change.key and not change.after
    if change.kind == slurm_keys.NODE and change.name in job.nodes:
        return gone or (bool(job.gres) and change.key == "Gres")
    return change.kind == slurm_keys.PARTITION and gone and change.name == job.partition


_READ = ("slurm.conf", "gres.conf", "cgroup.conf")


def _reader(texts: Mapping[str, str]) -> Callable[[str], str]:
    """Reads from the texts; a file that is not there is an empty one, but one that another includes has to be there."""
    there = {**dict.fromkeys(_READ, ""), **texts}

    def read(path: str) -> str:
        if path not in there:
            raise OSError(errno.ENOENT, f"only {', '.join(_READ)} are read here")
        return there[path]

    return read


def _slurm_conf(texts: Mapping[str, str], version: str) -> SlurmConf:
    """slurm.conf as Slurm reads it."""
    return read_slurm_conf("slurm.conf", _reader(texts), version)


def _read(texts: Mapping[str, str], version: str) -> dict[str, Any]:
    """Kind of line to its keys, or to its items and their keys."""
    read = _reader(texts)
    slurm = _slurm_conf(texts, version)
    devices: dict[str, dict[str, Any]] = {}
    for line in read_gres_conf("gres.conf", read, version):
        rest = {key: value for key, value in line.items() if key != "NodeName"}
        for name in hostlist.expand(str(line.get("NodeName", "*"))) if "NodeName" in line else [EVERY_NODE]:
            for key, value in rest.items():
                devices.setdefault(name, {}).setdefault(key, []).append(render_value(value))
    return {
        slurm_keys.GLOBAL: slurm.config,
        slurm_keys.NODE: {node["NodeName"]: {k: v for k, v in node.items() if k != "NodeName"} for node in slurm.nodes},
        slurm_keys.PARTITION: slurm.partitions,
        slurm_keys.NODESET: slurm.nodesets,
        slurm_keys.GRES: devices,
        slurm_keys.CGROUP: read_cgroup_conf("cgroup.conf", read, version),
    }


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


_WORD = re.compile(r'(\w+)=("[^"]*"|\S*)')


def _unquoted(text: str) -> str:
    """A value before `render_value`."""
    return re.sub(r"\\(.)", r"\1", text[1:-1] if text.startswith('"') else text)


def _summary(keys: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={render_value(value)}" for key, value in keys.items()) or "present"


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
