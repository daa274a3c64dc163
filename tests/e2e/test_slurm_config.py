# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module slurm_config changes a cluster on which a job runs throughout, and the job never notices."""

from __future__ import annotations

import copy
import re
import shlex
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .cluster import Cluster, wait_for
from .on_head import OnHead

pytestmark = pytest.mark.thorough

CONF = "/etc/slurm/slurm.conf"
PAST = "/var/lib/aicluster/slurm"
# Of nobody's network (RFC 5737).
NEW = {"NodeName": "e2e9", "NodeAddr": "192.0.2.9", "CPUs": 2, "RealMemory": 1000}


class Running:
    """A cluster with a job on one of its nodes, and the module that configures it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.head = cluster.head
        self.module = OnHead(cluster.head)
        self.base = self.module.options()
        self.busy, self.free = sorted(machine.node for machine in cluster.nodes)[:2]
        self.output = cluster.as_user("mktemp -d /data/home/cluster/e2e.XXXXXX").strip()
        script = f"until [ -e {self.output}/stop ]; do sleep 0.5; done; echo right"
        asked = f"-w {self.busy} -n1 --mem=50 --gres=gpu:1 -o {self.output}/job.out"
        self.job = cluster.as_user(f"sbatch --parsable {asked} --wrap {shlex.quote(script)}").strip()
        assert self.job_state() == "RUNNING"

    def job_state(self) -> str:
        """The state of the job, which takes a moment to start and to end."""
        shown = wait_for(
            # Nobody answers while slurmctld restarts.
            lambda: self.head.shell.run(f"scontrol --oneliner show job {self.job}").stdout,
            lambda text: "JobState=" in text and not re.search("JobState=(PENDING|COMPLETING)", text),
        )
        return str(shown).split("JobState=")[1].split()[0]

    def options(self, **changed: Any) -> dict[str, Any]:
        """What the cluster is configured with, and these options instead."""
        return {**copy.deepcopy(self.base), **changed}

    def with_node(self, name: str, **keys: Any) -> dict[str, Any]:
        """The options with other keys of one node; None removes a key."""
        options = self.options()
        node = next(node for node in options["nodes"] if node["NodeName"] == name)
        node.update(keys)
        return options

    def with_config(self, **keys: Any) -> dict[str, Any]:
        """The options with other keys of slurm.conf."""
        return self.options(config={**self.base["config"], **keys})

    def use(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the module returns when it succeeds; afterwards everything is as it should be."""
        result = self.module.run("slurm_config", options)
        assert not result.get("failed"), result["msg"]
        again = self.module.run("slurm_config", options)
        assert (again.get("changed"), again.get("plan", {}).get("action")) == (False, "none"), again
        self.expect_peace()
        return result

    def fails(self, options: dict[str, Any]) -> str:
        """What the module says when it fails; no file has changed then, and no daemon is gone."""
        before = self.text(), self.pid()
        result = self.module.run("slurm_config", options)
        assert result.get("failed"), result
        assert (self.text(), self.pid()) == before
        self.expect_peace()
        return str(result["msg"])

    def expect_peace(self) -> None:
        """The job runs, and every node answers."""
        assert self.job_state() == "RUNNING"
        wait_for(self.states, lambda states: not any("NOT_RESP" in state for state in states.values()))
        assert {name: state for name, state in self.states().items() if name in (self.busy, self.free)} == {
            self.busy: "MIXED",
            self.free: "IDLE",
        }

    def states(self) -> dict[str, str]:
        """The state of each real node."""
        return {name: node["State"] for name, node in self.cluster.slurm_nodes().items() if name != NEW["NodeName"]}

    def text(self) -> str:
        """slurm.conf as it is in place."""
        return self.head.output(f"cat {CONF}")

    def pid(self) -> str:
        """slurmctld's."""
        return self.head.output("systemctl show -p MainPID --value slurmctld").strip()

    def partition(self, name: str = "main") -> dict[str, str]:
        """What slurmctld says of a partition."""
        line = self.head.output(f"scontrol --oneliner show partition {name}")
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def version(self) -> tuple[int, ...]:
        """Of Slurm."""
        return tuple(map(int, self.head.output("slurmctld -V").split()[-1].split(".")[:2]))


