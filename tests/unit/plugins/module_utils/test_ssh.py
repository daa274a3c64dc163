# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import ssh
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result, Runner
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole

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
    """A host whose cluster user, who runs the tests, is to have a key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder / "cluster"
        self.keygen: Runner = keygen
        monkeypatch.setattr(ssh, "HOST_KEY", str(folder / "host.pub"))
        (folder / "host.pub").write_text("ssh-ed25519 HOST root@x\n")

    def have(self, check: bool = False, owner: str = ME, anew: bool = False) -> ssh.Outcome:
        return ssh.have_key(self.keygen, str(self.folder), owner, anew, check)

    def facts(self, owner: int | None = None) -> dict[str, Any]:
        return ssh.facts(read_whole, str(self.folder), os.getuid() if owner is None else owner)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


def no_command(argv: Sequence[str]) -> Result:
    raise AssertionError(f"unexpected: {argv}")


def test_a_key_is_made_once(host: Host) -> None:
    name = f"key_{os.uname().nodename.split('.')[0]}"
    assert host.have(check=True) == ssh.Outcome([f"no {name}"], [], {"ssh_host_key_ed25519_public": "HOST"})
    assert not host.folder.exists()
    made = host.have()
    assert (made.found, [command[0] for command in made.commands]) == ([f"no {name}"], ["ssh-keygen"])
    assert made.facts == {
        "ssh_host_key_ed25519_public": "HOST",
        "cluster_ssh_key": {"path": str(host.folder / name), "public": "PUBLIC"},
    }
    assert {each.name: stat.S_IMODE(each.stat().st_mode) for each in host.folder.iterdir()} == {
        name: 0o400,
        f"{name}.pub": 0o644,
    }
    host.keygen = no_command
    assert not host.have().found


def test_a_key_outlives_the_name_of_its_host(host: Host) -> None:
    host.have()
    for each in list(host.folder.iterdir()):
        each.rename(host.folder / f"key_before{each.suffix}")
    host.keygen = no_command
    assert not host.have().found
    assert host.facts()["cluster_ssh_key"]["path"].endswith("/key_before")


def test_half_a_pair_is_made_again(host: Host) -> None:
    host.folder.mkdir()
    (host.folder / ".new").mkdir()
    (host.folder / ".new" / "key_x").write_text("of a killed run")
    (host.folder / "key_gone.pub").write_text("ssh-ed25519 GONE\n")
    assert host.have().found
    assert not (host.folder / ".new").exists()


def private_of(host: Host) -> Path:
    (private,) = (each for each in host.folder.glob("key_*") if each.suffix == "")
    return private


def test_a_public_key_that_is_gone_is_that_of_the_private_one(host: Host) -> None:
    host.have()
    private = private_of(host)
    Path(f"{private}.pub").unlink()
    command = ["ssh-keygen", "-y", "-f", str(private)]
    host.keygen = lambda argv: Result(list(argv), 0, "ssh-ed25519 PUBLIC key_x@y\n" * (list(argv) == command), "")
    mended = host.have()
    assert (mended.found, mended.commands) == ([f"no {private.name}.pub"], [command])
    assert mended.facts["cluster_ssh_key"] == {"path": str(private), "public": "PUBLIC"}
    assert private.read_text() == "PRIVATE"


def test_a_public_key_that_was_half_written_makes_no_new_pair(host: Host) -> None:
    host.have()
    private = private_of(host)
    Path(f"{private}.pub").write_text("")
    assert host.have(check=True)[:2] == ([f"no {private.name}.pub"], [])
    host.keygen = lambda argv: Result(list(argv), 0, "ssh-ed25519 PUBLIC key_x@y\n", "")
    assert host.have().commands == [["ssh-keygen", "-y", "-f", str(private)]]
    assert not host.have().found
    Path(f"{private}.pub").unlink()
    host.keygen = lambda argv: Result(list(argv), 0, "ssh-rsa PUBLIC\n", "")
    refusal = f"{private}: found a key of the kind ssh-rsa; accepted: ssh-ed25519, or no such file"
    with pytest.raises(ValueError, match=f"^{re.escape(refusal)}$"):
        host.have()
    assert private.read_text() == "PRIVATE"


def test_a_key_of_a_former_user_is_given_to_the_new_one(host: Host) -> None:
    host.have()
    private = private_of(host)
    os.chown(private, 20009, 20009)
    host.folder.chmod(0o750)
    host.keygen = no_command
    found = [f"{host.folder}: mode 0750", f"{private}: owner 20009"]
    assert host.have(check=True)[:2] == (found, [])
    assert private.stat().st_uid == 20009
    given = host.have()
    assert given[:2] == (found, [])
    assert given.facts["cluster_ssh_key"] == {"path": str(private), "public": "PUBLIC"}
    status = private.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (os.getuid(), 0o400)
    assert stat.S_IMODE(host.folder.stat().st_mode) == 0o755
    assert not host.have().found
    # In a preview the new user may be still to come.
    assert host.have(check=True, owner="nobody-here").found == [f"{private}: no nobody-here"]


def test_a_key_is_made_anew_on_demand(host: Host) -> None:
    name = f"key_{os.uname().nodename.split('.')[0]}"
    host.have()
    # One that was made under another name counts as long as it is there.
    for each in list(host.folder.iterdir()):
        each.rename(host.folder / f"key_before{each.suffix}")
    (host.folder / "key_before").write_text("KNOWN")
    preview = host.have(check=True, anew=True)
    assert (preview.found, preview.commands) == (["key_before from before"], [])
    assert (host.folder / "key_before").exists()
    made = host.have(anew=True)
    assert (made.found, made.commands[0][0]) == (["key_before from before"], "ssh-keygen")
    assert sorted(each.name for each in host.folder.iterdir()) == [name, f"{name}.pub"]
    assert made.facts["cluster_ssh_key"] == {"path": str(host.folder / name), "public": "PUBLIC"}
    assert private_of(host).read_text() == "PRIVATE"
    assert not host.have().found


@pytest.mark.parametrize("moment", [1, 2])
def test_a_run_that_is_killed_leaves_no_halves_of_two_pairs(
    host: Host, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    host.have()
    private_of(host).write_text("KNOWN")
    replace, done = os.replace, []

    def killed(origin: str, target: str) -> None:
        done.append(target)
        if len(done) == moment:
            raise KeyboardInterrupt
        replace(origin, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        host.have(anew=True)
    assert private_of(host).read_text() == {1: "KNOWN", 2: "PRIVATE"}[moment]
    assert not Path(f"{private_of(host)}.pub").exists()


def test_a_key_that_its_user_cannot_use_is_none_for_the_survey(host: Host) -> None:
    host.have()
    assert "cluster_ssh_key" in host.facts()
    assert "cluster_ssh_key" not in host.facts(20009)
    private_of(host).chmod(0o440)
    assert "cluster_ssh_key" not in host.facts()


def test_failures(host: Host) -> None:
    host.keygen = lambda argv: Result(list(argv), 1, "", "no entropy\n")
    with pytest.raises(CommandError, match=r"failed \(rc=1\): no entropy$"):
        host.have()
    with pytest.raises(KeyError, match="nobody-here"):
        host.have(owner="nobody-here")


def test_facts_of_what_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "HOST_KEY", str(tmp_path / "none.pub"))
    (tmp_path / "key_x.pub").write_text("ssh-rsa AAAA\n")
    (tmp_path / "key_x").write_text("")
    assert ssh.facts(read_whole, str(tmp_path)) == {}
    assert ssh.facts(read_whole, str(tmp_path / "none")) == {}
