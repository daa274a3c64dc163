# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules import slurm_node
from module_arguments import module_arguments

FIXTURES = Path(__file__).parents[2] / "fixtures"
VERSIONS = pytest.mark.parametrize("version", ["22.05", "24.11"])

VERSION = ["scontrol", "--version"]
READ = {"22.05": ["sinfo", "--all", "--json"], "24.11": ["scontrol", "--all", "show", "nodes", "--json"]}
READ_TEXT = ["scontrol", "--all", "--oneliner", "show", "nodes"]
CONFIG = ["scontrol", "show", "config"]
SAMPLES = {"22.05": "sinfo.json", "24.11": "scontrol_show_nodes.json"}
REASON = "Reason=aicluster: new switches"
DRAIN = {"state": "drained", "reason": "new switches"}


def did(*argv: str, rc: int = 0, stdout: str = "", stderr: str = "") -> Result:
    """A command that is expected, and how it ends."""
    return Result(list(argv), rc, stdout, stderr)


def update(name: str, *settings: str, rc: int = 0, stderr: str = "") -> Result:
    return did("scontrol", "update", f"NodeName={name}", *settings, rc=rc, stderr=stderr)


def squeue(names: str, *lines: str, rc: int = 0, stderr: str = "") -> Result:
    text = "".join(line + "\n" for line in lines)
    return did(
        "squeue", "--noheader", f"--nodelist={names}", "--format=%i|%u|%T|%P|%N", rc=rc, stdout=text, stderr=stderr
    )


class Cluster:
    """What a Slurm of some version would print."""

    def __init__(self, version: str) -> None:
        self.version = version
        text = (FIXTURES / f"slurm-{version}" / SAMPLES[version]).read_text(encoding="utf-8")
        self.document = json.loads(text)
        # An idle node.
        self.record = self.document["nodes"][2]

    def start(self) -> Result:
        return did(*VERSION, stdout=f"slurm-wlm {self.version}.1\n")

    def read(self, **states: str) -> Result:
        """All nodes: each with its state, and after a blank its Reason, set by slurm where a `~` follows."""
        return did(
            *READ[self.version], stdout=json.dumps({**self.document, "nodes": [*map(self.node, states.items())]})
        )

    def node(self, item: tuple[str, str]) -> dict[str, Any]:
        state, _blank, reason = item[1].partition(" ")
        base, *flags = state.split("+")
        user = "slurm" if reason.endswith("~") else "root"
        record = {**self.record, "name": item[0], "reason": reason.rstrip("~"), "reason_set_by_user": user}
        if self.version == "22.05":
            return {**record, "state": base.lower(), "state_flags": flags, "features": "a,b", "active_features": "a,b"}
        return {**record, "state": [base, *flags], "features": ["a", "b"], "active_features": ["a", "b"]}


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """The whole module, with a runner that answers exactly the commands that are expected, in their order."""
    (tmp_path / "scontrol").touch(mode=0o755)

    def run(*steps: Result, check: bool = False, path: str = str(tmp_path), **options: Any) -> dict[str, Any]:
        left = list(steps)

        def runner(argv: Sequence[str]) -> Result:
            assert left, f"unexpected: {argv}"
            result = left.pop(0)
            assert list(argv) == result.argv
            return result

        monkeypatch.setenv("PATH", path)
        monkeypatch.setattr(slurm_node, "module_runner", lambda _module: runner)
        arguments = {"_ansible_check_mode": check, **options}
        with module_arguments(arguments), pytest.raises(SystemExit) as end:
            slurm_node.main()
        assert left == []
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert end.value.code == int(result.get("failed", False))
        return result

    return run


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(slurm_node, "time", clock)
    return clock


# --- states -----------------------------------------------------------------------------------------------------------


