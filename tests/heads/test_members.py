# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two heads whose cluster changes: previews, a node that goes, a head that goes for good, a new one.

Played after test_heads.py, whose last change they take back; they build on each other, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ..e2e import play
from ..e2e.cluster import Cluster, Machine, wait_for
from ..e2e.fingerprint import differences, fingerprint
from .pair import Job, as_user, docker, hosts_with, new_job, ping, states

CHANGE = ("-e", json.dumps({"cluster_partitions": {"main": {"MaxTime": "03:00:00"}}}))
CONFIGURE, FOLLOW = "Configure Slurm", "Have the other heads follow"
SHARED = ("/etc/slurm/slurm.conf", "/var/lib/aicluster/nodes.json", "/var/lib/aicluster/generation")
"""What is the same on all heads."""
REMOVE = str(play.ROOT / "playbooks" / "remove.yml")
PLANNED = str(Path(__file__).parent / "planned.yml")


@pytest.fixture(scope="module")
def more(cluster: Cluster) -> tuple[str, ...]:
    """The inventory with the third node, which joined while the first head was gone."""
    return ("-i", str(Path(cluster.inventory).parent / "more"))


def said(report: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The results of a task of a module, each of a loop, that was not left out."""
    found = [
        item
        for _host, task, result in play.results(report)
        if task.endswith(name)
        for item in result.get("results", [result])
    ]
    return [result for result in found if "commands" in result]


def shown(report: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """What a run shows as different, by host and task."""
    return [
        (host, task, item["diff"])
        for host, task, result in play.results(report)
        for item in result.get("results", [result])
        if item.get("diff")
    ]


def shared(head: Machine) -> list[str]:
    return [head.output(f"cat {path}") for path in SHARED]


def test_heads_make_the_same_plan(cluster: Cluster, heads: tuple[Machine, Machine], more: tuple[str, ...]) -> None:
    # The first head has just come back, and has not heard of all nodes.
    assert "unknown" not in wait_for(lambda: states(heads[0]), lambda found: "unknown" not in found, 60)
    before = fingerprint(cluster)
    report = play.run(play.command("ansible-playbook", "-i", cluster.inventory, *more, *CHANGE, PLANNED))
    first, second = [result["plan"] for result in said(report, CONFIGURE)]
    assert first["changes"] == [
        {"kind": "partition", "name": "main", "key": "MaxTime", "before": "02:00:00", "after": "03:00:00"}
    ]
    # The second one would have to take over, because it is asked itself.
    assert (first.pop("takes_over"), second.pop("takes_over")) == ("", heads[0].output("hostname"))
    assert first == second
    assert differences(before, fingerprint(cluster)) == []


def test_a_preview_says_what_both_heads_then_do(
    cluster: Cluster, heads: tuple[Machine, Machine], more: tuple[str, ...]
) -> None:
    before = fingerprint(cluster)
    preview = play.site(cluster.inventory, *more, *CHANGE, "--check", "--diff")
    assert differences(before, fingerprint(cluster)) == []
    (configured,), (followed,) = said(preview, CONFIGURE), said(preview, FOLLOW)
    assert followed["item"] == heads[1].name
    file, plan = configured["diff"]
    assert ("MaxTime=02:00:00" in file["before"], "MaxTime=03:00:00" in file["after"]) == (True, True)
    assert followed["diff"] == [file]
    assert plan["after"] == "slurmctld: reconfigure\npartition main MaxTime: 02:00:00 -> 03:00:00\n"

    done = play.site(cluster.inventory, *more, *CHANGE, "--diff")
    assert sorted(play.changes(done)) == sorted(play.changes(preview))
    assert said(done, FOLLOW)[0]["diff"] == followed["diff"]
    assert shared(heads[0]) == shared(heads[1])
    assert [ping(head) for head in heads] == [["UP", "UP"]] * 2


@pytest.mark.usefixtures("without_the_first")
def test_a_node_that_is_removed(
    cluster: Cluster, heads: tuple[Machine, Machine], more: tuple[str, ...], timeout: int
) -> None:
    (goes,) = cluster.group("spare")
    play.run(
        play.command(
            "ansible-playbook", "-i", cluster.inventory, *more, *CHANGE, REMOVE, "-e", f"cluster_remove={goes.name}"
        )
    )
    assert shared(heads[0]) == shared(heads[1])
    assert all(goes.node not in text for text in shared(heads[1]))
    assert goes.shell.run("systemctl is-enabled slurmd").stdout.strip() == "masked"
    assert goes.shell.run("systemctl is-active slurmd").rc != 0
    # Nothing is left to do for a run without it.
    again = play.site(cluster.inventory, *CHANGE, "--diff")
    assert (play.changes(again), shown(again)) == (set(), [])
    # The second head takes over with what is new.
    job = Job(cluster, heads[0])
    heads[1].output("scontrol takeover")
    assert wait_for(lambda: ping(heads[1]), lambda found: found == ["DOWN", "UP"], timeout) == ["DOWN", "UP"]
    nodes = set(heads[1].output("sinfo --noheader --Node --format=%N").split())
    assert nodes == {machine.node for machine in cluster.nodes}
    assert "MaxTime=03:00:00" in heads[1].output("scontrol show partition main")
    assert len(new_job(cluster, heads[1]).split()) == 2
    assert job.end(heads[1]) == "COMPLETED"


@pytest.fixture(scope="module")
def job(cluster: Cluster, heads: tuple[Machine, Machine]) -> Job:
    """Runs while one head goes and another one comes."""
    return Job(cluster, heads[0])


def test_a_dead_head_goes_for_good(cluster: Cluster, heads: tuple[Machine, Machine], job: Job, tmp_path: Path) -> None:
    dead, stays = heads
    docker("kill", dead.facts["container"])
    one = hosts_with(cluster, tmp_path, [stays.name])
    play.site(one, *CHANGE)
    assert ping(stays) == ["UP"]
    assert stays.output("grep -c SlurmctldHost= /etc/slurm/slurm.conf") == "1"
    assert "StateSaveLocation=/var/lib/slurm/slurmctld" in stays.output("cat /etc/slurm/slurm.conf")
    assert stays.shell.run(f"grep -rwq {dead.node} /etc/hosts /etc/slurm /var/lib/aicluster/nodes.json").rc == 1
    for node in cluster.group("nodes"):
        assert node.output("grep -o 'conf-server.*' /etc/default/aicluster-slurmd").count(":6817") == 1
    assert job.state(stays) == "RUNNING"
    assert len(new_job(cluster, stays).split()) == 2
    again = play.site(one, *CHANGE, "--diff")
    assert (play.changes(again), shown(again)) == (set(), [])


def test_who_starts_the_old_head_starts_no_second_cluster(heads: tuple[Machine, Machine], job: Job) -> None:
    dead, stays = heads
    docker("start", dead.facts["container"])

    def state() -> str:
        return str(dead.shell.run("systemctl is-failed slurmctld").stdout).strip()

    assert wait_for(state, lambda said: said == "failed", 90) == "failed"
    assert "took configuration" in dead.output("journalctl --unit=slurmctld --boot --no-pager")
    assert shared(dead)[0] == shared(stays)[0]
    assert ping(stays) == ping(dead) == ["UP"]
    assert job.state(stays) == "RUNNING"
    docker("kill", dead.facts["container"])


def test_a_new_head(cluster: Cluster, heads: tuple[Machine, Machine], job: Job, tmp_path: Path) -> None:
    first = heads[1]
    (new,) = cluster.group("spare")
    two = hosts_with(cluster, tmp_path, [first.name, new.name])
    play.site(two, *CHANGE)
    assert [ping(head) for head in (first, new)] == [["UP", "UP"]] * 2
    assert shared(first) == shared(new)
    for node in cluster.group("nodes"):
        assert node.output("grep -o 'conf-server.*' /etc/default/aicluster-slurmd").count(":6817") == 2
    assert as_user(cluster, new, f"srun --nodelist={new.node} hostname") == new.output("hostname")
    # A job that began before it came tells its end to the others only.
    assert job.state(new) == "RUNNING"
    assert job.end(new) == "COMPLETED"
    # It is a backup that works.
    late = Job(cluster, new)
    new.output("scontrol takeover")
    assert wait_for(lambda: ping(new), lambda found: found == ["DOWN", "UP"], 60) == ["DOWN", "UP"]
    assert late.end(new) == "COMPLETED"
    play.site(two, *CHANGE)
    assert [ping(head) for head in (first, new)] == [["UP", "UP"]] * 2
    again = play.site(two, *CHANGE, "--diff")
    assert (play.changes(again), shown(again)) == (set(), [])
