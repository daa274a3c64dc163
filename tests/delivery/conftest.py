# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.plugin_utils import selftest

from ..e2e import play
from ..e2e.cluster import Cluster, Machine
from ..e2e.on_head import OnHead
from ..e2e.play import ROOT

PATH = "/data/delivery"
PYTHON = "/data/environments/ml/bin/python"


def scripts() -> dict[str, str]:
    """What the role runs on hosts, by the name of its variable."""
    texts: dict[str, str] = yaml.safe_load((ROOT / "roles/delivery/vars/main.yml").read_text())
    return texts


@dataclass
class SelfTest:
    """The self-test of the role, played on the head without a playbook."""

    cluster: Cluster
    head: OnHead
    plan: list[dict[str, Any]] = field(default_factory=list)

    def look(self) -> selftest.Look:
        """What the role sees of the cluster."""
        words = [scripts()["__delivery_look"], "sh", self.cluster.user, "/data/environments", PATH]
        return selftest.read_look(self.cluster.head.output(f"sh -c {shlex.join(words)}"))

    def prepare(self, *only: str, image: str = "") -> None:
        """Plan these tests with the cluster as it is now."""
        settings = selftest.Settings(
            f"{PATH}/selftest",
            f"{PATH}/run",
            python=PYTHON,
            containers=bool(image),
            image=image,
            share_mb=4,
            seconds=60,
            only=only,
        )
        self.plan = selftest.plan(self.look(), settings)

    def run(self, queue_seconds: int = 60) -> dict[str, dict[str, Any]]:
        """Make the planned tests; how each ended."""
        options = {
            "jobs": self.plan,
            "user": self.cluster.user,
            "folder": f"{PATH}/run",
            "queue_seconds": queue_seconds,
        }
        options["state_path"] = "/var/lib/aicluster/tests-delivery.json"
        result = self.head.run("slurm_jobs", options)
        assert "rows" in result, result
        return {row["name"]: row for row in result["rows"]}


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.config.getoption("ansible_inventory"))


@pytest.fixture(scope="session")
def on_head(cluster: Cluster) -> Iterator[OnHead]:
    head = OnHead(cluster.head)
    yield head
    head.remove()


@pytest.fixture
def tests(cluster: Cluster, on_head: OnHead) -> SelfTest:
    return SelfTest(cluster, on_head)


@pytest.fixture
def report(cluster: Cluster) -> dict[str, Any]:
    """The report that the playbook left on the share the last time."""
    found: dict[str, Any] = json.loads(cluster.head.output(f"cat {PATH}/report.json"))
    return found


def node(cluster: Cluster, name: str) -> Machine:
    return next(machine for machine in cluster.machines if machine.name == name)


def deliver(cluster: Cluster, folder: Path, *arguments: str) -> dict[str, Any]:
    """The report on one run of delivery.yml, which leaves its own report in this folder."""
    extra = json.dumps({"delivery_report_path": str(folder / "report")})
    playbook = str(ROOT / "playbooks/delivery.yml")
    return play.run(play.command("ansible-playbook", "-i", cluster.inventory, "-e", extra, *arguments, playbook))


@contextmanager
def planted(machine: Machine, plant: str, remove: str) -> Iterator[None]:
    """A fault, for a while."""
    machine.output(plant)
    try:
        yield
    finally:
        machine.output(remove)
