# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs Ansible and tells what it did, task by task and host by host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = str(ROOT / "playbooks" / "site.yml")


def command(tool: str, *arguments: str) -> list[str]:
    """The command line of an Ansible tool that lies beside the Python of this run, activated or not."""
    return [str(Path(sys.executable).parent / tool), *arguments]


def sources(inventory: str) -> list[str]:
    """The arguments of an Ansible tool for an inventory, or several with commas between; a later one counts more."""
    return [argument for path in inventory.split(",") for argument in ("-i", path)]


def run(argv: Sequence[str], folder: Path = ROOT, **settings: str) -> dict[str, Any]:
    """The JSON callback's report on one run of Ansible; an AssertionError with the messages of a run that failed."""
    settings |= {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true"}
    done = subprocess.run(
        argv,
        cwd=folder,
        env={"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        raise AssertionError(f"no report from {argv}\n{done.stdout}\n{done.stderr}") from None
    assert done.returncode == 0, "\n".join([f"{argv} ended with {done.returncode}", *failures(report)])
    return report


def site(inventory: str, *arguments: str) -> dict[str, Any]:
    """The report on one run of site.yml."""
    return run(command("ansible-playbook", *sources(inventory), *arguments, SITE))


def results(report: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Host, task and result of everything that ran, in order."""
    return [
        (host, task["task"]["name"], result)
        for play in report["plays"]
        for task in play["tasks"]
        for host, result in task["hosts"].items()
    ]


def changes(report: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The tasks that were reported changed, each with its host."""
    return {(host, task) for host, task, result in results(report) if result.get("changed")}


def failures(report: Mapping[str, Any]) -> list[str]:
    """One line for each task that failed, or item of its loop, and for each host that was not reached."""
    return [
        f"{host}: {task}: {item.get('msg', item)}"
        for host, task, result in results(report)
        for item in result.get("results", [result])
        if item.get("failed") or item.get("unreachable")
    ]
