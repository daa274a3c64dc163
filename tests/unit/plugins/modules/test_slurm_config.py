# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_case import RefusedError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import HEADER, ConfigError
from slurm_config_host import (
    ACTIVE,
    AFTER,
    ANEW,
    BACK,
    BEFORE,
    BOTH,
    BROKEN,
    DESCRIBED,
    DIFFERENT,
    INACTIVE,
    JOBS,
    LIVE,
    MATCH,
    ONE_NODE,
    OPTIONS,
    PING,
    QUEUE,
    RECONFIGURE,
    RECONFIGURED,
    RESET,
    RESTART,
    RESTARTED,
    SHORTER,
    VERSION,
    Host,
    did,
    nodes,
    partitions,
    within,
)


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
