# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters of people and of ssh between hosts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.aicluster.slurm.plugins.filter.home_folders import home_folders
from ansible_collections.aicluster.slurm.plugins.filter.host_accounts import host_accounts
from ansible_collections.aicluster.slurm.plugins.filter.people_findings import people_findings
from ansible_collections.aicluster.slurm.plugins.filter.ssh_mesh import ssh_mesh

BODY = "AAAAC3NzaC1lZDI1NTE5AAAAIFr0mTheLab0123456789"
ADA: dict[str, Any] = {"name": "ada", "uid": 20001}
GROUPS = {"head": ["head0"], "nodes": ["node1", "node2"], "all": ["head0", "node1", "node2"]}


def test_host_accounts() -> None:
    users = [
        {**ADA, "authorized_keys": ["k"], "authorized_keys_exclusive": False, "groups": ["video"]},
        {"name": "bob", "uid": 20002, "hosts": ["head"], "home": "/home/bob", "group": "lab"},
    ]
    users[0]["authorized_keys"] = [f"ssh-ed25519 {BODY}"]
    head, node = (host_accounts(users, host, GROUPS, "cluster", "/data/home", "/data") for host in ("head0", "node1"))
    assert head == [
        {
            "name": "ada",
            "uid": 20001,
            "groups": ["video"],
            "group": "cluster",
            "home": "/data/home/ada",
            "create_home": False,
            "authorized_keys": [f"ssh-ed25519 {BODY}"],
            "state": "present",
        },
        {
            "name": "bob",
            "uid": 20002,
            "group": "lab",
            "home": "/home/bob",
            "create_home": True,
            "state": "present",
        },
    ]
    assert [each["state"] for each in node] == ["present", "absent"]


class Vaulted:
    """A single value of a vault, as ansible-core before 2.19 hands it over."""

    __ENCRYPTED__ = True

    def __str__(self) -> str:
        return "quite-a-Secret-7"


def test_a_password_that_is_in_a_vault_by_itself() -> None:
    (account,) = host_accounts([{**ADA, "password": Vaulted()}], "head0", GROUPS, "cluster", "/home", "/data")
    assert account["password"] == "quite-a-Secret-7"


def test_all_that_is_wrong_with_people() -> None:
    with pytest.raises(AnsibleFilterError) as error:
        host_accounts([{**ADA, "state": "x"}, {"name": "b"}], "head0", GROUPS, "cluster", "/home", "/data", {"x": 1})
    assert len(str(error.value).splitlines()) == 2


def test_people_findings() -> None:
    users = host_accounts([{**ADA, "group": "lab", "state": "locked"}], "head0", GROUPS, "cluster", "/home", "/data")
    # As an INI file has them.
    groups: list[dict[str, Any]] = [{"name": "lab", "gid": "20000"}]
    way = {"login": "ada", "by_password": True, "passwords": False, "key": ""}
    assert people_findings(users, groups, {"cluster": "10000"}, {"users": 100}, False) == []
    assert people_findings(users, groups, {"cluster": 10000}, {}, False, {**way, "login": "bob", "key": "k"}) == []
    assert len(people_findings(users, groups, {"cluster": 10000}, {}, False, way)) == 2
    present = [{**users[0], "state": "present"}]
    assert len(people_findings(present, [], {"cluster": 10000}, {}, False)) == 1


def test_home_folders() -> None:
    users = [
        ADA,
        {"name": "bob", "uid": 20002, "group": "lab", "state": "locked"},
        {"name": "eve", "uid": 20003, "state": "absent"},
        {"name": "joe", "uid": 20004, "home": "/home/joe"},
        {"name": "ann", "uid": 20005, "group": "users"},
    ]
    folders = home_folders(users, "/data/home", "/data", {"cluster": 10000, "lab": 20000})
    assert [(each["path"], each["owner"], each["group"], each["mode"]) for each in folders] == [
        ("/data/home/ada", "20001", "10000", "0700"),
        ("/data/home/bob", "20002", "20000", "0700"),
        ("/data/home/ann", "20005", "users", "0700"),
    ]


class Hostvars(dict[str, dict[str, Any]]):
    """Ansible's variables, with what was looked at."""

    def raw_get(self, name: str) -> dict[str, Any]:
        return self[name]


