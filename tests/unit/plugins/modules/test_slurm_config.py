# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_generations, slurm_plan, slurm_validate
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import AS_SLURM, CARRY, NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import HEADER, ConfigError
from ansible_collections.aicluster.slurm.plugins.modules.slurm_config import RefusedError, run_module

OPTIONS: dict[str, Any] = {
    "config": {"ClusterName": "lab", "SlurmctldHost": ["head(10.0.0.1)"]},
    "nodes": [{"NodeName": "n1", "NodeAddr": "10.0.0.11", "CPUs": 4}, {"NodeName": "n2", "NodeAddr": "10.0.0.12"}],
    "partitions": {"main": {"Nodes": "ALL", "MaxTime": "60"}},
    "nodesets": {},
    "cgroup": {"ConstrainCores": True},
    "gres": [],
    "plugstack": [],
    "files": {},
    "state": "present",
    "adopt": "fail",
    "validate": False,
    "rollback": True,
    "max_jobs_at_risk": 0,
    "jobs": {},
    "away": [],
    "followers": [],
    "followed": False,
    "timeout": 0,
    "store": None,
    "store_read": None,
}
SHORTER: dict[str, Any] = {"partitions": {"main": {"Nodes": "ALL", "MaxTime": "30"}}}
ONE_NODE: dict[str, Any] = {"nodes": OPTIONS["nodes"][:1]}
FOREIGN = """\
ClusterName=lab
SlurmctldHost=head(10.0.0.1)
MailProg=/bin/mail
NodeName=n[1-2]
PartitionName=main Nodes=ALL
"""


def did(words: str, rc: int = 0, stdout: str = "", stderr: str = "") -> Result:
    """A command that is expected, by the words it begins with, and how it ends."""
    return Result(words.split(), rc, stdout, stderr)


def nodes(**states: str) -> Result:
    """Each node's state as the JSON of 22.05 has it."""
    common: dict[str, Any] = {
        "reason": "", "reason_set_by_user": "slurm", "reason_changed_at": 0, "weight": 1, "features": "",
        "active_features": "", "comment": "", "extra": "", "boot_time": 1, "slurmd_start_time": 1, "gres": "",
        "slurmd_version": "22.05.8",
    }  # fmt: skip
    records = [
        {**common, "name": name, "state": text.split("+")[0].lower(), "state_flags": text.split("+")[1:]}
        for name, text in states.items()
    ]
    return did("sinfo --all --json", stdout=json.dumps({"nodes": records}))


def partitions(state: str = "UP", limit: str = "01:00:00") -> Result:
    said = f"PartitionName=main MaxTime={limit} Nodes=n[1-2] State={state} TotalCPUs=8 \n"
    return did("scontrol --all --oneliner show partitions", stdout=said)


def within(result: Result) -> Result:
    """The same command, asked with the configuration that is in use."""
    return result._replace(argv=["env", *result.argv])


VERSION = did("slurmctld -V", stdout="slurm-wlm 22.05.8\n")
ACTIVE, INACTIVE = did("systemctl is-active --quiet slurmctld"), did("systemctl is-active --quiet slurmctld", rc=3)
MATCH = did("scontrol show config", stdout="HASH_VAL                = Match\n")
DIFFERENT = did("scontrol show config", stdout="HASH_VAL                = Different Ours=0x1 Slurmctld=0x2\n")
BROKEN = did("scontrol show config", rc=1, stderr="fatal: Unable to process configuration file")
QUEUE = (did(" ".join(slurm_plan.JOBS)), did(" ".join(slurm_plan.JOBS_TRES)))
JOBS = (QUEUE[0]._replace(stdout="5|ann|main|n2|N/A\n"), QUEUE[1])
LIVE = (VERSION, ACTIVE, MATCH)
PING, SILENT = did("scontrol ping"), did("scontrol ping", rc=1)
RESET = did("systemctl reset-failed slurmctld")
RESTART, RECONFIGURE = did("systemctl restart slurmctld"), did("scontrol reconfigure")
ANEW = (RESET, RESTART, PING, RECONFIGURE, PING)
BOTH = nodes(n1="IDLE", n2="IDLE")
BEFORE = (BOTH, partitions())
"""What is asked before the files change."""
AFTER = (partitions(), BOTH)
BACK = (*ANEW, partitions(), BOTH, BOTH)
"""A rollback: nothing is spoiled, and every node responds."""
RECONFIGURED = (*BEFORE, RECONFIGURE, PING, *AFTER)
RESTARTED = (*BEFORE, *ANEW, *AFTER)
REGISTRATIONS = [
    did("sdiag", stdout=f"\tMESSAGE_NODE_REGISTRATION_STATUS        ( 1002) count:{count}      ave_time:9\n")
    for count in range(3)
]
DESCRIBED = (*BEFORE, REGISTRATIONS[0], RECONFIGURE, PING, *REGISTRATIONS[1:], *AFTER)
"""Lines of nodes change, so that each has to register before it counts as valid."""
DESCRIBED_ANEW = (*BEFORE, *ANEW[:-2], REGISTRATIONS[0], *ANEW[-2:], *REGISTRATIONS[1:], *AFTER)