@VERSIONS
def test_drain(run: Run, version: str) -> None:
    slurm = Cluster(version)
    before = slurm.read(n1="MIXED", n2="IDLE+DRAIN aicluster: new switches", n3="IDLE old", n4="IDLE")
    after = slurm.read(
        n1="MIXED+DRAIN aicluster: new switches", n2="IDLE+DRAIN aicluster: new switches", n3="IDLE old", n4="IDLE"
    )
    told = ["scontrol", "update", "NodeName=n1", "State=DRAIN", REASON]
    result = run(slurm.start(), before, update("n1", "State=DRAIN", REASON), after, name="n[1-2],n1", **DRAIN)
    assert (result["changed"], result["commands"], result["kept"]) == (True, [told], {})
    assert {name: node["state"] for name, node in result["before"].items()} == {"n1": "MIXED", "n2": "IDLE+DRAIN"}
    assert {name: node["state"] for name, node in result["after"].items()} == {"n1": "MIXED+DRAIN", "n2": "IDLE+DRAIN"}
    assert result["after"]["n1"] == {
        "state": "MIXED+DRAIN",
        "reason": "aicluster: new switches",
        "weight": 20,
        "features": ["a", "b"],
        "comment": "",
        "extra": "",
    }
    assert result["diff"] == {when: {"n1": result[when]["n1"]} for when in ("before", "after")}

    checked = run(slurm.start(), before, name="n[1-2]", check=True, **DRAIN)
    assert {key: checked[key] for key in ("changed", "commands", "after", "diff")} == {
        key: result[key] for key in ("changed", "commands", "after", "diff")
    }
    again = run(slurm.start(), after, name="n[1-2]", **DRAIN)
    assert (again["changed"], again["commands"], again["diff"]) == (False, [], {"before": {}, "after": {}})


@VERSIONS
def test_thousand_nodes_without_a_change_are_one_read(run: Run, version: str) -> None:
    slurm = Cluster(version)
    states = {f"n{number}": "IDLE+DRAIN aicluster: new switches" for number in range(1, 1001)}
    result = run(slurm.start(), slurm.read(**states), name="n[1-1000]", weight=20, features=["b", "a"], **DRAIN)
    assert (result["changed"], len(result["after"])) == (False, 1000)


@VERSIONS
def test_somebody_elses_drain(run: Run, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a test before loaded the controller's part of Ansible, that shows a module's warnings, and each only once.
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text, **_: said.append(text))
    slurm = Cluster(version)
    before = slurm.read(n1="IDLE+DRAIN bad fan", n2="IDLE+DRAIN aicluster: x", n3="IDLE bad fan")
    after = slurm.read(n1="IDLE+DRAIN bad fan", n2="IDLE", n3="IDLE bad fan")
    result = run(slurm.start(), before, update("n2", "State=RESUME"), after, name="n[1-3]", state="resumed")
    assert (result["changed"], result["kept"]) == (True, {"n1": "bad fan"})
    assert len(result["commands"]) == 1
    assert said == ["n1 was left alone, somebody else took it out of service: bad fan"]
    # A Reason without a drain is of the past.
    assert result["before"]["n3"]["reason"] == ""

    after = slurm.read(n1="IDLE", n2="IDLE+DRAIN aicluster: x", n3="IDLE bad fan")
    result = run(
        slurm.start(), before, update("n1", "State=RESUME"), after, name="n1", state="resumed", force_reason=True
    )
    assert (result["changed"], result["kept"]) == (True, {})


@VERSIONS
def test_description(run: Run, version: str) -> None:
    slurm = Cluster(version)
    before = slurm.read(n1="IDLE")
    after = json.loads(before.stdout)
    lists = {"22.05": "c", "24.11": ["c"]}[version]
    after["nodes"][0].update(weight=5, features=lists, active_features=lists, comment="on loan", extra="k=v")
    result = run(
        slurm.start(),
        before,
        update("n1", "AvailableFeatures=c", "ActiveFeatures=c", "Weight=5", "Comment=on loan", "Extra=k=v"),
        did(*READ[version], stdout=json.dumps(after)),
        name="n1",
        weight=5,
        features=["c"],
        comment="on loan",
        extra="k=v",
    )
    assert result["changed"]


@VERSIONS
def test_reboot(run: Run, version: str) -> None:
    slurm = Cluster(version)
    result = run(
        slurm.start(),
        slurm.read(n1="MIXED", n2="DOWN+DRAIN+REBOOT_ISSUED aicluster: reboot : reboot issued~"),
        did("scontrol", "reboot", "ASAP", "nextstate=RESUME", "reason=aicluster: reboot", "n1"),
        # n2 comes back meanwhile, which is no reason to complain.
        slurm.read(n1="MIXED+DRAIN+REBOOT_REQUESTED aicluster: reboot", n2="IDLE"),
        name="n[1-2]",
        state="rebooted",
    )
    assert result["after"]["n1"]["state"] == "MIXED+DRAIN+REBOOT_REQUESTED"


