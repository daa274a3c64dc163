# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..e2e.cluster import Cluster, Machine, wait_for
from .pair import ping, states


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(request.config.getoption("ansible_inventory"))


@pytest.fixture(scope="session")
def heads(cluster: Cluster) -> tuple[Machine, Machine]:
    first, second = cluster.group("head")
    return first, second


@pytest.fixture(scope="session")
def timeout(cluster: Cluster) -> int:
    return int(cluster.config()["SlurmctldTimeout"].split()[0])


@pytest.fixture
def without_the_first(heads: tuple[Machine, Machine]) -> Iterator[None]:
    """Afterwards the first head controls the cluster again."""
    yield
    heads[0].output("systemctl reset-failed slurmctld; systemctl start slurmctld")
    assert wait_for(lambda: ping(heads[0])[:1], lambda said: said == ["UP"], 60) == ["UP"]
    # A backup of 22.05 that gave control back may run on and answer nobody (seen); the next site.yml would see to that.
    heads[1].output("systemctl restart slurmctld")
    assert wait_for(lambda: ping(heads[0]), lambda said: said == ["UP", "UP"]) == ["UP", "UP"]
    assert wait_for(lambda: states(heads[0]), lambda found: found == {"idle"}, 60) == {"idle"}
