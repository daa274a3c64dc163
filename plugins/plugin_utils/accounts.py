# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""People of the cluster as the inventory has them: checked as a whole, and as each host needs them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.accounts import ABSENT, NAME, PRESENT, STATES

FIELDS = {
    "name": str,
    "uid": int,
    "group": str,
    "groups": list,
    "groups_exclusive": bool,
    "home": str,
    "shell": str,
    "comment": str,
    "authorized_keys": list,
    "authorized_keys_exclusive": bool,
    "password": str,
    "hosts": list,
    "state": str,
}

# Another spelling of the same folder would differ at each run.
HOME = re.compile(r"(/(?!\.{1,2}(/|$))[^/:\n]+)+")

# A kind of key and its Base64, after options of sshd(8) if there are any.
KEY = re.compile(r'(?:\S(?:[^"\n]|"[^"\n]*")* )?(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ [A-Za-z0-9+/]{32,}={0,3}(?: [^\n]*)?')
PRIVATE = re.compile(r"PRIVATE KEY")

PASSWORD_LENGTH = 8

NOBODY = (65534, 65535)

SLURM = 64030
"""Its uid wherever a package of Debian or Ubuntu makes it."""

SYSTEM = ("root", "nobody", "munge", "slurm")
"""Accounts that the cluster needs as its packages make them."""


class AccountsError(Exception):
    """The inventory's people cannot become accounts."""


def weak(password: str) -> str:
    """What is wrong with a password, in words that do not tell it; empty for a good one."""
    if len(password) < PASSWORD_LENGTH:
        return f"found {len(password)} characters"
    if password.isdigit():
        return "found digits only"
    # chpasswd(8) reads lines.
    return "found a line break" if re.search(r"[\r\n\0]", password) else ""


def findings(
    users: Sequence[Mapping[str, Any]], names: Collection[str], taken: Mapping[str, int], variable: str = "common_users"
) -> list[str]:
    """All that is wrong: `names` are the inventory's hosts and groups, `taken` the accounts that others make."""
    wrong = []
    for user in users:
        where = f"{variable}: {user.get('name', 'a user without a name')}"
        wrong += [f"{where}: {text}" for text in _of_user(user, names, taken)]
    for field in ("name", "uid"):
        counts = Counter(user[field] for user in users if field in user and _counts(user, field))
        wrong += [
            f"{variable}: found the {field} {value} {n} times; accepted: once" for value, n in counts.items() if n > 1
        ]
    return wrong


def _counts(user: Mapping[str, Any], field: str) -> bool:
    return field == "name" or user.get("state") != ABSENT


def _of_user(user: Mapping[str, Any], names: Collection[str], taken: Mapping[str, int]) -> list[str]:
    wrong = [f"found the key {key}; accepted: {', '.join(FIELDS)}" for key in user if key not in FIELDS]
    wrong += [f"found no {key}; accepted: one" for key in ("name", "uid") if key not in user]
    # A value itself may be a secret, so its type is told.
    wrong += [
        f"{key}: found a {type(user[key]).__name__}; accepted: a {kind.__name__}"
        for key, kind in FIELDS.items()
        if key in user and (not isinstance(user[key], kind) or isinstance(user[key], bool) != (kind is bool))
    ]
    if wrong:
        return wrong
    return [text for text in (*_identity(user, taken), *_words(user, names), *_keys(user)) if text]


def _identity(user: Mapping[str, Any], taken: Mapping[str, int]) -> list[str]:
    uid = user["uid"]
    return [
        "" if NAME.fullmatch(user["name"]) else "name: accepted: lower-case letters, digits, _ and -, 32 at most",
        "name: found that of another account of the cluster; accepted: another one" if user["name"] in taken else "",
        f"uid: found {uid} of another account of the cluster; accepted: another one" if uid in taken.values() else "",
        f"name: found {user['name']}, which is the system's; accepted: another one" if user["name"] in SYSTEM else "",
        "" if uid >= 1000 and uid not in NOBODY else f"uid: found {uid}; accepted: 1000 or more, below is the system's",
        f"uid: found {uid}, which Debian gives to slurm; accepted: another one" if uid == SLURM else "",
    ]


