# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs modules of this collection on a host without a playbook, so that a test can run many, and kill them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shlex
import tarfile
from pathlib import Path
from typing import Any

import ansible
from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_files

from .cluster import Machine
from .play import ROOT

FOLDER = "/tmp/aicluster-e2e"
KILLED = 137
CHUNK = 100_000


class OnHead:
    """A head, with the code of the modules on it."""

    def __init__(self, head: Machine) -> None:
        self.head = head
        code = _code()
        self.head.output(f"rm -rf {FOLDER} && mkdir {FOLDER}")
        # One argument of a command has at most 128 KiB (execve(2)).
        for start in range(0, len(code), CHUNK):
            self.head.output(f"echo {code[start : start + CHUNK]} >> {FOLDER}/code")
        # Ansible's own __init__ is for the controller, and a folder without one is no package of Python's.
        self.head.output(f"base64 -d {FOLDER}/code | tar -xz -C {FOLDER} && touch {FOLDER}/ansible/__init__.py")

    def run(
        self, module: str, options: dict[str, Any], kill_after: int = 0, before: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """What the module returns; nothing when it killed itself.

        `before` names a command, and what a shell does before its first call.
        """
        # Packed, a thousand nodes are no more than an argument may hold.
        text = base64.b64encode(gzip.compress(json.dumps(options).encode())).decode()
        further = f" --kill-after {kill_after}" if kill_after else ""
        if before:
            further += f" --before {shlex.join(before)}"
        done = self.head.shell.run(
            f"echo {text} | base64 -d | gunzip"
            f" | PYTHONPATH={FOLDER} timeout 200 python3 {FOLDER}/on_host.py {module}{further}"
        )
        if kill_after and done.rc == KILLED:
            return {}
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def options(self) -> dict[str, Any]:
        """Options of slurm_config for the configuration that is in place."""
        texts = {name: self.head.output(f"cat /etc/slurm/{shlex.quote(name)}") for name in slurm_files.NAMES}
        found = slurm_files.read(texts, self.head.output("slurmctld -V").split()[-1])
        return {
            "config": found.slurm.config,
            "nodes": found.slurm.nodes,
            "partitions": found.slurm.partitions,
            "nodesets": found.slurm.nodesets,
            "cgroup": found.cgroup,
            "gres": found.gres,
            "plugstack": found.plugstack,
        }

    def remove(self) -> None:
        """Take the code away."""
        self.head.output(f"rm -rf {FOLDER}")


def _code() -> str:
    """The modules, what they import of Ansible, and what runs them: a tar file, in Base64."""
    places = {Path(ansible.__file__).parent / "module_utils": "ansible/module_utils"}
    for name in ("modules", "module_utils"):
        places[ROOT / "plugins" / name] = f"ansible_collections/aicluster/slurm/plugins/{name}"
    for own in (Path(__file__).parent / "on_host.py", ROOT / "tests/support/module_arguments.py"):
        places[own] = own.name
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for place, name in places.items():
            archive.add(place, name, filter=lambda item: None if "__pycache__" in item.name else item)
    return base64.b64encode(packed.getvalue()).decode()
