# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import Inventory, InventoryError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.topology import (
    check_network,
    check_variables,
    duplicate_keys,
    read_topology,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NETWORK = "10.0.0.0/16"
GPUS = [{"type": "h100", "files": ["/dev/nvidia[0-7]"]}]
LAB: dict[str, Any] = {
    "storage1": {"roles": "nfs", "address": "10.0.0.2"},
    "head1": {"roles": ["head"], "address": "10.0.0.3"},
    "cpu[01-03]": {"address": "10.0.1.1", "hardware": {"cpus": 64, "memory_mb": 256000}, "groups": ["rack1"]},
    "gpu[1-2]": {
        "address": ["10.0.2.7", "10.0.2.9"],
        "gres": GPUS,
        "features": "h100,ib",
        "weight": 100,
        "vars": {"nodes_name": "x"},
    },
}


def hosts(topology: object, network: str = "") -> dict[str, Any]:
    return read_topology(topology, network).hosts


def addresses(settings: object, names: str = "n[1-3]", network: str = "") -> list[str]:
    return [host["ansible_host"] for host in hosts({names: {"address": settings}}, network).values()]


def at(address: str, **variables: Any) -> dict[str, Any]:
    return {"ansible_host": address, "nodes_address": address, **variables}


def test_topology() -> None:
    hardware = {"cpus": 64, "memory_mb": 256000}
    gpu = {"nodes_features": ["h100", "ib"], "nodes_weight": 100, "gpu_devices": GPUS, "nodes_name": "x"}
    assert read_topology(LAB, NETWORK) == Inventory(
        hosts={
            "storage1": at("10.0.0.2"),
            "head1": at("10.0.0.3"),
            "cpu01": at("10.0.1.1", nodes_hardware=hardware),
            "cpu02": at("10.0.1.2", nodes_hardware=hardware),
            "cpu03": at("10.0.1.3", nodes_hardware=hardware),
            "gpu1": at("10.0.2.7", **gpu),
            "gpu2": at("10.0.2.9", **gpu),
        },
        groups={
            "nfs": ["storage1"],
            "head": ["head1"],
            "nodes": ["cpu01", "cpu02", "cpu03", "gpu1", "gpu2"],
            "gpu": ["gpu1", "gpu2"],
            "rack1": ["cpu01", "cpu02", "cpu03"],
        },
        variables={},
    )


def test_a_host_list_alone_is_a_node_that_is_reached_by_its_name() -> None:
    assert read_topology({"n[1-2],m": None}) == Inventory(
        {"n1": {}, "n2": {}, "m": {}}, {"nodes": ["n1", "n2", "m"]}, {}
    )


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ("n[1-2].lab.local", ["n1.lab.local", "n2.lab.local"]),
        ("n[1-2].lab,m3 k[1,3].x", ["n1.lab", "n2.lab", "m3", "k1.x", "k3.x"]),
        ("r[1-2].n[1-2].lab", ["r1.n1.lab", "r2.n1.lab", "r1.n2.lab", "r2.n2.lab"]),
        ("n1.lab", ["n1.lab"]),
    ],
)
def test_a_domain_may_follow_the_brackets(hosts: str, found: list[str]) -> None:
    assert sorted(read_topology({hosts: {}}).hosts) == sorted(found)


def test_words_with_a_comma_too_many() -> None:
    assert read_topology({"n": {"features": "a,b,"}}).hosts["n"] == {"nodes_features": ["a", "b"]}


@pytest.mark.parametrize(
    ("settings", "groups"),
    [
        ({}, {"nodes"}),
        ({"roles": []}, set()),
        ({"roles": None}, {"nodes"}),
        ({"groups": "rack1,"}, {"nodes", "rack1"}),
        ({"roles": "nfs, head,nodes"}, {"nfs", "head", "nodes"}),
        ({"roles": ["gpu"]}, {"gpu", "nodes"}),
        ({"roles": ["head", "gpu"]}, {"head", "gpu", "nodes"}),
        ({"gres": {"files": ["/dev/nvidia0"]}}, {"gpu", "nodes"}),
        ({"gres": {"name": None, "files": ["/dev/nvidia0"]}}, {"gpu", "nodes"}),
        ({"gres": [{"name": "nic", "count": 1}]}, {"nodes"}),
        ({"roles": ["head"], "groups": "rack1,rack2"}, {"head", "rack1", "rack2"}),
    ],
)
def test_roles(settings: dict[str, Any], groups: set[str]) -> None:
    assert read_topology({"n": settings}).groups == {group: ["n"] for group in groups}


