# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What variables of roles come to in a run, worked out by Ansible itself; no host is touched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
INVENTORY = """
[nfs]
nfs0
[head]
head0
head1
[nodes]
node1
node2
"""
SURVEYED: dict[str, Any] = {"__cluster_survey": {"survey": {"share": {"source": ""}}}}


def ansible(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "hosts").write_text(INVENTORY, encoding="utf-8")
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": "/dev/null", "ANSIBLE_NOCOLOR": "1"}
    here = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    argv = [str(PLAYBOOK), "-i", str(folder / "hosts"), "-e", here, *words]
    return subprocess.run(argv, cwd=folder, env={**os.environ, **own}, capture_output=True, text=True, check=False)


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Any]:
    """The value of an expression on a host, with the variables of these roles, and facts of hosts."""

    def value(
        host: str, expression: str, roles: list[str], facts: Mapping[str, Mapping[str, Any]], **variables: Any
    ) -> Any:
        known = "(known[inventory_hostname] | default({}))"
        files = [ROOT / "roles" / role / kind / "main.yml" for role in roles for kind in ("defaults", "vars")]
        result = {"content": f"{{{{ ({expression}) | to_json }}}}", "dest": str(tmp_path / "value"), "mode": "0600"}
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [*map(str, files), str(tmp_path / "variables.json")],
            "vars": {"known": facts},
            "tasks": [
                *(
                    {
                        "set_fact": {name: f"{{{{ known[inventory_hostname].{name} }}}}"},
                        "when": f"{known}.{name} is defined",
                    }
                    for name in {name: "" for each in facts.values() for name in each}
                ),
                {"copy": result, "when": f"inventory_hostname == '{host}'"},
            ],
        }
        (tmp_path / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
        (tmp_path / "play.json").write_text(json.dumps([play]), encoding="utf-8")
        done = ansible(tmp_path, str(tmp_path / "play.json"))
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((tmp_path / "value").read_text(encoding="utf-8"))

    return value


def test_who_did_not_answer_counts_as_off(evaluate: Callable[..., Any]) -> None:
    """head1 is outside of the run and gone; node2 is in the run, and lost its power a minute ago."""
    run = {"__cluster_run": ["nfs0", "head0", "node1", "node2"], "__cluster_heads_up": ["head0"]}
    facts = {name: {**SURVEYED, **run} for name in ("nfs0", "head0", "node1")}
    facts["node2"] = {"__cluster_survey": {"unreachable": True}}
    assert sorted(evaluate("head0", "__head_away", ["cluster", "head"], facts)) == ["head1", "node2"]


def test_mounts_over_the_network_wait_also_where_the_share_does_not(evaluate: Callable[..., Any]) -> None:
    """Slurm's state on an export that only the heads mount."""
    state = {"path": "/state", "fstype": "nfs4", "source": "10.0.0.2:/srv", "options": ["_netdev", "nofail"]}
    facts = {name: {**SURVEYED, "__nfs_needy": []} for name in ("nfs0", "head0")}
    order = "__nfs_order | map(attribute='path') | map('basename')"
    options: dict[str, Any] = {"cluster_mounts": [state], "nfs_service": "none"}
    found = evaluate("head0", order, ["cluster", "nfs"], facts, **options)
    assert found == ["storage.conf", "wait.conf", "aicluster-mount-state.service"]


def test_every_server_has_its_device_for_as_long_as_it_runs(evaluate: Callable[..., Any]) -> None:
    for service, unit in (("kernel", "nfs-server"), ("ganesha", "nfs-ganesha")):
        files = f"__nfs_served.{service}.files | items2dict('path', 'content')"
        found = evaluate("nfs0", files, ["cluster", "nfs"], {"nfs0": SURVEYED})
        drop_in = found[f"/etc/systemd/system/{unit}.service.d/storage.conf"]
        assert drop_in.splitlines()[-1] == "RequiresMountsFor=/data"


def test_files_of_the_control_host_begin_beside_the_inventory(tmp_path: Path) -> None:
    """Wherever the playbook is: that of the installed collection is in nobody's folder."""
    lab, elsewhere, there = tmp_path / "lab", tmp_path / "elsewhere", tmp_path / "there"
    for folder in (lab / "files", elsewhere, there):
        folder.mkdir(parents=True)
    for path in (lab / "files/mark.tar.gz", lab / "enroot.deb", elsewhere / "other.tar.gz"):
        path.touch()
    tasks = [
        {key: value for key, value in task.items() if key != "when"}
        for name in ("enroot", "spank")
        for task in yaml.safe_load((ROOT / f"roles/nodes/tasks/{name}.yml").read_text(encoding="utf-8"))
        if "ansible.builtin.copy" in task
    ]
    for task in tasks:
        for key in ("owner", "group"):
            task["ansible.builtin.copy"].pop(key, None)
    play = {
        "hosts": "node1",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/nodes/vars/main.yml")],
        "vars": {
            "nodes_containers_packages": [{"file": "enroot.deb"}, {"name": "jq"}],
            "nodes_spank_plugins": [{"source": "files/mark.tar.gz"}, {"source": str(elsewhere / "other.tar.gz")}],
        },
        "tasks": tasks,
    }
    (elsewhere / "play.json").write_text(json.dumps([play]), encoding="utf-8")
    folders = {"__cluster_spank_folder": str(there), "__nodes_package_folder": str(there)}
    done = ansible(lab, "-e", json.dumps(folders), str(elsewhere / "play.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in there.rglob("*.*")) == ["enroot.deb", "mark.tar.gz", "other.tar.gz"]


BEGIN = "nothing is known of the hosts in this run"


@pytest.mark.parametrize("task", ["Use what is shared", "A head tells it itself", "See whether the cluster works"])
def test_a_run_that_begins_in_the_middle_says_so(tmp_path: Path, task: str) -> None:
    words = ["--start-at-task", task, "-e", '{"ansible_become": false}', "--check"]
    done = ansible(tmp_path, str(ROOT / "site.yml"), *words)
    assert (done.returncode != 0, BEGIN in done.stdout) == (True, True)
    assert not re.search(r"'\w+' is undefined", done.stdout)


def test_what_is_used_before_it_is_known(tmp_path: Path) -> None:
    roles = ["cluster", "nfs", "head"]
    names = ["__cluster_survey.survey", "__cluster_run", "__cluster_map", "__cluster_store", "__nfs_needy"]
    names += ["__head_working.states", "__head_known.nodes"]
    play = {
        "hosts": "nfs0",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / role / "vars" / "main.yml") for role in roles],
        "tasks": [{"debug": {"msg": f"{{{{ {name} }}}}"}, "ignore_errors": True} for name in names],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]), encoding="utf-8")
    done = ansible(tmp_path, str(tmp_path / "play.json"))
    fatal = [line for line in done.stdout.splitlines() if line.startswith("fatal:")]
    assert [BEGIN in line for line in fatal] == [True] * len(names), done.stdout
