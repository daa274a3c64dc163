# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""delivery.yml on one machine that is everything: a script, and the self-test; the scenario delivery has the rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from . import play
from .cluster import Cluster

pytestmark = [
    pytest.mark.disruptive,
    pytest.mark.skipif(
        os.environ.get("MOLECULE_SCENARIO_NAME", "standalone") != "standalone",
        reason="the scenario standalone plays it",
    ),
]

SCRIPT = "/data/lab/hello.sh"


def test_one_machine(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "hello.sh").write_text("#!/bin/sh\necho delivered to $(hostname)\n")
    wanted = {
        "delivery_scripts": [{"src": str(tmp_path / "hello.sh"), "dest": SCRIPT}],
        "delivery_packages": [],
        "delivery_selftest_share_mb": 4,
        "delivery_report_path": str(tmp_path / "report"),
    }
    deliver = play.command(
        "ansible-playbook",
        *(*play.sources(cluster.inventory), "-e", json.dumps(wanted), str(play.ROOT / "playbooks/delivery.yml")),
    )
    play.run(deliver)

    nodes = [machine.node for machine in cluster.nodes]
    said = cluster.as_user(f"srun --mem=50 --nodes={len(nodes)} {SCRIPT}")
    assert sorted(said.splitlines()) == sorted(
        f"delivered to {machine.output('hostname').strip()}" for machine in cluster.nodes
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["verdict"], report["bad"]) == ("pass", [])
    told = {row["name"]: row for row in report["tests"]}
    assert {name: told[name]["verdict"] for name in ("nodes", "share", "array")} == dict.fromkeys(
        ("nodes", "share", "array"), "pass"
    )
    assert {measured["where"] for measured in report["measured"]} == set(nodes)
    # What has no part here is said to be left out, with the reason, and is no pass.
    others = [row for name, row in told.items() if name not in ("nodes", "share", "array", "storage")]
    assert {row["verdict"] for row in others} == {"skipped"}
    assert all(row["reason"] for row in others)
    assert json.loads(cluster.head.output("cat /data/delivery/report.json")) == report

    # Once more: nothing to do, and no job is submitted.
    (tmp_path / "report.json").unlink()
    before = cluster.as_user("sbatch --parsable --mem=50 -D / -o /dev/null --wrap true")
    assert play.changes(play.run(deliver)) == set()
    after = cluster.as_user("sbatch --parsable --mem=50 -D / -o /dev/null --wrap true")
    assert int(after) == int(before) + 1
    assert not (tmp_path / "report.json").exists()
