# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A slurmd that does not come back with a new configuration takes the whole cluster back to the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from . import play
from .cluster import Cluster, Machine

pytestmark = pytest.mark.thorough

# Every daemon has to be restarted for it, and those that are not cannot be reached any more.
CHANGE = json.dumps({"cluster_config": {"SlurmdPort": 6828}})
# Its next start fails, and no other.
DROP_IN = "/run/systemd/system/slurmd.service.d/breaks-once.conf"
BREAK = f"""
    mkdir -p $(dirname {DROP_IN}) && touch /run/breaks-once &&
    printf '[Service]\\nExecStartPre=sh -c "! rm /run/breaks-once"\\n' >{DROP_IN} && systemctl daemon-reload
"""


@pytest.fixture
def broken(cluster: Cluster) -> Iterator[Machine]:
    """The last node."""
    node = cluster.nodes[-1]
    node.output(BREAK)
    yield node
    node.output(f"rm -f /run/breaks-once {DROP_IN} && systemctl daemon-reload")


def test_all_nodes_go_back_together(cluster: Cluster, broken: Machine, job: str) -> None:
    before = {machine.name: machine.output("systemctl show -P MainPID slurmd") for machine in cluster.nodes}
    with pytest.raises(AssertionError) as failed:
        play.site(cluster.inventory, "-e", CHANGE)
    said = str(failed.value)
    assert "Say why: slurmd of this node did not come back with the new configuration" in said
    # It was the broken one that failed, and nobody else.
    assert {line.split(":")[0] for line in said.splitlines()[1:]} == {broken.name}, said

    assert cluster.config()["SlurmdPort"] == "6818"
    assert cluster.config()["HASH_VAL"] == "Match"
    for machine in cluster.nodes:
        assert machine.output("systemctl show -P MainPID slurmd") != before[machine.name], machine.name
        assert "6818" in machine.output("ss -ltnHp | grep slurmd"), machine.name
    names = cluster.as_user(f"srun --nodes={len(cluster.nodes)} --mem=50 -t1 hostname").split()
    assert len(names) == len(cluster.nodes)
    assert "JobState=RUNNING" in cluster.head.output(f"scontrol show job {job}")
    # And nothing is left to do.
    assert play.changes(play.site(cluster.inventory)) == set()
