# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import config_files
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import EDITED, ConfigFiles, alone

NAMES = ("gres.conf", "slurm.conf")
OLD = {"gres.conf": "old gres\n", "slurm.conf": "old slurm\n"}
NEW = {"gres.conf": "new gres\n", "slurm.conf": "new slurm\n"}
THIRD = {"slurm.conf": "third\n"}


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return again(tmp_path)


def again(folder: Path, *further: str) -> ConfigFiles:
    """The files as the next run finds them."""
    return ConfigFiles(str(folder / "etc"), str(folder / "state"), NAMES, further)


def put(files: ConfigFiles, texts: dict[str, str]) -> None:
    """A change that the daemons follow."""
    files.write(texts, files.used())
    files.take()


def edited(files: ConfigFiles) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in Path(files.path(EDITED)).iterdir()}


def test_first_write(files: ConfigFiles) -> None:
    assert (files.read(), files.used(), files.previous(), files.pending) == ({}, {}, {}, False)
    files.write(NEW, {})
    assert (files.read(), files.used(), files.previous(), files.pending) == (NEW, {}, {}, True)
    files.take()
    assert (files.read(), files.used(), files.previous(), files.pending) == (NEW, NEW, {}, False)
    assert sorted(os.listdir(files.folder)) == sorted(NAMES)
    for folder in (files.folder, files.path("used")):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755
        for name in NAMES:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o644


def test_what_was_in_use_is_kept(files: ConfigFiles) -> None:
    put(files, OLD)
    put(files, NEW)
    assert (files.read(), files.used(), files.previous()) == (NEW, NEW, OLD)
    # Going back is a change like any other: what was left can be gone back to.
    put(files, files.previous())
    assert (files.read(), files.used(), files.previous()) == (OLD, OLD, NEW)


def test_files_that_are_not_used_yet_do_not_count_as_used(files: ConfigFiles) -> None:
    put(files, THIRD)
    put(files, OLD)
    files.write(NEW, OLD)
    assert (files.read(), files.used(), files.previous(), files.pending) == (NEW, OLD, OLD, True)
    files.write(files.previous(), OLD)
    assert (files.read(), files.used(), files.pending) == (OLD, OLD, True)
    files.take()
    # The old files are in use as before, and what they can go back to is what it was.
    assert (files.read(), files.used(), files.previous(), files.pending) == (OLD, OLD, THIRD, False)


def test_the_same_texts_change_no_file(files: ConfigFiles) -> None:
    put(files, OLD)
    put(files, NEW)
    times = {name: os.stat(os.path.join(files.folder, name)).st_mtime_ns for name in NAMES}
    put(files, NEW)
    assert (files.used(), files.previous(), files.pending) == (NEW, OLD, False)
    assert times == {name: os.stat(os.path.join(files.folder, name)).st_mtime_ns for name in NAMES}


def test_unwanted_files_go_and_foreign_ones_stay(files: ConfigFiles) -> None:
    put(files, OLD)
    foreign = Path(files.folder, "topology.conf")
    foreign.write_text("foreign\n", encoding="utf-8")
    put(files, THIRD)
    assert (files.read(), files.used(), files.previous()) == (THIRD, THIRD, OLD)
    assert foreign.exists()


def test_what_a_person_wrote_is_kept_beside(files: ConfigFiles) -> None:
    put(files, OLD)
    Path(files.folder, "slurm.conf").write_text("by hand\n", encoding="utf-8")
    files.write(NEW, OLD)
    # Now the difference to what is in use is our own.
    files.write(NEW, OLD)
    files.take()
    assert edited(files) == {**OLD, "slurm.conf": "by hand\n"}
    assert (files.used(), files.previous()) == (NEW, OLD)
    put(files, THIRD)
    assert edited(files)["slurm.conf"] == "by hand\n"


