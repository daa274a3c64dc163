# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Groups and users of a host: as passwd(5), group(5) and shadow(5) have them, and as they should be."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Collection, Mapping, NamedTuple, Sequence

PRESENT, LOCKED, ABSENT = "present", "locked", "absent"
STATES = (PRESENT, LOCKED, ABSENT)

EXPIRED = "1"
"""The day on which a locked account expired: PAM then refuses every kind of login, by key too."""

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
"""Of a user or group, as useradd(8) takes it everywhere."""

KEYS_HEADER = "# Written by Ansible (aicluster.slurm): changes made here are lost at the next run.\n"

SYSTEM = (range(1000), range(60000, 65536))
"""Numbers that Debian gives to its own accounts; Slurm has 64030."""

NO_SUCH_GROUP = 6
"""The exit code of groupdel for what is gone: userdel removes a user's own group, too."""

CHPASSWD = ["chpasswd"]
"""Reads the passwords from its standard input, where no list of processes shows them."""


ASIDE = 'test ! -d "$1" || mount -t tmpfs -o ro,size=4k none "$1" && shift && exec "$@"'
"""Runs a command in a mount namespace where a folder is another one that belongs to root."""


class AccountsError(Exception):
    """What was asked for cannot be had, and nothing was changed."""


@dataclass(frozen=True)
class Group:
    """A group as it has to be."""

    name: str
    gid: int
    present: bool = True


@dataclass(frozen=True)
class User:
    """A user as it has to be."""

    name: str
    uid: int
    group: str
    home: str
    shell: str = "/bin/bash"
    comment: str = ""
    groups: tuple[str, ...] | None = None
    """The further groups; None leaves them alone."""
    only_these: bool = True
    """Whether the user is in no other groups."""
    keys: tuple[str, ...] | None = None
    """The public keys that are admitted; None leaves their file alone."""
    password: str | None = field(default=None, repr=False)
    no_password: bool = False
    """Whether a password that is there is locked."""
    create_home: bool = True
    state: str = PRESENT


class Entry(NamedTuple):
    """A user as it is."""

    uid: int
    gid: int
    comment: str
    home: str
    shell: str
    hash: str
    expires: str
    half: bool = False
    """Whether useradd was killed before it came to /etc/shadow: then PAM lets nobody in."""


class Database(NamedTuple):
    """What a host knows."""

    users: Mapping[str, Entry]
    gids: Mapping[str, int]
    members: Mapping[str, frozenset[str]]
    """The further groups of each user."""


class Step(NamedTuple):
    """Something that is not as it should be, and the command that changes it."""

    finding: str
    command: list[str]
    home_of: str = ""
    """The user whose home it makes."""


class Move(NamedTuple):
    """A number that changes, which nothing may belong to."""

    kind: str
    """user or group."""
    name: str
    before: int
    after: int


# --- As it is ---------------------------------------------------------------------------------------------------------


def parse(passwd: str, group: str, shadow: str) -> Database:
    """The accounts in the three files; lines that are no entry (NIS) are left out."""
    secrets = {row[0]: row for row in _rows(shadow, 8)}
    users = {
        row[0]: Entry(
            int(row[2]),
            int(row[3]),
            row[4],
            row[5],
            row[6],
            *_secret(secrets.get(row[0])),
            bool(secrets) and row[1] == "x" and row[0] not in secrets,
        )
        for row in _rows(passwd, 7)
        if row[2].isdigit() and row[3].isdigit()
    }
    groups = [row for row in _rows(group, 4) if row[2].isdigit()]
    members: dict[str, set[str]] = {}
    for row in groups:
        for user in filter(None, row[3].split(",")):
            members.setdefault(user, set()).add(row[0])
    return Database(
        users,
        {row[0]: int(row[2]) for row in groups},
        {user: frozenset(names) for user, names in members.items()},
    )


def _rows(text: str, fields: int) -> list[list[str]]:
    # A comment may hold what Unicode takes for a line break.
    rows = (line.split(":") for line in text.split("\n"))
    return [row for row in rows if len(row) >= fields]


def _secret(row: Sequence[str] | None) -> tuple[str, str]:
    return (row[1], row[7]) if row else ("", "")


