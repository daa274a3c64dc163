# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_validate import Verdict, candidate, hosts, judge

SYNTAX = ["env", "SLURM_CONF=/tmp/x/slurm.conf", "scontrol", "show", "hostnames", "localhost"]


class FakeRunner:
    """Answers the deep check and, where an answer is given, the syntax check."""

    def __init__(self, deep: tuple[int, str], syntax: tuple[int, str] | None = None) -> None:
        self.deep = deep
        self.syntax = syntax

    def __call__(self, argv: Sequence[str]) -> Result:
        if argv[0] == "unshare":
            assert list(argv[:5]) == ["unshare", "--net", "--mount", "sh", "-c"]
            assert list(argv[6:]) == ["sh", "/tmp/x"]
            return Result(list(argv), self.deep[0], self.deep[1], "")
        assert list(argv) == SYNTAX
        assert self.syntax, "unexpected syntax check"
        return Result(list(argv), self.syntax[0], "", self.syntax[1])


def test_candidate_replaces_state_log_and_accounting_only() -> None:
    text = (
        "ClusterName=lab\nstatesavelocation = /var/spool/slurm\nSlurmctldPidFile=/run/pid\n"
        "SlurmctldLogFile=/var/log/a\n"
        "SlurmctldDebug=quiet\nAccountingStorageType=accounting_storage/slurmdbd\nJobCompType=jobcomp/mysql\n"
        "AccountingStorageTRES=gres/gpu\nSlurmdLogFile=/var/log/b\nNodeName=n1 State=UNKNOWN\n"
    )
    lines = [line for line in candidate(text, "/tmp/x").splitlines() if line]
    assert lines == [
        "ClusterName=lab",
        "AccountingStorageTRES=gres/gpu",
        "SlurmdLogFile=/var/log/b",
        "NodeName=n1 State=UNKNOWN",
        "StateSaveLocation=/tmp/x/state",
        "SlurmctldPidFile=/tmp/x/pid",
        "SlurmctldLogFile=/tmp/x/log",
    ]


def test_candidate_of_a_file_without_a_last_newline() -> None:
    assert candidate("ClusterName=lab", "/tmp/x").startswith("ClusterName=lab\nStateSaveLocation=")


def test_hosts() -> None:
    assert hosts(["n1", "head"]) == "127.0.0.1 localhost\n192.0.2.254 n1\n192.0.2.254 head\n"


def test_good_in_the_deep_check() -> None:
    assert judge(FakeRunner((0, "")), "/tmp/x") == Verdict("deep", [])


def test_bad_in_the_deep_check() -> None:
    said = (
        "slurmctld: error: Parsing error at unrecognized key: Foo\n"
        "[2026-01-02T03:04:05.678] error: Could not open node state file /tmp/x/state/node_state\n"
        "[2026-01-02T03:04:05.678] error: Parsing error at unrecognized key: Foo\n"
        "[2026-01-02T03:04:05.678] slurmctld version 22.05.8 started\n"
        "[2026-01-02T03:04:05.679] fatal: Invalid node names in partition main\n"
    )
    assert judge(FakeRunner((98, said)), "/tmp/x") == Verdict(
        "deep", ["error: Parsing error at unrecognized key: Foo", "fatal: Invalid node names in partition main"]
    )


@pytest.mark.parametrize("said", ["", "slurmctld: error: Could not open job state file\n"])
def test_a_slurmctld_that_ends_without_a_word(said: str) -> None:
    assert judge(FakeRunner((98, said)), "/tmp/x") == Verdict("deep", ["slurmctld did not start"])


# The script's own code, unshare without the right, and no unshare.
@pytest.mark.parametrize("rc", [97, 1, 127])
def test_without_namespaces(rc: int) -> None:
    assert judge(FakeRunner((rc, "no right"), (0, "")), "/tmp/x") == Verdict("syntax", [])
    bad = "scontrol: error: Parsing error at unrecognized key: Foo\nscontrol: fatal: Unable to process it\n"
    assert judge(FakeRunner((rc, ""), (1, bad)), "/tmp/x") == Verdict(
        "syntax", ["error: Parsing error at unrecognized key: Foo", "fatal: Unable to process it"]
    )


def test_a_failure_without_words_is_no_success() -> None:
    assert judge(FakeRunner((97, ""), (1, "")), "/tmp/x").complaints == ["scontrol does not read it"]
