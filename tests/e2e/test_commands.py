# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import play
from .cluster import Cluster


def test_one_command_on_every_host(cluster: Cluster) -> None:
    report = play.run(play.command("ansible", "all", *play.sources(cluster.inventory), "-a", "ls -al"))
    listings = {host: result["stdout"] for host, _task, result in play.results(report)}
    assert set(listings) == {machine.name for machine in cluster.machines}
    assert all(listing.startswith("total ") for listing in listings.values())