def _words(user: Mapping[str, Any], names: Collection[str]) -> list[str]:
    state = user.get("state", PRESENT)
    reason = weak(user["password"]) if "password" in user else ""
    return [
        "" if state in STATES else f"state: found {state}; accepted: {', '.join(STATES)}",
        f"password: {reason}; accepted: {PASSWORD_LENGTH} characters or more, and not digits only" if reason else "",
        # Nowhere is said by another word, because it takes accounts away.
        "hosts: found none; accepted: hosts and groups, or state absent" if user.get("hosts") == [] else "",
        *(f"groups: found {each} twice; accepted: once" for each in _twice(user.get("groups", []))),
        ""
        if "home" not in user or HOME.fullmatch(user["home"])
        else f"home: found {user['home']!r}; accepted: such as /data/home/ada, without a slash at the end",
        *(
            f"hosts: found {each}; accepted: hosts and groups of the inventory"
            for each in user.get("hosts", [])
            if each not in names
        ),
        *(
            f"{key}: found a colon or a line break; accepted: a text without"
            for key in ("comment", "shell")
            if re.search(r"[:\n]", user.get(key, ""))
        ),
    ]


def _twice(values: Sequence[Any]) -> list[Any]:
    return [value for value, count in Counter(map(str, values)).items() if count > 1]


def _keys(user: Mapping[str, Any]) -> list[str]:
    return [
        f"authorized_keys: found no public key at place {number}; accepted: such as `ssh-ed25519 AAAA... ada@laptop`"
        for number, key in enumerate(user.get("authorized_keys", []), 1)
        if not isinstance(key, str) or PRIVATE.search(key) or not KEY.fullmatch(key)
    ]


def group_findings(
    groups: Sequence[Mapping[str, Any]],
    users: Sequence[Mapping[str, Any]],
    cluster: tuple[str, int],
    there: Mapping[str, int],
    coming: bool,
) -> list[str]:
    """All that is wrong with the groups of a host, and with those that its users are in.

    `users` are as `accounts` returns them, `cluster` is the cluster's own group, `there` are the host's, and packages
    that are `coming` may bring more.
    """
    present = {each["name"]: each["gid"] for each in groups if each.get("state") != ABSENT}
    wrong = [f"found the name {name} twice; accepted: once" for name in _twice([each["name"] for each in groups])]
    wrong += [f"found the gid {gid} twice; accepted: once" for gid in _twice([*present.values(), cluster[1]])]
    for each in groups:
        wrong += [f"{each['name']}: {text}" for text in _of_group(each, cluster[0], there.get(each["name"])) if text]
    found = [f"common_groups: {text}" for text in wrong]
    gone = {each["name"] for each in groups} - {*present}
    known = ({*there, *present} - gone) | {cluster[0]}
    for user in users:
        if user["state"] != ABSENT:
            where = f"common_users: {user['name']}: found the group"
            # A group of a package is nobody's primary one.
            names = [user["group"], *([] if coming else user.get("groups", ()))]
            found += [
                f"{where} {name}, which is not there; accepted: one of common_groups or of the host"
                for name in dict.fromkeys(names)
                if name not in known
            ]
    return found


def _of_group(group: Mapping[str, Any], cluster: str, there: int | None) -> list[str]:
    name, gid = group["name"], group["gid"]
    absent = group.get("state") == ABSENT
    return [
        "" if NAME.fullmatch(name) else "name: accepted: lower-case letters, digits, _ and -, 32 at most",
        "name: found that of the cluster's own group; accepted: another one" if name == cluster else "",
        "" if gid >= 1000 and gid not in NOBODY else f"gid: found {gid}; accepted: 1000 or more, below is the system's",
        f"state: found absent for the gid {gid}, while the host has {there}; accepted: its own number, from 1000"
        if absent and there is not None and there != gid
        else "",
        f"gid: found {gid} for a group that the system has as {there}; accepted: a name of its own"
        if not absent and there is not None and there < 1000
        else "",
    ]


def on_host(user: Mapping[str, Any], host: str, groups: Mapping[str, Sequence[str]]) -> bool:
    """Whether the account is for this host: for all of them when nothing else is said."""
    return "hosts" not in user or any(each == host or host in groups.get(each, ()) for each in user["hosts"])


def home_of(user: Mapping[str, Any], base: str) -> str:
    """The home folder."""
    return str(user.get("home") or f"{base}/{user['name']}")


