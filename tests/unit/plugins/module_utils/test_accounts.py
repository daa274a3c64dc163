# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.accounts import (
    ABSENT,
    ASIDE,
    CHPASSWD,
    KEYS_HEADER,
    LOCKED,
    AccountsError,
    Database,
    Group,
    Move,
    Step,
    User,
    check,
    jobs,
    keys_are_ours,
    keys_text,
    owned,
    parse,
    plan,
    squeue,
    stored,
)

PASSWD = """root:x:0:0:root:/root:/bin/bash
ada:x:20001:20000:Ada:/data/home/ada:/bin/bash
bob:x:20002:20000::/home/bob:/bin/sh
old:x:20003:100::/home/old:/bin/bash
+::::::
"""
GROUP = "root:x:0:\nusers:x:100:\nsudo:x:27:ada,root\nvideo:x:44:ada\nlab:x:20000:\n+:::\n"
SHADOW = """root:*:19000:0:99999:7:::
ada:!:19000:0:99999:7:::
bob:$y$j9T$salt$hash:19000:0:99999:7:::
old:!$y$j9T$salt$hash:19000:0:99999:7::1:
"""
FOUND = parse(PASSWD, GROUP, SHADOW)
EMPTY = parse("", "", "")

LAB = Group("lab", 20000)
ADA = User("ada", 20001, "lab", "/data/home/ada", comment="Ada")
BOB = User("bob", 20002, "lab", "/home/bob", shell="/bin/sh")
OLD = User("old", 20003, "users", "/home/old")


def commands(users: list[User], groups: list[Group] | None = None, found: Database = FOUND) -> list[str]:
    return [" ".join(step.command) for step in plan(users, groups or [], found)]


def test_what_is_there() -> None:
    assert list(FOUND.users) == ["root", "ada", "bob", "old"]
    ada, old = FOUND.users["ada"], FOUND.users["old"]
    assert (ada.uid, ada.gid, ada.home, ada.hash, ada.expires) == (20001, 20000, "/data/home/ada", "!", "")
    assert (old.hash, old.expires) == ("!$y$j9T$salt$hash", "1")
    assert FOUND.members["ada"] == {"sudo", "video"}
    assert FOUND.gids["lab"] == 20000


def test_nothing_differs() -> None:
    assert plan([ADA, BOB], [LAB], FOUND) == []
    assert plan([replace(ADA, groups=("video", "sudo")), replace(OLD, state=LOCKED)], [LAB], FOUND) == []


def test_who_comes() -> None:
    made = commands([ADA, replace(BOB, groups=("video",), create_home=False)], [LAB], EMPTY)
    assert made == [
        "groupadd --gid 20000 lab",
        "useradd --uid 20001 --gid lab --home-dir /data/home/ada --shell /bin/bash --comment Ada --create-home"
        " --key HOME_MODE=0700 --no-user-group ada",
        "useradd --uid 20002 --gid lab --groups video --home-dir /home/bob --shell /bin/sh --comment  --no-create-home"
        " --no-user-group bob",
    ]


def test_who_comes_locked() -> None:
    assert commands([replace(ADA, state=LOCKED)], [LAB], EMPTY)[-1] == "usermod --lock --expiredate 1 ada"


def test_all_that_differs_by_one_command_but_the_home() -> None:
    # The home cannot change while the user is logged in, the rest can.
    steps = plan([replace(ADA, group="users", home="/home/ada", shell="/bin/zsh", comment="", groups=())], [], FOUND)
    assert [step.command for step in steps] == [
        ["usermod", "--gid", "100", "--groups", "", "--shell", "/bin/zsh", "--comment", "", "ada"],
        ["usermod", "--home", "/home/ada", "ada"],
    ]
    assert [step.finding for step in steps] == [
        "user ada has the group 20000, groups sudo,video, shell /bin/bash, comment Ada",
        "user ada has the home /data/home/ada",
    ]
    assert commands([replace(BOB, uid=20009)]) == ["usermod --uid 20009 bob"]


def test_groups_beside_those_that_are_there() -> None:
    more = replace(ADA, groups=("adm", "video"), only_these=False)
    assert commands([more]) == ["usermod --groups adm,sudo,video ada"]
    assert commands([replace(more, groups=("sudo",))]) == []


def test_what_is_in_a_home_on_the_share_stays_as_it_is() -> None:
    aside = ["unshare", "--mount", "sh", "-c", ASIDE, "sh", "/data/home/ada"]
    assert plan([replace(ADA, group="users", create_home=False)], [], FOUND)[0].command == [
        *aside,
        *["usermod", "--gid", "100", "ada"],
    ]
    assert commands([replace(ADA, shell="/bin/sh", create_home=False)]) == ["usermod --shell /bin/sh ada"]


