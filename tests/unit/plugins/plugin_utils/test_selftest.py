# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils import selftest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.selftest import Look, NodeView, Settings

ROOT = Path(__file__).parents[4]
FIXTURES = ROOT / "tests/unit/fixtures"

SETTINGS = Settings("/data/delivery/selftest", "/data/delivery/run", python="/data/environments/ml/bin/python")


def node(name: str, **more: Any) -> NodeView:
    values = {"state": "IDLE", "usable": True, "reason": "", "drained": False, "cpus": 4, "memory_mb": 1000}
    return NodeView(**{"name": name, "gpus": 0, "gres": "", **values, **more})


def look(*nodes: NodeView, mpi: str = "none pmix_v4", **members: list[str]) -> Look:
    return Look(list(nodes), members or {"main": [view.name for view in nodes]}, mpi.split(), "slurm-wlm 24.11.5")


def plan(seen: Look, settings: Settings = SETTINGS) -> dict[str, dict[str, Any]]:
    return {job["name"]: job for job in selftest.plan(seen, settings)}


@pytest.mark.parametrize("version", ["22.05", "24.11"])
def test_read_look_of_a_real_slurm(version: str) -> None:
    text = (FIXTURES / f"slurm-{version}/scontrol_show_nodes_o.txt").read_text()
    members = "\n".join(["x main*", "y main*", "y gpu"])
    said = "MPI plugin types are...\n\tpmix\n\tnone\nspecific pmix plugin versions available: pmix_v4\n"
    seen = selftest.read_look(f"== nodes\n{text}== members\n{members}\n== mpi\n{said}== report\n{{broken")
    views = {view.name[-2:]: view for view in seen.nodes}
    assert views["n2"].usable
    assert not views["n4"].usable
    assert views["n4"].drained
    assert not views["n7"].drained
    assert views["n1"].cpus > 0
    assert views["n1"].gpus > 0
    assert seen.members == {"main": ["x", "y"], "gpu": ["y"]}
    assert seen.mpi == ["pmix", "none"]
    assert seen.report == {}


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("", 0),
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu", 1),
        ("gpu:1g.10gb:7,gpu:a100:1,shard:9", 8),
    ],
)
def test_gpus_of_a_node(gres: str, count: int) -> None:
    assert selftest._gpus(gres) == count


def test_every_usable_node_is_tested_and_the_others_are_named() -> None:
    seen = look(node("n1"), node("n2"), node("n3", usable=False, state="IDLE+DRAIN", drained=True, reason="fan"))
    seen.nodes.append(node("n4", usable=False, state="DOWN+NOT_RESPONDING"))
    assert "--nodelist=n[1-2]" in plan(seen)["nodes"]["options"]
    rows = {row["name"]: row for row in selftest.node_rows(seen)}
    assert rows["node_n3"]["verdict"] == "not run"
    assert "fan" in rows["node_n3"]["reason"]
    assert rows["node_n4"]["verdict"] == "fail"


def test_nodes_of_several_partitions_are_all_covered() -> None:
    seen = look(node("n1"), node("n2"), node("g1"), main=["n1", "n2"], gpu=["g1"], debug=["n1"])
    jobs = plan(seen)
    assert {name for name in jobs if name.startswith("nodes")} == {"nodes", "nodes_gpu"}
    assert "--partition=gpu" in jobs["nodes_gpu"]["options"]


def test_no_usable_node_skips_with_a_reason() -> None:
    jobs = plan(look())
    assert all(job["skip"] for job in jobs.values())
    assert set(jobs) == {"nodes", "share", "array", "gpus", "mpirun", "pmix", "federated", "container"}


def test_each_gpu_node_has_a_test_of_its_own() -> None:
    jobs = plan(look(node("n1", gpus=2), node("n2", gpus=8)))
    assert {"--gres=gpu:2", "--nodelist=n1"} <= set(jobs["gpus_n1"]["options"])
    assert "fewer CPUs" in jobs["gpus_n2"]["skip"]


def test_mpi_takes_two_nodes_where_there_are() -> None:
    jobs = plan(look(node("n1"), node("n2"), node("n3")))
    assert "--nodelist=n[1-2]" in jobs["mpirun"]["options"]
    assert jobs["mpirun"]["check"].endswith("mpirun.out 2 2")
    assert "--nodelist=n[1-3]" in jobs["federated"]["options"]
    assert "mpirun -n 3 " in jobs["federated"]["script"]


def test_mpi_on_one_node() -> None:
    jobs = plan(look(node("n1")))
    assert "two CPUs of n1" in jobs["mpirun"]["title"]
    assert jobs["mpirun"]["check"].endswith("mpirun.out 2 1")
    assert "mpirun -n 2 " in jobs["federated"]["script"]
    assert "one CPU" in plan(look(node("n1", cpus=1)))["mpirun"]["skip"]


def test_what_is_not_there_is_skipped_with_its_reason() -> None:
    assert "delivery_environments" in plan(look(node("n1")), replace(SETTINGS, python=""))["federated"]["skip"]
    assert "shows none" in plan(look(node("n1"), mpi="none"))["pmix"]["skip"]
    assert "containers are off" in plan(look(node("n1")))["container"]["skip"]
    on = replace(SETTINGS, containers=True, image="/data/i.sqsh")
    assert "--container-image=/data/i.sqsh" in plan(look(node("n1")), on)["container"]["script"]


def test_only_some() -> None:
    assert set(plan(look(node("n1", gpus=1)), replace(SETTINGS, only=("gpus", "array")))) == {"gpus_n1", "array"}


def test_scripts_are_bash(tmp_path: Path) -> None:
    on = replace(SETTINGS, containers=True, image="a b", path="/with blank/selftest")
    for job in plan(look(node("n1", gpus=1), node("n2")), on).values():
        script = tmp_path / "script"
        script.write_text(job["script"])
        done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), job["name"]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (None, "skipped"),
        ({"write": "", "wanted": "", "exports": ""}, "skipped"),
        ({"write": "touch: Permission denied", "wanted": "", "exports": ""}, "fail"),
        ({"write": "", "wanted": "/etc/exports.d/a.exports", "exports": "/home 10.0.0.1(rw)"}, "fail"),
        ({"write": "", "wanted": "/etc/exports.d/a.exports", "exports": "/data 10.0.0.1(rw)"}, "pass"),
    ],
)
def test_storage(found: dict[str, str] | None, verdict: str) -> None:
    assert selftest.storage_row(found, "/data")["verdict"] == verdict


def test_read_storage() -> None:
    found = selftest.read_storage("== wanted\n/etc/exports\n== exports\n/data n1\n== write\n")
    assert found == {"wanted": "/etc/exports", "exports": "/data n1", "write": ""}
    assert selftest.read_storage("") is None


def test_tests_are_due_when_something_changed_or_the_last_one_was_no_pass() -> None:
    seen = look(node("n1"))
    jobs = selftest.plan(seen, SETTINGS)
    first = selftest.due(seen, jobs, "x")
    assert first["due"]
    passed = replace(seen, report={"verdict": "pass", "fingerprint": first["fingerprint"]})
    assert not selftest.due(passed, jobs, "x")["due"]
    assert selftest.due(passed, jobs, "y")["due"]
    assert selftest.due(replace(passed, nodes=[node("n1", gpus=1, gres="gpu:1")]), jobs, "x")["due"]
    failed = replace(seen, report={"verdict": "fail", "fingerprint": first["fingerprint"]})
    assert selftest.due(failed, jobs, "x")["due"]
