# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins on compute nodes: what PAM reads, on the stacks that Debian has."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.host_files import Block, with_block, with_lines

from .conftest import Values

# Without the comments: openssh-server 9.2 and pam 1.5 (Debian 12); Debian 13 has the same lines in these places.
SSHD = """@include common-auth
account    required     pam_nologin.so
@include common-account
session [success=ok ignore=ignore module_unknown=ignore default=bad]        pam_selinux.so close
session    required     pam_loginuid.so
session    optional     pam_keyinit.so force revoke
@include common-session
session    optional     pam_motd.so  motd=/run/motd.dynamic
session    required     pam_limits.so
@include common-password
"""
COMMON_SESSION = """session\t[default=1]\t\t\tpam_permit.so
session\trequisite\t\t\tpam_deny.so
session\trequired\t\t\tpam_permit.so
session\trequired\tpam_unix.so 
session\toptional\tpam_systemd.so 
"""  # noqa: W291 as pam-auth-update writes it


@pytest.fixture
def value(role_value: Values) -> Values:
    def of_node(name: str, **said: Any) -> Any:
        run = {
            "__cluster_map": {"n1": {"node": "node-1"}},
            "__cluster_survey": {"survey": {"login": "admin"}},
            "__cluster_controllers": ["n0"],
            "nodes_adopt": True,
        }
        return role_value("nodes", name, **{**run, **said})

    return of_node


def stack(value: Values, text: str, **said: Any) -> str:
    for block in value("__nodes_pam", **said):
        text = with_block(text, Block(**{"name": "aicluster.slurm", **block}))
    return text


def test_the_line_that_decides_is_the_last_of_the_account_stack(value: Values) -> None:
    accounts = [line.split() for line in stack(value, SSHD).splitlines() if "account" in line.split()[0]]
    assert [line[2] for line in accounts[-2:]] == ["pam_listfile.so", "pam_slurm_adopt.so"]
    exempt, last = accounts[-2:]
    assert exempt[1] == "sufficient"
    # Not `-account`: without the module nobody else comes in. An error of its own lets nobody in either.
    assert last[:2] == ["account", "required"]
    assert set(last[3:]) == {"action_adopt_failure=deny", "action_generic_failure=deny", "nodename=node-1"}


def test_pam_systemd_is_off_for_sshd_alone(value: Values) -> None:
    text = stack(value, SSHD)
    assert "@include common-session\n" not in text
    assert text.index("pam_keyinit") < text.index("@include aicluster-session") < text.index("pam_motd")
    session = value("__nodes_session")
    assert session["like"] == "/etc/pam.d/common-session"
    lines = with_lines(COMMON_SESSION, session["without"], session["instead"])
    assert "pam_systemd" not in lines
    # As many as before, for the jumps in it.
    assert len(lines.splitlines()) == len(COMMON_SESSION.splitlines())
    assert lines.splitlines()[:4] == COMMON_SESSION.splitlines()[:4]
    assert re.search(session["without"], "-session optional pam_systemd.so debug")
    assert not re.search(session["without"], "# session optional pam_systemd.so")


@pytest.mark.parametrize("said", [{"nodes_adopt": False}, {"groups": {"head": ["n0", "n1"], "nodes": ["n1"]}}])
def test_nothing_of_it_stays_where_it_is_off(value: Values, said: dict[str, Any]) -> None:
    assert stack(value, stack(value, SSHD), **said) == SSHD


@pytest.mark.parametrize(
    ("said", "judged"),
    [
        ({}, True),
        ({"nodes_packages": ["slurmd"]}, False),
        ({"nodes_packages": ["slurmd"], "common_packages": ["libpam-slurm-adopt"]}, True),
        ({"nodes_packages": ["slurm-smd-slurmd", "slurm-smd-libpam-slurm-adopt"]}, True),
    ],
)
def test_packages_without_the_module_are_told(value: Values, said: dict[str, Any], judged: bool) -> None:
    assert bool(value("__nodes_pam_packages", **said)) is judged
