# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook configure, played as a user does."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
# One host that answers, one that refuses, and one that ssh cannot enter.
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
    program(tmp_path / "ssh", "echo 'Permission denied (publickey).' >&2; exit 255")
    return tmp_path


def program(path: Path, does: str) -> Path:
    """A program for sh."""
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path


def argv(*answers: str) -> list[str]:
    options = [word for answer in answers for word in ("-e", answer)]
    return [str(TOOLS / "ansible-playbook"), "-i", "known", str(ROOT / "playbooks" / "configure.yml"), *options]


def environment() -> dict[str, str]:
    own = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_LOG_PATH": "/dev/null"}
    return {**os.environ, **own, "ANSIBLE_NOCOLOR": "1", "TERM": "dumb"}


def play(folder: Path, *answers: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Play it without a terminal."""
    return subprocess.run(
        argv(*answers),
        cwd=folder,
        env={**environment(), **settings},
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
    first = play(folder, *ANSWERS, ANSIBLE_FORKS="2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "3 hosts, 2 at a time" in first.stdout
    assert re.search(r'"n0: \S+, \d+ CPUs, \d+ [GM]iB', first.stdout)
    assert '"n1: did not answer; site.yml finds its values when it does"' in first.stdout
    assert '"n2: did not answer; site.yml finds its values when it does' in first.stdout
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
    assert "at a time" not in second
    assert "Compute hosts (names with commas, or host lists such as node[01-16]) [n[1-2]]: " in second
    assert contents(inventory) == written
    assert re.search(r"localhost +: ok=\d+ +changed=0 ", second)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["inventory"]

    # Another answer: what was there is kept, with what a person wrote into it.
    (inventory / "hosts").write_text(written["hosts"] + "# mine\n")
    third = play(folder, '{"configure_compute": ["n1"]}', "configure_gpu=")
    assert third.returncode == 0, third.stdout
    assert json.loads((inventory / ".answers.json").read_text())["configure_compute"] == "n1"
    assert "n2" not in (inventory / "hosts").read_text()
    (kept,) = folder.glob("inventory.*")
    assert re.fullmatch(r"inventory\.\d{4}-\d\d-\d\d-\d{6}", kept.name)
    assert contents(kept) == {**written, "hosts": written["hosts"] + "# mine\n"}


def test_a_bad_answer_writes_nothing(folder: Path) -> None:
    done = play(folder, *ANSWERS, "configure_compute=n[1-")
    assert done.returncode != 0
    assert "configure_compute: host list 'n[1-': found '[' at character 2; accepted: a pair of brackets" in done.stdout
    assert not (folder / "inventory").exists()


@pytest.fixture
def silent() -> Iterator[tuple[int, int]]:
    """Two ports here: one never takes a connection, as a host that is off; one takes it and says nothing."""
    with ExitStack() as stack:
        off, mute = (stack.enter_context(socket.socket()) for _number in range(2))
        for listener, backlog in ((off, 0), (mute, 5)):
            listener.bind(("127.0.0.1", 0))
            listener.listen(backlog)
        # The first one's queue is full then, and the kernel does not answer who comes next.
        for _number in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(off.getsockname())
        yield off.getsockname()[1], mute.getsockname()[1]


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Path]:
    """An ssh that is let in, and then nothing comes."""
    mine = tmp_path / "hung.pid"
    yield program(tmp_path / "hung", f"echo $$ >{mine}; exec sleep 120")
    # On a slow machine it was ended before it began, or is gone by now.
    with suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int(mine.read_text()), signal.SIGTERM)


def test_hosts_are_looked_at_all_at_once_and_none_for_longer_than_ten_seconds(
    tmp_path: Path, silent: tuple[int, int], hung: Path
) -> None:
    # Each of these answers when all of them are asked: one after the other, or five at a time, none ever would.
    together = [f"m{number}" for number in range(1, 7)]
    asked = tmp_path / "asked"
    asked.mkdir()
    wait = f"touch {asked}/$$; until [ $(ls {asked} | wc -l) -ge {len(together)} ]; do sleep 0.1; done"
    meets = program(tmp_path / "ssh", f'{wait}\nfor command; do :; done; sh -c "$command"')
    off, mute = silent
    known = [
        *(f"{name} ansible_ssh_executable={meets}" for name in together),
        f"off ansible_host=127.0.0.1 ansible_port={off}",
        f"mute ansible_host=127.0.0.1 ansible_port={mute}",
        f"hung ansible_ssh_executable={hung}",
    ]
    (tmp_path / "known").write_text("\n".join(known) + "\n")
    answers = ["configure_head=m1", "configure_storage=", f"configure_compute={','.join(together)},off,mute,hung"]
    answers += ["configure_gpu=", "configure_user=", "configure_shared_path=/data"]
    done = play(tmp_path, *answers, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert done.returncode == 0, done.stdout + done.stderr
    tasks = [task for play in json.loads(done.stdout)["plays"] for task in play["tasks"]]
    results = {task["task"]["name"]: task["hosts"] for task in tasks}
    looked = results["Look at the hosts, all at once"]
    # The task's limit ends the worst; ssh gives up a connection by itself before that, unless this machine is slow.
    assert looked["hung"]["timedout"]["period"] == 10
    for name in ("off", "mute"):
        assert "timedout" in looked[name] or (looked[name]["unreachable"] and "timed out" in looked[name]["msg"])
        assert looked[name].get("timedout", {}).get("period", 10) == 10
    said = dict(line.split(": ", 1) for line in results["Say what was found"]["localhost"]["msg"])
    assert {name for name, text in said.items() if re.search(r", \d+ CPUs, ", text)} == set(together)
    assert {name for name, text in said.items() if text.startswith("did not answer")} == {"off", "mute", "hung"}
