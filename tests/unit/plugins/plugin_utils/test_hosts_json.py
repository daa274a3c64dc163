# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.hosts_json import check_role_groups, read_hosts_json
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import Inventory, InventoryError
from hypothesis import given, settings
from hypothesis import strategies as st

SPARK = {"spark-worker": "enable"}
# The same cluster in the two shapes that there are.
LISTS: dict[str, Any] = {
    "c01": {
        "ipv4": "10.0.0.1",
        "labels": [{"spark-master": "enable"}, {"gpu": "disable"}],
        "groups": ["master", "worker"],
    },
    "c02": {"ipv4": "10.0.0.2", "labels": [SPARK, {"gpu": "enable"}], "groups": ["slave", "worker"]},
    "c03": {"ipv4": "10.0.0.3", "labels": [], "groups": ["slave", "manager"]},
}
MAPS: dict[str, Any] = {
    "c01": {"ipv4": "10.0.0.1", "labels": {"spark-master": "enable", "gpu": "disable"}, "roles": ["master", "worker"]},
    "c02": {"ipv4": "10.0.0.2", "labels": {**SPARK, "gpu": "enable"}, "roles": ["slave", "worker"]},
    "c03": {"ipv4": "10.0.0.3", "labels": {}, "roles": ["slave", "manager"]},
}


def read(document: object, role_groups: dict[str, Any] | None = None) -> Inventory:
    return read_hosts_json(json.dumps(document), role_groups)


@pytest.mark.parametrize("document", [LISTS, MAPS])
def test_both_shapes(document: dict[str, Any]) -> None:
    assert read(document) == Inventory(
        hosts={
            "c01": {"ansible_host": "10.0.0.1", "nodes_features": ["spark-master"]},
            "c02": {"ansible_host": "10.0.0.2", "nodes_features": ["spark-worker", "gpu"]},
            "c03": {"ansible_host": "10.0.0.3"},
        },
        groups={
            "nfs": ["c01"],
            "head": ["c01"],
            "nodes": ["c02", "c03"],
            "label_spark_master": ["c01"],
            "label_spark_worker": ["c02"],
            "label_gpu": ["c02"],
        },
        variables={},
    )


@pytest.mark.parametrize("roles", [["master"], ["master", "worker"], ["master", "slave"]])
def test_one_host_is_everything(roles: list[str]) -> None:
    groups = read({"c01": {"ipv4": "10.0.0.1", "groups": roles}}).groups
    assert groups == {"nfs": ["c01"], "head": ["c01"], "nodes": ["c01"]}


@pytest.mark.parametrize(
    ("roles", "gpu", "nodes"),
    [
        ({"worker": ["gpu"]}, ["c02"], ["c02", "c03"]),
        ({"worker": "gpu"}, ["c02"], ["c02", "c03"]),
        ({"master": ["head", "gpu"]}, ["c01"], ["c01", "c02", "c03"]),
    ],
)
def test_what_has_gpus_computes(roles: dict[str, Any], gpu: list[str], nodes: list[str]) -> None:
    groups = read(LISTS, roles).groups
    assert (groups["gpu"], groups["nodes"]) == (gpu, nodes)


def test_labels_may_be_null() -> None:
    assert read({"c01": {"ipv4": "10.0.0.1", "labels": None, "roles": ["slave"]}}).groups == {}


def test_addresses_are_held_against_the_network() -> None:
    text = json.dumps(LISTS)
    assert read_hosts_json(text, network="10.0.0.0/24") == read(LISTS)
    with pytest.raises(
        InventoryError, match=r"c01\.ipv4: found 10\.0\.0\.1; accepted: an address in the network 192\."
    ):
        read_hosts_json(text, network="192.168.0.0/16")


@pytest.mark.parametrize("value", ["disable", "Enable", "enabled", "true", True, 1, None, ["enable"]])
def test_only_enable_counts(value: object) -> None:
    document = {"c01": {"ipv4": "10.0.0.1", "labels": {"gpu": value}, "roles": ["slave"]}}
    assert read(document) == Inventory({"c01": {"ansible_host": "10.0.0.1"}}, {}, {})


