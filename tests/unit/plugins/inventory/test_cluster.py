# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin as Ansible itself loads it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.template import Templar
from ansible.utils.display import Display

NAME = "aicluster.slurm.cluster"
ROOT = Path(__file__).parents[4]
FIXTURES = ROOT / "tests" / "unit" / "fixtures"
LAB: dict[str, Any] = {
    "plugin": NAME,
    "name": "lab",
    "network": "10.0.0.0/16",
    "hosts": {
        "box": {"roles": ["nfs", "head"], "address": "10.0.0.2"},
        "cpu[1-2]": {"address": "10.0.1.1", "vars": {"rack": 7}},
        "gpu[1-2]": {"roles": "gpu", "address": "10.0.2.1", "features": ["h100"]},
    },
    "partitions": {"main": {"Nodes": "ALL"}},
    "vars": {"cluster_uid": 12000},
}


@pytest.fixture
def parse(tmp_path: Path) -> Callable[..., InventoryData]:
    """Write a file and parse it, as InventoryManager does."""

    def parse(content: object, name: str = "lab.cluster.yml", cache: bool = True) -> InventoryData:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        plugin = inventory_loader.get(NAME)
        assert plugin.verify_file(str(path))
        inventory = InventoryData()
        plugin.parse(inventory, DataLoader(), str(path), cache=cache)
        with suppress(AttributeError):  # without a cache
            plugin.update_cache_if_changed()
        inventory.reconcile_inventory()
        return inventory

    return parse


# Only what core makes of it shows that a group has the name of a host.
KEYED_BY_NAME = '[{key: inventory_hostname, separator: ""}]'

Parse = Callable[..., InventoryData]


def refused(parse: Parse, *arguments: Any, **options: Any) -> str:
    """What the plugin says of a file, for which it ends the program."""
    with pytest.raises(SystemExit) as end:
        parse(*arguments, **options)
    assert end.value.code == 1
    assert isinstance(end.value.__cause__, AnsibleError)
    return str(end.value.__cause__)


def groups(inventory: InventoryData) -> dict[str, list[str]]:
    return {name: members for name, members in inventory.get_groups_dict().items() if name not in ("all", "ungrouped")}


def variables(inventory: InventoryData, host: str) -> dict[str, Any]:
    own: dict[str, Any] = inventory.get_host(host).get_vars()
    return {key: own[key] for key in own if not key.startswith("inventory_") and key != "group_names"}


# --- verify_file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "ours"),
    [
        ("cluster.yml", "", True),
        ("cluster.yaml", "", True),
        ("lab.cluster.yml", "", True),
        ("hosts.json", "", True),
        ("lab.yml", f"# a comment\nplugin: {NAME}\n", True),
        ("lab.yaml", f'plugin: "{NAME}"\n', True),
        ("lab.yml", "plugin: ini\n", False),
        ("lab.yml", "all: {hosts: {n1: }}\n", False),
        ("mycluster.yml", "", False),
        ("cluster.yml.orig", "", False),
        ("hosts", f"plugin: {NAME}\n", False),
        ("cluster.json", "{}", False),
    ],
)
def test_files(tmp_path: Path, name: str, text: str, ours: bool) -> None:
    (tmp_path / name).write_text(text)
    assert inventory_loader.get(NAME).verify_file(str(tmp_path / name)) is ours


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "cluster.yml").mkdir()
    assert not inventory_loader.get(NAME).verify_file(str(tmp_path / "cluster.yml"))
    assert not inventory_loader.get(NAME).verify_file(str(tmp_path / "lab.cluster.yml"))


# --- a topology -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_topology(parse: Parse, named: bool) -> None:
    inventory = parse(LAB if named else {key: value for key, value in LAB.items() if key != "plugin"})
    assert groups(inventory) == {
        "nfs": ["box"],
        "head": ["box"],
        "nodes": ["cpu1", "cpu2", "gpu1", "gpu2"],
        "gpu": ["gpu1", "gpu2"],
    }
    assert inventory.groups["all"].get_vars() == {
        "cluster_name": "lab",
        "cluster_network": "10.0.0.0/16",
        "cluster_partitions": {"main": {"Nodes": "ALL"}},
        "cluster_uid": 12000,
    }
    assert variables(inventory, "cpu2") == {"ansible_host": "10.0.1.2", "nodes_address": "10.0.1.2", "rack": 7}
    gpu = {"ansible_host": "10.0.2.1", "nodes_address": "10.0.2.1", "nodes_features": ["h100"]}
    assert variables(inventory, "gpu1") == gpu