def home_findings(users: Sequence[Mapping[str, Any]], base: str, share: str, taken: Collection[str]) -> list[str]:
    """Homes that others have, too: each run would give them to somebody else, and close them to all others."""
    wrong = []
    owners = {f"{base}/{name}": name for name in taken}
    for user in users:
        home, where = home_of(user, base), f"common_users: {user['name']}: home"
        if user.get("state") == ABSENT:
            continue
        if any(folder == home or inside(folder, home) for folder in (base, share)):
            wrong.append(f"{where}: found {home}, where those of all are; accepted: a folder of its own")
        elif owners.setdefault(home, user["name"]) != user["name"]:
            wrong.append(f"{where}: found {home}, which is that of {owners[home]}; accepted: a folder of its own")
    for home, name in owners.items():
        parts = home.split("/")
        above = next((path for n in range(2, len(parts)) if (path := "/".join(parts[:n])) in owners), "")
        if above:
            wrong.append(
                f"common_users: {name}: home: found {home} in that of {owners[above]}; accepted: a folder of its own"
            )
    return wrong


def inside(path: str, folder: str) -> bool:
    """Whether a path lies in a folder."""
    return path.startswith(folder.rstrip("/") + "/")


def login_findings(
    wanted: Sequence[Mapping[str, Any]], login: str, by_password: bool, passwords: bool, key: str
) -> list[str]:
    """What would keep Ansible out of a host: `login` is who it comes as, `passwords` whether sshd takes any."""
    wrong = [
        f"common_users: {login}: state: found {user['state']} on this host; accepted: {PRESENT}, because Ansible"
        f" logs in as {login}"
        for user in wanted
        if user["name"] == login and user["state"] != PRESENT
    ]
    if by_password and not passwords:
        found = "common_ssh_password: found false, while Ansible logs in by a password"
        if not key:
            wrong.append(f"{found} and there is no common_control_key; accepted: true, or a key that lets Ansible in")
        elif not login:
            wrong.append(f"{found} and nothing says as whom; accepted: true, or ansible_user in the inventory")
    return wrong


AS_SAID = ("name", "uid", "groups", "groups_exclusive", "shell", "comment", "password", "authorized_keys")
"""What the module takes as it was said, or leaves alone."""


def accounts(
    users: Sequence[Mapping[str, Any]],
    host: str,
    groups: Mapping[str, Sequence[str]],
    primary: str,
    base: str,
    share: str,
    admitted: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """The users of the module host_users on one host; `admitted` are further keys of those who have keys, by name."""
    wanted = []
    for user in users:
        home = home_of(user, base)
        fields = {key: user[key] for key in AS_SAID if key in user}
        if "authorized_keys" in user:
            fields["authorized_keys"] = [*user["authorized_keys"], *admitted.get(user["name"], ())]
        here = user.get("state", PRESENT) if on_host(user, host, groups) else ABSENT
        wanted.append(
            {
                **fields,
                "group": user.get("group", primary),
                "home": home,
                # Homes on the share are made by its server.
                "create_home": not inside(home, share),
                "state": here,
            }
        )
    return wanted


class Listed(NamedTuple):
    """The people of one host, as its variables have them."""

    host: str
    users: Sequence[Mapping[str, Any]]
    gids: Mapping[str, int]
    """Groups that are named there."""


def homes(lists: Sequence[Listed], primary: tuple[str, int], base: str, share: str) -> list[dict[str, Any]]:
    """The folders that the server makes on the share for those of all hosts; AccountsError where hosts differ.

    Numbers, because the server need not know the names.
    """
    people: dict[str, tuple[str, tuple[str, str, str]]] = {}
    wrong = []
    for listed in lists:
        gids = {primary[0]: primary[1], **listed.gids}
        # What is no user at all is said where each list is looked through.
        users = [user for user in listed.users if {"name", "uid"} <= user.keys() and user.get("state") != ABSENT]
        for user in users:
            group = user.get("group", primary[0])
            record = (str(user["uid"]), str(gids.get(group, group)), home_of(user, base))
            other, before = people.setdefault(user["name"], (listed.host, record))
            where = f"common_users: {user['name']}"
            wrong += [
                f"{where}: found the {what} {old} on {other} and {new} on {listed.host}; accepted: the same everywhere"
                for what, old, new in zip(("uid", "primary group", "home"), before, record)
                if old != new
            ]
    if wrong:
        raise AccountsError("\n".join(wrong))
    return [
        {"path": home, "owner": uid, "group": gid, "mode": "0700", "once": True}
        for _host, (uid, gid, home) in people.values()
        if inside(home, share)
    ]