def test_who_is_locked_keeps_everything() -> None:
    assert commands([replace(BOB, state=LOCKED, shell="/bin/bash")]) == [
        "usermod --lock --expiredate 1 bob",
    ]
    # All else is kept for when the lock is taken off; the number is what files belong to.
    assert commands([replace(BOB, state=LOCKED, uid=30002)])[1:] == ["usermod --uid 30002 bob"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        # With a password from before, and without one.
        (OLD, ["usermod --expiredate  --unlock old"]),
        (replace(OLD, no_password=True), ["usermod --expiredate  old"]),
        (replace(BOB, state=LOCKED), ["usermod --lock --expiredate 1 bob"]),
        (replace(BOB, no_password=True), ["usermod --lock bob"]),
        (replace(ADA, no_password=True), []),
    ],
)
def test_locks(user: User, expected: list[str]) -> None:
    assert commands([user]) == expected


def test_who_was_locked_without_a_password_comes_back() -> None:
    found = parse(PASSWD, GROUP, "ada:!:19000:0:99999:7::1:\n")
    assert commands([ADA], found=found) == ["usermod --expiredate  ada"]


def test_a_password_outlives_a_lock_of_ours() -> None:
    assert stored(FOUND.users["old"]) == "$y$j9T$salt$hash"
    assert stored(FOUND.users["ada"]) == "!"


def test_who_goes() -> None:
    gone = [replace(ADA, state=ABSENT), replace(BOB, uid=30000, state=ABSENT), User("x", 1, "y", "/", state=ABSENT)]
    # Another bob is not ours.
    assert commands(gone, [Group("lab", 20000, present=False), Group("none", 5, present=False)]) == [
        "userdel ada",
        "groupdel lab",
    ]


def test_who_goes_while_busy_is_locked_and_keeps_the_number() -> None:
    gone = [replace(BOB, state=ABSENT), replace(OLD, state=ABSENT)]
    assert [step.command for step in plan(gone, [], FOUND, busy=["bob", "old"])] == [
        ["usermod", "--lock", "--expiredate", "1", "bob"]
    ]
    new = User("eve", 20002, "lab", "/home/eve")
    with pytest.raises(AccountsError, match=r"^user eve: found the uid 20002 with the user bob"):
        check([new, *gone], [LAB], FOUND, ["bob"])


def test_a_number_is_free_once_its_user_goes() -> None:
    new = User("eve", 20001, "lab", "/home/eve")
    assert check([new, replace(ADA, state=ABSENT)], [LAB], FOUND) == []
    assert [line.split()[0] for line in commands([new, replace(ADA, state=ABSENT)], [LAB])] == ["userdel", "useradd"]


def test_a_group_that_userdel_takes_away_comes_back_in_the_same_run() -> None:
    found = parse(PASSWD, f"{GROUP}ada:x:20001:\n", SHADOW)
    gone, kept = [replace(ADA, state=ABSENT)], Group("ada", 20001)
    assert commands(gone, [kept], found) == ["userdel ada", "groupadd --force --gid 20001 ada"]
    assert plan(gone, [kept], found, busy=["ada"])[-1].command[0] == "usermod"
    assert commands([ADA], [kept], found) == []
    # One that has gone already is made as any other.
    assert commands(gone, [kept]) == ["userdel ada", "groupadd --gid 20001 ada"]


def test_a_group_gets_another_name() -> None:
    groups = [Group("team", 20000), Group("lab", 20000, present=False)]
    users = [replace(ADA, group="team")]
    assert check(users, groups, FOUND) == []
    assert commands(users, groups) == ["groupmod --new-name team lab"]
    # It has gone, or is another one: then the number is not free.
    assert commands([], groups, EMPTY) == ["groupadd --gid 20000 team"]
    # It may go with the user of its name.
    own = parse("lab:x:20000:20000::/:/bin/sh\n", "lab:x:20000:\n", "")
    assert commands([User("lab", 20000, "team", "/", state=ABSENT)], groups, own) == [
        "userdel lab",
        "groupadd --force --gid 20000 lab",
        "groupmod --new-name team lab",
    ]
    for there in ("team:x:5:\nlab:x:20000:\n", "lab:x:20009:\nteams:x:20000:\n"):
        with pytest.raises(AccountsError, match=r"group team: found the gid 20000 with the group"):
            check([], groups, parse("", there, ""))


def test_a_group_of_somebody_who_is_busy_stays() -> None:
    gone, group = [replace(ADA, state=ABSENT)], Group("lab", 20000, present=False)
    assert [step.command[0] for step in plan(gone, [group], FOUND, busy=["ada"])] == ["usermod"]


