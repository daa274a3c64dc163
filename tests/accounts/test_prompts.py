# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that let a person in by a password alone, who becomes root by it: `-k` and `-K`, typed into a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..e2e import play
from .conftest import Lab, Run

NAME, PASSWORD = "jane", "typed-Secret-4"
OPEN: dict[str, Any] = {"common_ssh_password": True, "nodes_adopt_exempt": ["root", "cluster", NAME]}
PREFLIGHT = str(play.ROOT / "playbooks" / "preflight.yml")
PROMPTS = (b"SSH password: ", b"BECOME password[defaults to SSH password]: ")


@pytest.fixture(scope="module")
def inventory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Connections by ssh; on each host there is a person who may sudo."""
    path = tmp_path_factory.mktemp("prompts") / "hosts"
    unknown = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    lines = ["[all:vars]", f"ansible_ssh_common_args={unknown}", "[all]"]
    with ExitStack() as stack:
        stack.callback(close, lab)
        opened = lab.play(OPEN, playbook=play.SITE)
        assert opened.rc == 0, opened.said
        for machine in lab.cluster.machines:
            stack.callback(machine.output, f"userdel --remove {NAME}")
            machine.output(f"useradd --create-home --groups sudo {NAME} && echo {NAME}:{PASSWORD} | chpasswd")
            address = machine.output("hostname -I").split()[0]
            lines.append(f"{machine.name} ansible_connection=ssh ansible_host={address}")
        path.write_text("\n".join([*lines, ""]))
        yield path


def close(lab: Lab) -> None:
    """No passwords again."""
    closed = lab.play({}, playbook=play.SITE)
    assert closed.rc == 0, closed.said


def typed(lab: Lab, inventory: Path, playbook: str, variables: Mapping[str, Any]) -> tuple[Run, str]:
    """A run in a terminal of its own, where the password is typed twice; and the processes that were seen meanwhile."""
    log = lab.folder / "typed.log"
    log.unlink(missing_ok=True)
    asked = ["-u", NAME, "-k", "-K", "-vvv", "-e", json.dumps(variables), playbook]
    argv = play.command("ansible-playbook", "-i", lab.cluster.inventory, "-i", str(inventory), *asked)
    child, terminal = pty.fork()
    if child == 0:
        own = {"ANSIBLE_CONFIG": str(play.ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": str(log), "ANSIBLE_NOCOLOR": "1"}
        os.chdir(play.ROOT)
        os.execve(argv[0], argv, {**os.environ, **own})
    shown, seen, prompts = b"", "", list(PROMPTS)
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the terminal of a process that has ended
            break
        if prompts and shown.endswith(prompts[0]):
            prompts.pop(0)
            os.write(terminal, f"{PASSWORD}\n".encode())
        seen += subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    os.close(terminal)
    status = os.waitpid(child, 0)[1]
    assert prompts == []
    return Run(os.waitstatus_to_exitcode(status), shown.decode(), log.read_text()), seen


def test_both_passwords_are_typed_and_shown_nowhere(lab: Lab, inventory: Path) -> None:
    run, seen = typed(lab, inventory, play.SITE, OPEN)
    assert (run.rc, run.changed) == (0, 0), run.said
    assert f"ESTABLISH SSH CONNECTION FOR USER: {NAME}" in run.said
    assert PASSWORD not in run.said
    assert "site.yml" in seen
    assert PASSWORD not in seen


def test_passwords_are_not_switched_off_under_the_hands_of_who_types_one(lab: Lab, inventory: Path) -> None:
    run, _seen = typed(lab, inventory, PREFLIGHT, {**OPEN, "common_ssh_password": False})
    assert run.rc == 2
    assert "common_ssh_password: found false, while Ansible logs in by a password" in run.said
