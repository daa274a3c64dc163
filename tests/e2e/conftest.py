# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies a converged cluster, whatever its inventory: `pytest tests/e2e --ansible-inventory=PATH[,PATH...]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import Cluster, wait_for

MARKS = {
    "disruptive": "changes the cluster for a while",
    "thorough": "changes the cluster for minutes, and takes two nodes",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for mark, meaning in MARKS.items():
        parser.addoption(f"--{mark}", action="store_true", help=f"also run what {meaning}")


def pytest_configure(config: pytest.Config) -> None:
    for mark, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{mark}: {meaning}; needs --{mark}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what was not asked for, and plays what changes the cluster last: the others want peace."""
    for mark in MARKS:
        marked = [item for item in items if item.get_closest_marker(mark)]
        items[:] = [item for item in items if item not in marked]
        if config.getoption(f"--{mark}"):
            items += marked
        else:
            config.hook.pytest_deselected(items=marked)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    inventory = request.config.getoption("ansible_inventory")
    if not inventory:
        raise pytest.UsageError("which cluster? --ansible-inventory=PATH[,PATH...]")
    return Cluster(str(inventory))


@pytest.fixture
def job(cluster: Cluster) -> Iterator[str]:
    """A job that runs on the first node all the while."""
    node = cluster.nodes[0].node
    job = cluster.as_user(f"sbatch --parsable -w {node} --mem=50 -o /dev/null --wrap 'sleep 900'").strip()
    shown = wait_for(lambda: cluster.head.output(f"scontrol show job {job}"), lambda text: "JobState=RUNNING" in text)
    assert "JobState=RUNNING" in shown
    yield job
    cluster.as_user(f"scancel {job}")
