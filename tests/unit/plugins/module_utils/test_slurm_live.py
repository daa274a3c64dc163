# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles
from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import Node
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_live import (
    NoAnswerError,
    Note,
    jobs,
    look,
    start_times,
    unfinished,
)
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_plan import JOBS, JOBS_TRES, Job

OLD = {"gres.conf": "old gres\n", "slurm.conf": "old slurm\n"}
NEW = {"gres.conf": "old gres\n", "slurm.conf": "new slurm\n"}
OTHERS = {"gres.conf": "new gres\n", "slurm.conf": "old slurm\n"}

SHOW = ["scontrol", "show", "config"]
# What 22.05.8 and 24.11.5 print, shortened.
MATCH = (0, "HASH_VAL                = Match\n")
DIFFERENT = (0, "HASH_VAL                = Different Ours=0x1 Slurmctld=0x2\n")
BROKEN = (1, "scontrol: fatal: Unable to process configuration file\n")
SILENT = (1, "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)\n")


class Slurmctld:
    """Answers SHOW to a client with the files in place, and to one with the copy; counts time in sleep alone."""

    def __init__(
        self, files: ConfigFiles, in_place: Sequence[tuple[int, str]], copy: Sequence[tuple[int, str]]
    ) -> None:
        self.copy_env = ["env", f"SLURM_CONF={files.path('used')}/slurm.conf"]
        self.answers = {"in place": list(in_place), "copy": list(copy)}
        self.now = 0.0

    def run(self, argv: Sequence[str]) -> Result:
        asked = "copy" if list(argv[:2]) == self.copy_env else "in place"
        assert list(argv) == (self.copy_env if asked == "copy" else []) + SHOW
        assert self.answers[asked], f"unexpected: {argv}"
        # The last answer is given again and again.
        left = self.answers[asked]
        rc, said = left.pop(0) if len(left) > 1 else left[0]
        return Result(list(argv), rc, said, "")

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    """OLD is in use and in place."""
    files = ConfigFiles(str(tmp_path / "etc"), str(tmp_path / "state"), OLD)
    files.write(OLD, {})
    files.take()
    return files


def seen(
    files: ConfigFiles, in_place: Sequence[tuple[int, str]], copy: Sequence[tuple[int, str]] = ()
) -> tuple[bool, bool, dict[str, str], str, float]:
    """What `look` finds out: active, applied, texts, whom to ask; and how long that took."""
    slurmctld = Slurmctld(files, in_place, copy)
    found = look(slurmctld.run, True, files, slurmctld.sleep, lambda: slurmctld.now)
    slurmctld.answers = {"in place": [MATCH], "copy": [MATCH]}
    asked = "copy" if found.ask(SHOW).argv != SHOW else "in place"
    return found.active, found.applied, dict(found.texts), asked, slurmctld.now


def edit(files: ConfigFiles, texts: dict[str, str]) -> None:
    """A person writes files."""
    for name, text in texts.items():
        Path(files.folder, name).write_text(text, encoding="utf-8")


def test_files_that_are_in_use(files: ConfigFiles) -> None:
    assert seen(files, [MATCH]) == (True, True, OLD, "in place", 0)


def test_files_that_are_not_in_use(files: ConfigFiles) -> None:
    assert seen(files, [DIFFERENT]) == (True, False, OLD, "in place", 0)


@pytest.mark.parametrize("said", ["", "HASH_VAL                = Ignored\n", "MailProg = HASH_VAL = Match\n"])
def test_an_answer_without_a_match(files: ConfigFiles, said: str) -> None:
    assert seen(files, [(0, said)])[1] is False


def test_before_the_first_change(tmp_path: Path) -> None:
    files = ConfigFiles(str(tmp_path / "etc"), str(tmp_path / "state"), OLD)
    os.mkdir(files.folder)
    edit(files, NEW)
    assert seen(files, [MATCH]) == (True, True, NEW, "in place", 0)
    # Foreign files that slurmctld has not read are the best that is known.
    assert seen(files, [DIFFERENT]) == (True, False, NEW, "in place", 0)


def test_an_edit_that_nobody_used(files: ConfigFiles) -> None:
    edit(files, NEW)
    assert seen(files, [DIFFERENT], [MATCH]) == (True, True, OLD, "copy", 0)


def test_an_edit_that_was_used(files: ConfigFiles) -> None:
    edit(files, NEW)
    assert seen(files, [MATCH], [DIFFERENT]) == (True, True, NEW, "in place", 0)


def test_an_edit_after_one_that_was_used(files: ConfigFiles) -> None:
    edit(files, NEW)
    assert seen(files, [DIFFERENT], [DIFFERENT]) == (True, False, OLD, "copy", 0)


def test_a_broken_file_in_place(files: ConfigFiles) -> None:
    edit(files, NEW)
    assert seen(files, [BROKEN], [MATCH]) == (True, True, OLD, "copy", 0)


