# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook configure, played as a user does."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
# One host that answers, one that refuses, and one whose ssh hangs.
KNOWN = """
n0 ansible_connection=local
n1 ansible_host=127.0.0.1 ansible_port=1
n2 ansible_ssh_executable={0}/ssh
"""
ANSWERS = ["configure_head=n0", "configure_storage=", "configure_compute=n[1-2]", "configure_gpu=n2"]
ANSWERS += ["configure_user=admin", "configure_shared_path=/srv/data"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "known").write_text(KNOWN.format(tmp_path))
    (tmp_path / "ssh").write_text(f"#!/bin/sh\nsleep 300\ntouch {tmp_path}/waited\n")
    (tmp_path / "ssh").chmod(0o755)
    return tmp_path


def argv(*answers: str) -> list[str]:
    options = [word for answer in answers for word in ("-e", answer)]
    return [str(TOOLS / "ansible-playbook"), "-i", "known", str(ROOT / "playbooks" / "configure.yml"), *options]


def environment() -> dict[str, str]:
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": "/dev/null"}
    return {**os.environ, **own, "ANSIBLE_NOCOLOR": "1", "TERM": "dumb"}


def play(folder: Path, *answers: str) -> subprocess.CompletedProcess[str]:
    """Play it without a terminal."""
    return subprocess.run(
        argv(*answers),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def play_at_a_terminal(folder: Path, *keys: str) -> str:
    """Play it at a terminal, and answer each question."""
    main, terminal = pty.openpty()
    with subprocess.Popen(
        argv(), cwd=folder, env=environment(), stdin=terminal, stdout=terminal, stderr=terminal
    ) as done:
        os.close(terminal)
        printed, left = "", list(keys)
        while True:
            try:
                printed += os.read(main, 65536).decode()
            except OSError:  # the other end is closed
                break
            if left and printed.count("]: ") + printed.count("): ") > len(keys) - len(left):
                os.write(main, left.pop(0).encode() + b"\n")
    os.close(main)
    assert done.returncode == 0, printed
    return printed


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_configure(folder: Path) -> None:
    first = play(folder, *ANSWERS)
    assert first.returncode == 0, first.stdout + first.stderr
    assert re.search(r'"n0: \S+, \d+ CPUs, \d+ [GM]iB', first.stdout)
    assert '"n1: did not answer; site.yml finds its values when it does"' in first.stdout
    assert '"n2: did not answer; site.yml finds its values when it does' in first.stdout
    assert not (folder / "waited").exists()
    inventory = folder / "inventory"
    written = contents(inventory)
    assert set(written) == {"hosts", "group_vars/all.yml", ".answers.json"}
    assert yaml.safe_load(written["group_vars/all.yml"]) == {
        "ansible_user": "admin",
        "cluster_shared_path": "/srv/data",
    }

    for tool in (["ansible-inventory", "--list"], ["ansible-playbook", "--syntax-check", str(ROOT / "site.yml")]):
        command = [str(TOOLS / tool[0]), "-i", str(inventory / "hosts"), *tool[1:]]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
        if tool[0] == "ansible-inventory":
            found = json.loads(done.stdout)
            groups = {name: found[name]["hosts"] for name in ("head", "nodes", "gpu")}
            assert groups == {"head": ["n0"], "nodes": ["n1", "n2"], "gpu": ["n2"]}
            assert "nfs" not in found or not found["nfs"].get("hosts")

    # Once more at a terminal: what was answered is the default, so nothing changes.
    second = play_at_a_terminal(folder, "", "", "", "", "", "")
    assert "Compute hosts (names with commas, or host lists such as node[01-16]) [n[1-2]]: " in second
    assert contents(inventory) == written
    assert re.search(r"localhost +: ok=\d+ +changed=0 ", second)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["inventory"]

    # Another answer: what was there is kept, with what a person wrote into it.
    (inventory / "hosts").write_text(written["hosts"] + "# mine\n")
    third = play(folder, "configure_compute=n1", "configure_gpu=")
    assert third.returncode == 0, third.stdout
    assert "n2" not in (inventory / "hosts").read_text()
    (kept,) = folder.glob("inventory.*")
    assert re.fullmatch(r"inventory\.\d{4}-\d\d-\d\d-\d{6}", kept.name)
    assert contents(kept) == {**written, "hosts": written["hosts"] + "# mine\n"}


def test_a_bad_answer_writes_nothing(folder: Path) -> None:
    done = play(folder, *ANSWERS, "configure_compute=n[1-")
    assert done.returncode != 0
    assert "configure_compute: host list 'n[1-': found '[' at character 2; accepted: a pair of brackets" in done.stdout
    assert not (folder / "inventory").exists()