@pytest.fixture(scope="module")
def running(cluster: Cluster) -> Iterator[Running]:
    """The cluster and its job, which has to end well."""
    running = Running(cluster)
    yield running
    assert not running.module.run("slurm_config", running.base).get("failed")
    cluster.as_user(f"touch {running.output}/stop")
    ended = wait_for(running.job_state, lambda state: state != "RUNNING")
    assert ended == "COMPLETED"
    assert cluster.as_user(f"cat {running.output}/job.out") == "right"
    cluster.as_user(f"rm -r {running.output}")
    running.module.remove()


@pytest.fixture(autouse=True)
def as_before(running: Running) -> Iterator[None]:
    """Every test leaves the cluster as the role has configured it."""
    yield
    result = running.module.run("slurm_config", running.base)
    assert not result.get("failed"), result["msg"]


def test_one_run_waits_for_another(running: Running) -> None:
    assert running.head.shell.run("setsid --fork flock /etc/slurm sleep 8 </dev/null >/dev/null 2>&1").rc == 0
    began = time.monotonic()
    result = running.module.run("slurm_config", running.base)
    assert (result.get("changed"), time.monotonic() - began > 4) == (False, True), result


def test_what_the_role_wrote_is_no_change(running: Running) -> None:
    result = running.module.run("slurm_config", running.base)
    assert (result["changed"], result["plan"]["action"], result["commands"]) == (False, "none", [])


def test_a_partition_key_needs_a_reconfigure(running: Running) -> None:
    before = running.pid()
    options = running.options(partitions={"main": {**running.base["partitions"]["main"], "MaxTime": "7-01:00:00"}})
    result = running.use(options)
    assert (result["plan"]["action"], result["validated"]) == ("reconfigure", "deep")
    assert [argv[:2] for argv in result["commands"]] == [["scontrol", "reconfigure"]]
    assert running.partition()["MaxTime"] == "7-01:00:00"
    if running.version() < (23, 11):
        assert running.pid() == before


def test_what_an_admin_did_survives_or_is_foretold(running: Running) -> None:
    running.head.output("scontrol update PartitionName=main State=DRAIN PriorityTier=7")
    running.head.output(f"scontrol update NodeName={running.free} State=DRAIN Reason='bad fan' Weight=70 Comment=old")
    running.head.output("scontrol setdebug debug")
    options = running.options(nodes=[*running.base["nodes"], NEW])
    try:
        planned = running.module.run("slurm_config", {**options, "state": "planned"})
        assert not planned["changed"]
        lost = [(each["kind"], each["name"], each["key"], each["now"]) for each in planned["plan"]["overrides_lost"]]
        assert lost == [
            ("partition", "main", "PriorityTier", "7"),
            ("node", running.free, "Weight", "70"),
            ("slurm.conf", "", "SlurmctldDebug", "debug"),
        ]
        result = running.module.run("slurm_config", options)
        assert result["plan"]["overrides_lost"] == planned["plan"]["overrides_lost"]
        assert "set by scontrol, and lost: partition main PriorityTier: 7 -> 1" in result["diff"][-1]["after"]
        assert running.partition()["State"] == "DRAIN"
        assert "SlurmctldDebug          = info" in running.head.output("scontrol show config")
        node = running.cluster.slurm_nodes()[running.free]
        assert (node["State"].split("+")[1], node["Reason"].split(" [")[0], node["Comment"]) == (
            "DRAIN",
            "bad fan",
            "old",
        )
    finally:
        running.head.output("scontrol update PartitionName=main State=UP")
        running.head.output(f"scontrol update NodeName={running.free} State=RESUME Comment=")
        running.head.output("scontrol setdebug info")