# --- As it should be --------------------------------------------------------------------------------------------------


def check(users: Sequence[User], groups: Sequence[Group], found: Database, busy: Collection[str] = ()) -> list[Move]:
    """The numbers that would change; AccountsError with everything that stands in the way.

    `busy` are the names of those who have processes, and so keep their account and its number for now.
    """
    going = {user.name for user in users if user.state == ABSENT and ours(user, found)} - {*busy}
    uids = {name: entry.uid for name, entry in found.users.items() if name not in going}
    users = [user for user in users if user.state != ABSENT]
    coming = [group for group in groups if group.present]
    renamed = renames(groups, found).values()
    known = {*found.gids, *(group.name for group in coming)} - {group.name for group in groups if not group.present}
    wrong = [
        *_held("user", "uid", {user.name: user.uid for user in users}, uids),
        *_held(
            "group",
            "gid",
            {group.name: group.gid for group in coming},
            {name: gid for name, gid in found.gids.items() if name not in renamed},
        ),
        *(
            f"group {group.name}: found the gid {found.gids[group.name]}; accepted: {group.gid}, else it is another one"
            for group in groups
            if not group.present and found.gids.get(group.name, group.gid) != group.gid
        ),
        *(
            f"user {user.name}: found the group {name}, which is not there; accepted: a group of the host"
            for user in users
            for name in (user.group, *(user.groups or ()))
            if name not in known
        ),
        *(
            f"user {user.name}: found the uid {uids[user.name]} of the system; accepted: a name of its own"
            for user in users
            if uids.get(user.name, user.uid) != user.uid and any(uids[user.name] in numbers for numbers in SYSTEM)
        ),
    ]
    if wrong:
        raise AccountsError("\n".join(wrong))
    moves = [
        Move("user", user.name, found.users[user.name].uid, user.uid) for user in users if user.name in found.users
    ]
    moves += [Move("group", each.name, found.gids[each.name], each.gid) for each in coming if each.name in found.gids]
    return [move for move in moves if move.before != move.after]


def renames(groups: Sequence[Group], found: Database) -> dict[str, str]:
    """The names that new groups have now: of groups that go, and whose numbers they get."""
    going = {group.gid: group.name for group in groups if not group.present}
    return {
        group.name: going[group.gid]
        for group in groups
        if group.present and group.name not in found.gids and found.gids.get(going.get(group.gid, "")) == group.gid
    }