class FakeModule:
    """What run_module asks of an AnsibleModule."""

    def __init__(self, params: dict[str, Any], check_mode: bool, installed: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.installed = installed

    def get_bin_path(self, name: str, opt_dirs: Sequence[str] = ()) -> str | None:
        assert (name, opt_dirs) == ("slurmctld", ["/usr/sbin"])
        return "/usr/sbin/slurmctld" if self.installed else None


class Host:
    """A controller's folders, and runs of the module there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"

    def use(
        self,
        *steps: Result,
        check_mode: bool = False,
        installed: bool = True,
        look: Callable[[list[str]], object] = lambda _argv: None,
        **options: Any,
    ) -> dict[str, Any]:
        """Every step has to be taken, and no other command."""
        left = list(steps)

        def run(argv: Sequence[str]) -> Result:
            assert left, f"unexpected: {argv}"
            result = left.pop(0)
            words = list(argv)
            if words[:2] == ["env", f"SLURM_CONF={self.folder}/state/slurm/used/slurm.conf"]:
                del words[1]
            assert words[: len(result.argv)] == result.argv
            look(list(argv))
            return result

        paths = {"path": str(self.etc), "state_path": str(self.folder / "state")}
        module: Any = FakeModule({**OPTIONS, **paths, **options}, check_mode, installed)
        try:
            result = run_module(module, run)
        except (CommandError, ConfigError, NotTakenError, RefusedError):
            assert left == []
            raise
        assert left == []
        return result

    def deploy(self, **options: Any) -> dict[str, Any]:
        return self.use(VERSION, INACTIVE, *ANEW, *AFTER, **options)

    def text(self) -> str:
        return (self.etc / "slurm.conf").read_text(encoding="utf-8")

    def copy(self, link: str) -> str:
        return (self.folder / "state" / "slurm" / link / "slurm.conf").read_text(encoding="utf-8")

    def state(self) -> dict[str, str]:
        """Every file and its text."""
        return {
            str(path.relative_to(self.folder)): path.read_text(encoding="utf-8")
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in self.etc.iterdir()}

    def put(self, text: str) -> None:
        self.etc.mkdir(exist_ok=True)
        (self.etc / "slurm.conf").write_text(text, encoding="utf-8")

    @property
    def pending(self) -> bool:
        return (self.folder / "state" / "slurm" / "pending").exists()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_first_deploy(host: Host) -> None:
    result = host.deploy()
    assert result["changed"]
    assert result["plan"]["action"] == "start"
    assert result["plan"]["nodes"]["added"] == ["n1", "n2"]
    assert result["commands"] == [RESTART.argv, RECONFIGURE.argv]
    assert [entry["before"] for entry in result["diff"]] == [""] * 5
    assert [Path(entry["after_header"]).name for entry in result["diff"]] == [*sorted(os.listdir(host.etc)), "plan"]
    assert sorted(os.listdir(host.etc)) == ["cgroup.conf", "gres.conf", "plugstack.conf", "slurm.conf"]
    assert host.text().startswith(HEADER)
    assert not host.pending


def test_no_change(host: Host) -> None:
    host.deploy()
    before = host.state()
    result = host.use(*LIVE)
    assert not result["changed"]
    assert (result["plan"]["action"], result["plan"]["changes"], result["diff"]) == ("none", [], [])
    assert (result["commands"], result["validated"]) == ([], "none")
    assert host.state() == before


def test_a_change(host: Host) -> None:
    host.deploy()
    result = host.use(*LIVE, *QUEUE, *RECONFIGURED, **SHORTER)
    assert result["plan"]["changes"] == [
        {"kind": "partition", "name": "main", "key": "MaxTime", "before": "60", "after": "30"}
    ]
    assert (result["changed"], result["commands"]) == (True, [RECONFIGURE.argv])
    file, plan = result["diff"]
    assert (file["before_header"], file["after_header"]) == (str(host.etc / "slurm.conf"),) * 2
    assert ("MaxTime=60" in file["before"], "MaxTime=30" in file["after"]) == (True, True)
    assert (plan["after_header"], plan["before"]) == ("plan", "")
    assert plan["after"] == "slurmctld: reconfigure\npartition main MaxTime: 60 -> 30\n"
    assert "MaxTime=30" in host.text()
    assert not host.use(*LIVE, **SHORTER)["changed"]


def test_a_password_that_changes_is_not_shown(host: Host) -> None:
    config = {**OPTIONS["config"], "JobCompPass": "s3cret1"}
    assert "s3cret1" not in str(host.deploy(config=config))
    result = host.use(*LIVE, *QUEUE, check_mode=True, config={**config, "JobCompPass": "s3cret2"})
    file, plan = result["diff"]
    assert file["before"] == file["after"]
    assert "JobCompPass=[not shown]" in file["after"]
    (warning,) = result["warnings"]
    assert warning.startswith("slurm.conf: JobCompPass: found a password")
    assert "s3cret" not in warning
    assert "JobCompPass: [not shown] -> [not shown]" in plan["after"]


def test_other_files(host: Host) -> None:
    host.deploy()
    more: dict[str, Any] = {
        "gres": [{"Name": "license", "Count": 2}],
        "plugstack": ["required x.so"],
        "files": {"topology.conf": "SwitchName=s Nodes=n[1-2]\n"},
    }
    result = host.use(*LIVE, *QUEUE, *DESCRIBED, **more)
    assert [(change["kind"], change["key"]) for change in result["plan"]["changes"]] == [
        ("gres.conf", ""),
        ("plugstack.conf", ""),
        ("topology.conf", ""),
    ]
    assert (host.etc / "plugstack.conf").read_text(encoding="utf-8") == f"{HEADER}required x.so\n"
    assert not host.use(*LIVE, **more)["changed"]


def test_a_further_file_goes_and_comes_back(host: Host) -> None:
    host.deploy(files={"topology.conf": "SwitchName=s Nodes=n[1-2]\n"})
    host.use(*LIVE, *QUEUE, *RECONFIGURED)
    assert not (host.etc / "topology.conf").exists()
    result = host.use(*LIVE, *QUEUE, *RECONFIGURED, state="reverted", config=None, nodes=None)
    assert [change["kind"] for change in result["plan"]["changes"]] == ["topology.conf"]
    assert (host.etc / "topology.conf").exists()


def test_a_comment_by_hand_is_left(host: Host) -> None:
    host.deploy()
    host.put(host.text() + "# by hand\n")
    # The hash does not count comments.
    assert not host.use(VERSION, ACTIVE, within(MATCH), MATCH)["changed"]
    assert host.text().endswith("# by hand\n")


def test_files_that_are_not_in_use(host: Host) -> None:
    host.deploy()
    before = host.text()
    result = host.use(VERSION, ACTIVE, DIFFERENT, *RESTARTED)
    assert (result["changed"], result["plan"]["action"]) == (True, "restart")
    assert [entry["after_header"] for entry in result["diff"]] == ["plan"]
    assert host.text() == before
    assert not host.pending


@pytest.mark.parametrize("options", [{"check_mode": True}, {"state": "planned"}])
def test_a_preview_writes_nothing(host: Host, options: dict[str, Any]) -> None:
    host.deploy()
    before = host.state()
    result = host.use(*LIVE, *QUEUE, **options, **SHORTER)
    assert result["changed"] is bool("check_mode" in options)
    assert result["plan"]["action"] == "reconfigure"
    assert len(result["diff"]) == 2
    assert (result["commands"], host.state()) == ([], before)


def test_a_preview_without_slurm(host: Host) -> None:
    result = host.use(check_mode=True, installed=False, validate=True)
    assert (result["changed"], result["plan"]["action"], result["validated"]) == (True, "start", "none")
    assert host.state() == {}


# --- what a person did ------------------------------------------------------------------------------------------------


def test_an_edit_that_nobody_used_is_put_right_and_kept(host: Host) -> None:
    host.deploy()
    good, edit = host.text(), host.text().replace("MaxTime=60", "MaxTime=90")
    host.put(edit)
    result = host.use(VERSION, ACTIVE, within(MATCH), DIFFERENT, within(BOTH), within(partitions()))
    assert (result["changed"], result["plan"]["changes"], result["commands"]) == (True, [], [])
    assert (host.text(), host.copy("edited"), host.copy("used")) == (good, edit, good)


def test_an_edit_that_was_used_is_a_change(host: Host) -> None:
    host.deploy()
    good, edit = host.text(), host.text().replace("MaxTime=60", "MaxTime=90")
    host.put(edit)
    result = host.use(VERSION, ACTIVE, within(DIFFERENT), MATCH, *QUEUE, *RECONFIGURED)
    assert [(change["before"], change["after"]) for change in result["plan"]["changes"]] == [("90", "60")]
    assert (host.text(), host.copy("previous"), host.copy("used")) == (good, edit, good)


def test_a_file_that_a_person_broke(host: Host) -> None:
    host.deploy()
    good = host.text()
    host.put("Nonsense\n")
    result = host.use(VERSION, ACTIVE, within(MATCH), BROKEN, within(BOTH), within(partitions()))
    assert (result["changed"], result["commands"]) == (True, [])
    assert (host.text(), host.copy("edited")) == (good, "Nonsense\n")
    # The same while something else changes: clients are asked with what is in use.
    host.put("Nonsense\n")
    queue = [within(step) for step in QUEUE]
    before = [within(step) for step in BEFORE]
    host.use(VERSION, ACTIVE, within(MATCH), BROKEN, *queue, *before, RECONFIGURE, PING, *AFTER, **SHORTER)
    assert "MaxTime=30" in host.text()


def test_a_partition_that_an_admin_closed_stays_so(host: Host) -> None:
    host.deploy()
    close = did("scontrol update PartitionName=main State=DOWN")
    steps = (BOTH, partitions("DOWN"), RECONFIGURE, PING, partitions("UP"), close, BOTH)
    result = host.use(*LIVE, *QUEUE, *steps, **SHORTER)
    assert result["commands"] == [RECONFIGURE.argv, close.argv]


# --- jobs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check_mode", [False, True])
def test_too_many_jobs_at_risk(host: Host, check_mode: bool) -> None:
    host.deploy()
    before = host.state()
    with pytest.raises(RefusedError, match=r"found 1 \(5 of ann on n2\); accepted: max_jobs_at_risk 0") as caught:
        host.use(*LIVE, *JOBS, check_mode=check_mode, **ONE_NODE)
    assert caught.value.facts["plan"]["nodes_at_risk"] == ["n2"]
    assert host.state() == before
    planned = host.use(*LIVE, *JOBS, state="planned", **ONE_NODE)
    assert planned["plan"]["jobs_at_risk"] == ["5 of ann on n2"]


def test_accepted_jobs_at_risk(host: Host) -> None:
    host.deploy()
    after = (partitions(), nodes(n1="IDLE"))
    result = host.use(*LIVE, *JOBS, *BEFORE, *ANEW, *after, max_jobs_at_risk=1, **ONE_NODE)
    assert result["plan"]["nodes"]["removed"] == ["n2"]
    assert "n2" not in host.text()


@pytest.mark.parametrize("step", [0, 1])
def test_without_an_answer_about_jobs_nothing_changes(host: Host, step: int) -> None:
    host.deploy()
    before = host.state()
    with pytest.raises(CommandError):
        host.use(*LIVE, *QUEUE[:step], QUEUE[step]._replace(rc=1), **SHORTER)
    assert host.state() == before


RUNNING: dict[str, Any] = {"jobs": {"n1": [7], "n2": [7, 31]}}


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_slurmctld_without_a_state_ends_no_job(host: Host, check_mode: bool) -> None:
    state = host.folder / "state"
    config = {**OPTIONS["config"], "StateSaveLocation": str(state)}
    before = host.state()
    for _there in range(2):  # not even the folder, and an empty one
        with pytest.raises(RefusedError, match=r"found 2 \(7 on n1; 7, 31 on n2\).*/state, put.*at_risk\) 2$"):
            host.use(VERSION, INACTIVE, check_mode=check_mode, config=config, **RUNNING)
        state.mkdir(exist_ok=True)
    assert host.state() == before
    # One that has its state knows them.
    (state / "clustername").touch()
    host.use(VERSION, INACTIVE, *ANEW, *AFTER, config=config, **RUNNING)


def test_jobs_that_may_end_with_the_state(host: Host) -> None:
    host.use(VERSION, INACTIVE, *ANEW, *AFTER, max_jobs_at_risk=2, **RUNNING)


def test_jobs_on_nodes_that_slurmctld_knows_are_its_own(host: Host) -> None:
    host.deploy()
    host.use(*LIVE, *QUEUE, *RECONFIGURED, **SHORTER, **RUNNING)


def test_a_new_node_brings_no_jobs_along(host: Host) -> None:
    host.deploy(**ONE_NODE)
    with pytest.raises(RefusedError, match=r"found 2 \(7, 31 on n2\) that .* accepted: jobs that have ended"):
        host.use(*LIVE, *QUEUE, **RUNNING)


# --- slurmd -----------------------------------------------------------------------------------------------------------

PORT: dict[str, Any] = {"config": {**OPTIONS["config"], "SlurmdPort": 7000}}
SLURMD = {"daemon": "slurmd", "do": "restart", "hosts": ["n1", "n2"]}


def test_slurmds_that_have_to_restart_are_named_until_they_have(host: Host) -> None:
    host.deploy()
    silent = nodes(n1="IDLE+NOT_RESPONDING", n2="IDLE+NOT_RESPONDING")
    result = host.use(*LIVE, *QUEUE, *BEFORE, *ANEW, partitions(), silent, silent, **PORT)
    assert result["plan"]["daemons"][1:] == [SLURMD]
    again = host.use(*LIVE, silent, **PORT)
    assert (again["changed"], again["plan"]["daemons"]) == (False, [SLURMD])
    restarted = silent._replace(stdout=silent.stdout.replace('"slurmd_start_time": 1', '"slurmd_start_time": 2'))
    assert host.use(*LIVE, restarted, **PORT)["plan"]["daemons"] == []


# --- accounting -------------------------------------------------------------------------------------------------------


def test_the_cluster_gets_the_id_of_its_database(host: Host) -> None:
    told = VERSION._replace(stdout="slurm-wlm 24.11.5\n")
    shown = did("scontrol --all show nodes --json", stdout=BOTH.stdout.replace('"slurmd_version"', '"version"'))
    host.use(told, INACTIVE, *ANEW, partitions(), shown)
    stop, forget = did("systemctl stop slurmctld"), did("rm -f /var/lib/s/clustername")
    config = {**OPTIONS["config"], "AccountingStorageType": "accounting_storage/slurmdbd"}
    result = host.use(
        told, ACTIVE, MATCH, *QUEUE, shown, partitions(), stop, forget, *ANEW, partitions(), shown,
        config={**config, "statesavelocation": "/var/lib/s"},
        max_jobs_at_risk=0,
    )  # fmt: skip
    assert result["commands"] == [stop.argv, forget.argv, RESTART.argv, RECONFIGURE.argv]


# --- validation -------------------------------------------------------------------------------------------------------

PREPARED = (did("chmod 755"), did("chown -R slurm"))


def test_slurm_judges_the_new_files_first(host: Host) -> None:
    host.deploy()
    judged: list[Any] = []

    def look(argv: list[str]) -> None:
        if argv[0] == "unshare":
            folder = Path(argv[-1])
            judged.extend([folder, (folder / "slurm.conf").read_text(), (folder / "hosts").read_text()])
            assert "MaxTime=60" in host.text()

    result = host.use(*LIVE, *QUEUE, *PREPARED, did("unshare"), *RECONFIGURED, look=look, validate=True, **SHORTER)
    assert result["validated"] == "deep"
    folder, conf, hosts = judged
    assert "MaxTime=30" in conf
    assert f"StateSaveLocation={folder}/state" in conf
    assert [line.split()[1] for line in hosts.splitlines()] == ["localhost", "n1", "n2", "head"]
    assert not folder.exists()


def test_what_slurm_refuses_is_not_written(host: Host) -> None:
    host.deploy()
    before = host.state()
    refused = did("unshare", rc=98, stdout="slurmctld: fatal: no good\n")
    with pytest.raises(ConfigError, match=r"^Slurm refuses the configuration \(deep check\): fatal: no good$"):
        host.use(*LIVE, *QUEUE, *PREPARED, refused, validate=True, **SHORTER)
    assert host.state() == before


def test_what_scontrol_has_set_and_the_change_undoes(host: Host) -> None:
    host.deploy()
    shown = did("scontrol --all --oneliner show nodes", stdout="NodeName=n1 Weight=5 \nNodeName=n2 Weight=1 \n")
    judged = partitions().stdout + "--- nodes ---\nNodeName=n1 Weight=1 \nNodeName=n2 Weight=1 \n"
    result = host.use(
        *LIVE, *QUEUE, *PREPARED, did("unshare", stdout=judged), partitions("DOWN", "02:00:00"), shown,
        check_mode=True, validate=True, partitions={"main": {"Nodes": "ALL", "MaxTime": "60", "PriorityTier": 2}},
    )  # fmt: skip
    assert result["plan"]["overrides_lost"] == [
        {"kind": "partition", "name": "main", "key": "MaxTime", "now": "02:00:00", "then": "01:00:00"},
        {"kind": "node", "name": "n1", "key": "Weight", "now": "5", "then": "1"},
    ]
    assert "set by scontrol, and lost: node n1 Weight: 5 -> 1\n" in result["diff"][-1]["after"]


def test_unknown_keys(host: Host) -> None:
    with pytest.raises(ConfigError) as caught:
        host.use(
            VERSION,
            config={**OPTIONS["config"], "Nonsense": 1},
            nodes=[{**OPTIONS["nodes"][0], "CPU": 1}],
            partitions={"main": {"Nodes": "ALL", "MaxTme": 1}, "none": None},
            nodesets={"s": {"Node": "n1"}},
            cgroup={"TLSType": 1},
            gres=[{"Name": "gpu"}, {"Devices": "/dev/x"}],
        )
    assert [text.split(":")[0] for text in caught.value.findings] == [
        "slurm.conf",
        "cgroup.conf",
        "node n1",
        "gres[1]",
        "partition main",
        "nodeset s",
    ]


# --- rollback and reverting -------------------------------------------------------------------------------------------


def test_the_old_files_come_back(host: Host) -> None:
    host.deploy()
    before = host.text()
    spoiled = nodes(n1="IDLE", n2="IDLE+INVALID_REG")
    with pytest.raises(NotTakenError, match=r"n2.*Then the old files are back and in use\.$"):
        host.use(*LIVE, *QUEUE, *BEFORE, RECONFIGURE, PING, partitions(), spoiled, *BACK, **SHORTER)
    assert host.text() == before
    assert not host.pending
    assert not host.use(*LIVE)["changed"]


@pytest.mark.parametrize("step", [0, 1], ids=["partitions", "nodes"])
def test_a_slurmctld_that_dies_while_it_is_asked(host: Host, step: int) -> None:
    host.deploy()
    before = host.text()
    said = "slurm_load_node: Unable to contact slurm controller (connect failure)"
    dead = AFTER[step]._replace(rc=1, stdout="", stderr=said)
    with pytest.raises(NotTakenError, match=r"Unable to contact.*Then the old files are back and in use\.$"):
        host.use(*LIVE, *QUEUE, *BEFORE, RECONFIGURE, PING, *AFTER[:step], dead, *BACK, **SHORTER)
    assert host.text() == before


def test_a_rollback_that_fails_is_tried_again(host: Host) -> None:
    host.deploy()
    before = host.text()
    broken = did("systemctl restart slurmctld", rc=1)
    with pytest.raises(NotTakenError, match=r"Then the old files are back, but "):
        host.use(*LIVE, *QUEUE, *BEFORE, did("scontrol reconfigure", rc=1), RESET, broken, **SHORTER)
    assert host.text() == before
    assert host.pending
    # The states of the partitions were noted then; the files are judged again.
    result = host.use(*LIVE, *PREPARED, did("unshare"), BOTH, *ANEW, *AFTER, validate=True)
    assert (result["plan"]["action"], result["validated"]) == ("restart", "deep")
    assert not host.pending


def test_what_comes_back_is_what_was_in_use(host: Host) -> None:
    host.deploy()
    good, edit = host.text(), host.text().replace("MaxTime=60", "MaxTime=90")
    host.put(edit)
    asked = (VERSION, ACTIVE, within(MATCH), DIFFERENT, *map(within, (*QUEUE, *BEFORE)))
    with pytest.raises(NotTakenError, match="the old files are back and in use"):
        host.use(*asked, did("scontrol reconfigure", rc=1), *BACK, **SHORTER)
    assert (host.text(), host.copy("edited")) == (good, edit)


def test_without_rollback(host: Host) -> None:
    host.deploy()
    with pytest.raises(NotTakenError, match=r"Then the new files stay, as asked\.$"):
        host.use(*LIVE, *QUEUE, *BEFORE, did("scontrol reconfigure", rc=1), rollback=False, **SHORTER)
    assert "MaxTime=30" in host.text()
    assert host.pending
    # The next run compares with what is in use, and finishes.
    asked = (VERSION, ACTIVE, within(MATCH), DIFFERENT, *map(within, QUEUE), within(BOTH))
    result = host.use(*asked, *ANEW, *AFTER, **SHORTER)
    assert [change["key"] for change in result["plan"]["changes"]] == ["MaxTime"]
    assert not host.pending


def test_a_first_deploy_that_fails(host: Host) -> None:
    with pytest.raises(NotTakenError, match="there was no configuration before, so slurmctld is stopped"):
        host.use(VERSION, INACTIVE, RESET, did("systemctl restart slurmctld", rc=1), did("systemctl stop slurmctld"))
    assert os.listdir(host.etc) == []
    # There is nothing to go back to, and the next run begins anew.
    with pytest.raises(RefusedError, match=r"^state: found no files in "):
        host.use(VERSION, state="reverted", config=None, nodes=None)
    assert host.deploy()["plan"]["action"] == "start"


def test_a_start_of_unchanged_files_that_fails(host: Host) -> None:
    host.deploy()
    host.use(*LIVE, *QUEUE, *RECONFIGURED, **SHORTER)
    before = host.text()
    failing = did("systemctl restart slurmctld", rc=1)
    with pytest.raises(NotTakenError, match="the old files are back, but"):
        host.use(VERSION, INACTIVE, RESET, failing, RESET, failing, **SHORTER)
    assert (host.text(), host.copy("used")) == (before, before)
    assert "MaxTime=60" in host.copy("previous")


def test_reverted(host: Host) -> None:
    with pytest.raises(RefusedError, match=r"^state: found no files in "):
        host.use(VERSION, state="reverted", config=None, nodes=None)
    host.deploy()
    before = host.text()
    host.use(*LIVE, *QUEUE, *RECONFIGURED, **SHORTER)
    result = host.use(*LIVE, *QUEUE, *RECONFIGURED, state="reverted", config=None, nodes=None)
    assert result["plan"]["changes"][0]["after"] == "60"
    assert host.text() == before


# --- adoption ---------------------------------------------------------------------------------------------------------


def test_foreign_files_are_not_lost(host: Host) -> None:
    host.put(FOREIGN + "NodeName=old CPUs=2\nPartitionName=x Nodes=old MaxTime=1:00\n")
    (host.etc / "plugstack.conf").write_text("optional x.so\n", encoding="utf-8")
    (host.etc / "gres.conf").write_text("NodeName=n1 Name=gpu File=/dev/gpu0\n", encoding="utf-8")
    before = host.state()
    with pytest.raises(RefusedError) as caught:
        host.use(VERSION)
    assert str(caught.value).split("\n", 1)[1].splitlines() == [
        "cluster_config:",
        '  MailProg: "/bin/mail"',
        "nodes of the inventory:",
        "  old:",
        '    NodeAddr: "old"',
        '    CPUs: "2"',
        "cluster_partitions:",
        "  x:",
        '    Nodes: "old"',
        '    MaxTime: "1:00"',
        "cluster_gres:",
        '  - {"NodeName": "n1", "Name": "gpu", "File": "/dev/gpu0"}',
        "cluster_plugstack:",
        '  - "optional x.so"',
    ]
    assert host.state() == before


@pytest.mark.parametrize(("adopt", "there"), [("keep", True), ("drop", False)])
def test_foreign_files_that_are_kept_or_dropped(host: Host, adopt: str, there: bool) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt=adopt)
    assert ("MailProg=/bin/mail" in host.text()) is there
    assert host.copy("previous") == FOREIGN


def test_what_was_kept_stays_until_the_data_has_it(host: Host) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep")
    text = host.text()
    assert not host.use(*LIVE, adopt="keep")["changed"]
    with pytest.raises(RefusedError, match=r'\ncluster_config:\n  MailProg: "/bin/mail"$'):
        host.use(VERSION)
    assert host.text() == text
    pasted = {**OPTIONS["config"], "MailProg": "/bin/mail"}
    assert not host.use(*LIVE, config=pasted)["changed"]
    # From now on it is data like any other.
    assert host.use(*LIVE, *QUEUE, state="planned")["plan"]["action"] == "reconfigure"


def test_what_is_in_the_data_by_now_goes_with_it(host: Host) -> None:
    """As a node that was decommissioned after it had been put into the inventory."""
    host.put(FOREIGN + "NodeName=old CPUs=2\nPartitionName=x Nodes=old\n")
    (host.etc / "gres.conf").write_text("NodeName=old Name=gpu File=/dev/gpu0\n", encoding="utf-8")
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep")
    nodes = [*OPTIONS["nodes"], {"NodeName": "old", "NodeAddr": "old", "CPUs": 2}]
    partitions = {**OPTIONS["partitions"], "x": {"Nodes": "old"}}
    assert not host.use(*LIVE, adopt="keep", nodes=nodes, partitions=partitions)["changed"]
    # Its GPUs are in no data, and stay as long as it is there.
    assert "NodeName=old" in host.texts()["gres.conf"]
    changes = host.use(*LIVE, *QUEUE, adopt="keep", state="planned")["plan"]["changes"]
    assert {(change["kind"], change["name"]) for change in changes} >= {
        ("node", "old"),
        ("partition", "x"),
        ("gres.conf", "old"),
    }


def test_what_was_kept_goes_when_it_is_dropped(host: Host) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep")
    host.use(*LIVE, *QUEUE, *BEFORE, RECONFIGURE, PING, *AFTER, adopt="drop")
    assert "MailProg" not in host.text()
    assert not host.use(*LIVE)["changed"]


def test_only_what_was_foreign_is_kept(host: Host) -> None:
    host.put(FOREIGN)
    partitions = {**OPTIONS["partitions"], "night": {"Nodes": "ALL"}}
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep", partitions=partitions)
    host.use(*LIVE, *QUEUE, *BEFORE, RECONFIGURE, PING, *AFTER, adopt="keep")
    assert "night" not in host.text()
    assert "MailProg=/bin/mail" in host.text()


def test_foreign_files_of_which_nothing_is_lost(host: Host) -> None:
    host.put(FOREIGN.replace("MailProg=/bin/mail\n", ""))
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW)
    assert host.text().startswith(HEADER)


def test_foreign_files_with_what_they_include(host: Host) -> None:
    host.put("Include nodes.conf\nClusterName=lab\nSlurmctldHost=head(10.0.0.1)\nPartitionName=main Nodes=ALL\n")
    (host.etc / "nodes.conf").write_text("NodeName=n[1-3]\n", encoding="utf-8")
    with pytest.raises(RefusedError, match="nodes of the inventory:\n  n3:"):
        host.use(VERSION)


# --- several heads ----------------------------------------------------------------------------------------------------


def heads(host: Host) -> dict[str, Any]:
    """Two controllers with their state on a share."""
    share = host.folder / "share"
    share.mkdir(exist_ok=True)
    hosts = ["head(10.0.0.1)", "spare(10.0.0.2)"]
    return {
        "followed": True,
        "config": {"ClusterName": "lab", "SlurmctldHost": hosts, "StateSaveLocation": str(share)},
    }


def left(host: Host) -> slurm_generations.Generation | None:
    key = slurm_generations.own_key(str(host.folder / "state"))
    return slurm_generations.published(str(host.folder / "share"), key)


def test_what_is_in_use_is_left_for_heads_that_are_away(host: Host) -> None:
    options = heads(host)
    (host.folder / "state").mkdir()
    (host.folder / "state" / "nodes.json").write_text("{}\n", encoding="utf-8")
    result = host.use(VERSION, INACTIVE, *ANEW, partitions(), BOTH, **options)
    assert (result["generation"], result["store"]) == (1, "{}\n")
    assert result["files"]["slurm.conf"] == host.text()
    assert left(host) == slurm_generations.Generation(1, result["files"], "{}\n")
    again = host.use(*LIVE, **options)
    assert (again["changed"], again["generation"], again["files"]) == (False, 1, result["files"])
    # The node store alone is newer.
    (host.folder / "state" / "nodes.json").write_text("{ }\n", encoding="utf-8")
    preview = host.use(*LIVE, check_mode=True, **options)
    assert (preview["changed"], left(host)) == (True, slurm_generations.Generation(1, result["files"], "{}\n"))
    newer = host.use(*LIVE, **options)
    assert (newer["changed"], newer["generation"]) == (True, 2)
    assert left(host) == slurm_generations.Generation(2, result["files"], "{ }\n")


def test_what_is_known_of_the_nodes_is_kept_whatever_becomes_of_the_configuration(host: Host) -> None:
    path = host.folder / "state" / "nodes.json"
    store = {"nodes": {"n1": {"cpus": 2}}}
    text = '{\n    "nodes": {\n        "n1": {\n            "cpus": 2\n        }\n    }\n}\n'
    shown = {"before_header": str(path), "after_header": str(path), "before": "", "after": text}
    preview = host.use(VERSION, INACTIVE, store=store, check_mode=True)
    assert (preview["changed"], preview["diff"][0], path.exists()) == (True, shown, False)
    host.use(VERSION, INACTIVE, store=store, state="planned")
    assert not path.exists()
    with pytest.raises(ConfigError):
        host.use(VERSION, store=store, config={"ClusterName": "lab", "SlurmctldHost": ["h"], "xyzzy": 1})
    assert path.read_text(encoding="utf-8") == text
    host.deploy(store=store)
    again = host.use(*LIVE, store=store)
    assert (again["changed"], again["diff"]) == (False, [])
    newer = host.use(*LIVE, store={"nodes": {}})
    assert (newer["changed"], path.read_text(encoding="utf-8")) == (True, '{\n    "nodes": {}\n}\n')


def test_nodes_that_another_run_made_known_are_not_lost(host: Host) -> None:
    path = host.folder / "state" / "nodes.json"
    mine, theirs = {"nodes": {"n1": {"cpus": 2}}}, {"nodes": {"n2": {"cpus": 2}}}
    host.deploy(store=mine, store_read={})
    # The same run, once more.
    assert host.use(*LIVE, store=mine, store_read={})["changed"] is False
    path.write_text(json.dumps(theirs), encoding="utf-8")
    for options in ({}, {"check_mode": True}, {"state": "planned"}):
        with pytest.raises(RefusedError, match=r"nodes\.json: found what another run has written since"):
            host.use(store=mine, store_read={}, **SHORTER, **options)
    assert json.loads(path.read_text(encoding="utf-8")) == theirs
    assert host.use(*LIVE, store=mine, store_read=theirs)["changed"]


def test_what_is_kept_of_foreign_files_is_told_to_the_others(host: Host) -> None:
    host.put("ClusterName=lab\nSlurmctldHost=head(10.0.0.1)\nMailProg=/bin/mail\n")
    result = host.use(VERSION, INACTIVE, *ANEW, partitions(), BOTH, adopt="keep", **heads(host))
    assert json.loads(result["kept"])["config"] == {"MailProg": "/bin/mail"}
    found = left(host)
    assert found is not None
    assert found.kept == result["kept"]


def test_a_share_that_cannot_be_written(host: Host) -> None:
    options = heads(host)
    (host.folder / "share").rmdir()
    with pytest.raises(NotTakenError, match=r"StateSaveLocation: found .*No such file"):
        host.use(VERSION, INACTIVE, *ANEW, partitions(), BOTH, **options)


def test_heads_for_logins_alone_get_the_files(host: Host) -> None:
    result = host.use(VERSION, INACTIVE, *ANEW, partitions(), BOTH, followed=True)
    assert (result["generation"], result["files"]["slurm.conf"]) == (0, host.text())


def test_the_state_goes_along_when_its_folder_moves(host: Host) -> None:
    host.deploy()
    share, local = host.folder / "share", host.folder / "local"
    share.mkdir()
    local.mkdir()
    (local / "clustername").write_text("lab\n", encoding="utf-8")
    config = {**OPTIONS["config"], "StateSaveLocation": str(share)}
    before = {**OPTIONS["config"], "StateSaveLocation": str(local)}
    host.use(*LIVE, *QUEUE, *RESTARTED, config=before)
    stop = did("systemctl stop slurmctld")
    copied = Result([*AS_SLURM, "sh", "-c", CARRY, "sh", str(local), str(share)], 0, "", "")
    retired = did(f"runuser -u slurm -- mv -f {local}/clustername {local}/clustername.before")
    result = host.use(*LIVE, *JOBS, *BEFORE, stop, copied, *ANEW, *AFTER, retired, config=config)
    assert result["plan"]["jobs_at_risk"] == []


def test_two_states_are_none_too_many(host: Host) -> None:
    """Whoever goes back to an older folder would lose the jobs since then."""
    host.deploy()
    for name in ("share", "local"):
        (host.folder / name).mkdir()
        (host.folder / name / "clustername").write_text("lab\n", encoding="utf-8")
    host.use(*LIVE, *QUEUE, *RESTARTED, config={**OPTIONS["config"], "StateSaveLocation": str(host.folder / "share")})
    with pytest.raises(RefusedError, match=r"local, which holds the state of another time than .*share; accepted"):
        host.use(*LIVE, *JOBS, config={**OPTIONS["config"], "StateSaveLocation": str(host.folder / "local")})


# --- a controller that is out of reach --------------------------------------------------------------------------------


def pinged(head: str, spare: str) -> str:
    return f"Slurmctld(primary) at head is {head}\nSlurmctld(backup) at spare is {spare}\n"


def asked(head: str, spare: str) -> Result:
    return did("scontrol ping", stdout=pinged(head, spare))


def shown(head: str, spare: str) -> Result:
    return MATCH._replace(stdout=MATCH.stdout + pinged(head, spare))


TAKEOVER = did("scontrol takeover 1")
SPARE_UP = asked("DOWN", "UP")
OURS = (RECONFIGURE, SPARE_UP, MATCH)
"""A reconfigure, after which the controller has the files of this host."""


@pytest.fixture
def spare(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The second of two controllers, in control when it was deployed."""
    monkeypatch.setattr(slurm_validate, "hostname", lambda: "spare")
    started = (RESET, RESTART, SPARE_UP, TAKEOVER, *OURS)
    host.use(VERSION, INACTIVE, *started, partitions(), BOTH, **heads(host))
    return host


def test_this_one_takes_over_from_a_controller_out_of_reach(spare: Host) -> None:
    """A reconfigure would go there, and that one would read its own files again."""
    before = spare.text()
    files: list[str] = []

    def look(argv: list[str]) -> None:
        if argv == TAKEOVER.argv:
            files.append(spare.text())

    took = (asked("UP", "UP"), TAKEOVER, asked("UP", "UP"), SPARE_UP)
    result = spare.use(
        VERSION, ACTIVE, shown("UP", "UP"), *QUEUE, *BEFORE, *took, *OURS, *AFTER,
        look=look, timeout=1, **heads(spare), **SHORTER,
    )  # fmt: skip
    assert result["plan"]["takes_over"] == "head"
    assert result["diff"][-1]["after"].startswith("slurmctld: takes over from head\n")
    assert result["commands"] == [TAKEOVER.argv, RECONFIGURE.argv]
    # With what is in use, and not with what nobody has tried yet.
    assert files == [before]
    assert ("MaxTime=30" in spare.text(), spare.pending) == (True, False)


def test_a_preview_says_that_it_takes_over(spare: Host) -> None:
    before = spare.state()
    result = spare.use(
        VERSION, ACTIVE, shown("UP", "UP"), *QUEUE, check_mode=True, **heads(spare), **SHORTER
    )  # fmt: skip
    assert (result["plan"]["takes_over"], spare.state()) == ("head", before)


def test_nobody_takes_over_for_nothing(spare: Host) -> None:
    assert not spare.use(VERSION, ACTIVE, shown("UP", "UP"), **heads(spare))["changed"]
    result = spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *QUEUE, *BEFORE, *OURS, *AFTER, **heads(spare), **SHORTER)
    assert (result["plan"]["takes_over"], result["commands"]) == ("", [RECONFIGURE.argv])