@VERSIONS
def test_dynamic_nodes(run: Run, version: str) -> None:
    slurm = Cluster(version)
    cloud = "IDLE+CLOUD+DYNAMIC_NORM+POWERED_DOWN"
    # Only 22.05 has to be asked whether it will show what it makes.
    config = (
        [did(*CONFIG, stdout="PriorityType = x\nPrivateData             = cloud,jobs\n")] if version == "22.05" else []
    )
    create = did("scontrol", "create", "NodeName=d1", "State=CLOUD", "Feature=a,b", "Weight=20")
    options = {"features": ["a", "b"], "weight": 20}
    result = run(
        slurm.start(),
        slurm.read(n1="IDLE"),
        *config,
        create,
        slurm.read(n1="IDLE", d1=cloud),
        name="d1",
        state="present",
        **options,
    )
    assert (result["changed"], result["before"], list(result["after"])) == (True, {}, ["d1"])
    assert not run(slurm.start(), slurm.read(n1="IDLE", d1=cloud), name="d1", state="present", **options)["changed"]

    delete = did("scontrol", "delete", "NodeName=d1")
    result = run(slurm.start(), slurm.read(d1=cloud), delete, slurm.read(), name="d1", state="absent")
    assert (result["changed"], list(result["before"]), result["after"]) == (True, ["d1"], {})
    assert not run(slurm.start(), slurm.read(n1="IDLE"), name="d1", state="absent")["changed"]


def test_creation_that_would_not_be_seen(run: Run) -> None:
    slurm = Cluster("22.05")
    result = run(
        slurm.start(), slurm.read(n1="IDLE"), did(*CONFIG, stdout="PrivateData = none\n"), name="d1", state="present"
    )
    assert "`cloud` in PrivateData" in result["msg"]


# --- waiting ----------------------------------------------------------------------------------------------------------


@VERSIONS
def test_wait(run: Run, version: str, clock: Clock) -> None:
    slurm = Cluster(version)
    result = run(
        slurm.start(),
        slurm.read(n1="MIXED", n2="IDLE"),
        update("n1", "State=DRAIN", REASON),
        update("n2", "State=DRAIN", REASON),
        slurm.read(n1="MIXED+DRAIN aicluster: new switches", n2="IDLE+DRAIN aicluster: new switches"),
        squeue("n[1-2]", "7|alice|RUNNING|main|n1"),
        # slurmctld restarts meanwhile.
        squeue("n[1-2]", rc=1, stderr="slurm_load_jobs error: Unable to contact slurm controller (connect failure)"),
        squeue("n[1-2]", "7|alice|COMPLETING|main|n1"),
        squeue("n[1-2]"),
        name="n[1-2]",
        wait=True,
        **DRAIN,
    )
    assert result["changed"]
    assert clock.now == 3 * slurm_node.PAUSE


@VERSIONS
def test_jobs_that_stay(run: Run, version: str, clock: Clock) -> None:
    slurm = Cluster(version)
    jobs = squeue("n1", "7|alice|RUNNING|main|n1", "8_1|bob|SUSPENDED|main|n[1-2]")
    read = slurm.read(n1="MIXED+DRAIN aicluster: new switches")
    result = run(slurm.start(), read, jobs, jobs, jobs, name="n1", wait=True, wait_timeout=4, **DRAIN)
    assert result["msg"] == (
        "slurm_node: wait: after 4 s jobs are left: 7 of alice (RUNNING on n1), 8_1 of bob (SUSPENDED on n[1-2])"
    )
    assert result["jobs"][0] == {"id": "7", "user": "alice", "state": "RUNNING", "partition": "main", "nodes": "n1"}
    assert clock.now == 4


