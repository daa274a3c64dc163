# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import pwd
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import accounts, homes, host_files, passwords, people, ssh
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules import host_users
from module_arguments import module_arguments

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFr0mTheLab ada@laptop"
ADA: dict[str, Any] = {"name": "ada", "uid": 20001, "group": "lab", "home": "/nowhere/ada", "authorized_keys": [KEY]}
LAB = {"name": "lab", "gid": 20000}
SECRET = "correct-horse"
AMISS = homes.amiss
OWNED = "with the number 20001; accepted: that number, or nothing that it owns"


class Host:
    """A host in a folder: its files, commands that have to come in this order, and runs of the module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capsys = capsys
        self.keys = folder / "keys"
        self.record = folder / "lib" / "people"
        self.proc = folder / "proc"
        self.proc.mkdir()
        self.etc = [folder / name for name in ("passwd", "group", "shadow")]
        self.expected: list[tuple[list[str], int, str]] = []
        self.fed: list[str] = []
        self.warned: list[str] = []
        self.amiss: tuple[list[str], list[str]] = ([], [])
        monkeypatch.setattr(AnsibleModule, "warn", lambda _self, text: self.warned.append(text))
        self.write("", "", "")
        monkeypatch.setattr(host_users, "FILES", tuple(map(str, self.etc)))
        monkeypatch.setattr(homes, "amiss", lambda *_rest: self.amiss)
        monkeypatch.setattr(host_users, "PROC", str(self.proc))
        monkeypatch.setattr(host_users, "MOUNTS", str(folder / "mounts"))
        me = (str(os.getuid()), str(os.getgid()))
        monkeypatch.setattr(host_users, "File", lambda path, text: host_files.File(path, text, *me))
        monkeypatch.setattr(host_users, "Folder", lambda path: host_files.Folder(path, *me))
        monkeypatch.setattr(host_users, "module_runner", lambda _module: self)
        monkeypatch.setattr(AnsibleModule, "get_bin_path", lambda _self, name, *_rest: f"/usr/bin/{name}")
        monkeypatch.setattr(host_users, "execute", self.feed)

    def write(self, *texts: str) -> None:
        for path, text in zip(self.etc, texts):
            path.write_text(text)

    def __call__(self, argv: Sequence[str]) -> Result:
        assert self.expected, f"unexpected: {argv}"
        expected, rc, stdout = self.expected.pop(0)
        assert list(argv) == expected
        return Result(expected, rc, stdout, "it failed\n" if rc else "")

    def feed(self, argv: Sequence[str], given: str) -> Result:
        self.fed.append(given)
        return self(argv)

    def run(
        self, options: dict[str, Any], *expected: tuple[list[str], int, str], check: bool = False
    ) -> dict[str, Any]:
        self.expected = list(expected)
        arguments = {
            "keys_folder": str(self.keys),
            "record": str(self.record),
            **options,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
        }
        with module_arguments(arguments), pytest.raises(SystemExit):
            host_users.main()
        assert self.expected == []
        self.said = self.capsys.readouterr().out
        result: dict[str, Any] = json.loads(self.said)
        return result


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Host:
    return Host(monkeypatch, capsys, tmp_path)


USERADD = accounts.plan([accounts.User("ada", 20001, "lab", "/nowhere/ada")], [], accounts.parse("", "", ""))[0].command
GROUPADD = ["groupadd", "--gid", "20000", "lab"]
THERE = ("ada:x:20001:20000::/nowhere/ada:/bin/bash\n", "lab:x:20000:\n", "ada:!:1:0:9:7:::\n")


def test_a_user_has_a_key_of_this_hosts_own(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a key has to be is told by the tests of module_utils/ssh.py."""
    monkeypatch.setattr(ssh, "HOST_KEY", str(tmp_path / "host.pub"))
    (tmp_path / "host.pub").write_text("ssh-ed25519 HOST root@x\n")
    name = pwd.getpwuid(os.getuid()).pw_name
    options = {"key_owner": name, "key_folder": str(tmp_path / "own")}
    # The folder with a key whose public half is gone.
    (tmp_path / "own").mkdir()
    private = tmp_path / "own" / "key_x"
    private.write_text("PRIVATE")
    private.chmod(0o400)
    command = ["ssh-keygen", "-y", "-f", str(private)]
    preview = host.run(options, check=True)
    assert (preview["changed"], preview["found"][0]) == (True, f"key of {name}: no key_x.pub")
    assert preview["ansible_facts"] == {"ssh_host_key_ed25519_public": "HOST"}
    broken = host.run(options, (command, 1, ""))
    assert (broken["failed"], broken["msg"].splitlines()[1]) == (
        True,
        f"key of {name}: `{' '.join(command)}` failed (rc=1): it failed",
    )
    real = host.run(options, (command, 0, "ssh-ed25519 PUBLIC key_x\n"))
    assert (real["changed"], real["commands"]) == (True, [command])
    assert real["ansible_facts"]["cluster_ssh_key"] == {"path": str(private), "public": "PUBLIC"}
    assert host.run(options)["changed"] is False
    assert host.run({})["ansible_facts"] == {}


