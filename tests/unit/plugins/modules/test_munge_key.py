# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import munge as munge_utils
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.munge import (
    IS_ACTIVE,
    RESTART,
    Outcome,
    decode,
    key_in_use,
    key_time,
    use_key,
)

KEY, OTHER = bytes(range(128)), bytes(range(1, 129))
ME = pwd.getpwuid(os.getuid())
RIGHTS = f"other rights than {ME.pw_name} 0400"

Step = tuple[list[str], int]


class Killed(BaseException):
    """The run ends here, as by SIGKILL: nothing after it happens."""


class FakeRunner:
    """Answers exactly the commands that are expected, in their order, and fails on any other."""

    def __init__(self, *steps: Step, during: Callable[[], object] = lambda: None) -> None:
        self.steps = list(steps)
        self.during = during

    def __call__(self, argv: Sequence[str]) -> Result:
        assert self.steps, f"unexpected: {argv}"
        expected, rc = self.steps.pop(0)
        assert list(argv) == expected
        self.during()
        return Result(expected, rc, "", "Job for munge.service failed.\n" if rc else "")


class Munge:
    """A folder as /etc/munge, and runs of the module in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "munge.key"
        self.mark = folder / ".restart-munge"

    def put(self, key: bytes = KEY, mode: int = 0o400) -> None:
        self.path.write_bytes(key)
        self.path.chmod(mode)

    def use(self, *steps: Step, check_mode: bool = False, during: Callable[[], object] = lambda: None) -> Outcome:
        """Run with KEY; every step has to be taken."""
        run = FakeRunner(*steps, during=during)
        outcome = use_key(run, str(self.path), KEY, ME, check_mode)
        assert run.steps == []
        return outcome

    def state(self) -> dict[str, tuple[bytes, int]]:
        """Content and mode of every file."""
        return {
            path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in sorted(self.folder.iterdir())
        }


DONE = {"munge.key": (KEY, 0o400)}


@pytest.fixture
def munge(tmp_path: Path) -> Munge:
    return Munge(tmp_path)


# --- decode -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 128, 1024])
def test_decode(size: int) -> None:
    key = bytes(number % 256 for number in range(size))
    text = base64.encodebytes(key).decode()
    # As `base64` prints it and as a block in YAML holds it: in lines.
    assert decode(text) == decode(text.replace("\n", "")) == key


@pytest.mark.parametrize("text", ["no Base64!", "QUJD*A==", "QUJDR", "kéy", "\ud800"])
def test_text_that_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"^content: found text that is not Base64; accepted: a munge key in Base64$"):
        decode(text)


@pytest.mark.parametrize("size", [0, 31, 1025])
def test_keys_that_munged_would_refuse(size: int) -> None:
    message = f"^content: found a key of {size} bytes; accepted: 32 to 1024 bytes$"
    with pytest.raises(ValueError, match=message):
        decode(base64.b64encode(b"k" * size).decode())


# --- use_key ----------------------------------------------------------------------------------------------------------


def test_the_same_key(munge: Munge) -> None:
    munge.put()
    before = munge.path.stat()
    assert munge.use((IS_ACTIVE, 0)) == Outcome([], [])
    assert munge.state() == DONE
    assert munge.path.stat() == before


@pytest.mark.parametrize("other", [None, OTHER, KEY + b"\n"])
def test_a_new_key(munge: Munge, other: bytes | None) -> None:
    if other is not None:
        munge.put(other)
    in_place: list[bytes] = []
    outcome = munge.use((RESTART, 0), during=lambda: in_place.append(munge.path.read_bytes()))
    assert outcome == Outcome(["another key", "munged runs with another key"], [RESTART])
    assert in_place == [KEY]
    assert munge.state() == DONE
    assert munge.use((IS_ACTIVE, 0)) == Outcome([], [])


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o404, 0o000])
def test_wrong_rights_need_no_restart(munge: Munge, mode: int) -> None:
    if mode == 0 and os.getuid():
        pytest.skip("only root reads a file without rights")
    munge.put(mode=mode)
    assert munge.use((IS_ACTIVE, 0)) == Outcome([RIGHTS], [])
    assert munge.state() == DONE
    assert munge.use((IS_ACTIVE, 0)) == Outcome([], [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_wrong_owner(munge: Munge) -> None:
    munge.put()
    os.chown(munge.path, 12345, 12345)
    assert munge.use((IS_ACTIVE, 0)) == Outcome([RIGHTS], [])
    assert munge.path.stat().st_uid == ME.pw_uid
    assert munge.path.stat().st_gid == ME.pw_gid


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_key_belongs_to_the_account(munge: Munge) -> None:
    account = pwd.getpwnam("nobody")
    run = FakeRunner((RESTART, 0))
    use_key(run, str(munge.path), KEY, account, check_mode=False)
    assert (munge.path.stat().st_uid, munge.path.stat().st_gid) == (account.pw_uid, account.pw_gid)


def test_munged_does_not_run(munge: Munge) -> None:
    munge.put()
    assert munge.use((IS_ACTIVE, 3), (RESTART, 0)) == Outcome(["munged does not run"], [RESTART])
    assert munge.state() == DONE


def test_a_mark_was_left_behind(munge: Munge) -> None:
    munge.put()
    munge.mark.touch()
    assert munge.use((RESTART, 0)) == Outcome(["munged runs with another key"], [RESTART])
    assert munge.state() == DONE


def test_a_mark_and_wrong_rights(munge: Munge) -> None:
    munge.put(mode=0o644)
    munge.mark.touch()
    assert munge.use((RESTART, 0)) == Outcome([RIGHTS, "munged runs with another key"], [RESTART])
    assert munge.state() == DONE


@pytest.mark.parametrize("other", [None, OTHER])
def test_check_mode_changes_nothing(munge: Munge, other: bytes | None) -> None:
    if other is not None:
        munge.put(other)
    before = munge.state()
    outcome = munge.use(check_mode=True)
    assert outcome == Outcome(["another key", "munged runs with another key"], [])
    assert munge.state() == before


def test_check_mode_looks_whether_munged_runs(munge: Munge) -> None:
    munge.put(mode=0o640)
    before = munge.state()
    assert munge.use((IS_ACTIVE, 3), check_mode=True) == Outcome([RIGHTS, "munged does not run"], [])
    assert munge.state() == before


# --- key_in_use -------------------------------------------------------------------------------------------------------


def test_the_key_in_use(munge: Munge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(munge_utils, "USER", ME.pw_name)

    def known(*steps: Step) -> str:
        run = FakeRunner(*steps)
        found = key_in_use(run, str(munge.path))
        assert run.steps == []
        return found

    assert known() == "", "no key"
    munge.put()
    assert known((IS_ACTIVE, 0)) == hashlib.sha256(KEY).hexdigest()
    assert known((IS_ACTIVE, 3)) == "", "munged does not run"
    munge.mark.touch()
    assert known() == "", "munged runs with another key"
    munge.mark.unlink()
    munge.put(mode=0o440)
    assert known() == "", "others can read it"
    monkeypatch.setattr(munge_utils, "USER", "nobody-of-that-name")
    assert known() == "", "no munge here"


# --- what goes wrong in between ---------------------------------------------------------------------------------------


def kill(*_: object) -> NoReturn:
    raise Killed


def test_killed_between_write_and_restart(munge: Munge) -> None:
    munge.put(OTHER)
    with pytest.raises(Killed):
        munge.use((RESTART, 0), during=kill)
    assert munge.state() == {**DONE, ".restart-munge": (b"", 0o666 & ~umask())}
    # In check mode too the next run says what is to do.
    assert munge.use(check_mode=True).found == ["munged runs with another key"]
    assert munge.use((RESTART, 0)) == Outcome(["munged runs with another key"], [RESTART])
    assert munge.state() == DONE


def test_killed_before_the_key_is_in_place(munge: Munge, monkeypatch: pytest.MonkeyPatch) -> None:
    munge.put(OTHER)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            munge.use()
    assert munge.path.read_bytes() == OTHER
    # Whoever finds the rest of such a run can read it as little as the key itself.
    assert all(mode in (0o400, 0o600) for text, mode in munge.state().values() if text)
    assert munge.use((RESTART, 0)) == Outcome(["another key", "munged runs with another key"], [RESTART])
    assert munge.state()["munge.key"] == (KEY, 0o400)
    assert not munge.mark.exists()


def test_a_restart_that_fails_is_tried_again(munge: Munge) -> None:
    munge.put(OTHER)
    with pytest.raises(
        CommandError, match=r"^`systemctl restart munge` failed \(rc=1\): Job for munge.service failed.$"
    ):
        munge.use((RESTART, 1))
    assert munge.use((RESTART, 0)) == Outcome(["munged runs with another key"], [RESTART])
    assert munge.state() == DONE


def test_no_moment_shows_the_key(munge: Munge, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    replace = os.replace

    def watched(source: str, target: str) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    old = os.umask(0)
    try:
        munge.use((RESTART, 0))
    finally:
        os.umask(old)
    assert modes == [0o400]


def umask() -> int:
    """The umask of this process, which has no other way to tell it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- the module -------------------------------------------------------------------------------------------------------