@pytest.mark.usefixtures("clock")
def test_wait_ends_when_slurmctld_stays_away(run: Run) -> None:
    slurm = Cluster("24.11")
    gone = squeue("n1", rc=1, stderr="slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    result = run(slurm.start(), slurm.read(n1="IDLE"), gone, gone, name="n1", wait=True, wait_timeout=2)
    assert "slurmctld does not answer" in result["msg"]


@pytest.mark.usefixtures("clock")
def test_what_will_be_absent_is_waited_for_first(run: Run) -> None:
    slurm = Cluster("24.11")
    result = run(
        slurm.start(),
        slurm.read(d1="MIXED+DYNAMIC_NORM"),
        squeue("d1", "7|alice|RUNNING|main|d1"),
        squeue("d1"),
        did("scontrol", "delete", "NodeName=d1"),
        slurm.read(n1="IDLE"),
        name="d[1-2]",
        state="absent",
        wait=True,
    )
    assert result["changed"]


def test_check_mode_does_not_wait(run: Run) -> None:
    slurm = Cluster("24.11")
    assert run(slurm.start(), slurm.read(n1="MIXED"), name="n1", wait=True, check=True, **DRAIN)["changed"]


# --- failures ---------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("check", [False, True])
def test_a_bad_name_changes_nothing(run: Run, version: str, check: bool) -> None:
    slurm = Cluster(version)
    result = run(slurm.start(), slurm.read(n1="IDLE"), name="n[1,8-9]", check=check, **DRAIN)
    assert result["msg"] == "slurm_node: name: slurmctld shows no n[8-9]; accepted: nodes that it shows"


@VERSIONS
def test_one_node_that_fails_does_not_keep_the_others(run: Run, version: str) -> None:
    slurm = Cluster(version)
    result = run(
        slurm.start(),
        slurm.read(n1="MIXED+DRAIN aicluster: x", n2="IDLE+DRAIN aicluster: x", n3="IDLE+DRAIN aicluster: x"),
        update("n1", "State=IDLE", rc=1, stderr="slurm_update error: Invalid node state specified"),
        update("n2", "State=IDLE"),
        update("n3", "State=IDLE"),
        slurm.read(n1="MIXED+DRAIN aicluster: x", n2="IDLE", n3="IDLE+DRAIN aicluster: x"),
        name="n[1-3]",
        state="idle",
    )
    assert result["msg"].startswith(
        "slurm_node: n1: the node's state does not allow it: idle needs a node without jobs"
    )
    assert result["msg"].endswith("; n3: slurmctld took the command, and the node is IDLE+DRAIN aicluster: x")
    assert len(result["commands"]) == 3


def test_a_node_that_does_not_appear(run: Run) -> None:
    slurm = Cluster("24.11")
    create = did("scontrol", "create", "NodeName=d1", "State=CLOUD")
    result = run(slurm.start(), slurm.read(n1="IDLE"), create, slurm.read(n1="IDLE"), name="d1", state="present")
    assert result["msg"] == "slurm_node: d1: slurmctld took the command, and does not show the node"


def test_a_command_that_failed_after_it_worked(run: Run) -> None:
    slurm = Cluster("24.11")
    failed = update("n1", "State=RESUME", rc=1, stderr="slurm_update error: Invalid node state specified")
    result = run(
        slurm.start(), slurm.read(n1="DOWN aicluster: x"), failed, slurm.read(n1="IDLE"), name="n1", state="resumed"
    )
    assert result["changed"]


def test_what_would_fail_for_every_node_ends_the_run(run: Run) -> None:
    slurm = Cluster("24.11")
    denied = update("n1", "State=DRAIN", REASON, rc=1, stderr="slurm_update error: Invalid user id")
    result = run(slurm.start(), slurm.read(n1="IDLE", n2="IDLE"), denied, name="n[1-2]", **DRAIN)
    assert result["msg"].startswith("slurm_node: this user has no right to change nodes; run as root")
    assert result["commands"] == [["scontrol", "update", "NodeName=n1", "State=DRAIN", REASON]]


UNREACHED = "slurm_load_node error: Unable to contact slurm controller (connect failure)\n"
CTLD_DOWN = (FIXTURES / "slurm-22.05" / "sinfo_ctld_down.json").read_text(encoding="utf-8")
MUNGE_DOWN = 'error: Munge encode failed: Failed to access "/run/munge/munge.socket.2" (Did you start munged?)\n'
WRONG_KEY = {"22.05": "Zero Bytes were transmitted or received", "24.11": "Protocol authentication error"}


@pytest.mark.parametrize(
    ("version", "steps", "said"),
    [
        ("24.11", [did(*READ["24.11"], rc=1, stderr=UNREACHED)], "slurmctld does not answer"),
        # 22.05 exits with 0 and says nothing of use; the text does.
        (
            "22.05",
            [did(*READ["22.05"], stdout=CTLD_DOWN), did(*READ_TEXT, rc=1, stderr=UNREACHED)],
            "slurmctld does not answer",
        ),
        ("22.05", [did(*READ["22.05"], stdout=CTLD_DOWN, stderr=MUNGE_DOWN)], "munged does not run"),
        ("24.11", [did(*READ["24.11"], rc=1, stderr=MUNGE_DOWN)], "munged does not run"),
        (
            "22.05",
            [did(*READ["22.05"], stdout=CTLD_DOWN), did(*READ_TEXT, rc=1, stderr=WRONG_KEY["22.05"])],
            "compare /etc/munge/munge.key",
        ),
        ("24.11", [did(*READ["24.11"], rc=1, stderr=WRONG_KEY["24.11"])], "compare /etc/munge/munge.key"),
        ("24.11", [did(*READ["24.11"], stdout="{"), did(*READ_TEXT, stdout="what?")], "nodes: found 'what?'"),
    ],
)
def test_a_cluster_that_cannot_be_read(run: Run, version: str, steps: list[Result], said: str) -> None:
    result = run(Cluster(version).start(), *steps, name="n1", **DRAIN)
    assert said in result["msg"]
    assert result["commands"] == []


@VERSIONS
def test_text_is_read_where_json_is_not_built_in(run: Run, version: str) -> None:
    text = (FIXTURES / f"slurm-{version}" / "scontrol_show_nodes_o.txt").read_text(encoding="utf-8")
    # Version 24.11 crashes after it.
    missing = did(*READ[version], rc=139, stderr="fatal: Unable to find plugin: serializer/json\n")
    name = {"22.05": "bk-n3", "24.11": "tx-n3"}[version]
    result = run(Cluster(version).start(), missing, did(*READ_TEXT, stdout=text), name=name, weight=20)
    assert (result["changed"], result["after"][name]["state"]) == (False, "IDLE")


def test_an_older_slurm_is_read_as_text(run: Run) -> None:
    text = (FIXTURES / "slurm-22.05" / "scontrol_show_nodes_o.txt").read_text(encoding="utf-8")
    start = did(*VERSION, stdout="slurm-wlm 20.11.4\n")
    assert not run(start, did(*READ_TEXT, stdout=text), name="bk-n3", state="resumed")["changed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "name: found no node"),
        ({"name": "n[1-"}, "host list 'n[1-'"),
        ({"state": "drained"}, "state is drained but all of the following are missing: reason"),
        ({"state": "down"}, "state is down but all of the following are missing: reason"),
        ({"state": "drained", "reason": "'x'"}, "accepted: text without a quote at its ends"),
        ({"state": "drained", "reason": "two\nlines"}, "accepted: one line of printable characters"),
        ({"state": "resumed", "reason": "x"}, "accepted with drained, down and rebooted"),
        ({"reason": "x"}, "accepted with drained, down and rebooted"),
        ({"comment": "two\nlines"}, "comment: found"),
        ({"extra": "a\tb"}, "extra: found"),
        ({"weight": -1}, "accepted: 0 to 4294967294"),
        ({"weight": 2**32 - 1}, "accepted: 0 to 4294967294"),
        ({"features": ["a,b"]}, "accepted: words without commas"),
        ({"features": [""]}, "accepted: words without commas"),
        ({"state": "fail"}, "value of state must be one of"),
    ],
)
def test_bad_input_runs_nothing(run: Run, options: dict[str, Any], said: str) -> None:
    result = run(**{"name": "n1", **options})
    assert result["failed"]
    assert said in result["msg"]


def test_check_mode_before_slurm_is_there(run: Run, tmp_path: Path) -> None:
    result = run(name="n1", check=True, path=str(tmp_path / "nothing"), **DRAIN)
    assert (result["changed"], result["msg"]) == (False, "no Slurm on this host yet")
