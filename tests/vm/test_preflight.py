# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines that are smaller than they should be: preflight says so, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..e2e import play
from .conftest import Lab


@pytest.mark.whole
def test_too_little_memory_is_warned_of(lab: Lab, tmp_path: Path) -> None:
    report = str(tmp_path / "preflight.json")
    argv = ["-i", lab.inventory, "--extra-vars", f"preflight_report_path={report}", "playbooks/preflight.yml"]
    done = play.results(play.run(play.command("ansible-playbook", *argv)))
    [warnings] = [result["msg"] for _host, task, result in done if task.endswith(" : Warn")]
    too_little = "memory: found 1.0 GB; accepted: 2 GB or more"
    warned = {line.split(": ")[1] for line in warnings if too_little in line}
    assert warned == {machine.name for machine in lab.machines}
