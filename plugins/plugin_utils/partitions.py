# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Partitions as an inventory has them, checked before anything changes on a host."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_conf, slurm_keys

from .hosts import node_name
from .inventory import InventoryError, mapping, refusal, short

# Topology came with 25.05, of which there is no table; which version knows which key is judged where Slurm is.
KEYS = {**slurm_keys.every(slurm_keys.PARTITION), "topology": "Topology"}


def check_partitions(partitions: Mapping[Any, Any], known: Collection[str] | None) -> None:
    """InventoryError for what slurm_config would refuse later; `known` is the names of nodes and node sets, if told."""
    checked: dict[str, dict[str, Any]] = {}
    for name, value in partitions.items():
        where = f"partitions.{name}"
        if not isinstance(name, str):
            raise refusal(where, short(name), "a name, in quotes where it is a number or a word such as yes", name)
        if value is None:  # no such partition
            continue
        keys = mapping(value, where, "a mapping of Slurm's keys, such as {Nodes: ALL}")
        for key in keys:
            if str(key).lower() not in KEYS:
                near = "".join(f", meant {KEYS[match]}?" for match in get_close_matches(str(key).lower(), KEYS, n=1))
                raise refusal(where, f"the key {short(key)}{near}", "keys of a partition in slurm.conf(5)", key)
        checked[name] = {key: value for key, value in keys.items() if not _is_open(key, value, known)}
    try:
        findings = slurm_conf.partition_findings(checked, set(known or ()))
    except ValueError as error:
        raise InventoryError(f"partitions: {error}", partitions) from None
    if findings:
        text = re.sub("^partition ", "partitions.", findings[0])
        if ": Nodes: found " in text:  # what other files say is not known here
            text += ". Where other files name them, cluster_partitions belongs in group_vars"
        raise InventoryError(text, next((name for name in checked if text.startswith(f"partitions.{name}:")), None))


def node_names(hosts: Mapping[str, Mapping[str, Any]], variables: Iterable[str]) -> set[str] | None:
    """Slurm's names of the hosts; None where a template or a variable of all hosts makes them."""
    if "nodes_name" in variables or any("{{" in str(own.get("nodes_name", "")) for own in hosts.values()):
        return None
    # Most names have no dot, and then need no look.
    return {node_name(name, own) if "." in name or "nodes_name" in own else name for name, own in hosts.items()}


def _is_open(key: object, value: object, known: Collection[str] | None) -> bool:
    """Whether a value is not known yet: a template, or names where no names are known."""
    return "{{" in str(value) or "{%" in str(value) or (known is None and str(key).lower() == "nodes")
