# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import ConfigError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_validate import (
    Verdict,
    candidate,
    check,
    hostname,
    hosts,
    judge,
)

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
    lines = [line for line in candidate(text, "/tmp/x", "head").splitlines() if line]
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
    assert candidate("ClusterName=lab", "/tmp/x", "head").startswith("ClusterName=lab\nStateSaveLocation=")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("SlurmctldHost=head(10.0.0.1)", "SlurmctldHost=head"),
        ("  slurmctldhost = head (10.0.0.1)", "  slurmctldhost = head "),
        ("SlurmctldHost=b(fd00::1)\nSlurmctldHost=c", "SlurmctldHost=b\nSlurmctldHost=c"),
        ("SlurmctldHost=b\nSlurmctldHost=head(10.0.0.1)\nslurmctldhost = c", "SlurmctldHost=head"),
        ("SlurmctldHost=head2\nSlurmctldHost=head", "SlurmctldHost=head"),
        ("SlurmctldHost=head", "SlurmctldHost=head"),
        ("Licenses=a(10)", "Licenses=a(10)"),
    ],
)
def test_candidate_has_names_of_controllers_without_addresses(line: str, kept: str) -> None:
    assert candidate(f"{line}\nNodeName=n1\n", "/tmp/x", "head").startswith(f"{kept}\nNodeName=n1\n")


def test_hosts() -> None:
    assert hosts(["n1", "head"]) == "127.0.0.1 localhost\n192.0.2.254 n1\n192.0.2.254 head\n"


def test_good_in_the_deep_check() -> None:
    assert judge(FakeRunner((0, "")), "/tmp/x") == Verdict("deep", [])


def test_what_it_makes_of_a_good_one() -> None:
    said = "PartitionName=main Nodes=n1\nPartitionName=b\n--- nodes ---\nNodeName=n1\nNodeName=n2\n"
    verdict = judge(FakeRunner((0, said)), "/tmp/x")
    assert verdict.partitions == "PartitionName=main Nodes=n1\nPartitionName=b\n"
    assert verdict.nodes == "NodeName=n1\nNodeName=n2\n"


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
    assert judge(FakeRunner((98, said)), "/tmp/x") == Verdict(
        "deep", ["slurmctld ended, or did not start within 60 s, and said nothing of why"]
    )


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


# --- check ------------------------------------------------------------------------------------------------------------

TEXTS = {"slurm.conf": "SlurmctldHost=head(10.0.0.1)\n", "topology.conf": "# caf\udce9\n"}


class Checker:
    """Prepares and answers the deep check; keeps what it was given to judge."""

    def __init__(self, rc: int = 0, said: str = "", failing: str = "") -> None:
        self.deep = Result([], rc, said, "")
        self.failing = failing
        self.commands: list[list[str]] = []
        self.found: dict[str, bytes] = {}

    def __call__(self, argv: Sequence[str]) -> Result:
        self.commands.append(list(argv))
        folder = Path(argv[-1])
        assert folder.is_dir()
        if argv[0] == "unshare":
            assert (folder / "state").is_dir()
            self.found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
            return self.deep._replace(argv=list(argv))
        return Result(list(argv), int(argv[0] == self.failing), "", "")

    @property
    def folder(self) -> Path:
        return Path(self.commands[0][-1])


def test_check_gives_slurm_a_folder_of_its_own() -> None:
    run = Checker(said="P\n--- nodes ---\nN\n")
    assert check(run, TEXTS, ["n1", "head"]) == Verdict("deep", [], "P\n", "N\n")
    folder = str(run.folder)
    assert run.commands[:2] == [["chmod", "755", folder], ["chown", "-R", "slurm", folder]]
    assert (len(run.commands), run.commands[2][0]) == (3, "unshare")
    assert run.found == {
        "slurm.conf": candidate(TEXTS["slurm.conf"], folder, hostname()).encode(),
        # Bytes that are no text get there as they are.
        "topology.conf": b"# caf\xe9\n",
        "hosts": hosts(["n1", "head"]).encode(),
    }
    assert not run.folder.exists()


def test_check_refuses_with_every_complaint() -> None:
    run = Checker(98, "slurmctld: error: one\nslurmctld: fatal: two\n")
    with pytest.raises(ConfigError) as caught:
        check(run, TEXTS, [])
    assert caught.value.findings == [
        "Slurm refuses the configuration (deep check): error: one",
        "Slurm refuses the configuration (deep check): fatal: two",
    ]
    assert not run.folder.exists()


@pytest.mark.parametrize("failing", ["chmod", "chown"])
def test_check_leaves_nothing_behind_when_it_cannot_prepare(failing: str) -> None:
    run = Checker(failing=failing)
    with pytest.raises(CommandError):
        check(run, TEXTS, [])
    assert run.commands[-1][0] == failing
    assert not run.folder.exists()