@pytest.mark.parametrize("why", ["it refuses", "it goes on"])
def test_a_controller_that_does_not_give_way(spare: Host, why: str) -> None:
    before = spare.state()
    refused = (TAKEOVER._replace(rc=1, stderr="slurm_takeover error"),)
    goes_on = (TAKEOVER, asked("UP", "UP"))
    steps = refused if why == "it refuses" else goes_on
    said = r"^slurmctld of head controls the cluster, is out of reach, and spare does not get control from it: .* a run"
    with pytest.raises(NotTakenError, match=said):
        spare.use(
            VERSION, ACTIVE, shown("UP", "UP"), *QUEUE, *BEFORE, asked("UP", "UP"), *steps, **heads(spare), **SHORTER
        )  # fmt: skip
    assert (spare.text(), spare.pending) == (before["etc/slurm.conf"], False)


def test_a_backup_that_hangs_is_restarted_before_it_takes_over(spare: Host) -> None:
    """As one of 22.05 may that gave control back."""
    took = (asked("UP", "DOWN"), RESET, RESTART, asked("UP", "UP"), TAKEOVER, SPARE_UP)
    result = spare.use(
        VERSION, ACTIVE, shown("UP", "DOWN"), *QUEUE, *BEFORE, *took, *OURS, *AFTER, **heads(spare), **SHORTER
    )  # fmt: skip
    assert result["commands"] == [RESTART.argv, TAKEOVER.argv, RECONFIGURE.argv]


