# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.plugin_utils.inventory import Inventory, InventoryError
from ansible_collections.aicluster.slurm.plugins.plugin_utils.running import command_runner, read_running

FIXTURES = Path(__file__).parents[2] / "fixtures"
PREFIX = {"22.05": "bk-", "24.11": "tx-"}
JSON = {"22.05": ["sinfo", "--all", "--json"], "24.11": ["scontrol", "--all", "show", "nodes", "--json"]}
TEXT = ["scontrol", "--all", "--oneliner", "show", "nodes"]
SAMPLES = {"22.05": "sinfo.json", "24.11": "scontrol_show_nodes.json"}
CONFIG = ["scontrol", "show", "config"]


def sample(version: str, name: str) -> str:
    return (FIXTURES / f"slurm-{version}" / name).read_text(encoding="utf-8")


def did(argv: Sequence[str], stdout: str = "", rc: int = 0, stderr: str = "") -> Result:
    return Result(list(argv), rc, stdout, stderr)


def read(*steps: Result) -> Inventory:
    """The inventory, by a runner that answers exactly these commands, in their order."""
    left = list(steps)

    def run(argv: Sequence[str]) -> Result:
        result = left.pop(0)
        assert list(argv) == result.argv
        return result

    found = read_running(run)
    assert left == []
    return found


@pytest.mark.parametrize("version", ["22.05", "24.11"])
@pytest.mark.parametrize("text", [False, True])
def test_running_slurm(version: str, text: bool) -> None:
    steps = [did(CONFIG, sample(version, "scontrol_show_config.txt"))]
    if text:  # a Slurm that was built without JSON
        steps += [did(JSON[version], "unrecognized option", 1)]
        steps += [did(TEXT, sample(version, "scontrol_show_nodes_o.txt"))]
    else:
        steps += [did(JSON[version], sample(version, SAMPLES[version]))]
    found = read(*steps)
    prefix = PREFIX[version]

    def named(group: str) -> list[str]:
        return [name.removeprefix(prefix) for name in found.groups[group]]

    assert named("head") == ["ctl"]
    assert named("nodes") == ["n1", "n2", "n3", "n4", "n5", "n7"]
    assert named("slurm_state_mixed") == ["n1"]
    assert named("slurm_state_drain") == ["n4"]
    assert named("slurm_state_down") == ["n7"]
    assert "n7" in named("slurm_state_not_responding")
    assert named("slurm_partition_main") == named("nodes")
    assert set(named("gpu")) == set(named("slurm_gres_gpu")) >= {"n1", "n2", "n3"}
    assert {"n1", "n2"} <= set(named("slurm_gres_gpu_a100"))
    assert "n3" in named("slurm_gres_gpu_1g_10gb")
    assert {"n1", "n2"} <= set(named("slurm_feature_nvlink"))
    assert found.variables == {}
    node = found.hosts[f"{prefix}n1"]
    assert node == {
        "slurm_features": ["gpu", "a100", "nvlink"],
        "slurm_gres": "gpu:a100:4",
        "slurm_partitions": ["main"],
        "slurm_reason": "",
        "slurm_state": "MIXED",
        "slurm_version": node["slurm_version"],
    }
    assert node["slurm_version"].startswith(version)


def test_addresses() -> None:
    config = "SlurmctldHost[0]        = head0(10.0.0.1)\nSlurmctldHost[1] = head1\nSLURM_VERSION           = 24.11.5\n"
    document = json.loads(sample("24.11", "scontrol_show_nodes.json"))
    document["nodes"] = [{**document["nodes"][0], "name": "n1", "address": "10.0.0.11"}]
    found = read(did(CONFIG, config), did(JSON["24.11"], json.dumps(document)))
    assert found.hosts["head0"] == {"ansible_host": "10.0.0.1"}
    assert found.hosts["head1"] == {}
    assert found.hosts["n1"]["ansible_host"] == "10.0.0.11"
    assert found.groups["head"] == ["head0", "head1"]


def test_names_that_groups_have() -> None:
    config = "SlurmctldHost[0] = head(10.0.0.1)\nSLURM_VERSION           = 24.11.5\n"
    record = json.loads(sample("24.11", "scontrol_show_nodes.json"))["nodes"][0]
    names = ("nodes", "gpu", "slurm_gpu", "n1")
    document = {"nodes": [{**record, "name": name, "address": name} for name in names]}
    found = read(did(CONFIG, config), did(JSON["24.11"], json.dumps(document)))
    assert found.groups["head"] == ["slurm_head"]
    assert found.groups["nodes"] == ["slurm_nodes", "slurm_slurm_gpu", "slurm_gpu", "n1"]
    assert found.hosts["slurm_head"] == {"ansible_host": "10.0.0.1", "nodes_name": "head"}
    connections = {
        host: {key: own[key] for key in ("ansible_host", "nodes_name") if key in own}
        for host, own in found.hosts.items()
        if host != "slurm_head"
    }
    assert connections == {
        "slurm_nodes": {"ansible_host": "nodes", "nodes_name": "nodes"},
        "slurm_slurm_gpu": {"ansible_host": "gpu", "nodes_name": "gpu"},
        "slurm_gpu": {},
        "n1": {},
    }