def test_a_node_comes_and_goes(running: Running) -> None:
    result = running.use(running.options(nodes=[*running.base["nodes"], NEW]))
    assert result["plan"]["nodes"] == {"added": ["e2e9"], "changed": [], "removed": []}
    # Each slurmd has to know the new node, or no step starts from it.
    batch = f"sbatch --wait -w {running.free} -n1 --mem=50 -o {running.output}/step.out --wrap 'srun hostname'"
    running.cluster.as_user(batch)
    assert running.cluster.as_user(f"cat {running.output}/step.out") == running.free
    assert "e2e9" not in set(running.states())
    assert running.use(running.base)["plan"]["nodes"]["removed"] == ["e2e9"]


def test_a_busy_node_stays(running: Running) -> None:
    nodes = [node for node in running.base["nodes"] if node["NodeName"] != running.busy]
    message = running.fails(running.options(nodes=nodes))
    assert f"found 1 ({running.job} of cluster on {running.busy}); accepted: max_jobs_at_risk 0" in message


def test_a_gres_count_goes_down_and_up(running: Running) -> None:
    name = running.free
    device = {"NodeName": name, "Name": "gpu", "Type": "fake", "File": "/dev/fakegpu0"}
    both = {"NodeName": running.busy, "Name": "gpu", "Type": "fake", "File": "/dev/fakegpu[0-1]"}
    running.use({**running.with_node(name, Gres="gpu:fake:1"), "gres": [device, both]})
    assert running.cluster.slurm_nodes()[name]["Gres"] == "gpu:fake:1"
    running.use(running.base)
    assert running.cluster.slurm_nodes()[name]["Gres"] == "gpu:fake:2"


def test_select_type_parameters(running: Running) -> None:
    result = running.use(running.with_config(SelectTypeParameters="CR_Core"))
    assert result["plan"]["action"] == ("restart" if running.version() < (23, 11) else "reconfigure")


def test_a_file_that_somebody_broke(running: Running) -> None:
    good = running.text()
    running.head.output(f"echo 'This is = no key' >> {CONF}")
    result = running.use(running.base)
    assert (result["changed"], result["plan"]["action"]) == (True, "none")
    assert running.text() == good
    assert "no key" in running.head.output(f"cat {PAST}/edited/slurm.conf")


