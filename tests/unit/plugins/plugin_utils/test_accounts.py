# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.accounts import (
    findings,
    group_findings,
    home_findings,
)

BODY = "AAAAC3NzaC1lZDI1NTE5AAAAIFr0mTheLab0123456789"
ADA: dict[str, Any] = {"name": "ada", "uid": 20001}
GROUPS = {"head": ["head0"], "nodes": ["node1", "node2"], "all": ["head0", "node1", "node2"]}
NAMES = {*GROUPS, "head0", "node1", "node2"}


def wrong(**fields: Any) -> str:
    return "\n".join(findings([{**ADA, **fields}], NAMES, {"cluster": 10000}))


@pytest.mark.parametrize(
    "key",
    [
        f"ssh-ed25519 {BODY}",
        f"ssh-rsa {BODY}== ada@laptop",
        f"ecdsa-sha2-nistp256 {BODY} with blanks in it",
        f"sk-ssh-ed25519@openssh.com {BODY}",
        f'from="10.0.0.1, 10.0.0.2",no-pty ssh-ed25519 {BODY} x',
    ],
)
def test_keys_of_any_kind(key: str) -> None:
    assert wrong(authorized_keys=[key]) == ""


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ada@laptop",
        BODY,
        "ssh-ed25519",
        "ssh-ed25519 short",
        f"ssh-ed25519 {BODY}\nssh-ed25519 {BODY}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        4,
    ],
)
def test_what_is_no_key(key: Any) -> None:
    assert wrong(authorized_keys=[f"ssh-ed25519 {BODY}", key]).startswith(
        "common_users: ada: authorized_keys: found no public key at place 2; accepted: such as"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Ada"}, "common_users: Ada: name: accepted: lower-case letters, digits, _ and -, 32 at most"),
        ({"name": "cluster"}, "common_users: cluster: name: found that of another account of the cluster"),
        ({"uid": 10000}, "common_users: ada: uid: found 10000 of another account"),
        ({"uid": 0}, "common_users: ada: uid: found 0; accepted: 1000 or more"),
        ({"uid": 65534}, "common_users: ada: uid: found 65534"),
        ({"uid": 64030}, "common_users: ada: uid: found 64030, which Debian gives to slurm; accepted: another one"),
        ({"name": "munge"}, "common_users: munge: name: found munge, which is the system's; accepted: another one"),
        ({"name": "slurm"}, "common_users: slurm: name: found slurm, which is the system's; accepted: another one"),
        ({"uid": "20001"}, "common_users: ada: uid: found a str; accepted: a int"),
        ({"uid": True}, "common_users: ada: uid: found a bool"),
        (
            {"authorized_keys_exclusive": 1},
            "common_users: ada: authorized_keys_exclusive: found a int; accepted: a bool",
        ),
        ({"groups": "sudo"}, "common_users: ada: groups: found a str; accepted: a list"),
        ({"sudo": True}, "common_users: ada: found the key sudo; accepted: name, uid,"),
        ({"state": "gone"}, "common_users: ada: state: found gone; accepted: present, locked, absent"),
        ({"hosts": ["head", "node9"]}, "common_users: ada: hosts: found node9; accepted: hosts and groups"),
        ({"comment": "a:b"}, "common_users: ada: comment: found a colon"),
        ({"home": "/data/home/ada/"}, "common_users: ada: home: found '/data/home/ada/'; accepted: such as"),
        ({"home": "home/ada"}, "common_users: ada: home: found 'home/ada'"),
        ({"home": "/data//ada"}, "common_users: ada: home: found"),
        ({"home": "/data/../ada"}, "common_users: ada: home: found"),
        ({"home": "/data/a:b"}, "common_users: ada: home: found"),
        ({"hosts": []}, "common_users: ada: hosts: found none; accepted: hosts and groups, or state absent"),
        ({"groups": ["video", "sudo", "video"]}, "common_users: ada: groups: found video twice; accepted: once"),
        (
            {"password": "short1"},
            "common_users: ada: password: found 6 characters; accepted: 8 characters or more, and",
        ),
        ({"password": "12345678"}, "common_users: ada: password: found digits only; accepted"),
        ({"password": "with\nbreak"}, "common_users: ada: password: found a line break"),
    ],
)
def test_refused(fields: dict[str, Any], message: str) -> None:
    assert wrong(**fields).startswith(message)


def test_accepted() -> None:
    assert wrong(home="/data/home/ada.l") == ""
    assert wrong(password="abcd1234", hosts=["head", "node2"], groups=["sudo"], state="locked") == ""


