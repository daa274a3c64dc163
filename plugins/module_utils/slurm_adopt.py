# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What files that a person wrote say and the data does not: as data to add, or as variables to paste."""

from __future__ import annotations

import json
import re
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import hostlist, slurm_keys
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import Cluster, render_value
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_files import EVERY_NODE, Change, Configuration

_KEYS = {slurm_keys.GLOBAL: "cluster_config", slurm_keys.CGROUP: "cluster_cgroup"}

_is_plain = re.compile(r"[A-Za-z][A-Za-z0-9_ -]*").fullmatch
_NO_TEXT = ("yes", "no", "y", "n", "on", "off", "true", "false", "null")
"""Words that YAML reads as something else."""


def missing(live: Configuration, wanted: Configuration, changes: Sequence[Change]) -> dict[str, Any]:
    """What the live files have and the wanted ones have not, by the variable of the roles that would hold it.

    A key of a line that stays is a change of that line, which the plan shows; only what is gone is lost.
    """
    cluster = live.slurm.cluster()
    nodes = {node["NodeName"]: {key: node[key] for key in node if key != "NodeName"} for node in cluster.nodes}
    items = {
        slurm_keys.NODE: ("nodes of the inventory", nodes),
        slurm_keys.PARTITION: ("cluster_partitions", cluster.partitions),
        slurm_keys.NODESET: ("cluster_nodesets", cluster.nodesets),
    }
    lost: dict[str, Any] = {}
    for change in changes:
        if change.kind in items and change.removed:
            variable, named = items[change.kind]
            lost.setdefault(variable, {})[change.name] = {
                key: _value(value) for key, value in named[change.name].items()
            }
        elif change.kind in _KEYS and not change.after:
            keys = live.slurm.config if change.kind == slurm_keys.GLOBAL else live.cgroup
            spelled = {key.lower(): value for key, value in keys.items()}
            lost.setdefault(_KEYS[change.kind], {})[change.key] = _value(spelled[change.key.lower()])
    further = {
        "cluster_gres": _lines_of(_gone(changes), live.gres),
        "cluster_plugstack": [line for line in live.plugstack if line not in wanted.plugstack],
    }
    return {**lost, **{variable: lines for variable, lines in further.items() if lines}}


def extra(wanted: Cluster, live: Configuration, changes: Sequence[Change]) -> dict[str, Any]:
    """What only the live files have, by the option of slurm_config that would hold it; JSON can, too."""
    there = live.slurm.cluster()
    gres = _lines_of(_gone(changes), live.gres)
    more = {**there._asdict(), "cgroup": live.cgroup, "gres": gres, "plugstack": live.plugstack}
    return _lacking(wanted, more)


def left(wanted: Cluster, more: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was `extra` once, what the data still lacks; empty where it has all. What it has is no longer foreign."""
    still = _lacking(wanted, more)
    # GPUs of a node that is nowhere any more would be lines about nobody.
    there = {EVERY_NODE, *(str(node.get("NodeName")) for node in [*wanted.nodes, *still["nodes"]])}
    described = {name for line in wanted.gres for name in hostlist.expand(line.get("NodeName", ""))}
    described |= {EVERY_NODE for line in wanted.gres if "NodeName" not in line}
    still["gres"] = _lines_of(there - described, more["gres"])
    return still if any(still.values()) else {}


def kept(wanted: Cluster, more: Mapping[str, Any], changes: Sequence[Change]) -> Cluster:
    """The wanted data, and under it what was `extra` once; `changes` lead from the live files to what is wanted."""
    lacking = _lacking(wanted, more)
    return wanted._replace(
        config={**lacking["config"], **wanted.config},
        nodes=[*wanted.nodes, *lacking["nodes"]],
        partitions={**more["partitions"], **wanted.partitions},
        nodesets={**more["nodesets"], **wanted.nodesets},
        cgroup={**more["cgroup"], **wanted.cgroup},
        gres=[*_lines_of(_gone(changes), more["gres"]), *wanted.gres],
        plugstack=[*lacking["plugstack"], *wanted.plugstack],
    )


def _lacking(wanted: Cluster, more: Mapping[str, Any]) -> dict[str, Any]:
    """Of such a map what the wanted data lacks, by name; lines of gres.conf, which have none, as they are."""
    spelled = {key.lower() for key in wanted.config}
    names = {str(node.get("NodeName")) for node in wanted.nodes}
    return {
        "config": {key: value for key, value in more["config"].items() if key.lower() not in spelled},
        "nodes": [node for node in more["nodes"] if node["NodeName"] not in names],
        "partitions": _without(wanted.partitions, more["partitions"]),
        "nodesets": _without(wanted.nodesets, more["nodesets"]),
        "cgroup": _without(wanted.cgroup, more["cgroup"]),
        "gres": more["gres"],
        "plugstack": [line for line in more["plugstack"] if line not in wanted.plugstack],
    }


def yaml_lines(data: Mapping[str, Any], indent: str = "") -> list[str]:
    """Maps and lists of text as YAML; every value is quoted, so that none turns into a number or a time."""
    lines = []
    for name, value in data.items():
        key = name if _is_plain(name) and name.lower() not in _NO_TEXT else _json(name)
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:" if value else f"{indent}{key}: {{}}", *yaml_lines(value, indent + "  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{key}:", *(f"{indent}  - {_json(item)}" for item in value)]
        else:
            lines.append(f"{indent}{key}: {_json(value)}")
    return lines


def _json(value: Any) -> str:
    # A map in one line; JSON is YAML.
    return json.dumps(value, ensure_ascii=False)


def _gone(changes: Iterable[Change]) -> set[str]:
    """The nodes of which no line of gres.conf is left."""
    return {change.name for change in changes if change.kind == slurm_keys.GRES and change.removed}


def _without(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The items whose name is not wanted."""
    return {name: value for name, value in live.items() if name not in wanted}


def _lines_of(nodes: set[str], there: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What these lines of gres.conf say of these nodes, and not what they say of others."""
    lines = []
    for line in there:
        if "NodeName" in line:
            names = [name for name in hostlist.expand(line["NodeName"]) if name in nodes]
            lines += [{**line, "NodeName": hostlist.fold(names)}] if names else []
        elif EVERY_NODE in nodes:
            lines.append(dict(line))
    return lines


def _value(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, list) else _unquoted(render_value(value))


def _unquoted(text: str) -> str:
    """A value before `render_value` put quotes around it and escaped it."""
    return re.sub(r"\\(.)", r"\1", text.strip('"'))
