# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds the inventory of a running Slurm against a real one: `python -m tests.integration.running_slurm IMAGE`.

IMAGE is a Debian image with package sources that answer, such as aicluster-base:trixie. PYTHONPATH is collections.
A slurmctld in a container knows nodes that do not exist; `ansible-inventory` asks it through `docker exec`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from .read_slurm_conf import INSTALL, Container, container

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(Path(sys.executable).parent / "ansible-inventory")

CONF = """
ClusterName=real
SlurmctldHost=ctl1
SlurmUser=slurm
AuthType=auth/munge
StateSaveLocation=/var/spool/slurmctld
SlurmctldLogFile=/var/log/slurm/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName=cpu[1-3] NodeAddr=192.0.2.[1-3] CPUs=2 RealMemory=1000 Feature=fast,node-local State=UNKNOWN
NodeName=gpu[1-2] NodeAddr=192.0.2.[11-12] CPUs=2 RealMemory=1000 Gres=gpu:a100:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
PartitionName=fast Nodes=cpu[1-3] State=UP
"""
GRES = "NodeName=gpu[1-2] Name=gpu Type=a100 File=/dev/nvidia[0-3]\n"

START = r"""
slurmctld -D -c >/tmp/slurmctld.log 2>&1 &
for _ in $(seq 100); do scontrol ping >/dev/null 2>&1 && break; sleep 0.1; done
scontrol update NodeName=cpu2 State=DRAIN Reason='new disk, soon'
scontrol update NodeName=gpu2 State=DOWN Reason='no answer: Comment=x'
"""


def inventory(path: Path) -> tuple[int, dict[str, Any], str]:
    """How `ansible-inventory --list` ends, and what it prints."""
    argv = [TOOL, "-i", str(path), "--list"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    # Ansible marks what is no template.
    found = json.loads(done.stdout or "{}", object_hook=lambda value: value.get("__ansible_unsafe", value))
    return done.returncode, found, done.stderr


def expect(what: str, found: object, wanted: object) -> None:
    """SystemExit where something is not as it has to be."""
    if found != wanted:
        raise SystemExit(f"{what}: found {found!r}, not {wanted!r}")
    print(f"{what}: as expected")


def judge(found: dict[str, Any], version: str) -> None:
    """Hold an inventory against CONF and START."""
    groups = {
        "head": ["ctl1"],
        "nodes": ["cpu1", "cpu2", "cpu3", "gpu1", "gpu2"],
        "gpu": ["gpu1", "gpu2"],
        "slurm_partition_main": ["cpu1", "cpu2", "cpu3", "gpu1", "gpu2"],
        "slurm_partition_fast": ["cpu1", "cpu2", "cpu3"],
        "slurm_feature_node_local": ["cpu1", "cpu2", "cpu3"],
        "slurm_gres_gpu_a100": ["gpu1", "gpu2"],
        "slurm_state_drain": ["cpu2"],
        "slurm_state_down": ["gpu2"],
    }
    for name, hosts in groups.items():
        expect(f"{version} {name}", found[name]["hosts"], hosts)
    hostvars = found["_meta"]["hostvars"]
    expect(f"{version} address", hostvars["gpu1"]["ansible_host"], "192.0.2.11")
    expect(f"{version} reason", hostvars["cpu2"]["slurm_reason"], "new disk, soon")
    expect(f"{version} free text", hostvars["gpu2"]["slurm_reason"], "no answer: Comment=x")
    expect(f"{version} gres", hostvars["gpu2"]["slurm_gres"].split("(")[0], "gpu:a100:4")


def check(machine: Container, version: str, folder: Path) -> None:
    """Ask the running slurmctld, then one that is gone."""
    config = {
        "plugin": "aicluster.slurm.cluster",
        "scontrol": ["docker", "exec", machine.name, "scontrol"],
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(folder / "cache"),
    }
    plain, cached = folder / "plain.cluster.yml", folder / "cached.cluster.yml"
    plain.write_text(yaml.safe_dump(config), encoding="utf-8")
    cached.write_text(yaml.safe_dump({**config, "cache": True}), encoding="utf-8")
    for path in (plain, cached):
        code, found, errors = inventory(path)
        expect(f"{version} exit code ({errors.strip()[:200]})", code, 0)
        judge(found, version)
    machine.run("pkill -9 -x slurmctld || kill -9 $(pidof slurmctld)")
    code, _found, errors = inventory(plain)
    expect(f"{version} slurmctld is down, exit code", code != 0, True)
    expect(f"{version} slurmctld is down, said", "slurmctld does not answer" in errors, True)
    code, found, errors = inventory(cached)
    expect(f"{version} slurmctld is down, the cache", code, 0)
    judge(found, version)


def main() -> int:
    """Run all in a container of the image."""
    with container(sys.argv[1]) as machine, tempfile.TemporaryDirectory() as folder:
        installed = machine.run(INSTALL)
        version = installed.stdout.split()[-1] if installed.returncode == 0 else ""
        if not version:
            raise SystemExit(f"cannot install Slurm: {installed.stderr}")
        machine.isolate()
        machine.write({"slurm.conf": CONF, "gres.conf": GRES})
        machine.run(f"echo '192.0.2.254 ctl1' >/etc/hosts; ({START}) </dev/null >/tmp/start.log 2>&1")
        check(machine, version, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