# The account of this test stands for munge's.
MAIN = """
import json, sys
from module_arguments import module_arguments
from ansible_collections.aicluster.slurm.plugins.module_utils import munge
from ansible_collections.aicluster.slurm.plugins.modules import munge_key
munge.USER = sys.argv[1]
with module_arguments(json.load(sys.stdin)):
    munge_key.main()
"""


def module(arguments: dict[str, object], folder: Path) -> tuple[int, str]:
    """Run the module as it is, in a process of its own; exit status and all that it printed."""
    for name in ("systemctl", "munged"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {name} >> {folder}/called\n", encoding="utf-8")
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", MAIN, ME.pw_name],
        input=json.dumps(arguments),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("SECRETkeySECRETkey!", "content: found text that is not Base64"),
        ("U0VDUkVUa2V5", "content: found a key of 9 bytes"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_bad_key_fails_without_being_shown(tmp_path: Path, content: str, message: str, check_mode: bool) -> None:
    path = tmp_path / "etc" / "munge.key"
    arguments = {"content": content, "path": str(path), "_ansible_check_mode": check_mode}
    rc, output = module(arguments, tmp_path)
    assert rc == 1
    assert f'"msg": "munge_key: {message}' in output
    assert content not in output
    assert not (tmp_path / "called").exists()


def test_check_mode_before_there_is_a_key(tmp_path: Path) -> None:
    arguments = {"content": "", "path": str(tmp_path / "munge.key"), "_ansible_check_mode": True}
    rc, output = module(arguments, tmp_path)
    assert rc == 0, output
    result = json.loads(output)
    assert result["changed"] is True
    assert result["commands"] == []
    assert result["diff"] == {"before": "no munge\n", "after": "the cluster's key, in use\n"}
    assert not (tmp_path / "called").exists()


def test_since_when_there_is_a_key(munge: Munge) -> None:
    assert key_time(str(munge.path)) == 0
    munge.put()
    os.utime(munge.path, (1, 2.5))
    assert key_time(str(munge.path)) == 2.5


def test_the_result_never_holds_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    content = base64.b64encode(KEY).decode()
    for found in (["another key", "munged runs with another key"], []):
        rc, output = module({"content": content, "path": str(folder / "munge.key"), "_ansible_diff": True}, tmp_path)
        assert rc == 0, output
        result = json.loads(output)
        assert result["changed"] is bool(found)
        assert result["commands"] == ([RESTART] if found else [])
        assert result["diff"]["before"] == "".join(text + "\n" for text in found)
        assert content not in output
        assert content[:24] not in output
    assert (folder / "munge.key").read_bytes() == KEY
    assert (tmp_path / "called").read_text(encoding="utf-8") == "systemctl\nsystemctl\n"
