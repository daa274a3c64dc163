# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who comes in by which key, and that it stays possible for Ansible."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Values

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFr0mTheLab0123456789"
CONTROL = f"{KEY}control root@control"
ADA: dict[str, Any] = {"name": "ada", "uid": 20001, "authorized_keys": [f"{KEY} ada@laptop"]}
MESH: dict[str, Any] = {"known": [], "unknown": [], "lines": {}, "sources": {}}
SURVEY = {"survey": {"login": "", "groups": {"sudo": 27}, "packages": {"lacking": [], "there": []}}}
FACTS: dict[str, Any] = {"cluster_ssh_key": {"path": "/k"}, "virtualization_tech_guest": []}


@pytest.fixture
def value(role_value: Values) -> Values:
    def of_common(name: str, **said: Any) -> Any:
        run = {"__cluster_survey": SURVEY, "__common_mesh": MESH, "ansible_facts": FACTS}
        return role_value("common", name, **{**run, "common_control_key": CONTROL, **said})

    return of_common


def lockouts(value: Values, **said: Any) -> list[str]:
    found: list[str] = value("__common_findings", **said)
    return found


def test_the_folder_of_keys_is_open_where_sshd_reads_it(value: Values) -> None:
    assert value("__common_folders") == [{"path": "/etc/ssh/authorized_keys.d", "mode": "0755"}]
    assert value("__common_folders", common_control_key="", common_ssh_mesh={}) == []


# --- finding: Ansible has to come in again ----------------------------------------------------------------------------


def test_passwords_are_not_switched_off_for_an_ansible_that_needs_one(value: Values) -> None:
    off = {"common_ssh_password": False, "ansible_user": "admin"}
    assert lockouts(value, **off, ansible_password="x") == []
    assert lockouts(value, **off, common_control_key="") == []
    assert lockouts(value, **off, common_control_key="", ansible_password="x") == [
        "common_ssh_password: found false, while Ansible logs in by a password and there is no common_control_key;"
        " accepted: true, or a key that lets Ansible in"
    ]
    for name in ("ansible_ssh_pass", "ansible_ssh_password"):
        assert len(lockouts(value, **off, common_control_key="", **{name: "x"})) == 1
    assert "nothing says as whom" in lockouts(value, common_ssh_password=False, ansible_password="x")[0]
    assert lockouts(value, **off, common_control_key="", ansible_password="x", ansible_connection="local") == []
    on = {**off, "common_ssh_password": True}
    assert lockouts(value, **on, common_control_key="", ansible_password="x") == []


def test_an_sshd_that_would_not_read_the_keys_is_refused(value: Values) -> None:
    deaf = {"__cluster_survey": {"survey": {**SURVEY["survey"], "sshd_drop_ins": False}}}
    assert value("__common_asked_for", **deaf) is True
    (finding,) = lockouts(value, **deaf)
    assert finding.startswith("/etc/ssh/sshd_config: found no line `Include /etc/ssh/sshd_config.d/*.conf`")
    assert lockouts(value, **deaf, common_ssh_mesh={}, common_control_key="") == []


def test_lines_of_others_that_count_before_ours_are_refused(value: Values) -> None:
    lines = [
        {"file": "/etc/ssh/sshd_config.d/00-site.conf", "keyword": keyword, "value": said, "match": match}
        for keyword, said, match in (
            ("PasswordAuthentication", "yes", ""),
            ("AuthorizedKeysFile", "none", "User ada,root,cluster"),
        )
    ]
    said = {"__cluster_survey": {"survey": {**SURVEY["survey"], "sshd_earlier": lines}}}
    assert value("__common_asked_for", **said) is True
    (keys,) = lockouts(value, **said, common_users=[ADA], ansible_user="root")
    assert "before the keys of ada, cluster, root;" in keys
    passwords, _keys = lockouts(value, **said, common_ssh_password=False)
    assert "found `PasswordAuthentication yes`, to count before common_ssh_password: false" in passwords
    assert lockouts(value, **said, common_ssh_mesh={}, common_control_key="") == []


@pytest.mark.parametrize("fields", [{"state": "locked"}, {"state": "absent"}, {"hosts": ["head"]}])
def test_who_ansible_logs_in_as_stays(value: Values, fields: dict[str, Any]) -> None:
    users, state = [{**ADA, **fields}], fields.get("state", "absent")
    gone = f"state: found {state} on this host; accepted: present, because Ansible logs in as ada"
    assert lockouts(value, common_users=users, ansible_user="ada") == [f"common_users: ada: {gone}"]
    by_sudo = {"survey": {**SURVEY["survey"], "login": "ada"}}
    assert lockouts(value, common_users=users, __cluster_survey=by_sudo) == [f"common_users: ada: {gone}"]
    assert lockouts(value, common_users=users, ansible_user="bob") == []


def admitted(value: Values, **said: Any) -> dict[str, str]:
    """By user, what the lines of sshd say."""
    # As the module tells it.
    users = value("__common_accounts", **said)
    keyed = [user["name"] for user in users if user.get("state") == "present" and "authorized_keys" in user]
    said = {"__common_made": {"keyed": keyed, "kept": said.pop("kept", [])}, **said}
    found = {}
    blocks = value("__common_sshd_file", **said)["content"].split("Match User ")[1:]
    for block in blocks:
        names, files = block.split("\n", 1)
        found.update(dict.fromkeys(names.split(","), files.strip().partition("%u")[2]))
    return found