@pytest.mark.parametrize(
    ("settings", "network", "found"),
    [
        ("10.0.0.254", NETWORK, ["10.0.0.254", "10.0.0.255", "10.0.1.0"]),
        ("10.0.0.254", "", ["10.0.0.254", "10.0.0.255", "10.0.1.0"]),
        ("10.0.3.0/24", NETWORK, ["10.0.3.1", "10.0.3.2", "10.0.3.3"]),
        ("10.0.3.[7-8,1]", NETWORK, ["10.0.3.7", "10.0.3.8", "10.0.3.1"]),
        (["10.0.0.3", "10.0.0.2", "10.0.0.9"], NETWORK, ["10.0.0.3", "10.0.0.2", "10.0.0.9"]),
        ("fd00::fffe", "fd00::/64", ["fd00::fffe", "fd00::ffff", "fd00::1:0"]),
        ("fd00::/64", "", ["fd00::1", "fd00::2", "fd00::3"]),
        ("255.255.255.252", "", ["255.255.255.252", "255.255.255.253", "255.255.255.254"]),
        (["fd00:0::1", "FD00::2", "fd00::3"], "", ["fd00::1", "fd00::2", "fd00::3"]),
    ],
)
def test_addresses(settings: object, network: str, found: list[str]) -> None:
    assert addresses(settings, network=network) == found