def test_files_that_a_person_wrote_and_used(files: ConfigFiles) -> None:
    put(files, OLD)
    Path(files.folder, "slurm.conf").write_text("by hand\n", encoding="utf-8")
    there = files.read()
    files.write(NEW, there)
    assert files.used() == there
    files.take()
    assert (files.used(), files.previous()) == (NEW, there)
    assert not os.path.exists(files.path(EDITED))


def test_foreign_files_are_what_the_first_change_goes_back_to(files: ConfigFiles) -> None:
    os.mkdir(files.folder)
    Path(files.folder, "slurm.conf").write_bytes(b"# caf\xe9\n")
    files.write(NEW, files.read())
    files.take()
    put(files, files.previous())
    assert Path(files.folder, "slurm.conf").read_bytes() == b"# caf\xe9\n"
    assert os.listdir(files.folder) == ["slurm.conf"]


# --- further files ----------------------------------------------------------------------------------------------------


def test_slurm_conf_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written: list[str] = []
    replace = os.replace

    def watch(source: str, target: str) -> None:
        written.append(os.path.relpath(target, tmp_path))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    again(tmp_path, "topology.conf", "acct.conf").write({**NEW, "topology.conf": "t\n", "acct.conf": "a\n"}, {})
    assert [name for name in written if name.startswith("etc")] == [
        "etc/acct.conf",
        "etc/topology.conf",
        "etc/gres.conf",
        "etc/slurm.conf",
    ]
    # Nothing of it before the mark.
    assert written.index("state/pending") == written.index("etc/acct.conf") - 1


def test_a_further_file_is_known_until_it_is_gone_for_good(files: ConfigFiles, tmp_path: Path) -> None:
    with_it = {**OLD, "topology.conf": "t\n"}
    put(again(tmp_path, "topology.conf"), with_it)
    assert again(tmp_path).read() == with_it
    put(again(tmp_path), NEW)
    assert (again(tmp_path).read(), again(tmp_path).previous()) == (NEW, with_it)
    assert "topology.conf" not in os.listdir(files.folder)
    # Going back brings it back.
    put(again(tmp_path), again(tmp_path).previous())
    assert again(tmp_path).used() == again(tmp_path).read() == with_it


def test_a_folder_is_no_file(files: ConfigFiles, tmp_path: Path) -> None:
    put(files, OLD)
    os.mkdir(os.path.join(files.folder, "plugstack.conf.d"))
    assert again(tmp_path, "plugstack.conf.d", "").read() == OLD


# --- killed -----------------------------------------------------------------------------------------------------------

EFFECTS = (
    "os.chmod", "os.fchmod", "os.fsync", "os.makedirs", "os.replace", "os.symlink", "os.unlink", "shutil.rmtree",
    "tempfile.mkdtemp", "tempfile.mkstemp",
)  # fmt: skip


class Killed(BaseException):
    """The run ends here, as by SIGKILL: what it would tidy up stays as well."""