def test_a_password_of_another_type_is_not_shown() -> None:
    assert wrong(password=87654321) == "common_users: ada: password: found a int; accepted: a str"


def test_names_and_numbers_are_there_once() -> None:
    users = [
        ADA,
        {"name": "ada", "uid": 20002},
        {"name": "bob", "uid": 20002},
        {"name": "eve", "uid": 20001, "state": "absent"},
    ]
    assert findings(users, NAMES, {}) == [
        "common_users: found the name ada 2 times; accepted: once",
        "common_users: found the uid 20002 2 times; accepted: once",
    ]
    assert findings([{"uid": 1}], NAMES, {}) == ["common_users: a user without a name: found no name; accepted: one"]


LAB: dict[str, Any] = {"name": "lab", "gid": 20000}
THERE = {"sudo": 27, "lab": 20000, "old": 20009}


def of_groups(
    groups: list[dict[str, Any]], users: list[dict[str, Any]] | None = None, coming: bool = False
) -> list[str]:
    return group_findings(groups, users or [], ("cluster", 10000), THERE, coming)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"name": "Lab"}, "Lab: name: accepted: lower-case letters"),
        ({"name": "cluster"}, "cluster: name: found that of the cluster's own group"),
        ({"gid": 10000}, "found the gid 10000 twice"),
        ({"gid": 27}, "new: gid: found 27; accepted: 1000 or more, below is the system's"),
        # It would be another number for a group that owns files of the system, or no group any more.
        ({"name": "sudo"}, "sudo: gid: found 20001 for a group that the system has as 27; accepted: a name of its own"),
        ({"name": "sudo", "gid": 27, "state": "absent"}, "sudo: gid: found 27"),
        (
            {"name": "sudo", "state": "absent"},
            "sudo: state: found absent for the gid 20001, while the host has 27; accepted",
        ),
        ({"name": "old", "state": "absent"}, "old: state: found absent for the gid 20001, while the host has 20009"),
    ],
)
def test_groups_that_are_refused(group: dict[str, Any], message: str) -> None:
    found = of_groups([{"name": "new", "gid": 20001, **group}])
    assert [text.startswith(f"common_groups: {message}") for text in found] == [True]


def test_groups_that_are_accepted() -> None:
    assert of_groups([LAB, {"name": "old", "gid": 20009, "state": "absent"}]) == []
    assert of_groups([{**LAB, "gid": 20010}]) == []


def test_groups_are_there_once() -> None:
    assert of_groups([LAB, LAB]) == [
        "common_groups: found the name lab twice; accepted: once",
    ]
    assert of_groups([LAB, {"name": "two", "gid": 20000}]) == [
        "common_groups: found the gid 20000 twice; accepted: once"
    ]


def test_users_are_in_groups_that_are_there() -> None:
    user = {"name": "ada", "state": "present", "group": "cluster", "groups": ["sudo", "docker"]}
    missing = "which is not there; accepted: one of common_groups or of the host"
    assert of_groups([], [user]) == [f"common_users: ada: found the group docker, {missing}"]
    # A package may bring it.
    assert of_groups([], [user], coming=True) == []
    assert of_groups([], [{**user, "group": "none"}], coming=True) == [
        f"common_users: ada: found the group none, {missing}"
    ]
    assert of_groups([{"name": "docker", "gid": 20002}], [user]) == []
    assert of_groups([], [{**user, "state": "absent"}]) == []
    assert len(of_groups([{"name": "old", "gid": 20009, "state": "absent"}], [{**user, "group": "old"}], True)) == 1


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ({"ada": "/data/home/bob"}, "bob: home: found /data/home/bob, which is that of ada; accepted: a folder of its"),
        ({"ada": "/data/home/cluster"}, "ada: home: found /data/home/cluster, which is that of cluster; accepted"),
        ({"ada": "/data/home"}, "ada: home: found /data/home, where those of all are; accepted: a folder of its own"),
        ({"ada": "/data"}, "ada: home: found /data, where those of all are"),
        ({"ada": "/data/home/bob/ada"}, "ada: home: found /data/home/bob/ada in that of bob; accepted: a folder"),
        ({"ada": "/home/ada"}, ""),
        ({"ada": "/data/home/bobby"}, ""),
    ],
)
def test_homes_are_of_one_each(users: dict[str, str], said: str) -> None:
    listed = [{"name": name, "home": home} for name, home in users.items()] + [
        {"name": "bob"},
        {"name": "eve", "home": "/data/home/bob", "state": "absent"},
    ]
    found = home_findings(listed, "/data/home", "/data", ["cluster"])
    assert [text[: len(f"common_users: {said}")] for text in found] == ([f"common_users: {said}"] if said else [])