def test_a_controller_with_other_files_is_no_success(spare: Host) -> None:
    again = (RESET, RESTART, SPARE_UP, TAKEOVER, *OURS, partitions(), BOTH, BOTH)
    other = (RECONFIGURE, SPARE_UP, DIFFERENT)
    with pytest.raises(NotTakenError, match=r"another controller controls .* the old files are back and in use\.$"):
        spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *QUEUE, *BEFORE, *other, *again, **heads(spare), **SHORTER)


def test_no_slurmctld_here_while_another_controls(spare: Host) -> None:
    before = spare.state()
    with pytest.raises(RefusedError, match=r"^slurmctld: found the one of head in control .* none that runs on spare;"):
        spare.use(VERSION, INACTIVE, asked("UP", "DOWN"), **heads(spare), **SHORTER)
    assert spare.state() == before
    # After a power cut nobody is there to ask.
    started = (RESET, RESTART, SPARE_UP, TAKEOVER, *OURS)
    spare.use(VERSION, INACTIVE, asked("DOWN", "DOWN"), *started, partitions(), BOTH, **heads(spare), **SHORTER)


def alone(host: Host, name: str) -> dict[str, Any]:
    """One of the two is left."""
    options = heads(host)
    return {**options, "config": {**options["config"], "SlurmctldHost": [f"{name}(10.0.0.2)"]}}


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_controller_that_lives_is_not_forgotten(spare: Host, check_mode: bool) -> None:
    """It would go on: a starting primary asks only those whom its own slurm.conf names."""
    before = spare.state()
    with pytest.raises(RefusedError, match=r"^SlurmctldHost: found head, to be .* `systemctl disable --now slurmctld`"):
        spare.use(VERSION, ACTIVE, shown("UP", "UP"), *QUEUE, check_mode=check_mode, **alone(spare, "spare"))
    assert spare.state() == before


