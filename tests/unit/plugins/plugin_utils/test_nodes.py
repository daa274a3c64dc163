# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.gres import parse_all
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts import Host
from ansible_collections.aicluster.slurm.plugins.plugin_utils.nodes import (
    fact_hardware,
    memory_reserve,
    slurm_node,
    slurmd_hardware,
    update_store,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
HARDWARE = {"cpus": 2, "boards": 1, "sockets": 1, "cores": 2, "threads": 1, "memory_mb": 24105}
HOST = Host(name="node1.local", node="node1", address="10.0.0.11", hostname="debian", addresses=["10.0.0.11"])
GPUS = [{"name": "gpu", "type": "a100", "files": ["/dev/nvidia[0-3]"]}]


# --- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["22.05", "24.11"])
def test_slurmd_hardware(version: str) -> None:
    text = (FIXTURES / f"slurmd_C_{version}.txt").read_text(encoding="utf-8")
    assert slurmd_hardware(text) == HARDWARE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("slurmd: error: something\nUpTime=0-00:24:22\n", {}),
        ("slurmd: warning\nNodeName=n1 CPUs=2 RealMemory=100 Gres=gpu:2 Port\n", {"cpus": 2, "memory_mb": 100}),
    ],
)
def test_slurmd_hardware_takes_what_is_there(text: str, found: dict[str, int]) -> None:
    assert slurmd_hardware(text) == found


def test_fact_hardware() -> None:
    facts = {
        "memtotal_mb": 24105,
        "processor_vcpus": 16,
        "processor_count": 2,
        "processor_cores": 4,
        "processor_threads_per_core": 2,
    }
    whole = {"cpus": 16, "boards": 1, "sockets": 2, "cores": 4, "threads": 2, "memory_mb": 24105}
    assert fact_hardware(facts) == whole
    del facts["processor_vcpus"]
    assert fact_hardware(facts) == whole
    assert fact_hardware({"memtotal_mb": 512}) == {
        "cpus": 1,
        "boards": 1,
        "sockets": 1,
        "cores": 1,
        "threads": 1,
        "memory_mb": 512,
    }
    assert fact_hardware({}) == {}


@pytest.mark.parametrize(
    ("memory", "declared", "reserve"),
    [
        (24105, None, 1205),
        (1000000, None, 50000),
        (5120, None, 256),
        (5140, None, 257),
        (1000, None, 256),
        (100, None, 256),
        (24105, 0, 0),
        (24105, 4096, 4096),
    ],
)
def test_memory_reserve(memory: int, declared: int | None, reserve: int) -> None:
    assert memory_reserve(memory, declared) == reserve


# --- the store --------------------------------------------------------------------------------------------------------


def test_what_is_detected_goes_over_what_is_stored() -> None:
    stored = {"node1": {**HARDWARE, "address": "10.0.0.11", "cgroup_v2": True, "when": "monday"}}
    detected = {"node1": {**HARDWARE, "memory_mb": 48210}}
    assert update_store(stored, detected, ["node1"], "tuesday") == {
        "node1": {**HARDWARE, "address": "10.0.0.11", "cgroup_v2": True, "memory_mb": 48210, "when": "tuesday"}
    }


def test_when_moves_with_a_change_only() -> None:
    stored = {"node1": {**HARDWARE, "when": "monday"}, "node2": {**HARDWARE, "when": "monday"}}
    detected = {"node1": dict(HARDWARE), "node2": {**HARDWARE, "cpus": 4}, "node3": dict(HARDWARE)}
    after = update_store(stored, detected, ["node1", "node2", "node3"], "tuesday")
    assert {name: record["when"] for name, record in after.items()} == {
        "node1": "monday",
        "node2": "tuesday",
        "node3": "tuesday",
    }
    assert update_store(after, detected, ["node1", "node2", "node3"], "wednesday") == after


def test_unwanted_nodes_vanish_and_silent_ones_stay() -> None:
    stored = {name: {**HARDWARE, "when": "monday"} for name in ("gone", "silent", "here")}
    detected = {"here": dict(HARDWARE), "stranger": dict(HARDWARE)}
    after = update_store(stored, detected, ["silent", "here", "never-seen"], "tuesday")
    assert after == {"silent": stored["silent"], "here": stored["here"]}


def test_update_store_leaves_its_arguments_alone() -> None:
    stored, detected = {"node1": {**HARDWARE, "when": "monday"}}, {"node1": {"cpus": 4}}
    before = copy.deepcopy((stored, detected))
    after = update_store(stored, detected, ["node1"], "tuesday")
    assert (stored, detected) == before
    assert after["node1"] is not stored["node1"]


# --- the node for slurm.conf ------------------------------------------------------------------------------------------


def node(declared: dict[str, Any], record: dict[str, Any] | None = None, host: Host = HOST) -> dict[str, Any]:
    found = slurm_node(host, HARDWARE if record is None else record, declared)
    assert found is not None
    return found