def test_somebody_comes(host: Host) -> None:
    options = {"groups": [LAB], "users": [ADA]}
    preview = host.run(options, check=True)
    assert preview["found"] == [
        *["group lab is not there", "user ada is not there"],
        *[str(host.keys / "ada"), str(host.record)],
    ]
    assert not host.keys.exists()
    real = host.run(options, (GROUPADD, 0, ""), (USERADD, 0, ""))
    assert real == preview
    assert (host.keys / "ada").read_text() == f"{accounts.KEYS_HEADER}{KEY}\n"
    host.write(*THERE)
    again = host.run(options)
    assert (again["changed"], again["commands"], again["diff"]) == (False, [], [])


def test_a_key_goes(host: Host) -> None:
    host.write(*THERE)
    host.run({"users": [ADA]})
    gone = host.run({"users": [{**ADA, "authorized_keys": []}]})
    assert gone["found"] == [str(host.keys / "ada")]
    assert KEY in gone["diff"][0]["before"]
    assert list(host.keys.iterdir()) == []


def test_groups_are_added_where_that_is_said(host: Host) -> None:
    host.write(THERE[0], f"{THERE[1]}video:x:44:ada\nsudo:x:27:\n", THERE[2])
    options = {"users": [{**ADA, "groups": ["sudo"], "groups_exclusive": False}]}
    host.run(options, (["usermod", "--groups", "sudo,video", "ada"], 0, ""))
    options["users"][0]["groups_exclusive"] = True
    host.run(options, (["usermod", "--groups", "sudo", "ada"], 0, ""))


def test_who_is_locked_loses_the_keys_first_and_keeps_the_jobs(host: Host) -> None:
    host.write(*THERE)
    host.run({"users": [ADA]})
    locked = {"users": [{**ADA, "state": "locked"}], "report_jobs": True}
    asked = (accounts.squeue([20001]), 0, "17 ada RUNNING node1\n")
    lock = ["usermod", "--lock", "--expiredate", "1", "ada"]
    failed = host.run(locked, asked, (lock, 1, ""))
    assert failed["msg"].endswith(
        "user ada is not locked: `usermod --lock --expiredate 1 ada` failed (rc=1): it failed"
    )
    assert list(host.keys.iterdir()) == []
    result = host.run(locked, asked, (lock, 0, ""))
    assert result["jobs"] == [{"id": "17", "user": "ada", "state": "RUNNING", "nodes": "node1"}]
    assert result["changed"]


def test_a_silent_slurmctld_holds_up_nobody(host: Host) -> None:
    host.write(*THERE)
    result = host.run(
        {"users": [{**ADA, "state": "absent"}], "report_jobs": True},
        (accounts.squeue([20001]), 1, ""),
        (["userdel", "ada"], 0, ""),
    )
    assert result["jobs"] == []


