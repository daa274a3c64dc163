# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters of role delivery, as Ansible calls them; what they make is looked at in the tests of plugin_utils."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.plugin_utils import selftest

PACKAGE = "ansible_collections.aicluster.slurm.plugins.filter"
LOOK = (Path(__file__).parents[2] / "fixtures/slurm-24.11/scontrol_show_nodes_o.txt").read_text(encoding="utf-8")
LOOK = f"== nodes\n{LOOK}== members\n== mpi\nnone\n== report\n"
SETTINGS = {"path": "/data/delivery/selftest", "folder": "/data/delivery/run"}


def use(name: str, *arguments: Any, **options: Any) -> Any:
    filters = importlib.import_module(f"{PACKAGE}.{name}").FilterModule().filters()
    assert list(filters) == [name]
    return filters[name](*arguments, **options)


def test_dataset_jobs() -> None:
    (job,) = use(
        "dataset_jobs",
        [{"name": "mnist", "src": "https://example.org/mnist.npz", "sha256": "0" * 64}],
        "/data/datasets",
    )
    assert "mnist" in job["name"]
    with pytest.raises(AnsibleFilterError, match="delivery_datasets"):
        use("dataset_jobs", [{"name": "../etc", "src": "https://example.org/x"}], "/data/datasets")


def test_environment_jobs(tmp_path: Path) -> None:
    (tmp_path / "ml.lock").write_text("numpy==2.3.4\n")
    wanted = [{"name": "ml", "lock": "ml.lock"}]
    (job,) = use("environment_jobs", wanted, "/data/environments", folder=str(tmp_path), look=LOOK)
    assert "numpy==2.3.4" in str(job)
    with pytest.raises(AnsibleFilterError, match=r"none\.lock"):
        use("environment_jobs", [{"name": "ml", "lock": "none.lock"}], "/data/environments", folder=str(tmp_path))
    with pytest.raises(AnsibleFilterError, match="delivery_environments"):
        use("environment_jobs", [{"name": "a b", "requirements": ["numpy"]}], "/data/environments")


def test_delivered_files(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    scripts = [{"src": "run.sh", "dest": "/opt/run.sh"}]
    (file,) = use("delivered_files", scripts, ["nodes"], "/data", False, str(tmp_path))
    assert file["path"] == "/opt/run.sh"
    with pytest.raises(AnsibleFilterError, match=r"none\.sh"):
        use("delivered_files", [{"src": "none.sh", "dest": "/opt/x"}], ["nodes"], "/data", False, str(tmp_path))


def test_selftest_plan() -> None:
    first = use("selftest_plan", LOOK, SETTINGS)
    assert first["due"]
    assert {"nodes", "share", "array"} <= {job["name"] for job in first["jobs"]}
    only = use("selftest_plan", LOOK, {**SETTINGS, "only": ["array"]})
    assert [job["name"] for job in only["jobs"]] == ["array"]
    # What the cluster stands on is part of what was tested.
    assert use("selftest_plan", LOOK, SETTINGS, stands_on="another")["fingerprint"] != first["fingerprint"]


def test_selftest_report() -> None:
    cluster = {"cluster": "lab", "when": "2030-01-02 03:04 UTC", "fingerprint": "x"}
    failed = selftest.row("nodes", "a job over all nodes", "fail", "it hung")
    report = use("selftest_report", LOOK, [failed], cluster)
    assert report["verdict"] == "fail"
    assert any("it hung" in line for line in report["bad"])


def test_report_page() -> None:
    cluster = {"cluster": "lab <1>", "when": "2030-01-02 03:04 UTC", "fingerprint": "x"}
    page = use("report_page", use("selftest_report", LOOK, [], cluster))
    assert page.startswith("<!DOCTYPE html>")
    assert "lab &lt;1&gt;" in page
