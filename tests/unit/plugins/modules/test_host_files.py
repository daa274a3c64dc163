# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import noted, services
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules import host_files
from module_arguments import module_arguments

RIGHTS = {"owner": str(os.getuid()), "group": str(os.getgid())}
ACTIVE = "Id=x.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"
SHOW = services.show([services.Service("x")])
RESET, RESTART = (["systemctl", verb, "x.service"] for verb in ("reset-failed", "restart"))


class Host:
    """A folder, a systemd that expects exactly these commands, and runs of the module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.folder = folder
        self.capsys = capsys
        self.expected: list[tuple[list[str], int, str]] = []
        monkeypatch.setattr(services, "MARKS", str(folder / "marks"))
        monkeypatch.setattr(host_files, "module_runner", lambda _module, _environment: self)

    def __call__(self, argv: Sequence[str]) -> Result:
        assert self.expected, f"unexpected: {argv}"
        expected, rc, stdout = self.expected.pop(0)
        assert list(argv) == expected
        return Result(expected, rc, stdout, "it failed\n" if rc else "")

    def run(
        self, options: dict[str, Any], *expected: tuple[list[str], int, str], check: bool = False
    ) -> dict[str, Any]:
        self.expected = list(expected)
        with module_arguments({**options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            host_files.main()
        assert self.expected == []
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Host:
    return Host(monkeypatch, capsys, tmp_path)


def test_a_file_and_the_daemon_that_reads_it(host: Host) -> None:
    path = str(host.folder / "etc" / "x.conf")
    options = {
        "files": [{"path": path, "content": "a = 1\n", **RIGHTS}],
        "services": [{"name": "x", "reads": [path]}],
    }
    preview = host.run(options, (SHOW, 0, ACTIVE), check=True)
    assert (preview["changed"], preview["paths"]) == (True, [path])
    assert not Path(path).exists()
    real = host.run(options, (SHOW, 0, ACTIVE), (RESET, 1, ""), (RESTART, 0, ""))
    assert real == preview
    assert real["commands"] == [RESET, RESTART]
    assert [each["after_header"] for each in real["diff"]] == [path, "services"]
    assert Path(path).read_text() == "a = 1\n"
    again = host.run(options, (SHOW, 0, ACTIVE))
    assert (again["changed"], again["diff"]) == (False, [])


def test_a_daemon_that_does_not_come_back(host: Host) -> None:
    path = str(host.folder / "x.conf")
    options = {
        "files": [{"path": path, "content": "a = 1\n", **RIGHTS}],
        "services": [{"name": "x", "reads": [path]}],
    }
    failed = host.run(options, (SHOW, 0, ACTIVE), (RESET, 1, ""), (RESTART, 1, ""))
    assert failed["msg"] == "host_files: `systemctl restart x.service` failed (rc=1): it failed"
    # The file is right now, and the daemon still to be restarted.
    assert host.run(options, (SHOW, 0, ACTIVE), (RESET, 1, ""), (RESTART, 0, ""))["changed"] is True
    assert host.run(options, (SHOW, 0, ACTIVE))["changed"] is False


def test_a_file_like_another_one_comes_before_who_names_it_and_goes_after(host: Host) -> None:
    stack, like, ours = (host.folder / name for name in ("sshd", "common", "ours"))
    stack.write_text("@include common\n")
    like.write_text("session required pam_unix.so\nsession optional\tpam_systemd.so\n")
    block = {"path": str(stack), "content": "@include ours", "in_place_of": "@include common"}
    file = {"path": str(ours), "content": "# ours\n", "like": str(like), "without": "systemd", "instead": "x", **RIGHTS}
    on: dict[str, Any] = {"files": [file], "blocks": [block]}
    assert host.run(on)["paths"] == [str(ours), str(stack)]
    assert ours.read_text() == "# ours\nsession required pam_unix.so\nx\n"
    assert host.run(on)["changed"] is False
    like.write_text("session required pam_sss.so\n")
    assert host.run(on)["paths"] == [str(ours)]
    off = {"blocks": [{**block, "content": ""}], "absent": [str(ours)]}
    assert host.run(off)["paths"] == [str(stack), str(ours)]
    assert stack.read_text() == "@include common\n"
    assert not ours.exists()


def test_a_file_that_is_wanted_does_not_go(host: Host) -> None:
    file = {"path": str(host.folder / "a"), "content": "a\n", **RIGHTS}
    other = host.folder / "b"
    other.write_text("")
    assert host.run({"files": [file], "absent": [file["path"], str(other)]})["paths"] == [file["path"], str(other)]
    assert (host.folder / "a").read_text() == "a\n"
    assert not other.exists()


def test_a_note(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noted, "FOLDER", str(host.folder / "noted"))
    path = host.folder / "x.conf"
    options: dict[str, Any] = {
        "files": [{"path": str(path), "content": "a\n", **RIGHTS}],
        "services": [{"name": "x", "reads": [str(path)]}],
        "note": {"name": "n", "digest": "d1"},
    }

    def standing() -> dict[str, str]:
        return noted.standing(lambda argv: Result(list(argv), 0, ACTIVE, ""))

    host.run(options, (SHOW, 0, ACTIVE), check=True)
    assert standing() == {}, "a preview notes nothing"
    host.run(options, (SHOW, 0, ACTIVE), (RESET, 0, ""), (RESTART, 0, ""))
    assert standing() == {"n": "d1"}, "all is right after a change, too"
    path.write_text("b\n")
    assert standing() == {}
    # What fails in the middle leaves no note, also when the text is the one that was noted again.
    host.run(options, (SHOW, 0, ACTIVE), (RESET, 0, ""), (RESTART, 1, ""))
    assert standing() == {}
    host.run({**options, "note": {"name": "n", "digest": "d2"}}, (SHOW, 0, ACTIVE), (RESET, 0, ""), (RESTART, 0, ""))
    assert standing() == {"n": "d2"}
    (host.folder / "noted" / "n").unlink()
    host.run(options, (SHOW, 0, ACTIVE))
    assert standing() == {"n": "d1"}, "nothing changed"


def test_what_is_always_restarted_is_not_noted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noted, "FOLDER", str(host.folder / "noted"))
    options = {"services": [{"name": "x", "restarted": True}], "note": {"name": "n", "digest": "d1"}}
    host.run(options, (SHOW, 0, ACTIVE), (RESET, 0, ""), (RESTART, 0, ""))
    assert noted.standing(lambda argv: Result(list(argv), 0, ACTIVE, "")) == {}


def test_a_folder_of_somebody_else_is_not_taken_over(host: Host) -> None:
    path = host.folder / "home"
    path.mkdir(mode=0o755)
    folder = {"path": str(path), "mode": "0700", "owner": "20001", "group": "20000", "once": True}
    os.chown(path, 20009, -1)
    done = host.run({"folders": [folder]})
    assert done["msg"].startswith(f"host_files: {path}: found the owner 20009; accepted: 20001, or all of it given")
    os.chown(path, 20001, -1)
    assert host.run({"folders": [folder]})["changed"] is False
    # Of one half made, which is root's.
    os.chown(path, 0, -1)
    assert host.run({"folders": [folder]}, check=True)["changed"] is True


def test_without_services_nobody_asks_systemd(host: Host) -> None:
    folder = {"path": str(host.folder / "a"), "mode": "0750", **RIGHTS}
    assert host.run({"folders": [folder], "absent": [str(host.folder / "none")]})["paths"] == [folder["path"]]
    assert host.run({})["changed"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": [{"path": "/x", "content": "", "mode": "rw"}]}, "host_files: mode: found 'rw'; accepted: an octal"),
        ({"folders": [{"path": "/x", "owner": "nobody-here"}]}, "host_files: owner: found 'nobody-here'"),
        ({"files": [{"path": "/x"}]}, "missing required arguments: content found in files"),
    ],
)
def test_bad_input(host: Host, options: dict[str, Any], message: str) -> None:
    result = host.run(options)
    assert result["failed"] is True
    assert message in result["msg"]


def test_a_link_that_leads_nowhere_is_refused_before_anything_is_written(host: Host) -> None:
    link, target, file = (host.folder / name for name in ("localtime", "zone", "timezone"))
    options = {
        "files": [{"path": str(file), "content": "Europe/Berln\n", **RIGHTS}],
        "links": [{"path": str(link), "target": str(target)}],
    }
    assert host.run(options, check=True)["changed"] is True
    refused = host.run(options)
    assert refused["msg"] == f"host_files: {link}: found no {target}; accepted: a target that is there"
    assert not file.exists()
    target.touch()
    assert host.run(options)["paths"] == [str(file), str(link)]
