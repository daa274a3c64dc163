# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom chrony on a head gives the time to; containers have none, so no scenario of theirs asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Values


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ({"cluster_network": "10.0.0.0/24"}, ["allow 10.0.0.0/24", "allow 192.0.2.7"]),
        ({}, ["allow 10.0.0.9", "allow 10.0.0.1", "allow 192.0.2.7"]),
    ],
)
def test_the_head_gives_its_time_to_the_cluster(role_value: Values, said: dict[str, Any], allowed: list[str]) -> None:
    addresses = ("10.0.0.9", "10.0.0.1", "", "192.0.2.7")  # the last one is by nodes_address
    hosts = {f"n{number}": {"address": address} for number, address in enumerate(addresses)}
    content = role_value("common", "__common_time_server", __cluster_map=hosts, **said)["content"]
    assert [line for line in content.splitlines() if line.startswith("allow")] == allowed
