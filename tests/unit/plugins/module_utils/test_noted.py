# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import noted, services
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result

ACTIVE = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"


def nobody(argv: Sequence[str]) -> Result:
    raise AssertionError(f"unexpected: {argv}")


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(noted, "FOLDER", str(tmp_path / "noted"))
    monkeypatch.setattr(services, "MARKS", str(tmp_path / "marks"))
    return tmp_path


def is_noted() -> bool:
    return noted.standing(nobody) == {"x": "d1"}


def test_before_the_first_one() -> None:
    assert noted.standing(nobody) == {}
    noted.drop("x")


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_text("a\n")
    other.replace(path)


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.symlink_to(path.with_suffix(".old"))


def set_back(path: Path) -> None:
    """Who sets the times back has changed it all the same."""
    path.write_text("b\n")
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "as long": lambda path: path.write_text("b\n"),
    "mode": lambda path: path.chmod(0o600),
    "gone": Path.unlink,
    "another": replaced,
    "a link": linked,
    "old times": set_back,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes(folders: Path, change: Callable[[Path], object]) -> None:
    path = folders / "file"
    path.write_text("a\n")
    time.sleep(noted.TICK)
    noted.keep("x", "d1", noted.stamps([str(path)]), [])
    assert is_noted()
    path.read_text()
    assert is_noted(), "reading changes nothing"
    change(path)
    assert not is_noted()


def test_what_a_link_leads_to_and_what_comes(folders: Path) -> None:
    link, target = folders / "link", folders / "target"
    target.write_text("a\n")
    link.symlink_to(target)
    noted.keep("x", "d1", noted.stamps([str(link), str(folders / "none")]), [])
    assert is_noted()
    (folders / "none").touch()
    assert not is_noted()
    noted.keep("x", "d1", noted.stamps([str(link)]), [])
    time.sleep(noted.TICK)
    target.write_text("b\n")
    assert not is_noted()


def test_a_folder_is_the_same_whatever_is_in_it(folders: Path) -> None:
    folder = folders / "folder"
    folder.mkdir()
    noted.keep("x", "d1", noted.stamps([str(folder)]), [])
    (folder / "new").touch()
    assert is_noted()
    folder.chmod(0o700)
    assert not is_noted()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"digest": "d1"}', "\udcff"])
def test_a_note_that_is_none(folders: Path, text: str) -> None:
    noted.keep("x", "d1", {}, [])
    (folders / "noted" / "x").write_text(text, errors="surrogateescape")
    assert noted.standing(nobody) == {}


def test_a_note_that_cannot_be_read(folders: Path) -> None:
    noted.keep("x", "d1", {}, [])
    (folders / "noted" / "x").unlink()
    (folders / "noted" / "x").mkdir()
    assert noted.standing(nobody) == {}


def test_units(folders: Path) -> None:
    """One question for the units of all notes; a note counts when its own run with the files that are in place."""
    noted.keep("x", "d1", noted.stamps([]), ["one"])
    noted.keep("y", "d2", noted.stamps([]), ["two", "one"])
    noted.keep("z", "d3", noted.stamps([]), [])
    assert (folders / "noted" / "x").stat().st_mode & 0o777 == 0o600
    wanted = [services.Service("one"), services.Service("two")]

    def look(*states: str) -> dict[str, str]:
        def run(argv: Sequence[str]) -> Result:
            assert list(argv) == services.show(wanted)
            return Result(list(argv), 0, "\n".join(states), "")

        return noted.standing(run)

    every = {"x": "d1", "y": "d2", "z": "d3"}
    assert look(ACTIVE, ACTIVE) == every
    for broken in (
        ACTIVE.replace("=active", "=failed"),
        ACTIVE.replace("=enabled", "=disabled"),
        ACTIVE.replace("=no", "=yes"),
        "LoadState=not-found\n",
    ):
        assert look(ACTIVE, broken) == {"x": "d1", "z": "d3"}
        assert look(broken, ACTIVE) == {"z": "d3"}
    (folders / "marks").mkdir()
    (folders / "marks" / "two.service.restart").touch()
    assert look(ACTIVE, ACTIVE) == {"x": "d1", "z": "d3"}
    noted.drop("y")
    assert not (folders / "noted" / "y").exists()


def test_a_systemd_that_says_nothing() -> None:
    noted.keep("x", "d1", noted.stamps([]), ["one"])
    noted.keep("z", "d3", noted.stamps([]), [])
    assert noted.standing(lambda argv: Result(list(argv), 1, "", "no bus")) == {"z": "d3"}
