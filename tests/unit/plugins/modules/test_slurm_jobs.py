# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules.slurm_jobs import Jobs, JobsError, advance, jobs_of, preview

ITEM: dict[str, Any] = {
    "title": "a test",
    "script": "#!/bin/sh\n",
    "options": [],
    "seconds": 60,
    "check": "",
    "stamp": "",
}
ITEM |= {"content": "", "skip": ""}


class Cluster:
    """Answers as runuser with Slurm behind it; a job has the states of `states`, one a look."""

    def __init__(
        self, *states: str, files: dict[str, str] | None = None, refuse: str = "", check: int = 0, full: str = ""
    ) -> None:
        self.states = list(states)
        self.full = full
        self.files = files or {}
        self.refuse = refuse
        self.check = check
        self.calls: list[list[str]] = []

    def __call__(self, argv: Sequence[str]) -> Result:
        assert argv[:2] == ["runuser", "-u"]
        words = [word for word in argv[4:] if word != "env" and not word.startswith(("--chdir=", "USER=", "LOGNAME="))]
        words = [word for word in words if not word.startswith(("HOME=", "LC_ALL="))]
        self.calls.append(words)
        rc, out, err = self.answer(words)
        return Result(list(argv), rc, out, err)

    def answer(self, words: list[str]) -> tuple[int, str, str]:
        if words[0] == "sbatch":
            return (1, "", self.refuse) if self.refuse else (0, "41\n", "")
        if words[0] == "scontrol":
            state = self.states.pop(0)
            return 0, f"JobId=41 JobState={state} Reason=None ExitCode=1:0 NodeList=n1", ""
        if words[0] == "tail":
            return 0, self.files.get(words[-1], ""), ""
        if words[0] == "df":
            return 0, "Avail Mounted\n0 /data\n", ""
        if words[:2] == ["sh", "-c"] and "mkdir" in words[2]:
            return (1, "", self.full) if self.full else (0, "", "")
        if words[:2] == ["sh", "-c"]:
            return (self.check if words[2] == "look" else 0), "", ""
        assert words[0] == "scancel", words
        return 0, "", ""

    def programs(self) -> list[str]:
        return [words[0] for words in self.calls]


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    state = str(tmp_path / "state" / "jobs.json")
    return {
        "user": getpass.getuser(),
        "folder": "/data/run",
        "queue_seconds": 60,
        "state_path": state,
        "run": "",
        "wait": 0,
    }


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def run(cluster: Cluster, params: dict[str, Any], *items: dict[str, Any]) -> dict[str, Any]:
    wanted = jobs_of([{**ITEM, **item} for item in items])
    return advance(Jobs(cluster, wanted, params, False), wanted, params["wait"])


def test_a_job_that_passes(params: dict[str, Any]) -> None:
    cluster = Cluster("PENDING", "RUNNING", "COMPLETED", files={"/data/run/one.out": "MEASURED read n1 5 MiB/s\n"})
    result = run(cluster, params, {"name": "one"})
    assert [row["verdict"] for row in result["rows"]] == ["pass"]
    assert result["rows"][0]["measured"][0]["number"] == 5
    assert result["rows"][0]["lines"] == []
    assert (result["changed"], result["bad"], result["done"]) == (False, [], True)


def test_a_job_that_fails_does_not_keep_the_others_from_running(params: dict[str, Any]) -> None:
    files = {"/data/run/one.out": "hello\nFAIL: it is broken\n"}
    result = run(Cluster("FAILED", "COMPLETED", files=files), params, {"name": "one"}, {"name": "two"})
    assert [row["verdict"] for row in result["rows"]] == ["fail", "pass"]
    assert "FAIL: it is broken" in result["rows"][0]["lines"]
    [told] = result["bad"]
    assert told.splitlines()[1:] == ["    hello", "    FAIL: it is broken"]


def test_a_failed_job_without_output_tells_of_the_full_share(params: dict[str, Any]) -> None:
    result = run(Cluster("FAILED"), params, {"name": "one"})
    assert result["rows"][0]["lines"] == ["it printed nothing: no space left on /data"]


def test_a_share_without_room_for_a_folder_keeps_no_row_back(params: dict[str, Any]) -> None:
    full = "mkdir: cannot create directory '/data/run': No space left on device\n"
    cluster = Cluster(full=full)
    result = run(cluster, params, {"name": "one"}, {"name": "two"}, {"name": "three", "skip": "no GPUs"})
    assert [row["verdict"] for row in result["rows"]] == ["not run", "not run", "skipped"]
    assert result["rows"][0]["reason"] == full.strip()
    assert "sbatch" not in cluster.programs()