def _held(kind: str, number: str, wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Numbers that somebody else has, or that are wanted twice, and names that are none."""
    holders = {value: name for name, value in found.items()}
    wrong = []
    for name, value in wanted.items():
        if not NAME.fullmatch(name):
            wrong.append(f"{kind}: found {name!r}; accepted: lower-case letters, digits, _ and -, 32 at most")
        other = holders.setdefault(value, name)
        if other != name:
            wrong.append(
                f"{kind} {name}: found the {number} {value} with the {kind} {other}; accepted: a {number} of its own"
            )
    return wrong


def plan(
    users: Sequence[User],
    groups: Sequence[Group],
    found: Database,
    passwords: Collection[str] = (),
    busy: Collection[str] = (),
    homeless: Collection[str] = (),
    bare: Collection[str] = (),
) -> list[Step]:
    """What makes the accounts as wanted, in an order that works; `passwords` names whose password is another one.

    Users go before groups come, whose numbers or names they may have held; groups go last. Who is `busy` is locked
    until the account can go. Who is `homeless` has an account, and a home that was not made; the home of who is `bare`
    was made, and not given to its user.
    """
    renamed, kept = renames(groups, found), _kept(users, found, busy)
    gids = {**found.gids, **{group.name: group.gid for group in groups if group.present}}
    # The home stays: what is in it is nobody else's to throw away.
    going = [user for user in users if user.state == ABSENT and ours(user, found)]
    steps = [_locked(user) for user in going if user.name in busy and not locked(found.users[user.name])]
    steps += [Step(f"user {user.name} is there", ["userdel", user.name]) for user in going if user.name not in busy]
    gone = {user.name for user in going if user.name not in busy}
    for group in (each for each in groups if each.present):
        name = renamed.get(group.name, group.name)
        if name in gone and name in found.gids:
            # userdel removes a group that is named like its user, where nobody else is in it.
            command = ["groupadd", "--force", "--gid", str(group.gid), name]
            steps.append(Step(f"group {name} goes with its user", command))
        if name != group.name:
            steps.append(Step(f"group {group.name} has the name {name}", ["groupmod", "--new-name", group.name, name]))
        else:
            steps += _group(group, found.gids.get(name))
    for user in users:
        steps += _user(user, gids, found) if user.state != ABSENT else []
        if user.name in homeless:
            steps.append(Step(f"user {user.name} has no home", ["mkhomedir_helper", user.name, "0077"], user.name))
        if user.name in bare:
            rights = ["--owner", str(user.uid), "--group", user.group, "--mode", "0700"]
            command = ["install", "--directory", *rights, user.home]
            steps.append(Step(f"user {user.name} has a home of root", command, user.name))
    if passwords:
        steps.append(Step(f"another password: {', '.join(passwords)}", CHPASSWD))
    return steps + [
        Step(f"group {group.name} is there", ["groupdel", group.name])
        for group in groups
        if not group.present and group.name in found.gids and group.name not in renamed.values()
        if group.gid not in kept
    ]


def _kept(users: Sequence[User], found: Database, busy: Collection[str]) -> set[int]:
    """The groups that cannot go yet: the primary ones of those who cannot."""
    return {found.users[user.name].gid for user in users if user.name in busy and user.name in found.users}


def _group(group: Group, gid: int | None) -> list[Step]:
    if gid is None:
        return [Step(f"group {group.name} is not there", ["groupadd", "--gid", str(group.gid), group.name])]
    if gid != group.gid:
        return [Step(f"group {group.name} has the gid {gid}", ["groupmod", "--gid", str(group.gid), group.name])]
    return []


def _user(user: User, gids: Mapping[str, int], found: Database) -> list[Step]:
    there = found.users.get(user.name)
    if there:
        return _changed(user, there, gids, found.members.get(user.name, frozenset()))
    return [_added(user), *([_locked(user)] if user.state == LOCKED else [])]


def ours(user: User, found: Database) -> bool:
    """Whether a user is there and has the number that it has in the cluster; another one of that name is not ours."""
    return user.name in found.users and found.users[user.name].uid == user.uid


def locked(entry: Entry) -> bool:
    """Whether nobody comes in to the account, by no way."""
    return entry.hash.startswith("!") and entry.expires == EXPIRED


def _added(user: User) -> Step:
    further = ["--groups", ",".join(user.groups)] if user.groups else []
    # Debian's login.defs lets everybody read a home.
    home = ["--create-home", "--key", "HOME_MODE=0700"] if user.create_home else ["--no-create-home"]
    ids = ["--uid", str(user.uid), "--gid", user.group]
    looks = ["--home-dir", user.home, "--shell", user.shell, "--comment", user.comment]
    command = ["useradd", *ids, *further, *looks, *home, "--no-user-group", user.name]
    return Step(f"user {user.name} is not there", command, user.name)


def _locked(user: User) -> Step:
    return Step(f"user {user.name} is not locked", ["usermod", "--lock", "--expiredate", EXPIRED, user.name])


def _changed(user: User, there: Entry, gids: Mapping[str, int], members: frozenset[str]) -> list[Step]:
    """What differs: one usermod for nearly all of it."""
    others = members if user.groups is None or not user.only_these else ()
    further = sorted({*(user.groups or ()), *others})
    pairs = (
        ("uid", "--uid", str(there.uid), str(user.uid)),
        ("group", "--gid", str(there.gid), str(gids[user.group]) if user.group in gids else user.group),
        ("groups", "--groups", ",".join(sorted(members)), ",".join(further)),
        ("home", "--home", there.home, user.home),
        ("shell", "--shell", there.shell, user.shell),
        ("comment", "--comment", there.comment, user.comment),
    )
    differ = [each for each in pairs if each[2] != each[3]]
    if user.state == LOCKED:  # keeps everything else, so that it is there when the lock is taken off
        differ = [each for each in differ if each[0] == "uid"]
    steps = []
    if user.state == LOCKED and not locked(there):
        steps.append(_locked(user))
    elif there.half:
        # Makes the line, too (usermod(8)).
        steps.append(Step(f"user {user.name} has no line in /etc/shadow", ["usermod", "--expiredate", "", user.name]))
    # Apart from the rest, because it cannot change while the user is logged in.
    for part in ([each for each in differ if each[0] != "home"], [each for each in differ if each[0] == "home"]):
        if part:
            words = ", ".join(f"{what} {before or 'empty'}" for what, _option, before, _after in part)
            command = ["usermod", *(word for each in part for word in (each[1], each[3])), user.name]
            if not user.create_home and {"--uid", "--gid"} & set(command):
                # usermod would give all that is in the home to the new group, and on a share root may not.
                command = ["unshare", "--mount", "sh", "-c", ASIDE, "sh", there.home, *command]
            steps.append(Step(f"user {user.name} has the {words}", command))
    if user.state == PRESENT and there.expires == EXPIRED:
        # A hash behind the mark is the password from before; without one there was none, and usermod refuses to unlock.
        unlock = ["--unlock"] if re.match(r"![$a-zA-Z0-9./_]", there.hash) and not user.no_password else []
        steps.append(Step(f"user {user.name} is locked", ["usermod", "--expiredate", "", *unlock, user.name]))
    elif user.state == PRESENT and user.no_password and not there.hash.startswith(("!", "*")):
        steps.append(Step(f"user {user.name} has a password", ["usermod", "--lock", user.name]))
    return steps


def stored(entry: Entry) -> str:
    """The hash of the password as it is once a lock of ours is taken off."""
    return entry.hash.lstrip("!") if entry.expires == EXPIRED else entry.hash


def left(users: Sequence[User], found: Database, before: Mapping[str, int]) -> dict[str, int]:
    """Those of the record who are in no list, and still there."""
    listed = {user.name for user in users}
    return {
        name: uid
        for name, uid in before.items()
        if name not in listed and name in found.users and found.users[name].uid == uid
    }


def there(users: Sequence[User], leftover: Mapping[str, int]) -> dict[str, int]:
    """The numbers of those who are there now, by name."""
    return {**leftover, **{user.name: user.uid for user in users if user.state != ABSENT}}


def keys_are_ours(user: User) -> bool:
    """Whether something is said about the file of admitted keys; who is no longer let in has none."""
    return user.state != PRESENT or user.keys is not None


def keys_text(user: User) -> str:
    """The file of admitted keys; empty where there shall be none."""
    if user.state != PRESENT or not user.keys:
        return ""
    return KEYS_HEADER + "".join(f"{key}\n" for key in dict.fromkeys(user.keys))


# --- What stands in the way -------------------------------------------------------------------------------------------


def owned(move: Move, homes: Sequence[str], mounts: str) -> list[str]:
    """The command that prints something that belongs to the old number: on the disks of this host, and in the homes."""
    disks = [row[1].replace("\\040", " ") for row in (line.split(" ") for line in mounts.splitlines()) if _is_disk(row)]
    places = dict.fromkeys(["/", *disks, *homes])
    return ["find", *places, "-xdev", "-uid" if move.kind == "user" else "-gid", str(move.before), "-print", "-quit"]


def _is_disk(row: Sequence[str]) -> bool:
    # A container engine mounts single files, such as /etc/hosts.
    return len(row) > 3 and row[0].startswith("/dev/") and os.path.isdir(row[1])


def squeue(uids: Sequence[int]) -> list[str]:
    """The command that prints the jobs of these users that have not ended."""
    return ["squeue", "--noheader", f"--user={','.join(map(str, uids))}", "--format=%A %u %T %N"]


def jobs(text: str) -> list[dict[str, str]]:
    """What squeue printed; a job that waits has no nodes yet."""
    rows = [[*line.split(), ""][:4] for line in text.splitlines() if line.strip()]
    return [dict(zip(("id", "user", "state", "nodes"), row)) for row in rows]