def test_a_network_of_two() -> None:
    assert addresses("10.0.0.0/31", "n[1-2]", "10.0.0.0/31") == ["10.0.0.0", "10.0.0.1"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Host lists
        ({"n[1-": {}}, "hosts: host list 'n[1-': found '[' at character 2; accepted: a pair of brackets, not nested"),
        ({"n[2-1]": {}}, "hosts: host list 'n[2-1]': found '2-1' in '[2-1]'; accepted: a range that goes up"),
        ({"": {}}, "hosts: found the host list '' without a name; accepted: a host list such as node[01-64]"),
        ({7: {}}, "hosts.7: found 7; accepted: a host list such as node[01-64], quoted where it is a number"),
        ({"n:1": {}}, "hosts.n:1: found the host name 'n:1'; accepted: letters, digits, '.', '-' and '_'"),
        ({"n-": {}}, "hosts.n-: found the host name 'n-'; accepted: letters"),
        (
            {"cpu[03-04]": {}},
            "hosts.cpu[03-04]: found the host cpu03, which hosts.cpu[01-03] has as well; accepted: every",
        ),
        ({"n[1-2],n1": {}}, "hosts.n[1-2],n1: found the host n1, twice; accepted: every host once"),
        ({"nodes": {}}, "host nodes: found the name of a group; accepted: a name that no group has"),
        ({"all": {"roles": "nfs"}}, "host all: found the name of a group"),
        # What is said of them
        ({"n": []}, "hosts.n: found []; accepted: a mapping with the keys address, features, gres"),
        ({"n": {"adress": 1}}, "hosts.n: found the key 'adress', meant address?; accepted: address, features, gres"),
        (
            {"n[1-2]-ib": {}},
            "hosts: host list 'n[1-2]-ib': found '-ib' after the last bracket of 'n[1-2]-ib'; accepted",
        ),
        ({"n[1-2].lab.": {}}, "hosts.n[1-2].lab.: found the host name 'n1.lab.'; accepted: letters"),
        ({"n[1-2]!.lab": {}}, "hosts: host list 'n[1-2]!.lab': found '!.lab' after the last bracket"),
        (
            {",".join(f"{x}[1-65536].lab" for x in "ab"): {}},
            "hosts: host list 'a[1-65536].lab,b[1-65536].lab': found more",
        ),
        ({"n": {"roles": "node"}}, "hosts.n.roles: found 'node'; accepted: of nfs, head, nodes, gpu"),
        ({"n": {"roles": 1}}, "hosts.n.roles: found 1; accepted: a list: of nfs, head, nodes, gpu"),
        ({"n": {"roles": [1]}}, "hosts.n.roles: found 1; accepted: of nfs"),
        ({"n": {"groups": ["a-b"]}}, "hosts.n.groups: found 'a-b'; accepted: letters, digits and '_', no digit first"),
        ({"n": {"groups": ["head"]}}, "hosts.n.groups: found 'head'; accepted: a group of your own; nfs, head, nodes"),
        (
            {"n": {"hardware": {"cpu": 1}}},
            "hosts.n.hardware: found the key 'cpu', meant cpus?; accepted: boards, cores",
        ),
        ({"n": {"hardware": {"cpus": 0}}}, "hosts.n.hardware.cpus: found 0; accepted: a whole number from 1 to"),
        ({"n": {"hardware": {"cpus": True}}}, "hosts.n.hardware.cpus: found True; accepted: a whole number"),
        ({"n": {"hardware": {"cpus": "4"}}}, "hosts.n.hardware.cpus: found '4'; accepted: a whole number"),
        ({"n": {"hardware": [1]}}, "hosts.n.hardware: found [1]; accepted: a mapping"),
        ({"n": {"features": ["a b"]}}, "hosts.n.features: found 'a b'; accepted: words of letters, digits and"),
        (
            {"n": {"features": [2024]}},
            "hosts.n.features: found 2024; accepted: words of letters, digits and '_', '.', ':', '-', in",
        ),
        ({"n": {"features": "a&b"}}, "hosts.n.features: found 'a&b'; accepted: words"),
        ({"n": {"weight": 2**32}}, "hosts.n.weight: found 4294967296; accepted: a whole number from 0 to 4294967295"),
        ({"n": {"gres": [{"cout": 1}]}}, "hosts.n.gres[0]: found the key 'cout', meant count?; accepted: name, type"),
        (
            {"n": {"gres": "gpu:4"}},
            "hosts.n.gres: found 'gpu:4'; accepted: a list of gres records, such as {type: h100",
        ),
        ({"n": {"vars": {"a-b": 1}}}, "hosts.n.vars: found the variable 'a-b'; accepted: letters, digits and '_'"),
        ({"n": {"vars": {1: 1}}}, "hosts.n.vars: found the variable 1; accepted: letters"),
        ({"n": {"vars": "a"}}, "hosts.n.vars: found 'a'; accepted: a mapping"),
        ({"n": {"vars": {"for": 1}}}, "hosts.n.vars: found the variable 'for'; accepted: letters, digits"),
        ({"n": {"vars": {"größe": 1}}}, "hosts.n.vars: found the variable 'größe'; accepted: letters, digits"),
        (
            {"n": {"vars": {"nodes_address": "10.0.9.9"}}},
            "hosts.n.vars: found the variable nodes_address; accepted: the key address for it",
        ),
        (
            {"n": {"weight": 1, "vars": {"nodes_weight": 2}}},
            "hosts.n.vars: found the variable nodes_weight beside weight; accepted: one of the two",
        ),
        # Addresses
        (
            {"n[1-3]": {"address": "10.0.1.50/24"}},
            "hosts.n[1-3].address: found '10.0.1.50/24'; accepted: 10.0.1.0/24 for the hosts of the whole network, or"
            " 10.0.1.50 to count up from",
        ),
        ({"n": {"address": "10.0.9.1/16"}}, "hosts.n.address: found '10.0.9.1/16'; accepted: 10.0.0.0/16 for"),
        (
            {"n": {"address": "10.1.0.1"}},
            "hosts.n.address: found 10.1.0.1; accepted: an address in the network 10.0.0.0/16",
        ),
        ({"n": {"address": ["10.1.0.1"]}}, "hosts.n.address: found 10.1.0.1; accepted: an address in the network 10.0"),
        ({"n": {"address": "10.0.0.0"}}, "hosts.n.address: found 10.0.0.0; accepted: an address in the network"),
        ({"n": {"address": "fd00::1"}}, "hosts.n.address: found fd00::1; accepted: an address in the network"),
        ({"n": {"address": "10.1.0.0/24"}}, "hosts.n.address: found 10.1.0.1; accepted: an address in the network"),
        (
            {"n": {"address": "10.0.0.2"}},
            "hosts.n: found the address 10.0.0.2, which hosts.storage1 has as well",
        ),
        ({"n[1-2]": {"address": ["10.0.5.5"] * 2}}, "hosts.n[1-2]: found the address 10.0.5.5, twice"),
        (
            {"n[1-3]": {"address": "10.0.255.253"}},
            "hosts.n[1-3].address: found 10.0.255.253, where 2 addresses are left in 10.0.0.0/16; accepted: room",
        ),
        (
            {"n[1-7]": {"address": "10.0.3.0/29"}},
            "hosts.n[1-7].address: found 10.0.3.0/29, where 6 addresses are left in 10.0.3.0/29; accepted: room",
        ),
        (
            {"n[1-3]": {"address": "10.0.3.[1-2]"}},
            "hosts.n[1-3].address: found '10.0.3.[1-2]'; accepted: an address to count up from, a network, or an"
            " address for each of the 3 hosts",
        ),
        ({"n": {"address": 10}}, "hosts.n.address: found 10; accepted: an address to count up from"),
        ({"n": {"address": "10.0.3.[1-"}}, "hosts.n.address: host list '10.0.3.[1-': found '['"),
        (
            {"n": {"address": "10.0.3.256"}},
            "hosts.n.address: found '10.0.3.256'; accepted: an address such as 10.0.1.1",
        ),
        ({"n": {"address": "10.0.3.0/33"}}, "hosts.n.address: found '10.0.3.0/33'; accepted: an address such as"),
        ({"n": {"address": ["lan"]}}, "hosts.n.address: found 'lan'; accepted: addresses such as 10.0.1.1"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[Any, Any], message: str) -> None:
    with pytest.raises(InventoryError) as error:
        read_topology({**LAB, **changes}, NETWORK)
    assert str(error.value).startswith(message)
    assert ": found " in message


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_topology_without_a_host(nothing: object) -> None:
    with pytest.raises(InventoryError, match="hosts: found no host; accepted: one host or more"):
        read_topology(nothing)


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
@pytest.mark.parametrize("listed", [False, True])
def test_addresses_that_no_host_can_have(address: str, listed: bool) -> None:
    with pytest.raises(InventoryError, match=rf"hosts\.n\.address: found '{address}'; accepted: "):
        addresses([address] if listed else address, "n")


def test_counting_ends_before_addresses_that_no_host_can_have() -> None:
    with pytest.raises(InventoryError, match=r"found 223.255.255.254, which leads to 224.0.0.0; accepted: addresses"):
        addresses("223.255.255.254")


def test_one_ipv6_address_in_two_spellings() -> None:
    with pytest.raises(InventoryError, match=r"hosts\.m: found the address fd00::1, which hosts\.n has as well"):
        read_topology({"n": {"address": ["fd00::1"]}, "m": {"address": ["FD00:0::1"]}})


def test_no_room_at_the_end_of_all_addresses() -> None:
    with pytest.raises(
        InventoryError, match=r"found 255.255.255.253, where 2 addresses are left; accepted: room for 3"
    ):
        addresses("255.255.255.253")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.data())
