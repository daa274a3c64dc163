# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pwd
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import ssh
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole
from ansible_collections.aicluster.slurm.plugins.modules import cluster_key
from module_arguments import module_arguments

ME = pwd.getpwuid(os.getuid()).pw_name


def keygen(argv: Sequence[str]) -> Result:
    """A double that writes what ssh-keygen writes."""
    assert argv[:6] == ["ssh-keygen", "-q", "-t", "ed25519", "-N", ""]
    name, path = argv[argv.index("-C") + 1], Path(argv[-1])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text("PRIVATE")
    Path(f"{path}.pub").write_text(f"ssh-ed25519 PUBLIC {name}\n")
    return Result(list(argv), 0, "", "")


class Host:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.folder, self.capsys, self.monkeypatch = folder / "cluster", capsys, monkeypatch
        monkeypatch.setattr(ssh, "HOST_KEY", str(folder / "host.pub"))
        (folder / "host.pub").write_text("ssh-ed25519 HOST root@x\n")
        self.answer(keygen)

    def answer(self, run: Any) -> None:
        self.monkeypatch.setattr(cluster_key, "module_runner", lambda _module: run)

    def run(self, check: bool = False, owner: str = ME) -> dict[str, Any]:
        arguments = {"folder": str(self.folder), "owner": owner, "_ansible_check_mode": check}
        with module_arguments(arguments), pytest.raises(SystemExit):
            cluster_key.main()
        result: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        return result


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Host:
    return Host(monkeypatch, capsys, tmp_path)


def no_command(argv: Sequence[str]) -> Result:
    raise AssertionError(f"unexpected: {argv}")


def test_a_key_is_made_once(host: Host) -> None:
    name = f"key_{os.uname().nodename.split('.')[0]}"
    preview = host.run(check=True)
    assert (preview["changed"], preview["ansible_facts"]) == (True, {"ssh_host_key_ed25519_public": "HOST"})
    assert not host.folder.exists()
    made = host.run()
    facts = {
        "ssh_host_key_ed25519_public": "HOST",
        "cluster_ssh_key": {"path": str(host.folder / name), "public": "PUBLIC"},
    }
    assert (made["changed"], made["ansible_facts"]) == (True, facts)
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in host.folder.iterdir()} == {
        name: 0o400,
        f"{name}.pub": 0o644,
    }
    host.answer(no_command)
    again = host.run()
    assert (again["changed"], again["ansible_facts"]) == (False, facts)


def test_a_key_outlives_the_name_of_its_host(host: Host) -> None:
    host.run()
    for each in list(host.folder.iterdir()):
        each.rename(host.folder / f"key_before{each.suffix}")
    host.answer(no_command)
    assert host.run()["ansible_facts"]["cluster_ssh_key"]["path"].endswith("/key_before")


def test_half_a_pair_is_made_again(host: Host) -> None:
    host.folder.mkdir()
    (host.folder / ".new").mkdir()
    (host.folder / ".new" / "key_x").write_text("of a killed run")
    (host.folder / "key_gone.pub").write_text("ssh-ed25519 GONE\n")
    assert host.run()["changed"]
    assert not (host.folder / ".new").exists()


def test_a_public_key_that_is_gone_is_that_of_the_private_one(host: Host) -> None:
    host.run()
    (private,) = (each for each in host.folder.iterdir() if each.suffix == "")
    Path(f"{private}.pub").unlink()
    command = ["ssh-keygen", "-y", "-f", str(private)]
    host.answer(lambda argv: Result(list(argv), 0, "ssh-ed25519 PUBLIC key_x@y\n" * (argv == command), ""))
    mended = host.run()
    assert (mended["changed"], mended["commands"]) == (True, [command])
    assert mended["ansible_facts"]["cluster_ssh_key"] == {"path": str(private), "public": "PUBLIC"}
    assert private.read_text() == "PRIVATE"


def private_of(host: Host) -> Path:
    (private,) = (each for each in host.folder.iterdir() if each.suffix == "")
    return private


def test_a_public_key_that_was_half_written_makes_no_new_pair(host: Host) -> None:
    host.run()
    private = private_of(host)
    Path(f"{private}.pub").write_text("")
    preview = host.run(check=True)
    assert (preview["changed"], preview["commands"]) == (True, [])
    host.answer(lambda argv: Result(list(argv), 0, "ssh-ed25519 PUBLIC key_x@y\n", ""))
    assert host.run()["commands"] == [["ssh-keygen", "-y", "-f", str(private)]]
    assert host.run()["changed"] is False
    Path(f"{private}.pub").unlink()
    host.answer(lambda argv: Result(list(argv), 0, "ssh-rsa PUBLIC\n", ""))
    assert host.run()["msg"] == (
        f"cluster_key: {private}: found a key of the kind ssh-rsa; accepted: ssh-ed25519, or no such file"
    )
    assert private.read_text() == "PRIVATE"


def test_a_key_of_a_former_user_is_given_to_the_new_one(host: Host) -> None:
    host.run()
    private = private_of(host)
    os.chown(private, 20009, 20009)
    host.folder.chmod(0o750)
    host.answer(no_command)
    preview = host.run(check=True)
    assert (preview["changed"], private.stat().st_uid) == (True, 20009)
    given = host.run()
    assert (given["changed"], given["commands"]) == (True, [])
    assert given["ansible_facts"]["cluster_ssh_key"] == {"path": str(private), "public": "PUBLIC"}
    status = private.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.getuid(), 0o400)
    assert stat.S_IMODE(host.folder.stat().st_mode) == 0o755
    assert host.run()["changed"] is False
    # In a preview the new user may be still to come.
    assert host.run(check=True, owner="nobody-here")["changed"] is True


def test_a_key_that_its_user_cannot_use_is_none_for_the_survey(host: Host) -> None:
    host.run()
    folder = str(host.folder)
    assert "cluster_ssh_key" in ssh.facts(read_whole, folder, os.getuid())
    assert "cluster_ssh_key" not in ssh.facts(read_whole, folder, 20009)
    private_of(host).chmod(0o440)
    assert "cluster_ssh_key" not in ssh.facts(read_whole, folder, os.getuid())


def test_failures(host: Host) -> None:
    host.answer(lambda argv: Result(list(argv), 1, "", "no entropy\n"))
    assert host.run()["msg"].endswith("failed (rc=1): no entropy")
    assert "nobody-here" in host.run(owner="nobody-here")["msg"]


def test_facts_of_what_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "HOST_KEY", str(tmp_path / "none.pub"))
    (tmp_path / "key_x.pub").write_text("ssh-rsa AAAA\n")
    (tmp_path / "key_x").write_text("")
    assert ssh.facts(read_whole, str(tmp_path)) == {}
    assert ssh.facts(read_whole, str(tmp_path / "none")) == {}
