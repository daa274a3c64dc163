# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..e2e import play
from ..e2e.cluster import Cluster, Machine

KEYS = "/root/keys"
"""On the head: key pairs of people."""

PLAYBOOK = str(Path(__file__).parent / "people.yml")


@dataclass(frozen=True)
class Run:
    """One run of Ansible, with everything that it said and logged."""

    rc: int
    printed: str
    logged: str

    @property
    def said(self) -> str:
        """All of it."""
        return self.printed + self.logged

    @property
    def changed(self) -> int:
        """The changes on all hosts, of the recap."""
        return sum(int(word.partition("=")[2]) for word in self.printed.split() if word.startswith("changed="))


@dataclass
class Lab:
    """The cluster of the scenario, and people who come to it from its head."""

    cluster: Cluster
    folder: Path
    keys: dict[str, str]
    """Public keys by the name of the pair."""

    def host(self, name: str) -> Machine:
        """A host by its inventory name."""
        return next(machine for machine in self.cluster.machines if machine.name == name)

    def play(self, variables: Mapping[str, Any], *arguments: str, playbook: str = PLAYBOOK) -> Run:
        """Play with variables that no list of processes shows."""
        path, log = self.folder / "variables.json", self.folder / "ansible.log"
        path.write_text(json.dumps(variables))
        log.unlink(missing_ok=True)
        argv = play.command("ansible-playbook", "-i", self.cluster.inventory, "-e", f"@{path}", *arguments, playbook)
        done = subprocess.run(
            argv,
            cwd=play.ROOT,
            env={"ANSIBLE_CONFIG": str(play.ROOT / "ansible.cfg"), **os.environ, "ANSIBLE_LOG_PATH": str(log)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr, log.read_text())

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Keep every list of processes of the hosts, for `told`."""
        for machine in self.cluster.machines:
            sample = "while test -e /root/sampling; do ps axww -o args; sleep 0.2; done"
            machine.output(f"touch /root/sampling; nohup sh -c '{sample}' >/root/processes 2>&1 &")
        try:
            yield
        finally:
            for machine in self.cluster.machines:
                machine.output("rm /root/sampling")

    def told(self, secret: str, run: Run) -> list[str]:
        """Where a secret can be read: what the run said, the processes, and files that all may read."""
        told = ["said"] if secret in run.said else []
        for machine in self.cluster.machines:
            assert "python" in machine.output("cat /root/processes"), "sampled too seldom to prove anything"
            if machine.shell.run("grep -qF -- %s /root/processes", secret).rc == 0:
                told.append(f"processes of {machine.name}")
            readable = "find /etc /var /tmp /home /data -xdev -type f -perm -o+r -exec grep -lsF -- %s {} +"
            told += [f"{machine.name}: {path}" for path in machine.shell.run(readable, secret).stdout.split()]
        return told

    def login(self, user: str, host: str, key: str, *command: str) -> tuple[int, str]:
        """Come to a host from the head with one key, and nothing else; exit code, and what was said."""
        options = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20", "-i", f"{KEYS}/{key}"]
        argv = ["ssh", "-F", "none", *options, f"{user}@{host}", shlex.quote(" ".join(command or ["whoami"]))]
        done = self.cluster.head.shell.run(" ".join(argv))
        return done.rc, (done.stdout + done.stderr).strip()


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    cluster = Cluster(request.config.getoption("ansible_inventory"))
    head = cluster.head
    head.output(f"mkdir -p {KEYS}")
    keys = {}
    for name in ("ada", "ada-new", "own", "bob", "eve"):
        head.output(f"test -e {KEYS}/{name} || ssh-keygen -q -t ed25519 -N '' -C {name}@laptop -f {KEYS}/{name}")
        keys[name] = head.output(f"cat {KEYS}/{name}.pub").strip()
    yield Lab(cluster, tmp_path_factory.mktemp("lab"), keys)
    head.output(f"rm -rf {KEYS}")