def test_constructed(parse: Parse) -> None:
    inventory = parse(
        {
            **LAB,
            "compose": {
                "shelf": "'shelf-' ~ rack",
                "ansible_user": "'admin-' ~ cluster_name",
                "missing": "nothing.at_all",
            },
            "groups": {"big": "shelf == 'shelf-7'"},
            "keyed_groups": [{"key": "nodes_features | default([])", "prefix": "has"}],
        }
    )
    assert groups(inventory)["big"] == ["cpu1", "cpu2"]
    assert groups(inventory)["has_h100"] == ["gpu1", "gpu2"]
    assert variables(inventory, "cpu1") == {
        "ansible_host": "10.0.1.1",
        "nodes_address": "10.0.1.1",
        "rack": 7,
        "shelf": "shelf-7",
        "ansible_user": "admin-lab",
    }


def test_strict(parse: Parse) -> None:
    said = refused(parse, {**LAB, "strict": True, "compose": {"missing": "nothing.at_all"}})
    assert "lab.cluster.yml: Could not set missing for host" in said


def test_templates_of_the_file_are_kept(parse: Parse) -> None:
    inventory = parse({**LAB, "vars": {"greeting": "{{ cluster_name }}"}})
    assert inventory.groups["all"].get_vars()["greeting"] == "{{ cluster_name }}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "top level: found None; accepted: a mapping with one of hosts, hosts_json, scontrol"),
        ("- a\n", "top level: found ['a']; accepted: a mapping with one of hosts, hosts_json, scontrol"),
        ("hosts: {n1: }\nnetwrk: 1\n", "top level: found the key 'netwrk', meant network?; accepted: "),
        ("network: 10.0.0.0/8\n", "top level: found no source; accepted: one of hosts, hosts_json, scontrol"),
        (
            "hosts: {n1: }\nscontrol: scontrol\n",
            "top level: found hosts and scontrol; accepted: one of hosts, hosts_json",
        ),
        ("hosts: [n1]\n", "hosts: found ['n1']; accepted: a mapping"),
        ("hosts: {n1: }\nhosts: {n2: }\n", "line 2: found the key hosts again; accepted: every key once"),
        ("hosts: {n1: }\nnetwork: lan\n", "network: found 'lan'; accepted: a network such as 10.0.0.0/24"),
        ("hosts: {n1: }\nvars: {a-b: 1}\n", "vars: found the variable 'a-b'; accepted: letters"),
        ("hosts: {n1: }\npartitions: main\n", "partitions: found 'main'; accepted: a mapping"),
        ("hosts: {n1: {roles: cpu}}\n", "hosts.n1.roles: found 'cpu'; accepted: of nfs, head, nodes, gpu"),
        ("hosts:\n", "hosts: found no host; accepted: one host or more"),
        ("hosts: &all {n1: *all}\n", "hosts.n1: found the key 'n1'; accepted: address"),
        ("hosts: {n1: }\nnetwork: 10.0.0.0\n", "network: found '10.0.0.0'; accepted: a network such as 10.0.0.0/24"),
        ("hosts: {n1: }\nname: [lab]\n", "name: found ['lab']; accepted: a text"),
        ("hosts_json:\n", "hosts_json: found nothing; accepted: a path"),
        ("scontrol:\n", "scontrol: found nothing; accepted: a command"),
        ("hosts_json: x\nrole_groups: {master: heads}\n", "role_groups.master: found 'heads'; accepted: a list of nfs"),
        ("plugin: aicluster.slurm.clsuter\nhosts: {n1: }\n", "plugin: found 'aicluster.slurm.clsuter'; accepted: ai"),
        ('hosts: {n1: }\nname: "x\x01"\n', "line 2: found the character '\\x01'; accepted: text without control"),
        ("hosts: {n1: }\nname: yes\n", "name: found True; accepted: a text, in quotes where it is a number or a word"),
        ("hosts: {n1: }\nname: My Lab!\n", "name: found 'My Lab!'; accepted: letters, digits"),
        ("hosts: {n1: }\nkeyed_groups: 5\n", "keyed_groups: found 5; accepted: a list"),
        (
            "hosts: {n1: }\nrole_groups: {}\n",
            "top level: found role_groups with hosts; accepted: role_groups with hosts_",
        ),
        ("hosts: {n1: }\ntimeout: 5\n", "top level: found timeout with hosts; accepted: timeout with scontrol only"),
        ("scontrol: x\ntimeout: abc\n", "timeout: found 'abc'; accepted: a number"),
        ("scontrol: x\ntimeout: -1\n", "timeout: found -1.0; accepted: seconds, more than 0 and up to"),
        ('scontrol: "a\\0b"\n', "scontrol: found 'a\\x00b'; accepted: a command such as ssh head0 scontrol"),
        ('scontrol: "ssh \'a"\n', 'scontrol: found "ssh \'a" (No closing quotation); accepted: quotes in pairs'),
        (
            "hosts: {n1: }\nvars: {cluster_network: 10.0.0.0/8}\n",
            "vars: found the variable cluster_network; accepted: the key network for it, which is checked",
        ),
        (
            "hosts: {n1: }\nvars: {nodes_address: 10.0.0.1}\n",
            "vars: found the variable nodes_address; accepted: the key",
        ),
        ("hosts: {n1: }\nvars: {class: 1}\n", "vars: found the variable 'class'; accepted: letters"),
        ("hosts: {n1: }\npartitions: {main: {Nodes: n2}}\n", "partitions.main: Nodes: found n2; accepted: nodes of"),
        ("hosts: {n1: }\npartitions: {main: {Ndoes: n1}}\n", "partitions.main: found the key 'Ndoes', meant Nodes?"),
        (
            'hosts: {n1: }\ngroups: {n1: "true"}\n',
            "groups.n1: found the name of a host; accepted: a name that no host has",
        ),
        ('hosts: {n_1: }\ngroups: {n-1: "true"}\n', "groups.n-1: found the name of a host; accepted: a name"),
        (
            f"hosts: {{n1: }}\nkeyed_groups: {KEYED_BY_NAME}\n",
            "host n1: found the name of a group; accepted: a name that no",
        ),
        ("scontrol: {a: 1}\n", "scontrol: found {'a': 1}; accepted: a command such as ssh head0 scontrol"),
        ("scontrol: []\n", "scontrol: found []; accepted: a command such as ssh head0 scontrol"),
    ],
)
def test_a_bad_file_adds_nothing_and_is_named(
    parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    plugin = inventory_loader.get(NAME)
    monkeypatch.setattr(inventory_loader, "get", lambda _name: plugin)
    assert refused(parse, text).startswith(f"{tmp_path}/lab.cluster.yml: {message}")
    if "keyed_groups: [" not in text:
        assert plugin.inventory.hosts == {}


@pytest.mark.parametrize("name", ["lab.cluster.yml", "hosts.json"])
@pytest.mark.parametrize(("data", "line"), [(b"# a\n# caf\xe9\n", 2), ("hosts:\n".encode("utf-16"), 1)])
def test_bytes_that_are_no_text(tmp_path: Path, name: str, data: bytes, line: int) -> None:
    (tmp_path / name).write_bytes(data)
    said = refused(inventory_loader.get(NAME).parse, InventoryData(), DataLoader(), str(tmp_path / name))
    assert said.startswith(f"{tmp_path / name}: line {line}: found bytes that are no UTF-8, ")


def test_a_mark_of_the_order_of_bytes_is_none_of_the_text(parse: Parse) -> None:
    assert groups(parse("\ufeffhosts: {n1: }\n")) == {"nodes": ["n1"]}
    assert groups(parse("\ufeff" + json.dumps(HOSTS_JSON), "hosts.json"))["nodes"] == ["c02"]


@pytest.mark.parametrize("text", ["hosts: {n1: ]\n", "hosts:\n\tn1:\n", "a: !!python/object:os.system x\n", "[" * 5000])
def test_no_yaml(parse: Parse, tmp_path: Path, text: str) -> None:
    assert refused(parse, text).startswith(f"{tmp_path}/lab.cluster.yml: ")


@pytest.mark.parametrize("nodes", ["n[1-2]", "fast", "ALL", "{{ groups.nodes | join(',') }}"])
def test_partitions_name_nodes_without_their_domain_and_node_sets(parse: Parse, nodes: str) -> None:
    sets = {"cluster_nodesets": {"fast": {"Nodes": "n1"}}}
    config = {"hosts": {"n[1-2].lab": {}}, "partitions": {"main": {"Nodes": nodes}}, "vars": sets}
    assert groups(parse(config)) == {"nodes": ["n1.lab", "n2.lab"]}


# --- hosts.json -------------------------------------------------------------------------------------------------------

HOSTS_JSON = {
    "c01": {"ipv4": "10.0.0.1", "labels": [], "groups": ["master"]},
    "c02": {"ipv4": "10.0.0.2", "labels": [{"spark-worker": "enable"}], "groups": ["worker"]},
}


def test_hosts_json_itself(parse: Parse) -> None:
    inventory = parse(json.dumps(HOSTS_JSON), "hosts.json")
    assert groups(inventory) == {"nfs": ["c01"], "head": ["c01"], "nodes": ["c02"], "label_spark_worker": ["c02"]}
    assert variables(inventory, "c02") == {"ansible_host": "10.0.0.2", "nodes_features": ["spark-worker"]}


def test_hosts_json_with_settings(parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "machines.json").write_text(json.dumps(HOSTS_JSON))
    inventory = parse({"hosts_json": "old/machines.json", "role_groups": {"master": ["head", "nodes"]}, "name": "pier"})
    assert groups(inventory)["nodes"] == ["c01", "c02"]
    assert inventory.groups["all"].get_vars() == {"cluster_name": "pier"}


def test_hosts_json_and_the_network(parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps(HOSTS_JSON))
    assert groups(parse({"hosts_json": "old.json", "network": "10.0.0.0/24"}))["nodes"] == ["c02"]
    said = refused(parse, {"hosts_json": "old.json", "network": "192.168.0.0/16"})
    assert "old.json: c01.ipv4: found 10.0.0.1; accepted: an address in the network 192.168.0.0/16" in said


def test_a_broken_hosts_json_names_the_place(parse: Parse, tmp_path: Path) -> None:
    said = refused(parse, '{"c01": {\n  "ipv4" 1}}', "hosts.json")
    assert said.startswith(f"{tmp_path}/hosts.json: line 2, column 10: found no JSON")


def test_a_broken_hosts_json_is_named_where_another_file_names_it(parse: Parse, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"c01": {\n  "ipv4" 1}}')
    for name, said in (("old.json", "line 2, column 10: found no JSON"), ("no.json", "file: found No such file")):
        reason = refused(parse, f"hosts_json: {name}\n")
        assert reason.startswith(f"{tmp_path}/lab.cluster.yml: hosts_json: {tmp_path}/{name}: {said}")


# --- a running Slurm --------------------------------------------------------------------------------------------------


@pytest.fixture
def scontrol(tmp_path: Path) -> Path:
    """A command that prints what the scontrol of 24.11 printed, as long as its folder has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("config.txt", "nodes.json"):
        text = (FIXTURES / "slurm-24.11" / f"scontrol_show_{name}").read_text()
        (folder / name).write_text(text)
    tool = folder / "scontrol"
    tool.write_text(
        '#!/bin/sh\ncase "$*" in *config) cat "${0%/*}/config.txt" ;; *) cat "${0%/*}/nodes.json" ;; esac\n'
    )
    tool.chmod(0o755)
    return tool


def test_running_slurm(parse: Parse, scontrol: Path) -> None:
    inventory = parse({"scontrol": str(scontrol), "keyed_groups": [{"key": "slurm_version", "prefix": "v"}]})
    found = groups(inventory)
    assert found["slurm_state_down"] == ["tx-n7"]
    assert found["head"] == ["tx-ctl"]
    assert "tx-n1" in found["v_24_11_5"]
    assert variables(inventory, "tx-n1")["slurm_state"] == "MIXED"


def test_a_command_is_split_as_a_shell_would(parse: Parse, scontrol: Path) -> None:
    assert groups(parse({"scontrol": f"env 'X=a b' {scontrol}"}))["head"] == ["tx-ctl"]


def test_a_controller_with_the_name_of_a_group(parse: Parse, scontrol: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, message, *_args, **_options: said.append(message))
    file = scontrol.parent / "config.txt"
    file.write_text(file.read_text().replace("= tx-ctl", "= head"))
    inventory = parse({"scontrol": str(scontrol)})
    assert groups(inventory)["head"] == ["slurm_head"]
    assert variables(inventory, "slurm_head") == {"ansible_host": "head", "nodes_name": "head"}
    assert [text.split(": ", 1)[1] for text in said] == [
        "head is the name of a group, too; the machine is the host slurm_head"
    ]


def test_what_users_of_slurm_write_is_no_template(parse: Parse, scontrol: Path) -> None:
    file = scontrol.parent / "nodes.json"
    nodes = json.loads(file.read_text())
    nodes["nodes"][0].update(name="n1", state=["DOWN"], reason="{{ 6 * 7 }}")
    file.write_text(json.dumps(nodes))
    inventory = parse({"scontrol": str(scontrol), "compose": {"answer": "slurm_reason"}})
    for name in ("slurm_reason", "answer"):
        value = variables(inventory, "n1")[name]
        assert Templar(DataLoader()).template(value) == "{{ 6 * 7 }}"


def test_the_last_answer_is_in_the_cache(parse: Parse, scontrol: Path, tmp_path: Path) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    config = {"scontrol": ["env", "X=/", str(scontrol)], **cache}
    first = groups(parse(config))
    assert len(os.listdir(tmp_path / "cache")) == 1
    (scontrol.parent / "config.txt").unlink()
    assert groups(parse(config)) == first
    # Another command, or a cache that is passed by, asks Slurm, and that one is gone.
    for other, use in (({**config, "scontrol": str(scontrol)}, True), (config, False)):
        assert re.search(r"running Slurm: .*config.txt", refused(parse, other, cache=use))
