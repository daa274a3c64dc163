# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""/etc/hosts outlives a start of a machine that cloud-init looks after."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.aicluster.slurm.plugins.module_utils.host_files import Block, with_block

from .conftest import Values

TEMPLATE = """## template:jinja
127.0.1.1 {{fqdn}} {{hostname}}
127.0.0.1 localhost
"""
HOSTS = {
    name: {"name": name, "node": name, "address": address, "hostname": name, "addresses": []}
    for name, address in (("n0", "10.0.0.9"), ("n1", "10.0.0.1"))
}


@pytest.fixture
def value(role_value: Values) -> Values:
    def of_common(name: str, cloud_init: bool = True, **said: Any) -> Any:
        run = {
            "__cluster_map": HOSTS,
            "__cluster_survey": {"survey": {"cloud_init": cloud_init, "locale": "/etc/locale.conf"}},
        }
        return role_value("common", name, **{**run, **said})

    return of_common


def rendered(value: Values, text: str, **said: Any) -> str:
    for block in value("__common_cloud_hosts", **said):
        assert block["path"] == "/etc/cloud/templates/hosts.debian.tmpl"
        text = with_block(text, Block(**{"name": "aicluster.slurm", **block}))
    return text


def test_what_cloud_init_would_write_has_the_hosts(value: Values) -> None:
    with_hosts = rendered(value, TEMPLATE)
    # The own name must not be on a loopback address.
    assert with_hosts.splitlines() == [
        "## template:jinja",
        "127.0.0.1 localhost",
        "# BEGIN aicluster.slurm",
        "10.0.0.9 n0",
        "10.0.0.1 n1",
        "# END aicluster.slurm",
    ]
    assert "10.0.0.1" not in rendered(value, with_hosts, common_etc_hosts=False)
    assert rendered(value, TEMPLATE, common_etc_hosts=False) == TEMPLATE


def test_older_lines_for_our_hosts_do_not_count_before_ours(value: Values) -> None:
    older = """127.0.0.1 localhost
10.9.9.9 n1
10.9.9.8\tn1 n0 # by hand
# 10.9.9.9 n1
10.9.9.7 n1 www
10.9.9.6 n10
10.0.0.1 n1.lab n1
fd00::1 n1
"""
    text = rendered(value, older).split("# BEGIN")[0]
    kept = (
        "127.0.0.1 localhost",
        "# 10.9.9.9 n1",
        "10.9.9.7 n1 www",
        "10.9.9.6 n10",
        "10.0.0.1 n1.lab n1",
        "fd00::1 n1",
    )
    assert text == "".join(f"{line}\n" for line in kept)


def test_nothing_of_it_where_it_is_not_installed(value: Values) -> None:
    assert value("__common_cloud_hosts", cloud_init=False) == []


def test_it_is_told_to_leave_the_file_alone(value: Values) -> None:
    assert yaml.safe_load(value("__common_cloud")["content"]) == {"manage_etc_hosts": False}
    for said, wanted in (({}, True), ({"cloud_init": False}, False), ({"common_etc_hosts": False}, False)):
        optional = value("__common_optional", **said, ansible_facts={}, common_control_key="")
        assert [each["wanted"] for each in optional if each["file"] == value("__common_cloud")] == [wanted]


@pytest.mark.parametrize(
    ("groups", "leaving", "staying"),
    [
        ({"head": ["n0"], "nodes": ["n0", "n1"]}, "n1", ["n0"]),
        ({"head": ["n0"], "nodes": ["n0", "n1"]}, "n0", ["n0", "n1"]),
        ({"nfs": ["n1"], "nodes": ["n0", "n1"]}, "n0,n1", ["n1"]),
    ],
)
def test_who_computes_no_more_may_still_be_a_head_or_have_the_storage(
    value: Values, groups: dict[str, list[str]], leaving: str, staying: list[str]
) -> None:
    assert list(value("__common_staying", groups=groups, cluster_remove=leaving)) == staying