def test_a_file_that_somebody_edited_and_used(running: Running) -> None:
    running.head.output(f"sed -i 's/^SlurmdTimeout=.*/SlurmdTimeout=299/' {CONF} && scontrol reconfigure")
    result = running.use(running.base)
    assert [change["key"] for change in result["plan"]["changes"]] == ["SlurmdTimeout"]
    assert running.cluster.config()["SlurmdTimeout"] == "300 sec"


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"config": {"SlurmdTimeot": 3}}, "unknown key SlurmdTimeot; accepted: .* such as SlurmdTimeout"),
    "bad number": ({"config": {"SlurmdTimeout": "soon"}}, "SlurmdTimeout"),
    "no plugin of that name": ({"config": {"PriorityType": "priority/nonsense"}}, "priority/nonsense"),
    "no controller": ({"config": {"SlurmctldHost": None}}, "SlurmctldHost: found nothing"),
    "a node twice": ({"nodes": [{**NEW, "NodeAddr": "192.0.2.1"}, NEW]}, "e2e9 on another node too"),
    "a node without an address": ({"nodes": [{**NEW, "NodeAddr": ""}]}, "node e2e9: NodeAddr: found nothing"),
    "gres without a device": ({"nodes": [{**NEW, "Gres": "gpu:x:1"}]}, "no line of gres.conf for gpu"),
    "gres of no type": ({"nodes": [{**NEW, "Gres": "fpga:1"}], "config": {"GresTypes": "gpu"}}, "also fpga"),
    "a partition of unknown nodes": (
        {"partitions": {"x": {"Nodes": "e2e[1-2]"}}},
        r"partition x: Nodes: found e2e\[1-2\]",
    ),
    "two default partitions": (
        {"partitions": {"x": {"Nodes": "ALL", "Default": True}}},
        "found main, x; accepted: one",
    ),
    "a line in a value": ({"config": {"MailProg": "/bin/x\nSlurmUser=root"}}, "one line of text"),
    "a bad plugin line": ({"plugstack": ["include /etc/x/*.conf"]}, r"plugstack\[0\]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_changes_nothing(running: Running, mistake: str) -> None:
    wrong, expected = MISTAKES[mistake]
    options = running.options()
    for option, value in wrong.items():
        base = options[option]
        options[option] = {**base, **value} if isinstance(value, dict) else [*base, *value]
    message = running.fails(options)
    assert re.search(expected, message), message


RECONFIGURE = "scontrol reconfigure"


def _rolled_back(running: Running, options: dict[str, Any], disturbance: str = "true") -> str:
    before = running.text()
    result = running.module.run("slurm_config", options, before=(RECONFIGURE, disturbance))
    assert result.get("failed"), result
    assert running.text() == before
    running.expect_peace()
    assert running.module.run("slurm_config", running.base)["changed"] is False
    return str(result["msg"])


def test_a_controller_that_does_not_start(running: Running) -> None:
    options = running.with_config(PriorityType="priority/nonsense")
    message = _rolled_back(running, {**options, "validate": False})
    assert "Then the old files are back and in use" in message


def test_a_node_that_is_invalid_afterwards(running: Running) -> None:
    message = _rolled_back(running, running.with_node(running.free, RealMemory=9_999_999))
    assert f"node {running.free} became invalid: Low RealMemory" in message


def test_a_controller_that_does_not_answer(running: Running) -> None:
    partitions = {**running.base["partitions"], "e2eslow": {"Nodes": "ALL"}}
    # systemd wakes what it stops, so the restart of the rollback is the end of it; that has the same time.
    message = _rolled_back(running, running.options(partitions=partitions, timeout=10), "pkill -STOP -x slurmctld")
    assert "the old files are back and in use" in message


def test_a_node_that_is_silent_afterwards(running: Running) -> None:
    node = next(machine for machine in running.cluster.nodes if machine.node == running.free)
    ask, told = f"{running.output}/ask", f"{running.output}/told"
    node.output(
        f"nohup sh -c 'until [ -e {ask} ]; do sleep 0.05; done; systemctl stop slurmd; touch {told}; sleep 20;"
        f" systemctl start slurmd; rm {ask} {told}' >/dev/null 2>&1 &"
    )
    options = running.options(nodes=[*running.base["nodes"], NEW], timeout=15)
    message = _rolled_back(running, options, f"touch {ask}; until [ -e {told} ]; do sleep 0.05; done")
    assert f"nodes that responded before do not any more: {running.free}" in message


def test_killed_after_each_step(running: Running) -> None:
    """To and fro between two sets of nodes, which takes a restart on 22.05: killed, then run to the end."""
    texts = [running.text()]
    targets = [running.base, running.options(nodes=[*running.base["nodes"], NEW])]
    result: dict[str, Any] = {}
    step = 0
    while not result:
        step += 1
        wanted = targets[step % 2]
        result = running.module.run("slurm_config", wanted, kill_after=step)
        left = running.text()
        assert running.job_state() == "RUNNING"
        finished = running.module.run("slurm_config", wanted)
        assert not finished.get("failed"), finished["msg"]
        texts.append(running.text())
        assert left in texts[-2:], f"step {step}"
        assert ("e2e9" in running.cluster.slurm_nodes()) == (step % 2 == 1)
    assert not result.get("failed"), result["msg"]
    assert step > 8
    assert len(set(texts)) == 2
    running.expect_peace()


def test_without_munge_the_cause_is_named(running: Running) -> None:
    running.head.output("systemctl stop munge")
    try:
        began = time.monotonic()
        result = running.module.run("slurm_config", running.with_config(SlurmdTimeout=301))
        assert time.monotonic() - began < 30
    finally:
        running.head.output("systemctl start munge")
    assert result.get("failed")
    assert "munge" in result["msg"]
