# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies a converged cluster, whatever its inventory: `pytest tests/e2e --ansible-inventory=PATH`."""

from __future__ import annotations

import pytest

from .cluster import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--disruptive", action="store_true", help="also run what changes the cluster for a while")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "disruptive: changes the cluster for a while; needs --disruptive")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the disruptive tests unless they were asked for, and plays them last: the others want peace."""
    disruptive = [item for item in items if item.get_closest_marker("disruptive")]
    items[:] = [item for item in items if item not in disruptive]
    if config.getoption("--disruptive"):
        items += disruptive
    else:
        config.hook.pytest_deselected(items=disruptive)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    inventory = request.config.getoption("ansible_inventory")
    if not inventory:
        raise pytest.UsageError("which cluster? --ansible-inventory=PATH")
    return Cluster(str(inventory))
