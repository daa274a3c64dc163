# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_generations, slurm_validate
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_apply import AS_SLURM, CARRY, NotTakenError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_case import RefusedError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import ConfigError
from slurm_config_host import (
    ACTIVE,
    AFTER,
    ANEW,
    BEFORE,
    BOTH,
    DIFFERENT,
    INACTIVE,
    JOBS,
    LIVE,
    MATCH,
    OPTIONS,
    QUEUE,
    RECONFIGURE,
    RESET,
    RESTART,
    RESTARTED,
    SHORTER,
    VERSION,
    Host,
    did,
    partitions,
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


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