def test_a_node_without_declarations() -> None:
    assert node({}) == {
        "NodeName": "node1",
        "NodeAddr": "10.0.0.11",
        "CPUs": 2,
        "Boards": 1,
        "SocketsPerBoard": 1,
        "CoresPerSocket": 2,
        "ThreadsPerCore": 1,
        "RealMemory": 24105 - 1205,
    }


def test_declarations_win() -> None:
    declared = {
        "nodes_hardware": {"cpus": 64, "sockets": 2, "cores": 16, "threads": 2, "memory_mb": 512000},
        "nodes_memory_reserve_mb": 2000,
        "nodes_features": ["infiniband", 2024],
        "nodes_weight": 0,
        "gpu_devices": GPUS,
    }
    assert node(declared, {**HARDWARE, "gres": [{"name": "other"}]}) == {
        "NodeName": "node1",
        "NodeAddr": "10.0.0.11",
        "CPUs": 64,
        "Boards": 1,
        "SocketsPerBoard": 2,
        "CoresPerSocket": 16,
        "ThreadsPerCore": 2,
        "RealMemory": 510000,
        "Feature": ["infiniband", "2024"],
        "Weight": 0,
        "Gres": GPUS,
    }


@pytest.mark.parametrize(
    ("variables", "added"),
    [
        ({"gpu_shards": 4}, [{"name": "shard", "count": 12}]),
        ({"gpu_mps": 100}, [{"name": "mps", "count": 300}]),
        ({"gpu_shards": 0, "gpu_mps": None}, []),
    ],
)
def test_declared_gpus_have_parts_too(variables: dict[str, Any], added: list[dict[str, Any]]) -> None:
    """What slurm_config makes of them: Name=shard Count=12, which slurmd spreads over the three."""
    gpus = [
        {"type": "a100", "files": ["/dev/nvidia[0-1]"]},
        {"type": "l40s", "files": ["/dev/nvidia2"]},
        {"name": "nic", "files": ["/dev/mlx0"]},
    ]
    made = node({"gpu_devices": gpus, **variables})
    assert made["Gres"] == gpus + added
    parse_all(made["Gres"], "node1")


def test_declared_parts_stay() -> None:
    gpus = [{"type": "a100", "files": ["/dev/nvidia[0-1]"]}, {"name": "shard", "count": 6}]
    assert node({"gpu_devices": gpus, "gpu_shards": 4})["Gres"] == gpus


@pytest.mark.parametrize(
    "declared",
    [
        {"nodes_hardware": {"cpus": None, "memory_mb": None}},
        {"nodes_hardware": None},
        {"nodes_hardware": {}, "nodes_features": [], "nodes_weight": None, "gpu_devices": None},
        {"nodes_memory_reserve_mb": None},
    ],
)
def test_null_means_detected(declared: dict[str, Any]) -> None:
    assert node(declared) == node({})


def test_detected_gres_stand_where_none_is_declared() -> None:
    assert node({}, {**HARDWARE, "gres": GPUS})["Gres"] == GPUS


def test_the_stored_address_serves_a_host_that_has_none_now() -> None:
    away = Host(name="node1", node="node1", address="", hostname="", addresses=[])
    assert node({}, {**HARDWARE, "address": "10.0.0.66"}, away)["NodeAddr"] == "10.0.0.66"
    assert node({}, {**HARDWARE, "address": "10.0.0.66"})["NodeAddr"] == "10.0.0.11"
    assert slurm_node(away, HARDWARE, {}) is None


@pytest.mark.parametrize(
    ("record", "declared", "waiting"),
    [
        ({}, {}, True),
        ({"cpus": 2}, {}, True),
        ({"memory_mb": 1000}, {}, True),
        ({"memory_mb": 1000}, {"nodes_hardware": {"cpus": 2}}, False),
        # Declared hardware needs no machine: it is there before the host first answers.
        ({}, {"nodes_hardware": {"cpus": 2, "memory_mb": 1000}}, False),
        ({}, {"nodes_hardware": {"cpus": 2, "memory_mb": None}}, True),
    ],
)
def test_a_node_waits_until_its_record_is_complete(
    record: dict[str, Any], declared: dict[str, Any], waiting: bool
) -> None:
    assert (slurm_node(HOST, record, declared) is None) is waiting


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "weight"),
    [
        ({"group_names": ["head"]}, 0),
        ({"group_names": ["head"], "nodes_weight": 7}, 7),
        ({"group_names": ["head", "nodes"]}, None),
        ({"group_names": ["nodes"]}, None),
        ({}, None),
    ],
)
def test_jobs_find_heads_that_compute_first(declared: dict[str, Any], weight: int | None) -> None:
    node = slurm_node(HOST, HARDWARE, declared)
    assert node
    assert node.get("Weight") == weight
