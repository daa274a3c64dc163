# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import jobs
from ansible_collections.aicluster.slurm.plugins.module_utils.jobs import Current, Job, Limits, Seen

JOB = Job("test", "a test", seconds=90)
LIMITS = Limits(queue=600)
CURRENT = Current("test", "7", submitted=1000, heard=1000)

# As Slurm 22.05 and 24.11 print it, shortened in the middle.
RUNNING = (
    "JobId=7 JobName=aicluster-test UserId=cluster(10000) JobState=RUNNING Reason=None Dependency=(null) ExitCode=0:0 "
    "ReqNodeList=(null) ExcNodeList=(null) NodeList=n[1-2] BatchHost=n1"
)
ARRAY = "\n".join(
    [
        "JobId=6 ArrayJobId=6 ArrayTaskId=4 JobState=COMPLETED Reason=None ExitCode=0:0 NodeList=n2",
        "JobId=9 ArrayJobId=6 ArrayTaskId=3 JobState=CANCELLED Reason=None ExitCode=0:15 NodeList=n1",
        "JobId=8 ArrayJobId=6 ArrayTaskId=2 JobState=COMPLETED Reason=None ExitCode=0:0 NodeList=n1",
    ]
)


def test_submit_argv_starts_at_most_once_with_a_limit_in_whole_minutes() -> None:
    argv = jobs.submit_argv(replace(JOB, options=("--nodes=2",)), "/data/run", "/var/lib/x.sh")
    assert argv[0] == "sbatch"
    assert argv[-2:] == ["--nodes=2", "/var/lib/x.sh"]
    assert {"--no-requeue", "--time=2", "--output=/data/run/test.out", "--chdir=/data/run"} <= set(argv)


@pytest.mark.parametrize(("text", "found"), [("12\n", "12"), ("12;lab\n", "12"), ("", ""), ("sbatch: nonsense\n", "")])
def test_job_id(text: str, found: str) -> None:
    assert jobs.job_id(text) == found


def test_parse_jobs() -> None:
    assert jobs.parse_jobs(RUNNING) == Seen("RUNNING", "None", "n[1-2]", "0:0")
    assert jobs.parse_jobs("slurm_load_jobs error: Invalid job id specified") is None


def test_an_array_is_as_good_as_its_worst_task() -> None:
    assert jobs.parse_jobs(ARRAY) == Seen("CANCELLED", "None", "n1,n2", "0:15")


def test_an_array_goes_on_while_one_task_does() -> None:
    waiting = ARRAY + "\nJobId=6 ArrayTaskId=5 JobState=PENDING Reason=Resources ExitCode=0:0 NodeList=(null)"
    found = jobs.parse_jobs(waiting)
    assert found is not None
    assert found.state == "PENDING"


@pytest.mark.parametrize(
    ("state", "code", "verdict", "says"),
    [
        ("COMPLETED", "0:0", "pass", ""),
        ("FAILED", "3:0", "fail", "exit code 3"),
        ("FAILED", "77:0", "skipped", ""),
        ("TIMEOUT", "0:0", "fail", "within 90 s"),
        ("NODE_FAIL", "0:0", "fail", "a node failed"),
        ("OUT_OF_MEMORY", "0:125", "fail", "memory"),
        ("CANCELLED", "0:0", "not run", "cancelled"),
    ],
)
def test_how_a_job_ends(state: str, code: str, verdict: str, says: str) -> None:
    decision = jobs.decide(JOB, CURRENT, Seen(state, "None", "n1", code), 1010, LIMITS)
    assert decision.verdict == verdict
    assert says in decision.reason
    assert not decision.cancel


def test_a_full_queue_is_waited_for_but_not_for_ever() -> None:
    full = Seen("PENDING", "Resources", "", "0:0")
    assert jobs.decide(JOB, CURRENT, full, 1599, LIMITS).verdict == ""
    late = jobs.decide(JOB, CURRENT, full, 1601, LIMITS)
    assert (late.verdict, late.cancel) == ("not run", True)
    assert "601 s in the queue (Resources)" in late.reason


