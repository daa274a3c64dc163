# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module slurm_node against a running slurmctld."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from . import play
from .cluster import Cluster, Machine, wait_for

pytestmark = pytest.mark.disruptive


class Nodes:
    """The module on a host, for all nodes of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.host = cluster.head.name
        self.names = [machine.node for machine in cluster.nodes]

    def run(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """What the module returns."""
        options = {"name": ",".join(self.names), **options}
        argv = play.command("ansible", self.host, *play.sources(self.cluster.inventory), *arguments)
        report = play.run([*argv, "-m", "aicluster.slurm.slurm_node", "-a", json.dumps(options)])
        return play.results(report)[0][2]

    def fails(self, **options: Any) -> str:
        """What the module says when it fails."""
        with pytest.raises(AssertionError) as error:
            self.run(**options)
        return str(error.value)

    def show(self, name: str) -> dict[str, str]:
        """What slurmctld says of a node."""
        return self.cluster.slurm_nodes()[name]

    def tell(self, name: str, *settings: str) -> None:
        """What an admin changes by hand."""
        words = " ".join(f"'{setting}'" for setting in settings)
        self.cluster.head.output(f"scontrol update NodeName={name} {words}")


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Nodes]:
    """All nodes, idle before, and left as they were."""
    nodes = Nodes(cluster)
    before = cluster.slurm_nodes()
    yield nodes
    for name in nodes.names:
        if {"DRAIN", "DOWN", "FAIL"} & set(nodes.show(name)["State"].split("+")):
            # One that is down comes back by itself when its slurmd registers, and refuses this then.
            cluster.head.shell.run(f"scontrol update NodeName={name} State=RESUME")
        features = before[name]["AvailableFeatures"].replace("(null)", "")
        nodes.tell(name, f"AvailableFeatures={features}", f"ActiveFeatures={features}")
        nodes.tell(name, f"Weight={before[name]['Weight']}", "Comment=", "Extra=")
    wait_for(
        lambda: {node["State"] for node in cluster.slurm_nodes().values()},
        lambda states: states == {"IDLE"},
        seconds=60,
    )


def test_drain_and_resume(nodes: Nodes) -> None:
    drain = {"state": "drained", "reason": "new switches"}
    predicted = nodes.run("--check", **drain)
    assert predicted["changed"]
    assert {nodes.show(name)["State"] for name in nodes.names} == {"IDLE"}

    drained = nodes.run(**drain)
    assert drained["changed"]
    assert drained["after"] == predicted["after"]
    assert drained["commands"] == predicted["commands"]
    assert {nodes.show(name)["State"] for name in nodes.names} == {"IDLE+DRAIN"}
    assert nodes.show(nodes.names[0])["Reason"].startswith("aicluster: new switches [")
    again = nodes.run(**drain)
    assert (again["changed"], again["commands"]) == (False, [])

    assert nodes.run(state="drained", reason="other switches")["changed"]
    assert nodes.run(state="resumed")["changed"]
    again = nodes.run(state="resumed")
    assert (again["changed"], again["commands"]) == (False, [])
    assert nodes.run("--check", **drain)["changed"], "the Reason that 24.11 keeps means nothing"


def test_what_somebody_else_drained_is_left_alone(nodes: Nodes) -> None:
    name = nodes.names[0]
    nodes.tell(name, "State=DRAIN", "Reason=bad fan")
    for options in ({"state": "resumed"}, {"state": "drained", "reason": "x"}, {"state": "down", "reason": "x"}):
        result = nodes.run(name=name, **options)
        assert (result["changed"], result["kept"]) == (False, {name: "bad fan"})
    assert nodes.show(name)["Reason"].startswith("bad fan [")
    assert nodes.run(name=name, state="drained", reason="x", force_reason=True)["changed"]
    nodes.tell(name, "Reason=bad fan")
    assert nodes.run(name=name, state="resumed", force_reason=True)["changed"]
    assert not nodes.run(name=name, state="resumed", force_reason=True)["changed"]


def test_idle(nodes: Nodes) -> None:
    name = nodes.names[0]
    nodes.run(name=name, state="drained", reason="new switches")
    assert nodes.run(name=name, state="idle")["changed"]
    assert nodes.show(name)["State"] == "IDLE"
    assert not nodes.run(name=name, state="idle")["changed"]


def test_down(nodes: Nodes) -> None:
    machine = nodes.cluster.nodes[0]
    # With ReturnToService=2 a node that responds does not stay down.
    machine.output("systemctl stop slurmd")
    try:
        assert nodes.run(name=machine.node, state="down", reason="no power")["changed"]
        assert nodes.show(machine.node)["State"].split("+")[0] == "DOWN"
        assert not nodes.run(name=machine.node, state="down", reason="no power")["changed"]
    finally:
        machine.output("systemctl start slurmd")


def test_description(nodes: Nodes) -> None:
    name = nodes.names[0]
    options = {"weight": 77, "features": ["a100", "rack:r01"], "comment": '"on" loan', "extra": "k=v; ü €"}
    result = nodes.run(name=name, **options)
    assert [argv[:3] for argv in result["commands"]] == [["scontrol", "update", f"NodeName={name}"]]
    assert not nodes.run(name=name, **options)["changed"]
    shown = nodes.show(name)
    assert (shown["Weight"], shown["AvailableFeatures"], shown["ActiveFeatures"]) == ("77", *["a100,rack:r01"] * 2)
    none: dict[str, Any] = {"features": [], "comment": "", "extra": ""}
    assert nodes.run(name=name, **none)["changed"]
    assert not nodes.run(name=name, **none)["changed"]


def test_wait_for_a_job(nodes: Nodes) -> None:
    name = nodes.names[0]
    stop = nodes.cluster.as_user("mktemp -u /data/e2e.XXXXXX").strip()
    job = nodes.cluster.as_user(
        f'sbatch --parsable --nodelist={name} --output=/dev/null --job-name="a\'b"'
        f" --wrap='until [ -e {stop} ]; do sleep 0.5; done'"
    ).strip()
    wait_for(lambda: nodes.show(name)["State"], lambda state: state != "IDLE")
    drain = {"name": name, "state": "drained", "reason": "wait", "wait": True}
    said = nodes.fails(wait_timeout=1, **drain)
    assert f"jobs are left: {job} of {nodes.cluster.user} (RUNNING on {name})" in said
    nodes.cluster.head.output(f"nohup sh -c 'sleep 5; touch {stop}' >/dev/null 2>&1 &")
    assert not nodes.run(wait_timeout=60, **drain)["changed"]
    assert nodes.show(name)["State"] == "IDLE+DRAIN"
    assert "JobState=COMPLETED" in nodes.cluster.head.output(f"scontrol show job {job}")
    nodes.cluster.head.output(f"rm {stop}")


def test_a_bad_name_changes_nothing(nodes: Nodes) -> None:
    said = nodes.fails(name=f"{nodes.names[0]},nosuch[1-2]", state="drained", reason="x")
    assert "slurmctld shows no nosuch[1-2]" in said
    assert nodes.show(nodes.names[0])["State"] == "IDLE"


def test_what_cannot_be_done_is_said(nodes: Nodes) -> None:
    assert "dynamic nodes" in nodes.fails(state="absent")
    # Who may not change nodes still may look at them.
    user = ("--become", "--become-method=su", f"--become-user={nodes.cluster.user}")
    assert not nodes.run(*user, state="resumed")["changed"]
    with pytest.raises(AssertionError, match="no right to change nodes"):
        nodes.run(*user, state="drained", reason="x")
    assert {nodes.show(name)["State"] for name in nodes.names} == {"IDLE"}


@pytest.mark.parametrize(
    ("service", "said"), [("slurmctld", "slurmctld does not answer"), ("munge", "munged does not run on this host")]
)
def test_a_daemon_that_is_down_is_named(nodes: Nodes, service: str, said: str) -> None:
    nodes.cluster.head.output(f"systemctl stop {service}")
    start = time.monotonic()
    try:
        assert said in nodes.fails(state="drained", reason="x")
        assert time.monotonic() - start < 30
    finally:
        nodes.cluster.head.output(f"systemctl start {service}")
        assert wait_for(lambda: nodes.cluster.head.shell.run("scontrol ping").rc, lambda rc: rc == 0) == 0


@pytest.fixture
def stranger(cluster: Cluster) -> Iterator[Machine]:
    """A node whose munged has another key than the head's."""
    others = [machine for machine in cluster.nodes if machine.name != cluster.head.name]
    if not others:
        pytest.skip("the only node is the head, which has one munged for both")
    machine, key = others[-1], "/etc/munge/munge.key"
    machine.output(f"cp -p {key} {key}.e2e && head -c 1024 /dev/urandom >{key} && systemctl restart munge")
    yield machine
    machine.output(f"mv {key}.e2e {key} && systemctl restart munge")
    assert wait_for(lambda: machine.shell.run("scontrol ping").rc, lambda rc: rc == 0) == 0


def test_another_key_is_named(nodes: Nodes, stranger: Machine) -> None:
    nodes.host = stranger.name
    start = time.monotonic()
    said = nodes.fails(state="drained", reason="x")
    assert time.monotonic() - start < 30
    assert "slurmctld does not accept what munge says of this host; compare /etc/munge/munge.key" in said
    assert {node["State"].split("+")[0] for node in nodes.cluster.slurm_nodes().values()} == {"IDLE"}
