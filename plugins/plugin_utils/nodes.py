# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node store, and one record a compute node: stored, over it detected, over it declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.aicluster.slurm.plugins.module_utils.gpu import parts, record
from ansible_collections.aicluster.slurm.plugins.module_utils.gres import parse_all

from .hosts import Host

HARDWARE = {
    "CPUs": "cpus",
    "Boards": "boards",
    "SocketsPerBoard": "sockets",
    "CoresPerSocket": "cores",
    "ThreadsPerCore": "threads",
    "RealMemory": "memory_mb",
}
"""Slurm's name in `slurmd -C` to ours in the store; sockets are per board, memory is in MiB."""

HEAD_WEIGHT = 0
"""Of heads that compute: jobs that fit there leave the nodes, which have 1 by default, free."""

MEMORY_RESERVE_SHARE = 0.05
MEMORY_RESERVE_LEAST_MB = 256


def slurmd_hardware(text: str) -> dict[str, int]:
    """The hardware in the output of `slurmd -C` (slurmd(8)), as the store names it; empty where no line tells it."""
    for line in text.splitlines():
        if line.startswith("NodeName="):
            words = dict(word.split("=", 1) for word in line.split() if "=" in word)
            return {ours: int(words[theirs]) for theirs, ours in HARDWARE.items() if theirs in words}
    return {}


def fact_hardware(facts: Mapping[str, Any]) -> dict[str, int]:
    """The hardware as Ansible's facts tell it: good enough for a preview on a host that has no slurmd yet."""
    if not facts.get("memtotal_mb"):
        return {}
    sockets, cores = int(facts.get("processor_count", 1)), int(facts.get("processor_cores", 1))
    threads = int(facts.get("processor_threads_per_core", 1))
    return {
        "cpus": int(facts.get("processor_vcpus", sockets * cores * threads)),
        "boards": 1,
        "sockets": sockets,
        "cores": cores,
        "threads": threads,
        "memory_mb": int(facts["memtotal_mb"]),
    }


def memory_reserve(memory_mb: int, declared: int | None) -> int:
    """MiB that jobs do not get: what is declared, else 5 % of the memory and at least 256 MiB."""
    if declared is not None:
        return int(declared)
    return max(MEMORY_RESERVE_LEAST_MB, int(memory_mb * MEMORY_RESERVE_SHARE))


def update_store(
    stored: Mapping[str, Mapping[str, Any]], detected: Mapping[str, Mapping[str, Any]], wanted: Sequence[str], now: str
) -> dict[str, dict[str, Any]]:
    """The store after this run: known nodes that are still wanted, with what was detected now over what was known.

    `when` moves only when something else of the record does, so that a run that finds nothing new writes nothing.
    """
    after = {}
    for node in wanted:
        before, found = dict(stored.get(node) or {}), dict(detected.get(node) or {})
        record = {**before, **found}
        if record != before:
            record["when"] = now
        if record:
            after[node] = record
    return after


def is_only_head(variables: Mapping[str, Any]) -> bool:
    """Whether a compute host is in the group head, and in nodes is not."""
    groups = variables.get("group_names") or ()
    return "head" in groups and "nodes" not in groups


def declared_gres(where: str, declared: Mapping[str, Any]) -> list[Any]:
    """The declared GPUs, with as many parts of each as `gpu_shards` and `gpu_mps` say.

    Parts that are declared themselves stay as they are. Raises GresError, where there are parts to count.
    """
    records = list(declared.get("gpu_devices") or [])
    shared = {"mps": int(declared.get("gpu_mps") or 0), "shard": int(declared.get("gpu_shards") or 0)}
    if not records or not any(shared.values()):
        return records
    groups = parse_all(records, f"{where}: gpu_devices")
    number = sum(group.count for group in groups if group.name == "gpu")
    there = {group.name for group in groups}
    return records + [record(part) for part in parts(number, shared) if part.name not in there]


def slurm_node(host: Host, record: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any] | None:
    """A node for the module slurm_config, in Slurm's own keys (slurm.conf(5)); None while its record is not complete.

    `declared` holds the host's variables; what they say wins over the record.
    """
    said = {key: value for key, value in (declared.get("nodes_hardware") or {}).items() if value is not None}
    hardware = {**record, **said}
    address = host.address or record.get("address")
    if not address or not hardware.get("cpus") or not hardware.get("memory_mb"):
        return None
    memory = int(hardware["memory_mb"])
    node: dict[str, Any] = {"NodeName": host.node, "NodeAddr": address}
    node.update({theirs: int(hardware[ours]) for theirs, ours in HARDWARE.items() if hardware.get(ours)})
    node["RealMemory"] = memory - memory_reserve(memory, declared.get("nodes_memory_reserve_mb"))
    if declared.get("nodes_features"):
        node["Feature"] = [str(item) for item in declared["nodes_features"]]
    if declared.get("nodes_weight") is not None:
        node["Weight"] = int(declared["nodes_weight"])
    elif is_only_head(declared):
        node["Weight"] = HEAD_WEIGHT
    gres = declared_gres(host.name, declared) or record.get("gres")
    if gres:
        node["Gres"] = list(gres)
    return node