def test_what_waiting_does_not_cure_is_given_up_after_a_while() -> None:
    down = Seen("PENDING", "ReqNodeNotAvail,_UnavailableNodes:n2", "", "0:0")
    first = jobs.decide(JOB, CURRENT, down, 1010, LIMITS)
    assert first.verdict == ""
    assert jobs.decide(JOB, first.current, down, 1010 + jobs.STUCK, LIMITS).verdict == ""
    last = jobs.decide(JOB, first.current, down, 1011 + jobs.STUCK, LIMITS)
    assert (last.verdict, last.cancel) == ("not run", True)
    assert "UnavailableNodes:n2" in last.reason


def test_a_node_that_returns_in_time_starts_the_clock_anew() -> None:
    down, full = Seen("PENDING", "NodeDown", "", ""), Seen("PENDING", "Resources", "", "")
    first = jobs.decide(JOB, CURRENT, down, 1010, LIMITS)
    back = jobs.decide(JOB, first.current, full, 1020, LIMITS)
    assert jobs.decide(JOB, back.current, down, 1011 + jobs.STUCK, LIMITS).verdict == ""


@pytest.mark.parametrize("reason", ["JobHeldAdmin", "launch_failed_requeued_held", "BadConstraints"])
def test_a_held_job_is_given_up_at_once(reason: str) -> None:
    decision = jobs.decide(JOB, CURRENT, Seen("PENDING", reason, "", ""), 1001, LIMITS)
    assert (decision.verdict, decision.cancel) == ("not run", True)


def test_a_job_that_slurm_cannot_end_is_given_up() -> None:
    running = Seen("RUNNING", "None", "n1", "0:0")
    first = jobs.decide(JOB, CURRENT, running, 1010, LIMITS)
    assert jobs.decide(JOB, first.current, running, 1010 + 120 + jobs.GRACE, LIMITS).verdict == ""
    last = jobs.decide(JOB, first.current, running, 1011 + 120 + jobs.GRACE, LIMITS)
    assert (last.verdict, last.cancel) == ("fail", True)


def test_processes_that_do_not_end_are_no_reason_to_wait() -> None:
    completing = Seen("COMPLETING", "None", "n1", "0:0")
    first = jobs.decide(JOB, CURRENT, completing, 1010, LIMITS)
    last = jobs.decide(JOB, first.current, completing, 1011 + jobs.GRACE, LIMITS)
    assert first.verdict == ""
    assert (last.verdict, "n1" in last.reason) == ("fail", True)


def test_slurmctld_may_restart_but_not_vanish() -> None:
    assert jobs.decide(JOB, CURRENT, None, 1000 + jobs.SILENCE - 1, LIMITS).verdict == ""
    assert jobs.decide(JOB, CURRENT, None, 1000 + jobs.SILENCE, LIMITS).verdict == "not run"


def test_lines_that_matter_are_the_cause_and_the_end() -> None:
    output = "\n".join(["ok"] * 50 + ["FAIL: n2: No space left on device"] + [f"line {number}" for number in range(30)])
    lines = jobs.lines_that_matter(output)
    assert lines[0] == "FAIL: n2: No space left on device"
    assert lines[-1] == "line 29"
    assert len(lines) == 13


def test_measured() -> None:
    found = jobs.measured("hello\nMEASURED write n1 91.3 MiB/s\nMEASURED nonsense\n")
    assert found == [{"what": "write", "where": "n1", "number": 91.3, "unit": "MiB/s"}]


def test_why_skipped() -> None:
    assert jobs.why_skipped("x\nSKIP: no such plugin\n") == "no such plugin"
    assert "cannot be made" in jobs.why_skipped("x\n")


def test_sentence_and_progress() -> None:
    current = replace(CURRENT, started=1002, nodes="n1")
    row = jobs.result(JOB, jobs.FAIL, "it ended with exit code 1", current, 1005.5)
    assert jobs.sentence(row) == "a test: fail, 3.5 s (job 7 on n1): it ended with exit code 1"
    told = jobs.progress(JOB, CURRENT, Seen("PENDING", "Nodes_are_DOWN", "", ""))
    assert told == "a test: job 7 waits in the queue (Nodes are DOWN)"
    assert "does not answer" in jobs.progress(JOB, CURRENT, None)


def test_refused() -> None:
    assert jobs.refused("sbatch: error: Batch job submission failed: No partition\n") == (
        "Batch job submission failed: No partition"
    )
    assert "no reason" in jobs.refused("")