@pytest.mark.parametrize("name", ["", None, "{{x}}", "a\nb", "-oProxyCommand=x", "a b", "n:1"])
@pytest.mark.parametrize("key", ["name", "address"])
def test_names_and_addresses_that_are_none(key: str, name: str | None) -> None:
    record = json.loads(sample("24.11", "scontrol_show_nodes.json"))["nodes"][0]
    steps = [did(CONFIG, "SLURM_VERSION = 24.11.5"), did(JSON["24.11"], json.dumps({"nodes": [{**record, key: name}]}))]
    if key == "address" and not name:
        assert "ansible_host" not in read(*steps).hosts[record["name"]]
        return
    with pytest.raises(InventoryError, match=r"running Slurm: .*found the (host name|address) .*; accepted: "):
        read(*steps)


DOWN = "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([did(CONFIG, rc=1, stderr=DOWN)], "running Slurm: slurmctld does not answer; on the controller look at"),
        ([did(CONFIG, rc=127, stderr="not found")], "running Slurm: `scontrol show config` failed (rc=127): not found"),
        (
            [did(CONFIG, rc=255, stderr="me@head0: Permission denied (publickey).")],
            "running Slurm: `scontrol show config` failed (rc=255): me@head0: Permission denied (publickey).",
        ),
        (
            [did(CONFIG, rc=127, stderr="[Errno 13] Permission denied: './denied'")],
            "running Slurm: `scontrol show config` failed (rc=127): [Errno 13] Permission denied: './denied'",
        ),
        (
            [
                did(CONFIG, "SLURM_VERSION = 24.11.5"),
                did(JSON["24.11"], rc=255, stderr="Permission denied (publickey)."),
            ],
            "running Slurm: `scontrol --all show nodes --json` failed (rc=255): Permission denied",
        ),
        (
            [did(CONFIG, "SLURM_VERSION = 24.11.5"), did(JSON["24.11"], '{"nodes": ['), did(TEXT)],
            "running Slurm: nodes: found text that is not JSON: ",
        ),
        ([did(CONFIG, "hello")], "running Slurm: `scontrol show config`: found 'hello'; accepted: what `scontrol show"),
        ([did(CONFIG, "SLURM_VERSION = new")], "running Slurm: found 'slurm new'; accepted: `slurm` and a version"),
        (
            [
                did(CONFIG, "SLURM_VERSION = 22.05.8"),
                did(JSON["22.05"], sample("22.05", "sinfo_ctld_down.json")),
                did(TEXT, rc=1, stderr=DOWN),
            ],
            "running Slurm: slurmctld does not answer",
        ),
        (
            [did(CONFIG, "SLURM_VERSION = 24.11.5"), did(JSON["24.11"], '{"nodes": []}')],
            "running Slurm: found no node; accepted: one node or more in its configuration",
        ),
        (
            [did(CONFIG, "SLURM_VERSION = 24.11.5"), did(JSON["24.11"], "{"), did(TEXT, "nonsense")],
            "running Slurm: nodes: found 'nonsense' where a node was expected",
        ),
    ],
)
def test_never_an_empty_inventory(steps: list[Result], message: str) -> None:
    with pytest.raises(InventoryError) as error:
        read(*steps)
    assert str(error.value).startswith(message)


# --- the runner -------------------------------------------------------------------------------------------------------


def test_a_command_in_the_place_of_scontrol(tmp_path: Path) -> None:
    for name in ("scontrol", "sinfo"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" $LC_ALL\n')
        (tmp_path / name).chmod(0o755)
    run = command_runner(["env", "X=1", str(tmp_path / "scontrol")], 10)
    assert run(CONFIG) == did(["env", "X=1", str(tmp_path / "scontrol"), *CONFIG[1:]], "scontrol show config C\n")
    assert run(["sinfo", "--json"]).stdout == "sinfo --json C\n"


def test_a_wrapper_stands_for_scontrol_only() -> None:
    run = command_runner(["echo"], 10)
    assert run(CONFIG).stdout == "show config\n"
    assert run(["sinfo"]) == did(["sinfo"], rc=127, stderr="no sinfo beside echo")


def test_a_command_that_does_not_run() -> None:
    result = command_runner(["/nowhere/scontrol"], 10)(CONFIG)
    assert (result.rc, "/nowhere/scontrol" in result.stderr) == (127, True)


def test_a_command_that_does_not_end() -> None:
    assert command_runner(["sleep", "9", "scontrol"][:2], 0.1)([*CONFIG[:1]]) == did(
        ["sleep", "9"], rc=124, stderr="no answer within 0.1 s"
    )