def test_another_map_of_roles() -> None:
    roles = {"master": ["head", "nodes"], "slave": "nfs", "edge": []}
    document = {**LISTS, "c04": {"ipv4": "10.0.0.4", "groups": ["edge"]}}
    groups = read(document, roles).groups
    assert {role: groups.get(role) for role in ("nfs", "head", "nodes")} == {
        "nfs": ["c02", "c03"],
        "head": ["c01"],
        "nodes": ["c01", "c02", "c03"],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c 1": LISTS["c01"]}, "c 1: found the host name 'c 1'; accepted: letters, digits, '.'"),
        ({"c04": []}, "c04: found []; accepted: a mapping with the keys groups, ipv4, labels, roles"),
        ({"c04": {"ip4": "10.0.0.4"}}, "c04: found the key 'ip4', meant ipv4?; accepted: groups, ipv4, labels, roles"),
        ({"c04": {"roles": []}}, "c04.ipv4: found None; accepted: an IPv4 address such as 10.0.0.1"),
        ({"c04": {"ipv4": "10.0.0"}}, "c04.ipv4: found '10.0.0'; accepted: an IPv4 address"),
        ({"c04": {"ipv4": "fd00::1"}}, "c04.ipv4: found 'fd00::1'; accepted: an IPv4 address"),
        ({"c04": {"ipv4": "0.0.0.0"}}, "c04.ipv4: found '0.0.0.0'; accepted: an IPv4 address"),
        ({"c04": {"ipv4": "255.255.255.255"}}, "c04.ipv4: found '255.255.255.255'; accepted: an IPv4 address"),
        ({"c04": {"ipv4": "\ud800"}}, r"c04.ipv4: found '\ud800'; accepted: an IPv4 address"),
        ({"c04": {"ipv4": 10}}, "c04.ipv4: found 10; accepted: an IPv4 address"),
        (
            {"c04": {"ipv4": "10.0.0.1"}},
            "c04.ipv4: found 10.0.0.1, which c01 has as well; accepted: every address once",
        ),
        ({"c04": {"ipv4": "10.0.0.4"}}, "c04: found neither groups nor roles; accepted: a list of manager, master"),
        ({"c04": {"ipv4": "10.0.0.4", "roles": "master"}}, "c04.roles: found 'master'; accepted: a list of manager"),
        ({"c04": {"ipv4": "10.0.0.4", "roles": [1]}}, "c04.roles: found [1]; accepted: a list of manager"),
        (
            {"c04": {"ipv4": "10.0.0.4", "groups": ["wroker"]}},
            "c04.groups: found the key 'wroker', meant worker?; accepted: manager, master, slave, worker",
        ),
        (
            {"c04": {"ipv4": "10.0.0.4", "labels": "gpu", "roles": []}},
            "c04.labels: found 'gpu'; accepted: a map such as",
        ),
        (
            {"c04": {"ipv4": "10.0.0.4", "labels": ["a"], "roles": []}},
            "c04.labels: found ['a']; accepted: a map such as",
        ),
        (
            {"c04": {"ipv4": "10.0.0.4", "labels": {"a b": "enable"}, "roles": []}},
            "c04.labels: found the label 'a b'; accepted: letters, digits",
        ),
        ({"head": {"ipv4": "10.0.0.4", "roles": ["worker"]}}, "host head: found the name of a group; accepted: a name"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InventoryError) as error:
        read({**LISTS, **changes})
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"c01": {},\n  "c02" {}}', "line 2, column 9: found no JSON (Expecting ':' delimiter); accepted: JSON"),
        ("", "line 1, column 1: found no JSON (Expecting value); accepted: JSON"),
        ("[NaN]", "hosts.json: found [nan]; accepted: a mapping of host names"),
        ("[]", "hosts.json: found []; accepted: a mapping of host names"),
        ("{}", "hosts: found no host; accepted: one host or more"),
        ('{"c01": {}, "c01": {}}', "c01: found this key twice; accepted: every key once"),
        ('{"c01": {"ipv4": 1, "ipv4": 2}}', "c01.ipv4: found this key twice; accepted: every key once"),
        ('{"c01": {"labels": [{"a": 1, "a": 2}]}}', "c01.labels.a: found this key twice; accepted: every key once"),
        (
            "[" * 100000,
            "hosts.json: found JSON that is nested too deeply; accepted: host names to what is said of them",
        ),
    ],
)
def test_a_text_that_is_no_hosts_json(text: str, message: str) -> None:
    with pytest.raises(InventoryError) as error:
        read_hosts_json(text)
    assert str(error.value) == message


def test_a_number_that_is_too_long() -> None:
    with pytest.raises(InventoryError, match=r"^hosts\.json: found .*; accepted: "):
        read_hosts_json("9" * 10000)


@pytest.mark.parametrize("roles", [{"master": "heads"}, {"master": None}, {1: ["head"]}, {"master": [["head"]]}])
def test_a_map_of_roles_that_is_none(roles: dict[Any, Any]) -> None:
    with pytest.raises(
        InventoryError, match=r"role_groups\.(master|1): found .*; accepted: a list of nfs, head, nodes"
    ):
        check_role_groups(roles)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_form(data: st.DataObject) -> None:
    text = json.dumps(data.draw(st.sampled_from([LISTS, MAPS])))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    damaged = text[:start] + data.draw(st.sampled_from(["", "x", '"', "{", "1", ",", "null", '"enable"'])) + text[end:]
    message = ": found ; accepted: "
    try:
        assert read_hosts_json(damaged).hosts
    except InventoryError as error:
        message = str(error)
    assert ": found " in message
    assert "; accepted: " in message