def test_homes_of_the_people_of_all_hosts() -> None:
    everybody = [ADA]
    bob = {"name": "bob", "uid": 20002, "group": "lab", "hosts": ["head"]}
    variables: dict[str, dict[str, Any]] = {
        "nfs0": {"common_users": everybody},
        "head0": {"common_users": [*everybody, bob], "common_groups": [{"name": "lab", "gid": 20000}]},
        "node1": {"common_users": everybody},
        "node2": {},
    }
    for hostvars in (variables, Hostvars(variables)):
        folders = home_folders(
            everybody, "/data/home", "/data", {"cluster": 10000}, "nfs0", ["nfs0", "head0", "node1", "node2"], hostvars
        )
        assert folders == [
            {"path": "/data/home/ada", "owner": "20001", "group": "10000", "mode": "0700", "once": True},
            {"path": "/data/home/bob", "owner": "20002", "group": "20000", "mode": "0700", "once": True},
        ]


def test_people_who_are_others_on_another_host() -> None:
    other = {**ADA, "uid": 20009, "group": "lab", "home": "/home/ada"}
    hostvars = {"n0": {}, "n1": {"common_users": [other], "common_groups": [{"name": "lab", "gid": 20000}]}}
    with pytest.raises(AnsibleFilterError) as error:
        home_folders([ADA], "/data/home", "/data", {"cluster": 10000}, "n0", ["n0", "n1"], hostvars)
    assert str(error.value).splitlines() == [
        "common_users: ada: found the uid 20001 on n0 and 20009 on n1; accepted: the same everywhere",
        "common_users: ada: found the primary group 10000 on n0 and 20000 on n1; accepted: the same everywhere",
        "common_users: ada: found the home /data/home/ada on n0 and /home/ada on n1; accepted: the same everywhere",
    ]
    other["state"] = "absent"
    assert len(home_folders([ADA], "/data/home", "/data", {"cluster": 10000}, "n0", ["n0", "n1"], hostvars)) == 1


def test_a_list_that_is_a_template_is_looked_at_on_each_host() -> None:
    class Templated(Hostvars):
        def raw_get(self, name: str) -> dict[str, Any]:
            return {**self[name], "common_users": "{{ lab_people }}"}

    hostvars = Templated({"n1": {"common_users": [ADA]}, "n2": {"common_users": [{"name": "bob", "uid": 20002}]}})
    folders = home_folders([], "/data/home", "/data", {"cluster": 10000}, "n0", ["n1", "n2"], hostvars)
    assert [folder["owner"] for folder in folders] == ["20001", "20002"]


def host(name: str, address: str) -> dict[str, Any]:
    return {"name": f"{name}.lab", "node": name, "address": address, "hostname": name, "addresses": []}


def told(own: str, key: str) -> dict[str, Any]:
    return {"ansible_facts": {"cluster_ssh_key": {"path": "/k", "public": own}, "ssh_host_key_ed25519_public": key}}


CLUSTER = {"a.lab": host("a", "10.0.0.1"), "b.lab": host("b", "10.0.0.2"), "c.lab": host("c", "")}


def test_ssh_mesh() -> None:
    hostvars = {"a.lab": told("AOWN", "AHOST"), "b.lab": {}, "c.lab": told("COWN", "CHOST")}
    found = ssh_mesh(CLUSTER, hostvars, {"all": list(CLUSTER)}, "all")
    assert found["known"] == ["a,a.lab,10.0.0.1 ssh-ed25519 AHOST"]
    assert found["unknown"] == ["10.0.0.2", "b", "b.lab"]
    # A host without an address could come from anywhere.
    assert found["lines"] == {"a.lab": 'from="10.0.0.1" ssh-ed25519 AOWN key_a.lab'}
    assert found["sources"]["b.lab"] == ["a.lab", "b.lab", "c.lab"]


def test_what_is_wrong_with_a_mesh() -> None:
    with pytest.raises(AnsibleFilterError, match="common_ssh_mesh: found node9"):
        ssh_mesh(CLUSTER, {name: {} for name in CLUSTER}, {}, {"a.lab": ["node9"]})