def test_a_controller_that_does_not_answer_can_be_left_out(spare: Host) -> None:
    steps = (*QUEUE, *BEFORE, RESET, RESTART, SPARE_UP, RECONFIGURE, SPARE_UP, *AFTER)
    spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *steps, **alone(spare, "spare"))
    assert "head(" not in spare.text()


def test_one_that_was_left_out_learns_of_it_when_it_comes_back(spare: Host) -> None:
    """It looks where the state was, and its slurmctld does not start by files that do not name it."""
    (spare.folder / "share" / "clustername").write_text("lab\n", encoding="utf-8")
    (spare.folder / "local").mkdir()
    options = alone(spare, "spare")
    options["config"]["StateSaveLocation"] = str(spare.folder / "local")
    stop = did("systemctl stop slurmctld")
    copied = Result(
        [*AS_SLURM, "sh", "-c", CARRY, "sh", str(spare.folder / "share"), str(spare.folder / "local")], 0, "", ""
    )
    retired = did(f"runuser -u slurm -- mv -f {spare.folder}/share/clustername")
    ended = (RESET, RESTART, SPARE_UP, RECONFIGURE, SPARE_UP)
    steps = (*QUEUE, *BEFORE, stop, copied, *ended, *AFTER, retired)
    assert left(spare) == slurm_generations.Generation(1, {**spare.texts()}, "")
    result = spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *steps, **{**options, "followed": False})
    assert (result["changed"], result["warnings"], "files" in result) == (True, [], False)
    assert left(spare) == slurm_generations.Generation(2, {**spare.texts()}, "")
    assert not spare.use(*LIVE, **{**options, "followed": False})["changed"]
    assert left(spare) == slurm_generations.Generation(2, {**spare.texts()}, "")