def test_a_damaged_topology_is_read_or_refused_in_one_form(data: st.DataObject) -> None:
    topology = deepcopy(LAB)
    place: Any = topology
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if isinstance(inner, (dict, list)) and inner and data.draw(st.booleans()):
            place = inner
            continue
        break
    what = data.draw(st.sampled_from(["replace", "remove", "rename"]))
    if what == "replace" or isinstance(place, list):
        place[key] = data.draw(JUNK)
    else:
        value = place.pop(key)
        if what == "rename":
            place[data.draw(st.text(max_size=12))] = value
    message = ": found ; accepted: "
    try:
        found = read_topology(topology, NETWORK)
    except InventoryError as error:
        message = str(error)
    else:
        assert found.hosts
        assert {name for members in found.groups.values() for name in members} <= set(found.hosts)
    assert ": found " in message
    assert "; accepted: " in message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("a: 1\nb: {c: 1, d: 2}\ne: [{c: 1}, {c: 2}]\n", []),
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n", [("a", 6), ("c", 5)]),
        ("- {a: 1, a: 2}\n", [("a", 1)]),
        ("a: {<<: {b: 1}, <<: {c: 1}}\n", []),
        ("a: {'<<': 1, '<<': 2}\n", [("<<", 1)]),
        ("a: &a [*a, {b: 1, b: *a}]\n", [("b", 1)]),  # in itself
        ("".join(f"{chr(97 + n)}: &l{n} [{', '.join([f'*l{n - 1}' if n else 'x'] * 9)}]\n" for n in range(20)), []),
    ],
)
def test_duplicate_keys(text: str, found: list[tuple[str, int]]) -> None:
    assert list(duplicate_keys(text)) == found


def test_network() -> None:
    assert [check_network(value) for value in (NETWORK, "fd00::/64", "", None)] == [NETWORK, "fd00::/64", "", ""]
    for bad in ("lan", 10, "10.0.0.0", "10.0.0.0/33"):
        with pytest.raises(InventoryError, match=r"network: found .*; accepted: a network such as"):
            check_network(bad)


def test_variables() -> None:
    check_variables({"a_1": object()}, "vars")
    with pytest.raises(InventoryError, match="vars: found the variable '1a'"):
        check_variables({"1a": 1}, "vars")
    with pytest.raises(InventoryError, match="vars: found the variable a; accepted: the key b for it"):
        check_variables({"a": 1}, "vars", {"a": "b"})