def test_an_edit_that_was_used_and_names_another_port(files: ConfigFiles) -> None:
    edit(files, NEW)
    assert seen(files, [MATCH], [SILENT]) == (True, True, NEW, "in place", 0)


def test_an_edit_of_another_file(files: ConfigFiles) -> None:
    # The hash does not tell whether it is in use.
    edit(files, OTHERS)
    assert seen(files, [MATCH], [MATCH]) == (True, False, OLD, "copy", 0)


@pytest.mark.parametrize(("in_place", "copy", "asked"), [(DIFFERENT, MATCH, "copy"), (MATCH, DIFFERENT, "in place")])
def test_files_that_a_killed_run_wrote(
    files: ConfigFiles, in_place: tuple[int, str], copy: tuple[int, str], asked: str
) -> None:
    files.write(NEW, OLD)
    # It may have got as far as the reconfigure; nobody knows whether all nodes followed.
    assert seen(files, [in_place], [copy]) == (True, False, OLD, asked, 0)


def test_a_mark_alone(files: ConfigFiles) -> None:
    files.write(OLD, OLD)
    assert seen(files, [MATCH]) == (True, False, OLD, "in place", 0)


def test_one_that_answers_after_a_while(files: ConfigFiles) -> None:
    edit(files, NEW)
    assert seen(files, [BROKEN], [SILENT, SILENT, MATCH]) == (True, True, OLD, "copy", 1)


def test_one_that_does_not_answer(files: ConfigFiles) -> None:
    slurmctld = Slurmctld(files, [SILENT], [])
    with pytest.raises(NoAnswerError, match=r"^slurmctld runs, but does not answer: .*Unable to contact slurm contr"):
        look(slurmctld.run, True, files, slurmctld.sleep, lambda: slurmctld.now)
    assert 15 <= slurmctld.now <= 16


def test_one_that_does_not_run(files: ConfigFiles, tmp_path: Path) -> None:
    edit(files, NEW)
    slurmctld = Slurmctld(files, [], [])
    found = look(slurmctld.run, False, files)
    assert (found.active, found.applied, found.texts, found.ask) == (False, False, OLD, slurmctld.run)
    fresh = ConfigFiles(files.folder, str(tmp_path / "other"), OLD)
    assert look(slurmctld.run, False, fresh).texts == NEW


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_jobs_are_asked_for_twice() -> None:
    steps = [Result(list(JOBS), 0, "7|ann|main|n1|N/A\n", ""), Result(list(JOBS_TRES), 0, "7 gres/gpu:1\n", "")]

    def run(argv: Sequence[str]) -> Result:
        result = steps.pop(0)
        assert list(argv) == result.argv
        return result

    assert jobs(run) == [Job("7", "ann", "main", ("n1",), gres=True)]
    assert steps == []


@pytest.mark.parametrize("failing", [JOBS, JOBS_TRES])
def test_without_an_answer_nobody_knows_the_jobs(failing: Sequence[str]) -> None:
    with pytest.raises(CommandError):
        jobs(lambda argv: Result(list(argv), int(tuple(argv) == failing), "", ""))


# --- notes ------------------------------------------------------------------------------------------------------------


def test_a_note_is_kept_until_it_is_done(tmp_path: Path) -> None:
    note = Note(str(tmp_path / "note.json"))
    assert note.read() == {}
    note.write({})
    assert os.listdir(tmp_path) == []
    note.write({"n1": 5, "never": None})
    assert Note(note.path).read() == {"n1": 5, "never": None}
    note.write({"main": "DOWN"})
    assert (note.read(), os.listdir(tmp_path)) == ({"main": "DOWN"}, ["note.json"])
    note.write({})
    assert (note.read(), os.listdir(tmp_path)) == ({}, [])


def test_a_note_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = Note(str(tmp_path / "note.json"))
    note.write({"n1": 5})

    def die(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        note.write({"n2": 5})
    assert note.read() == {"n1": 5}


def nodes(**starts: int | None) -> dict[str, Node]:
    """Nodes by when their slurmd began."""
    return {
        name: Node(name, "IDLE", frozenset(), "", "", 1, (), (), "", "", "22.05.8", start, "")
        for name, start in starts.items()
    }


def test_a_restart_is_unfinished_until_the_slurmd_is_another() -> None:
    noted = start_times(["n1", "n2", "gone", "never"], nodes(n1=5, n2=6, never=None, n3=7))
    # A slurmd that never registered has read nothing yet.
    assert noted == {"n1": 5, "n2": 6}
    assert unfinished(noted, nodes(n1=5, n2=6, never=None, n3=7)) == ["n1", "n2"]
    # One restarted, one is silent since.
    assert unfinished(noted, nodes(n1=9, n2=None)) == ["n2"]
    assert unfinished(noted, nodes(n2=8)) == []
    assert unfinished({}, nodes(n2=8)) == []
