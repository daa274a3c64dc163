# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits and settings of the kernel; containers have those of their host, so no scenario of theirs asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Values

MAP = {"n0": {"address": "10.0.0.9"}, "n1": {"address": "10.0.0.1"}}
MACHINE: dict[str, Any] = {"virtualization_tech_guest": ["kvm"]}
CONTAINER: dict[str, Any] = {"virtualization_tech_guest": ["docker", "container"]}


@pytest.fixture
def value(role_value: Values) -> Values:
    def of_common(name: str, facts: dict[str, Any], **said: Any) -> Any:
        survey = {
            "survey": {"cloud_init": False, "locale": "/etc/locale.conf", "login": "", "packages": {"lacking": []}}
        }
        run = {"__cluster_survey": survey, "ansible_facts": facts, "common_control_key": "", "__cluster_map": MAP}
        return role_value("common", name, **{**run, **said})

    return of_common


def wanted(value: Values, facts: dict[str, Any], **said: Any) -> dict[str, list[str]]:
    """The lines of each file that is wanted, by its path, but for those that say who wrote it."""
    files = value("__common_files", facts, **said)
    return {file["path"]: [line for line in file["content"].splitlines() if line[:1] != "#"] for file in files}


def test_memory_may_be_locked_and_connections_may_be_many(value: Values) -> None:
    files = wanted(value, MACHINE)
    assert files["/etc/security/limits.d/90-aicluster.conf"] == ["* - memlock unlimited"]
    assert files["/etc/sysctl.d/90-aicluster.conf"] == [
        "net.core.somaxconn = 4096",
        "net.ipv4.tcp_max_syn_backlog = 4096",
    ]
    assert "/etc/chrony/sources.d/aicluster.sources" in files


def test_a_gateway_forwards(value: Values) -> None:
    for said, forwards in (({"common_gateway": "n1"}, True), ({}, False)):
        lines = wanted(value, MACHINE, common_nat_interface="eth0", **said)["/etc/sysctl.d/90-aicluster.conf"]
        assert ("net.ipv4.ip_forward = 1" in lines) is forwards


def test_a_container_may_set_none_of_it(value: Values) -> None:
    files = wanted(value, CONTAINER)
    # PAM refuses every login where a limit cannot be raised.
    assert files["/etc/security/limits.d/90-aicluster.conf"] == []
    assert "/etc/sysctl.d/90-aicluster.conf" not in files
    assert not [path for path in files if "chrony" in path]


@pytest.mark.parametrize(("facts", "managed"), [(MACHINE, True), (CONTAINER, False)])
def test_who_has_a_clock_of_its_own_runs_chrony(value: Values, facts: dict[str, Any], managed: bool) -> None:
    services = {service["name"]: service for service in value("__common_services", facts)}
    assert services["chrony"]["managed"] is managed
