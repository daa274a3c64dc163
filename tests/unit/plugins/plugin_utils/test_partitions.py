# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import InventoryError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.partitions import check_partitions, node_names

KNOWN = {"n1", "n2", "fast"}


@pytest.mark.parametrize(
    "partitions",
    [
        {},
        {"main": None, "old": {}},
        {"main": {"Nodes": "ALL", "Default": True, "MaxTime": "7-00:00:00"}, "b": {"Default": False}},
        {"main": {"Nodes": "n[1-2],fast"}, "list": {"Nodes": ["n1", "n2"]}, "null": {"Nodes": None}},
        {"main": {"nodes": "n1", "maxtime": "UNLIMITED"}},  # Slurm does not care about case
        {"main": {"Nodes": "{{ groups.gpu | join(',') }}", "MaxTime": "{{ hours }}:00:00"}},
        {"DEFAULT": {"MaxTime": "60"}, "new": {"Topology": "tree", "PowerDownOnIdle": True}},
    ],
)
def test_partitions(partitions: dict[str, Any]) -> None:
    check_partitions(partitions, KNOWN)


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ({"main": {"Nodes": "n[1-9]"}}, "partitions.main: Nodes: found n[3-9]; accepted: nodes of the cluster; in a"),
        ({"main": {"nodes": "n7"}}, "partitions.main: Nodes: found n7; accepted: nodes of the cluster"),
        ({"main": {"Nodes": "n[1-"}}, "partitions.main: Nodes: host list 'n[1-': found '[' at character 2"),
        ({"main": {"Ndoes": "n1"}}, "partitions.main: found the key 'Ndoes', meant Nodes?; accepted: keys of a"),
        ({"main": {"maxtiem": "1"}}, "partitions.main: found the key 'maxtiem', meant MaxTime?; accepted: keys"),
        ({"main": {1: "n1"}}, "partitions.main: found the key 1; accepted: keys of a partition in slurm.conf(5)"),
        ({"main": "n1"}, "partitions.main: found 'n1'; accepted: a mapping of Slurm's keys, such as {Nodes: ALL}"),
        ({1: {}}, "partitions.1: found 1; accepted: a name, in quotes where it is a number or a word such as yes"),
        ({True: {}}, "partitions.True: found True; accepted: a name, in quotes"),
        ({"a b": {}}, "partitions.a b: found the name 'a b'; accepted: letters, digits"),
        ({"main": {"MaxTime": 14400}}, "partitions.main: MaxTime: found the number 14400; accepted: a time in quotes"),
        ({"main": {"Nodes": {"n1": {}}}}, "partitions.main: Nodes: found "),
        (
            {"b": {"Default": True}, "a": {"default": "YES"}},
            "partitions: Default: found a, b; accepted: one partition with Default",
        ),
    ],
)
def test_what_is_wrong_is_named(partitions: dict[Any, Any], message: str) -> None:
    with pytest.raises(InventoryError) as error:
        check_partitions(partitions, KNOWN)
    assert str(error.value).startswith(message)


def test_names_that_nobody_knows_yet() -> None:
    check_partitions({"main": {"Nodes": "n[1-9]"}}, None)
    with pytest.raises(InventoryError, match="Ndoes"):
        check_partitions({"main": {"Ndoes": "n[1-9]"}}, None)


def test_node_names() -> None:
    hosts = {"n1.lab": {}, "n2": {"nodes_name": "m2"}, "10.0.0.1": {}, "n3": {}}
    assert node_names(hosts, {}) == {"n1", "m2", "10.0.0.1", "n3"}
    assert node_names(hosts, {"nodes_name": "x"}) is None
    assert node_names({**hosts, "n4": {"nodes_name": "{{ x }}"}}, {}) is None