def test_all_controllers_move_to_another_share(spare: Host) -> None:
    options = heads(spare)
    (spare.folder / "new").mkdir()
    options["config"]["StateSaveLocation"] = str(spare.folder / "new")
    steps = (*QUEUE, *BEFORE, RESET, RESTART, SPARE_UP, TAKEOVER, *OURS, *AFTER)
    spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *steps, **options)
    key = slurm_generations.own_key(str(spare.folder / "state"))
    found = left(spare)
    assert found is not None
    assert found.number == 2
    assert found == slurm_generations.published(str(spare.folder / "new"), key)


def test_a_share_that_is_gone_is_no_reason_to_stay_there(spare: Host) -> None:
    (spare.folder / "share" / "aicluster.json").unlink()
    (spare.folder / "share").rmdir()
    steps = (*QUEUE, *BEFORE, RESET, RESTART, SPARE_UP, RECONFIGURE, SPARE_UP, *AFTER)
    options: dict[str, Any] = {
        "config": {**OPTIONS["config"], "SlurmctldHost": ["spare(10.0.0.2)"], "StateSaveLocation": "/nowhere"}
    }
    result = spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *steps, **options)
    (warning,) = result["warnings"]
    assert warning.startswith("heads that are away do not learn")


def test_a_controller_that_this_run_ends_can_be_left_out(spare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_validate, "hostname", lambda: "head")
    both = asked("UP", "UP")
    steps = (*QUEUE, *BEFORE, RESET, RESTART, both, RECONFIGURE, both, *AFTER)
    spare.use(VERSION, ACTIVE, shown("UP", "UP"), *steps, followers=["head", "spare"], **alone(spare, "head"))
    assert "spare(" not in spare.text()


def test_the_one_that_speaks_cannot_be_left_out(spare: Host) -> None:
    before = spare.state()
    with pytest.raises(RefusedError, match=r"^SlurmctldHost: found head without spare, which speaks for the cluster"):
        spare.use(VERSION, ACTIVE, shown("DOWN", "UP"), *QUEUE, **alone(spare, "head"))
    assert spare.state() == before
