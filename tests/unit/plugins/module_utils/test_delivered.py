# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import delivered
from ansible_collections.aicluster.slurm.plugins.module_utils.delivered import DeliveryError
from ansible_collections.aicluster.slurm.plugins.modules.delivery_files import deliver


def item(path: Path, text: str = "", **more: str) -> dict[str, Any]:
    return {"path": str(path), "content": base64.b64encode(text.encode()).decode(), **more}


def run(folder: Path, *files: dict[str, Any], prune: bool = False, check: bool = False) -> list[tuple[str, str]]:
    mine = {"owner": str(os.getuid()), "group": str(os.getgid())}
    params = {"files": [{**mine, **file} for file in files], "prune": prune, "user": ""}
    params["manifest"] = str(folder / "state" / "delivered.json")
    result = deliver(params, check)
    assert result["changed"] == bool(result["changes"])
    return [(Path(change["path"]).name, change["what"]) for change in result["changes"]]


def test_files_arrive_with_their_rights_and_only_once(tmp_path: Path) -> None:
    files = [{"path": str(tmp_path / "d"), "state": "directory"}, item(tmp_path / "d/run.sh", "hello", mode="0750")]
    assert run(tmp_path, *files) == [("d", "new"), ("run.sh", "new")]
    assert (tmp_path / "d/run.sh").read_text() == "hello"
    assert stat.S_IMODE((tmp_path / "d/run.sh").stat().st_mode) == 0o750
    assert run(tmp_path, *files) == []


def test_folders_above_are_open_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run(tmp_path, item(tmp_path / "a/b/run.sh", "hello"))
        assert [stat.S_IMODE((tmp_path / each).stat().st_mode) for each in ("a", "a/b")] == [0o755, 0o755]
    finally:
        os.umask(before)


def test_only_what_differs_changes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(tmp_path, item(one, "a"), item(two, "b"))
    two.chmod(0o600)
    assert run(tmp_path, item(one, "c"), item(two, "b")) == [("one", "content"), ("two", "mode")]


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, item(tmp_path / "one", "a"), check=True) == [("one", "new")]
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_wants_any_more_goes_when_asked(tmp_path: Path) -> None:
    folder = {"path": str(tmp_path / "d"), "state": "directory"}
    run(tmp_path, folder, item(tmp_path / "d/one"), item(tmp_path / "two"))
    assert run(tmp_path, item(tmp_path / "two")) == []
    assert (tmp_path / "d/one").exists()
    assert run(tmp_path, item(tmp_path / "two"), prune=True) == [("one", "remove"), ("d", "remove")]
    assert not (tmp_path / "d").exists()


def test_a_folder_with_something_of_others_stays(tmp_path: Path) -> None:
    run(tmp_path, {"path": str(tmp_path / "d"), "state": "directory"}, item(tmp_path / "d/one"))
    (tmp_path / "d/mine").touch()
    assert run(tmp_path, prune=True) == [("one", "remove")]
    assert (tmp_path / "d/mine").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, item(tmp_path / "one", "old"))

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as error:
        run(tmp_path, item(tmp_path / "one", "new"))
    assert (tmp_path / "one").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "state"]
    assert "no space left" in delivered.explain(error.value)


class Killed(BaseException):
    """The run ends here, and nothing more of it runs."""


def test_what_a_run_brought_before_its_end_is_known_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, one, two = (item(tmp_path / name, name) for name in ("old", "one", "two"))
    (tmp_path / "mine").write_text("of somebody else")
    run(tmp_path, old)
    real = delivered.apply

    def until_the_second(change: delivered.Change, own: bool) -> None:
        if change.wanted.path == two["path"]:
            raise Killed
        real(change, own)

    with monkeypatch.context() as killing:
        killing.setattr(delivered, "apply", until_the_second)
        with pytest.raises(Killed):
            run(tmp_path, old, one, two, item(tmp_path / "mine", "ours"))
    assert (tmp_path / "one").exists()
    # What it did not come to is not its own.
    assert run(tmp_path, old, prune=True) == [("one", "remove")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "old", "state"]


def test_a_run_that_is_refused_is_remembered_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(DeliveryError, match="something else"):
        run(tmp_path, item(tmp_path / "one"), item(tmp_path / "link"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"path": "relative"}, "absolute"),
        ({"path": "/a/../b"}, "absolute"),
        ({"path": "/a", "mode": "rwx"}, "octal"),
        ({"path": "/a", "content": "!"}, "Base64"),
        ({"path": "/a", "owner": "nobody-of-this-name"}, "does not know"),
    ],
)
def test_bad_input(bad: dict[str, str], says: str) -> None:
    with pytest.raises(DeliveryError, match=says):
        delivered.wanted_of(bad)


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "one").symlink_to(tmp_path / "secret")
    with pytest.raises(DeliveryError, match="something else"):
        run(tmp_path, item(tmp_path / "one", "new"))
    assert (tmp_path / "secret").read_text() == "x"
