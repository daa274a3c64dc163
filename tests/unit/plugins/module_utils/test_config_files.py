# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import ConfigFiles

NAMES = ("gres.conf", "slurm.conf")
OLD = {"gres.conf": "old gres\n", "slurm.conf": "old slurm\n"}
NEW = {"gres.conf": "new gres\n", "slurm.conf": "new slurm\n"}


class Killed(BaseException):
    """The run ends here, as by SIGKILL."""


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return ConfigFiles(str(tmp_path / "etc"), str(tmp_path / "state"), NAMES)


def put(files: ConfigFiles, texts: dict[str, str]) -> None:
    files.write(texts)
    files.used()


def test_first_write(files: ConfigFiles) -> None:
    assert (files.read(), files.previous(), files.pending) == ({}, {}, False)
    files.write(NEW)
    assert (files.read(), files.previous(), files.pending) == (NEW, {}, True)
    files.used()
    assert not files.pending
    files.used()
    assert sorted(os.listdir(files.folder)) == sorted(NAMES)
    for name in NAMES:
        assert stat.S_IMODE(os.stat(os.path.join(files.folder, name)).st_mode) == 0o644


def test_what_was_in_use_is_kept(files: ConfigFiles) -> None:
    put(files, OLD)
    put(files, NEW)
    assert (files.read(), files.previous()) == (NEW, OLD)
    # Going back is a change like any other: the copy is then what was left.
    put(files, files.previous())
    assert (files.read(), files.previous()) == (OLD, NEW)


def test_a_second_write_before_the_first_is_used_keeps_the_first_copy(files: ConfigFiles) -> None:
    put(files, OLD)
    files.write(NEW)
    files.write({"slurm.conf": "third\n"})
    assert (files.read(), files.previous(), files.pending) == ({"slurm.conf": "third\n"}, OLD, True)
    files.write(files.previous())
    assert (files.read(), files.previous(), files.pending) == (OLD, OLD, True)


def test_the_same_texts_change_nothing(files: ConfigFiles) -> None:
    put(files, OLD)
    put(files, NEW)
    times = {name: os.stat(os.path.join(files.folder, name)).st_mtime_ns for name in NAMES}
    files.write(NEW)
    # Without a mark: the copy is not what the daemons run with.
    assert (files.previous(), files.pending) == (OLD, False)
    assert times == {name: os.stat(os.path.join(files.folder, name)).st_mtime_ns for name in NAMES}


def test_unwanted_files_go_and_foreign_ones_stay(files: ConfigFiles) -> None:
    put(files, OLD)
    foreign = Path(files.folder, "topology.conf")
    foreign.write_text("foreign\n", encoding="utf-8")
    put(files, {"slurm.conf": "alone\n"})
    assert files.read() == {"slurm.conf": "alone\n"}
    assert files.previous() == OLD
    put(files, {"slurm.conf": "again\n"})
    assert files.previous() == {"slurm.conf": "alone\n"}
    assert foreign.exists()


def test_bytes_that_are_no_text_survive(files: ConfigFiles) -> None:
    put(files, OLD)
    path = Path(files.folder, "slurm.conf")
    path.write_bytes(b"# caf\xe9\n")
    put(files, NEW)
    put(files, files.previous())
    assert path.read_bytes() == b"# caf\xe9\n"


# The copy's two files, the mark, then the two files.
@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_each_step(files: ConfigFiles, monkeypatch: pytest.MonkeyPatch, step: int, after: bool) -> None:
    put(files, OLD)
    replace, calls = os.replace, []

    def replace_or_die(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) <= step or after:
            replace(source, target)
        if len(calls) > step:
            # What SIGKILL leaves aside is not cleaned up; here it is, so that only whole files matter.
            Path(source).touch()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace_or_die)
        with pytest.raises(Killed):
            files.write(NEW)
    assert len(calls) == step + 1
    there = files.read()
    assert there.keys() == OLD.keys()
    assert all(there[name] in (OLD[name], NEW[name]) for name in NAMES)
    if files.pending:
        assert files.previous() == OLD
    else:
        assert there == OLD
    # The next run ends where this one would have.
    files.write(NEW)
    assert (files.read(), files.previous(), files.pending) == (NEW, OLD, True)
    assert not [name for name in os.listdir(files.folder) if name.startswith(".aicluster-")]


def test_killed_while_going_back(files: ConfigFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    put(files, OLD)
    files.write(NEW)

    def die(_source: str, _target: str) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die)
        with pytest.raises(Killed):
            files.write(files.previous())
    assert (files.previous(), files.pending) == (OLD, True)