HOME = " .ssh/authorized_keys .ssh/authorized_keys2"


def test_the_control_key_is_among_the_keys_of_who_ansible_logs_in_as(value: Values) -> None:
    said = {"common_users": [ADA, {**ADA, "name": "bob", "uid": 20002}], "ansible_user": "ada"}
    keys = {user["name"]: user.get("authorized_keys") for user in value("__common_accounts", **said)}
    assert keys == {"cluster": None, "ada": [*ADA["authorized_keys"], CONTROL], "bob": ADA["authorized_keys"]}
    assert admitted(value, **said) == {"cluster": "", "ada": "", "bob": ""}
    # Its own file is the one of its account, so there is no other.
    assert value("__common_login", **said) == ""


def test_without_a_control_key_the_home_of_who_ansible_logs_in_as_counts(value: Values) -> None:
    said = {"common_users": [ADA], "ansible_user": "ada", "common_control_key": ""}
    assert admitted(value, **said) == {"cluster": "", "ada": HOME}
    closed = {**said, "common_users": [{**ADA, "authorized_keys_exclusive": True}]}
    assert admitted(value, **closed) == {"cluster": "", "ada": ""}
    assert admitted(value, ansible_user="cluster", common_control_key="") == {"cluster": HOME}
    assert admitted(value, ansible_user="cluster") == {"cluster": ""}


def test_other_logins_have_a_file_of_their_own(value: Values) -> None:
    for users in ([], [{"name": "admin", "uid": 20009}]):
        assert value("__common_login", common_users=users, ansible_user="admin") == "admin"
        assert admitted(value, common_users=users, ansible_user="admin") == {"cluster": "", "admin": HOME}
    opened = [{**ADA, "authorized_keys_exclusive": False}]
    assert admitted(value, common_users=opened) == {"cluster": "", "ada": HOME}


# --- finding: who is taken out of the list ----------------------------------------------------------------------------


def test_keys_in_a_home_do_not_begin_to_count_by_leaving_the_list(value: Values) -> None:
    kept = ["ada", "joe", "cluster", "admin"]
    found = admitted(value, kept=kept, common_users=[], ansible_user="admin")
    # Also those of who Ansible logs in as, whom a file of its own would leave with less than the list gave.
    assert found == {"cluster": "", "ada": "", "joe": "", "admin": ""}
    assert admitted(value, kept=["ada"], common_users=[], ansible_user="admin")["admin"] == HOME
    left = {"__common_made": {"kept": ["admin"]}, "ansible_user": "admin"}
    assert value("__common_login", **left) == ""
    assert f"{value('__common_keys_folder')}/admin" not in value("__common_absent", **left)
    # Without a key that is known to let Ansible in.
    assert admitted(value, kept=["admin"], ansible_user="admin", common_control_key="")["admin"] == HOME
    opened = [{"name": "ada", "uid": 20001, "authorized_keys_exclusive": False}]
    assert admitted(value, kept=["ada"], common_users=opened) == {"cluster": "", "ada": HOME}


# --- finding: the admin account of a cloud image ----------------------------------------------------------------------


def test_the_admin_keeps_the_groups_that_an_image_gave(value: Values) -> None:
    admin = value("__common_accounts", common_admin_user="boss")[1]
    assert (admin["name"], admin["groups"], admin["groups_exclusive"]) == ("boss", ["sudo"], False)


def test_a_password_that_was_typed_is_the_one(value: Values) -> None:
    admin = {"common_admin_user": "boss", "common_admin_password": "ask"}
    typed = {"__common_typed": {"user_input": "quite-a-Secret-7"}}
    assert value("__common_accounts", **admin, **typed)[1]["password"] == "quite-a-Secret-7"
    assert value("__common_accounts", common_admin_user="boss", common_admin_password="a-vault-1")[1]["password"] == (
        "a-vault-1"
    )
    # As where there is no terminal.
    with pytest.raises(Exception, match="boss: password: found 0 characters"):
        value("__common_accounts", **admin, __common_typed={"user_input": ""})


# --- finding: values that were found late -----------------------------------------------------------------------------


def test_all_that_is_wrong_is_said_together(value: Values) -> None:
    users = [{**ADA, "group": "none", "state": "locked"}]
    groups = [{"name": "sudo", "gid": "27", "state": "absent"}]
    found = value("__common_findings", common_users=users, common_groups=groups, ansible_user="ada")
    assert [text.partition(":")[0] for text in found] == ["common_groups", "common_users", "common_users"]
    assert value("__common_findings", common_users=[ADA]) == []


def test_what_is_looked_through(value: Values) -> None:
    assert value("__common_asked_for") is False
    for said in ({"common_users": [ADA]}, {"common_ssh_mesh": "all"}, {"common_admin_user": "boss"}):
        assert value("__common_asked_for", **said) is True


@pytest.mark.parametrize(
    ("said", "altered"),
    [
        ({}, False),
        ({"__common_made": {"changed": False}}, False),
        ({"__common_made": {"changed": True}}, True),
        ({"__common_localized": {"changed": True}}, True),
    ],
)
def test_what_takes_the_note_of_the_files_away(value: Values, said: dict[str, Any], altered: bool) -> None:
    assert value("__common_altered", **said) is altered