class Effects:
    """Lets so many effects happen, and no further one; the last one before or after it did its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lives: int, half: bool) -> None:
        self.left = lives
        self.half = half
        for name in EFFECTS:
            module, function = name.split(".")
            place = getattr(config_files, module)
            monkeypatch.setattr(place, function, self.deadly(getattr(place, function)))

    def deadly(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left > 0:
                return effect(*args, **options)
            if self.left == 0 and self.half:
                effect(*args, **options)
            raise Killed

        return call


@dataclass
class Change:
    """What is in place before a change, and what is wanted; THIRD and then OLD were in use."""

    wanted: dict[str, str]
    there: dict[str, str] = field(default_factory=lambda: OLD)
    effects: int = 25
    """More than so many there have to be: copies, links, the mark, files, links, the mark."""

    def run(self, folder: Path) -> None:
        """All of it."""
        files = again(folder, *self.wanted)
        files.write(self.wanted, files.used())
        files.take()

    def goes_through(self, folder: Path, lives: int, half: bool) -> bool:
        """Whether it ends before it is killed."""
        with pytest.MonkeyPatch.context() as patched:
            Effects(patched, lives, half)
            try:
                self.run(folder)
            except Killed:
                return False
        return True

    def check_killed(self, files: ConfigFiles) -> None:
        """Every file is the old or the new one, and what was in use can be gone back to."""
        there = files.read()
        assert there.keys() <= {*self.there, *self.wanted}
        for name in {*self.there, *self.wanted}:
            assert there.get(name) in (self.there.get(name), self.wanted.get(name)), name
        assert files.used() == OLD or there == files.used() == self.wanted
        if not files.pending:
            assert there in (self.there, self.wanted)
            assert there == self.wanted or files.used() == OLD
        elif there != files.used():
            assert files.previous() == OLD

    def check_finished(self, files: ConfigFiles) -> None:
        """As if the first run had ended."""
        was_used = THIRD if self.wanted == OLD else OLD
        assert (files.read(), files.used(), files.previous()) == (self.wanted, self.wanted, was_used)
        assert not files.pending
        if self.there != OLD:
            assert edited(files) == self.there
        left = [*os.listdir(files.folder), *os.listdir(files.state)]
        assert not [name for name in left if name.startswith(".") or name.endswith(".new")]
        assert len([name for name in left if name.startswith("copy-")]) == (2 if self.there == OLD else 3)


def test_what_a_killed_run_left_aside_goes_with_the_next_write(tmp_path: Path) -> None:
    left = {name: tmp_path / name for name in (".aicluster-abcd_123", ".aicluster-new_one1", ".aicluster-marker")}
    for path in left.values():
        path.write_text("a secret")
    for name in (".aicluster-abcd_123", ".aicluster-marker"):
        os.utime(left[name], (0, 0))
    config_files.write_whole(str(tmp_path / "munge.key"), "key")
    # Another run may be at work there, and what is named otherwise is somebody else's.
    assert sorted(os.listdir(tmp_path)) == [".aicluster-marker", ".aicluster-new_one1", "munge.key"]


def test_a_write_does_not_fail_for_what_cannot_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(path)

    monkeypatch.setattr(os, "listdir", refuse)
    config_files.write_whole(str(tmp_path / "munge.key"), "key")
    assert (tmp_path / "munge.key").read_text() == "key"


CHANGES = {
    "every file": Change(NEW),
    "a file goes": Change(THIRD, effects=20),
    "a further file comes": Change({**NEW, "topology.conf": "t\n"}),
    "nothing": Change(OLD, effects=4),
    "a person's files go": Change(NEW, there={"gres.conf": "by hand\n", "slurm.conf": "by hand too\n"}),
    "a broken file goes": Change(OLD, there={**OLD, "slurm.conf": "?"}, effects=15),
}


@pytest.mark.parametrize("half", [False, True], ids=["before the effect", "after it"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_killed_at_every_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, half: bool) -> None:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    lives, through = 0, False
    while not through:
        lives += 1
        folder = tmp_path / str(lives)
        folder.mkdir()
        put(again(folder), THIRD)
        put(again(folder), OLD)
        for name, text in change.there.items():
            (folder / "etc" / name).write_text(text, encoding="utf-8")
        through = change.goes_through(folder, lives, half)
        change.check_killed(again(folder, *change.wanted))
        change.run(folder)
        change.check_finished(again(folder, *change.wanted))
    assert lives > change.effects


def test_one_change_at_a_time(tmp_path: Path) -> None:
    """Also of another process: the lock of one that is killed goes with it."""
    script = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(TimeoutError, match=rf"^{tmp_path}: found another run"), alone(str(tmp_path), 0.3):
            raise AssertionError
        other.kill()
    with alone(str(tmp_path), 5), pytest.raises(TimeoutError), alone(str(tmp_path), 0):
        raise AssertionError
    with alone(str(tmp_path / "none"), 0), alone(str(tmp_path / "none"), 0):
        pass