def test_the_folder_is_made_anew_once_a_run(params: dict[str, Any]) -> None:
    params.update(run="a", wait=60)
    cluster = Cluster("RUNNING", "COMPLETED", "RUNNING", "COMPLETED")
    while not run(cluster, params, {"name": "one"}, {"name": "two"})["done"]:
        pass
    assert [words[0] for words in cluster.calls if words[0] == "sbatch" or "mkdir" in str(words)] == [
        "sh",
        "sbatch",
        "sbatch",
    ]


def test_a_run_without_anything_to_do_leaves_the_share_alone(params: dict[str, Any]) -> None:
    cluster = Cluster(files={"/data/.stamp": "abc"})
    run(cluster, params, {"name": "one", "stamp": "/data/.stamp", "content": "abc"})
    assert cluster.programs() == ["tail"]


def test_what_the_job_left_is_judged(params: dict[str, Any]) -> None:
    result = run(Cluster("COMPLETED", check=1), params, {"name": "one", "check": "look"})
    assert result["rows"][0]["verdict"] == "fail"


def test_what_cannot_be_run_is_skipped_and_what_was_made_is_present(params: dict[str, Any]) -> None:
    cluster = Cluster(files={"/data/.stamp": "abc"})
    stamped = {"name": "two", "stamp": "/data/.stamp", "content": "abc"}
    result = run(cluster, params, {"name": "one", "skip": "no GPUs"}, stamped)
    assert [(row["verdict"], row["reason"]) for row in result["rows"]] == [("skipped", "no GPUs"), ("present", "")]
    assert "sbatch" not in cluster.programs()
    assert not result["changed"]


def test_something_made_is_a_change(params: dict[str, Any]) -> None:
    result = run(Cluster("COMPLETED"), params, {"name": "one", "stamp": "/data/.stamp", "content": "abc"})
    assert result["changed"]


def test_a_job_that_slurm_refuses_was_not_run(params: dict[str, Any]) -> None:
    result = run(Cluster(refuse="sbatch: error: Invalid partition\n"), params, {"name": "one"})
    assert result["rows"][0]["verdict"] == "not run"
    assert result["rows"][0]["reason"] == "sbatch: Invalid partition"


def test_a_run_goes_on_in_the_next_call(params: dict[str, Any]) -> None:
    params.update(run="a", wait=60)
    cluster = Cluster("RUNNING", "COMPLETED")
    first = run(cluster, params, {"name": "one"})
    assert (first["done"], first["rows"]) == (False, [])
    assert first["events"] == ["a test: job 41 is running on n1"]
    second = run(cluster, params, {"name": "one"})
    assert (second["done"], len(second["rows"])) == (True, 1)
    assert cluster.programs().count("sbatch") == 1


def test_a_run_that_was_killed_leaves_no_job_behind(params: dict[str, Any]) -> None:
    params.update(run="a", wait=60)
    run(Cluster("RUNNING"), params, {"name": "one"})
    params.update(run="b")
    cluster = Cluster("COMPLETED")
    run(cluster, params, {"name": "one"})
    assert ["scancel", "41"] in cluster.calls


def test_check_mode_submits_nothing(params: dict[str, Any]) -> None:
    cluster = Cluster()
    wanted = jobs_of([{**ITEM, "name": "one"}, {**ITEM, "name": "two", "stamp": "/data/.stamp", "content": "x"}])
    result = preview(Jobs(cluster, wanted, params, True), wanted)
    assert result["changed"]
    assert result["events"] == ["would submit: a test", "would submit: a test"]
    assert set(cluster.programs()) <= {"tail"}
    assert not Path(params["state_path"]).exists()


@pytest.mark.parametrize("names", [["a/b"], ["-x"], ["a", "a"], [""]])
def test_bad_names(names: list[str]) -> None:
    with pytest.raises(JobsError, match="name"):
        jobs_of([{**ITEM, "name": name} for name in names])


def test_the_state_is_no_secret_of_a_format(params: dict[str, Any]) -> None:
    params.update(run="a", wait=60)
    run(Cluster("RUNNING"), params, {"name": "one"})
    assert json.loads(Path(params["state_path"]).read_text())["current"]["id"] == "41"
