# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a host restarts, and which nodes are drained for it. That they come back is for machines: tests/vm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Values

BOOT = Path("/proc/sys/kernel/random/boot_id")
NEWS = {"upgradable": ["libc6"]}


@pytest.fixture
def value(role_value: Values) -> Values:
    def of_common(name: str, **said: Any) -> Any:
        return role_value("common", name, **said)

    return of_common


def reasons(value: Values, root: Path, boot: str, started: int = -3600) -> list[str]:
    """What the script says on a host with these files, which started so many seconds after they came."""
    (root / "stat").write_text(f"cpu 1 2\nbtime {int(os.stat(root).st_ctime) + started}\n")
    script = value("__common_ask_start").replace("/proc/stat", f"{root}/stat")
    for folder in ("run", "boot", "sys"):
        script = script.replace(f" /{folder}", f" {root}/{folder}")
    path = f"{root}/bin:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script, "sh", boot], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}
    )
    assert done.stderr == ""
    return [line.replace(str(root), "") for line in done.stdout.splitlines()]


def test_reasons_to_restart(value: Values, tmp_path: Path) -> None:
    assert reasons(value, tmp_path, "another") == []
    for folder in ("run", "boot"):
        (tmp_path / folder).mkdir()
    assert reasons(value, tmp_path, "another") == []
    # The time in a package is that of its build.
    kernel = tmp_path / "boot" / "vmlinuz-6.1.0-31-amd64"
    kernel.touch()
    os.utime(kernel, (0, 0))
    assert reasons(value, tmp_path, "another") == ["due /boot/vmlinuz-6.1.0-31-amd64"]
    (tmp_path / "run" / "reboot-required").touch()
    assert reasons(value, tmp_path, "another")[0] == "due /run/reboot-required"
    # Where Ansible runs, which would end by it.
    assert reasons(value, tmp_path, BOOT.read_text().strip())[0] == "here /run/reboot-required"


def test_a_kernel_from_before_the_last_start_is_no_reason(value: Values, tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinuz-6.1.0-31-amd64").touch()
    assert reasons(value, tmp_path, "another", started=60) == []


@pytest.mark.parametrize(
    ("loaded", "installed", "expected"),
    [
        ("550.54.15", "echo 550.54.15", []),
        ("550.54.15", "echo 570.86.10", ["due nvidia 550.54.15 is loaded, 570.86.10 installed"]),
        # Nothing is loaded, or nothing is installed for this kernel.
        ("", "echo 550.54.15", []),
        ("550.54.15", "exit 1", []),
    ],
)
def test_another_driver_than_the_loaded_one(
    value: Values, tmp_path: Path, loaded: str, installed: str, expected: list[str]
) -> None:
    for folder in ("bin", "sys/module/nvidia"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin/modinfo").write_text(f"#!/bin/sh\ntest \"$*\" = '--field version nvidia' && {installed}\n")
    (tmp_path / "bin/modinfo").chmod(0o755)
    if loaded:
        (tmp_path / "sys/module/nvidia/version").write_text(f"{loaded}\n")
    assert reasons(value, tmp_path, "another") == expected


def test_who_restarts(role_value: Values) -> None:
    def value(name: str, **said: Any) -> Any:
        return role_value("common", name, **{"common_reboot": True, **said})

    due, here = {"stdout": "due /run/reboot-required"}, {"stdout": "here /run/reboot-required"}
    skipped = {"skipped": True}
    assert value("__common_restarts", __common_start_now=due, common_reboot=False) is False
    assert value("__common_boot_here") == BOOT.read_text().strip()
    assert value("__common_restarts", __common_start=due) is True
    assert value("__common_restarts", __common_start=here) is False
    assert value("__common_restarts", __common_start=skipped, __common_start_now=skipped) is False
    # What an upgrade brought counts, and what was due before it.
    assert value("__common_restarts", __common_start={"stdout": ""}, __common_start_now=due) is True
    assert value("__common_restarts", __common_start=due, __common_start_now=skipped) is True


@pytest.mark.parametrize(
    ("said", "drained"),
    [
        ({"__common_news": NEWS}, ["n1"]),
        ({"__common_news": {"upgradable": []}}, []),
        ({"__common_news": {"skipped": True}, "__common_start": {"skipped": True}}, []),
        ({"__common_start": {"stdout": "due /boot/vmlinuz-6"}}, ["n1"]),
        ({"__common_start": {"stdout": "here /boot/vmlinuz-6"}}, []),
        # New in this run: a job may have begun there meanwhile.
        ({"__common_news": NEWS, "__cluster_store": {}}, ["n1"]),
        ({"__common_news": NEWS, "__cluster_store": {}, "ansible_check_mode": True}, []),
        ({"__common_news": NEWS, "ansible_check_mode": True}, ["n1"]),
        ({"__common_news": NEWS, "__head_records": {"nodes": [{"NodeName": "n7"}]}}, []),
    ],
)
def test_nodes_that_are_drained(value: Values, said: dict[str, Any], drained: list[str]) -> None:
    """n0 is a head that does not compute."""
    run = {
        "ansible_check_mode": False,
        "ansible_play_hosts": ["n0", "n1"],
        "__cluster_map": {"n0": {"node": "n0"}, "n1": {"node": "n1"}},
        "__cluster_store": {"nodes": {"n1": {}}},
        "__head_records": {"nodes": [{"NodeName": "n1"}]},
    }
    assert value("__common_stale", **{**run, **said}) == drained


def test_nodes_are_given_back_when_their_jobs_do_not_end(value: Values) -> None:
    late = {"msg": "slurm_node: wait: after 3600 s jobs are left: 17", "failed": False}
    assert value("__common_undrained", __common_drained=late) is True
    assert value("__common_undrained", __common_drained={"before": {}, "msg": "no Slurm on this host yet"}) is False
    assert value("__common_undrained", __common_drained={"skipped": True}) is False
    before = {"n1": {"reason": "aicluster: upgrade and restart"}, "n2": {"reason": "fan"}}
    assert value("__common_given_back", __common_waiting={"before": before}) == ["n1"]


def test_nodes_are_brought_back_unless_something_else_keeps_them(value: Values) -> None:
    after = {"n1": {"reason": "aicluster: upgrade and restart"}, "n2": {"reason": "fan"}, "n3": {"reason": ""}}
    run = {"__common_drained": {"before": {}, "after": after}, "__common_stale": ["n1", "n2"]}
    assert value("__common_renewed", **run) == ["n1"]
    # One whose upgrade failed is no longer in the run, and stays out.
    assert value("__common_renewed", **{**run, "__common_stale": ["n2"]}) == []
    assert value("__common_renewed", __common_drained={"skipped": True}, __common_stale=[]) == []


def test_who_is_brought_back_at_the_end_of_a_run(role_value: Values) -> None:
    """Also what a run which was killed has left; nodes outside of this run may be another one's."""
    states = [
        "n1 drained aicluster: upgrade and restart",
        "n2 draining aicluster: a change of Slurm's configuration",
        "n3 drained aicluster: upgrade and restart",
        "n4 drained aicluster: taken out of the cluster",
        "n5 drained fan, after the upgrade and restart",
        "n6 idle none",
    ]
    run = {"__head_working": {"states": states}, "__head_run_nodes": ["n1", "n2", "n4", "n5", "n6"]}
    assert sorted(role_value("head", "__head_left", **run)) == ["n1", "n2"]
    # A preview does not look.
    assert role_value("head", "__head_left", **{**run, "__head_working": {"skipped": True}}) == []