def test_who_has_no_line_in_shadow_gets_one() -> None:
    found = parse(PASSWD, GROUP, SHADOW.replace("ada:!", "other:!"))
    assert commands([ADA], found=found) == ["usermod --expiredate  ada"]
    assert commands([replace(ADA, state=LOCKED)], found=found) == ["usermod --lock --expiredate 1 ada"]
    # Where the hash is in passwd itself, or there is no shadow at all, none lacks.
    assert not parse("ada:$6$x:20001:20000::/:/bin/sh\n", "", SHADOW).users["ada"].half
    assert not parse(PASSWD, GROUP, "").users["ada"].half


def test_a_line_break_of_unicode_is_none() -> None:
    comments = (PASSWD.replace(":Ada:", f":Ada{mark}L:") for mark in "\u2028\u2029\x85\x0b\x1c")
    assert [list(parse(passwd, GROUP, SHADOW).users) for passwd in comments] == [list(FOUND.users)] * 5


def test_passwords_are_given_at_once_and_not_shown() -> None:
    user = replace(ADA, password="not to be seen")
    steps = plan([user], [], FOUND, ["ada", "bob"])
    assert steps == [Step("another password: ada, bob", CHPASSWD)]
    assert "seen" not in repr(user)


def test_500_users_are_compared_one_by_one() -> None:
    users = [User(f"user{number}", 30000 + number, "lab", f"/home/user{number}") for number in range(500)]
    passwd = "".join(f"{user.name}:x:{user.uid}:20000::{user.home}:/bin/bash\n" for user in users)
    found = parse(passwd, "lab:x:20000:\n", "")
    assert plan(users, [LAB], found) == []
    assert len(plan([replace(user, shell="/bin/sh") for user in users[:3]] + users[3:], [LAB], found)) == 3


# --- what stands in the way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "groups", "message"),
    [
        (
            [replace(ADA, uid=20002)],
            [],
            r"^user ada: found the uid 20002 with the user bob; accepted: a uid of its own$",
        ),
        ([User("new", 0, "lab", "/")], [], r"^user new: found the uid 0 with the user root"),
        ([User("new", 5, "lab", "/"), User("two", 5, "lab", "/")], [], r"^user two: found the uid 5 with the user new"),
        ([], [Group("lab", 44)], r"^group lab: found the gid 44 with the group video"),
        ([replace(ADA, group="none")], [], r"^user ada: found the group none, which is not there"),
        ([replace(ADA, groups=("none",))], [], r"^user ada: found the group none"),
        ([ADA], [Group("lab", 20000, present=False)], r"^user ada: found the group lab"),
        (
            [],
            [Group("sudo", 20009, present=False)],
            r"^group sudo: found the gid 27; accepted: 20009, else it",
        ),
        ([User("Ada L", 5, "lab", "/")], [], r"^user: found 'Ada L'; accepted: lower-case letters"),
        ([User("-r", 5, "lab", "/")], [], r"^user: found '-r'"),
    ],
)
def test_refused(users: list[User], groups: list[Group], message: str) -> None:
    with pytest.raises(AccountsError, match=message):
        check(users, groups, FOUND)


def test_everything_is_said_at_once() -> None:
    with pytest.raises(AccountsError) as error:
        check([replace(ADA, uid=20002, group="none")], [Group("lab", 44)], FOUND)
    assert len(str(error.value).splitlines()) == 3


def test_numbers_that_change() -> None:
    assert check([replace(ADA, uid=20009), BOB], [Group("lab", 20010)], FOUND) == [
        Move("user", "ada", 20001, 20009),
        Move("group", "lab", 20000, 20010),
    ]


def test_where_files_are_looked_for() -> None:
    mounts = (
        "overlay / overlay rw 0 0\n/dev/sda1 /srv ext4 rw 0 0\n/dev/sda1 /etc/hosts ext4 rw 0 0\nproc /proc proc rw\n"
    )
    argv = owned(Move("user", "ada", 20001, 20009), ["/data/home/ada"], mounts)
    assert argv == ["find", "/", "/srv", "/data/home/ada", "-xdev", "-uid", "20001", "-print", "-quit"]
    assert "-gid" in owned(Move("group", "lab", 1, 2), [], "")


def test_keys() -> None:
    assert keys_text(replace(ADA, keys=("a", "b", "a"))) == f"{KEYS_HEADER}a\nb\n"
    assert keys_text(replace(ADA, keys=())) == keys_text(replace(ADA, keys=("a",), state=LOCKED)) == ""
    assert [keys_are_ours(each) for each in (ADA, replace(ADA, keys=()), replace(ADA, state=ABSENT))] == [
        False,
        True,
        True,
    ]


def test_jobs_of_those_who_are_not_let_in() -> None:
    assert squeue([1, 2]) == ["squeue", "--noheader", "--user=1,2", "--format=%A %u %T %N"]
    assert jobs("17 bob RUNNING node[1-2]\n18 bob PENDING \n\n") == [
        {"id": "17", "user": "bob", "state": "RUNNING", "nodes": "node[1-2]"},
        {"id": "18", "user": "bob", "state": "PENDING", "nodes": ""},
    ]