def test_who_works_here_is_locked_and_named_and_holds_up_nobody(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write(*THERE)
    host.run({"users": [ADA]})
    monkeypatch.setattr(host_users, "processes", lambda: {20001: [f"{n} (sleep)" for n in range(11, 18)]})
    bob = {**ADA, "name": "bob", "uid": 20002}
    added = accounts.plan([accounts.User("bob", 20002, "lab", "/nowhere/ada")], [], accounts.parse("", "", ""))
    lock = ["usermod", "--lock", "--expiredate", "1", "ada"]
    users = [{**ADA, "state": "absent"}, bob]
    done = host.run({"users": users}, (lock, 0, ""), (added[0].command, 0, ""))
    assert ("failed" in done, done["waiting"]) == (False, ["ada"])
    assert host.warned == [
        "user ada has the processes 11 (sleep), 12 (sleep), 13 (sleep), 14 (sleep), 15 (sleep) and 2 more on"
        f" {os.uname().nodename}, so the account is locked, and goes at the next run after they have ended"
    ]
    assert [path.name for path in host.keys.iterdir()] == ["bob"]
    moved = host.run({"users": [{**ADA, "uid": 20009}]})
    assert moved["msg"] == f"host_users: user ada: found the process 11 (sleep) {OWNED}"


def test_who_leaves_the_list_is_told_until_somebody_says_what_becomes_of_them(host: Host) -> None:
    host.write(*THERE)
    come = host.run({"users": [ADA]})
    assert str(host.record) in come["found"]
    assert (come["keyed"], come["kept"]) == (["ada"], [])
    assert host.record.read_text() == "ada 20001\n"
    for _run in range(2):
        gone = host.run({"users": []})
        assert (gone["changed"], gone["left"], gone["keyed"], gone["kept"]) == (False, ["ada"], [], ["ada"])
        assert "user ada was made here and is not in the list any more" in host.warned[0]
        assert (host.keys / "ada").exists()
    locked = {"users": [{**ADA, "state": "locked"}]}
    assert host.run(locked, check=True)["keyed"] == []
    assert host.run(locked, (["usermod", "--lock", "--expiredate", "1", "ada"], 0, ""))["left"] == []
    absent = {"users": [{**ADA, "state": "absent"}]}
    assert host.run(absent, (["userdel", "ada"], 0, ""))["left"] == []
    assert host.record.read_text() == ""


def test_who_was_there_before_or_is_another_one_now_is_not_told(host: Host) -> None:
    host.write(*THERE)
    assert host.run({"users": []})["left"] == []
    host.run({"users": [ADA]})
    host.write("ada:x:30001:20000::/nowhere/ada:/bin/bash\n", *THERE[1:])
    assert host.run({"users": []})["left"] == []


def test_keys_that_are_taken_out_of_the_list_stay_as_they_are(host: Host) -> None:
    host.write(*THERE)
    host.run({"users": [ADA]})
    without = {key: value for key, value in ADA.items() if key != "authorized_keys"}
    told = host.run({"users": [without]})
    assert (told["changed"], told["left"], told["kept"]) == (False, [], ["ada"])
    assert "user ada: authorized_keys is not in the list any more" in host.warned[0]
    # A file that somebody else wrote is none of ours.
    (host.keys / "ada").write_text(f"{KEY}\n")
    assert host.run({"users": [without]})["kept"] == []


def test_processes_of_each_user(host: Host) -> None:
    for name in ("1", "22", "self"):
        (host.proc / name).mkdir()
        (host.proc / name / "comm").write_text("sleep\n")
    assert {uid: sorted(texts) for uid, texts in host_users.processes().items()} == {
        os.getuid(): ["1 (sleep)", "22 (sleep)"]
    }


def test_another_number_only_where_nothing_is_owned(host: Host) -> None:
    host.write(*THERE)
    find = accounts.owned(accounts.Move("user", "ada", 20001, 20009), [], "")
    moved = {"users": [{**ADA, "uid": 20009}]}
    failed = host.run(moved, (find, 0, "/srv/thesis.txt\n"))
    assert failed["msg"] == f"host_users: user ada: found /srv/thesis.txt {OWNED}"
    result = host.run(moved, (find, 1, ""), (["usermod", "--uid", "20009", "ada"], 0, ""))
    assert result["changed"]


def test_one_who_cannot_be_changed_holds_up_nobody(host: Host) -> None:
    host.write(
        "".join(
            f"{name}:x:2000{n}:20000::/nowhere/{name}:/bin/bash\n" for n, name in enumerate(["ada", "bob", "eve"], 1)
        ),
        THERE[1],
        "",
    )
    users = [
        {**ADA, "name": name, "uid": 20001 + n, "home": f"/new/{name}"} for n, name in enumerate(["ada", "bob", "eve"])
    ]
    homes = [["usermod", "--home", f"/new/{name}", name] for name in ("ada", "bob", "eve")]
    failed = host.run({"users": users}, (homes[0], 8, ""), (homes[1], 0, ""), (homes[2], 12, ""))
    assert failed["failed"]
    assert failed["changed"]
    assert failed["msg"].splitlines() == [
        "host_users: all others are as they should be.",
        "user ada has the home /nowhere/ada: `usermod --home /new/ada ada` failed (rc=8): it failed",
        "user eve has the home /nowhere/eve: `usermod --home /new/eve eve` failed (rc=12): it failed",
    ]
    assert sorted(path.name for path in host.keys.iterdir()) == ["ada", "bob", "eve"]


def test_a_group_that_went_with_its_user(host: Host) -> None:
    host.write(*THERE)
    options = {
        "users": [{**ADA, "state": "absent"}],
        "groups": [{**LAB, "state": "absent"}],
    }
    host.run(options, (["userdel", "ada"], 0, ""), (["groupdel", "lab"], accounts.NO_SUCH_GROUP, ""))
    failed = host.run(options, (["userdel", "ada"], 0, ""), (["groupdel", "lab"], 8, ""))
    assert failed["failed"]


# --- passwords --------------------------------------------------------------------------------------------------------


def hashed(password: str) -> str:
    argv = ["openssl", "passwd", "-6", "-salt", "abcdefgh", "-stdin"]
    return subprocess.run(argv, input=password, capture_output=True, text=True, check=True).stdout.strip()


def test_a_password_is_compared_given_by_stdin_and_never_shown(host: Host) -> None:
    options = {"users": [{**ADA, "password": SECRET}]}
    host.write(THERE[0], THERE[1], f"ada:{hashed('another-one')}:1:0:9:7:::\n")
    result = host.run(options, (["chpasswd"], 0, ""))
    assert host.fed == [f"ada:{SECRET}\n"]
    assert result["found"][0] == "another password: ada"
    assert SECRET not in host.said
    failed = host.run(options, (["chpasswd"], 1, ""))
    assert failed["failed"]
    assert SECRET not in host.said
    host.write(THERE[0], THERE[1], f"ada:{hashed(SECRET)}:1:0:9:7:::\n")
    again = host.run(options)
    assert not again["changed"]
    assert SECRET not in host.said


def test_a_password_that_was_right_is_not_tried_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def right(password: str, stored: str) -> bool:
        tried.append(password)
        return stored == f"hash of {password}"

    monkeypatch.setattr(passwords, "is_right", right)
    options = {"users": [{**ADA, "password": SECRET}]}
    host.write(THERE[0], THERE[1], f"ada:hash of {SECRET}:1:0:9:7:::\n")
    host.run(options, check=True)
    host.run(options)
    assert tried == [SECRET, SECRET]
    assert not host.run(options)["changed"]
    assert len(tried) == 2
    record = host.record.parent / "passwords"
    assert record.stat().st_mode & 0o777 == 0o600
    # Somebody chose another one, and as long as it is not given back nothing is noted.
    host.write(THERE[0], THERE[1], "ada:hash of mine:1:0:9:7:::\n")
    for rc in (1, 0):
        host.run(options, (["chpasswd"], rc, ""))
        assert record.read_text() == ""


@pytest.mark.parametrize("stored", ["", "!", "*", "x"])
def test_no_password_is_stored(stored: str) -> None:
    assert not passwords.is_right(SECRET, stored)
    assert not passwords.is_right(stored, stored)


# --- many -------------------------------------------------------------------------------------------------------------


def test_500_users_that_are_there(host: Host) -> None:
    users = [{**ADA, "name": f"user{number}", "uid": 30000 + number} for number in range(500)]
    host.keys.mkdir()
    for user in users:
        (host.keys / user["name"]).write_text(f"{accounts.KEYS_HEADER}{KEY}\n")
    host.record.parent.mkdir()
    host.record.write_text(
        "".join(f"{each['name']} {each['uid']}\n" for each in sorted(users, key=lambda u: u["name"]))
    )
    host.write(
        "".join(f"{each['name']}:x:{each['uid']}:20000::/nowhere/ada:/bin/bash\n" for each in users), THERE[1], ""
    )
    begin = time.monotonic()
    assert not host.run({"groups": [LAB], "users": users})["changed"]
    assert time.monotonic() - begin < 2


def test_a_home_that_a_killed_run_did_not_come_to_is_made(host: Host, tmp_path: Path) -> None:
    host.write(*THERE)
    host.amiss = (["ada"], [])
    done = host.run({"users": [ADA]}, (["mkhomedir_helper", "ada", "0077"], 0, ""))
    assert done["found"][0] == "user ada has no home"
    found, there = accounts.parse(*THERE), accounts.User("ada", 20001, "lab", "/nowhere/ada")
    assert AMISS([there], found, {}, "") == (["ada"], [])
    # One that was there, too, may have gone.
    assert AMISS([there], found, {"ada": 20001}, "") == (["ada"], [])
    assert AMISS([accounts.User("ada", 20001, "lab", "/elsewhere")], found, {"ada": 20001}, "") == (["ada"], [])
    (tmp_path / "a file").touch()
    assert AMISS([accounts.User("ada", 20001, "lab", str(tmp_path))], found, {}, "") == ([], [])


def test_a_home_that_is_still_roots_is_given_to_its_user(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    home = host.proc.parent / "home"
    home.mkdir()
    os.chown(home, 0, -1)
    user = {**ADA, "home": str(home)}
    monkeypatch.setattr(homes, "amiss", AMISS)
    given = ["install", "--directory", "--owner", "20001", "--group", "lab", "--mode", "0700", str(home)]
    command = [str(home) if word == "/nowhere/ada" else word for word in USERADD]
    come = host.run({"groups": [LAB], "users": [user]}, (GROUPADD, 0, ""), (command, 0, ""), (given, 0, ""))
    assert "user ada has a home of root" in come["found"]
    # A run that was killed in between has not noted the user.
    host.record.unlink()
    host.write(THERE[0].replace("/nowhere/ada", str(home)), *THERE[1:])
    assert host.run({"users": [user]}, (given, 0, ""))["commands"] == [given]
    # Later it is somebody's wish, such as where sftp shuts a user in.
    assert host.run({"users": [user]})["changed"] is False
    (home / "upload").touch()
    host.write("", "", "")
    assert host.run({"groups": [LAB], "users": [user]})["msg"].endswith(
        f"found the home {home} of the uid 0; accepted: another home, or all of it given to 20001 by hand"
    )


def test_a_home_that_could_not_be_made_is_made_by_the_next_run(host: Host) -> None:
    options = {"groups": [LAB], "users": [ADA]}
    failed = host.run(options, (GROUPADD, 0, ""), (USERADD, 12, ""))
    assert failed["failed"] is True
    assert people.recorded(host.record.read_text()) == {}
    host.write(*THERE)
    found, there = accounts.parse(*THERE), accounts.User("ada", 20001, "lab", "/nowhere/ada")
    assert AMISS([there], found, people.recorded(host.record.read_text()), "") == (["ada"], [])


def test_who_comes_again_with_another_number_is_not_given_the_old_home(host: Host, tmp_path: Path) -> None:
    me = os.stat(tmp_path).st_uid
    users = [{**ADA, "home": str(tmp_path)}]
    os.chown(tmp_path, 20009, -1)
    done = host.run({"groups": [LAB], "users": users})
    os.chown(tmp_path, me, -1)
    assert done["msg"].startswith(
        f"host_users: user ada: found the home {tmp_path} of the uid 20009; accepted: that uid, another home, or all"
    )


def test_who_moves_is_not_given_the_home_of_somebody_else(host: Host, tmp_path: Path) -> None:
    host.write(*THERE)
    me = os.stat(tmp_path).st_uid
    os.chown(tmp_path, 20009, -1)
    moved = {**ADA, "home": str(tmp_path)}
    refused = host.run({"users": [moved]}, check=True)
    kept = host.run({"users": [{**moved, "state": "locked"}]}, check=True)
    os.chown(tmp_path, me, -1)
    assert f"user ada: found the home {tmp_path} of the uid 20009" in refused["msg"]
    assert "failed" not in kept


def test_a_folder_of_keys_that_is_closed_is_opened(host: Host) -> None:
    host.write(*THERE)
    host.run({"users": [ADA]})
    host.keys.chmod(0o750)
    assert host.run({"users": [ADA]}, check=True)["found"] == [str(host.keys)]
    assert host.run({"users": [ADA]})["changed"] is True
    assert host.keys.stat().st_mode & 0o777 == 0o755
    assert host.run({"users": [ADA]})["changed"] is False


def test_the_short_form_of_locked_is_whole(host: Host) -> None:
    host.write(*THERE)
    host.run({"users": [ADA]})
    locked = {"users": [{key: ADA[key] for key in ("name", "uid", "group", "home")} | {"state": "locked"}]}
    done = host.run(locked, (["usermod", "--lock", "--expiredate", "1", "ada"], 0, ""))
    assert done["kept"] == []
    assert host.warned == []
    host.write(THERE[0], THERE[1], "ada:!:1:0:9:7::1:\n")
    assert host.run(locked)["changed"] is False


def test_a_shell_that_is_not_there_is_told_when_all_is_done(host: Host) -> None:
    options = {"groups": [LAB], "users": [{**ADA, "shell": "/nowhere/zsh"}]}
    assert "failed" not in host.run(options, check=True)
    command = [word if word != "/bin/bash" else "/nowhere/zsh" for word in USERADD]
    done = host.run(options, (GROUPADD, 0, ""), (command, 0, ""))
    assert done["failed"] is True
    assert "user ada: found the shell /nowhere/zsh, which is not there; accepted: one that is" in done["msg"]
    locked = {"groups": [LAB], "users": [{**ADA, "shell": "/nowhere/zsh", "state": "locked"}]}
    host.write("ada:x:20001:20000::/nowhere/ada:/nowhere/zsh\n", "lab:x:20000:\n", "ada:!x:1:0:9:7::1:\n")
    assert "failed" not in host.run(locked)


def test_an_account_of_the_system_is_nobodys(host: Host) -> None:
    for uid in (34, 64030, 65534):
        host.write(f"ada:x:{uid}:20000::/var:/bin/sh\n", "lab:x:20000:\n", "ada:*:1:0:9:7:::\n")
        done = host.run({"groups": [LAB], "users": [ADA]})
        assert f"user ada: found the uid {uid} of the system; accepted: a name of its own" in done["msg"]
