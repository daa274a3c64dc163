# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast the inventory plugin is: `.venv/bin/python benchmarks/inventory.py [RUNS]`.

`ansible-inventory --graph` over a topology of 10,000 hosts, against the same hosts, groups and variables as a plain
YAML inventory (written from the plugin's own `--list`), best of RUNS (3) each, in turn; then over one of 100,000 hosts.
Exits with 1 where the plugin takes more than 1.3 times as long, or 20 s for the larger one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = str(Path(sys.executable).parent / "ansible-inventory")
MOST_RATIO, MOST_SECONDS = 1.3, 20.0

TOPOLOGY = """
plugin: aicluster.slurm.cluster
name: large
network: 10.0.0.0/8
hosts:
  head1: {{roles: [nfs, head], address: 10.255.0.1}}
  cpu[00001-{cpus}]: {{address: 10.0.0.1, features: [cpu], hardware: {{cpus: 64, memory_mb: 256000}}}}
  gpu[00001-{gpus}]:
    roles: gpu
    address: 10.8.0.1
    features: [gpu, h100]
    weight: 100
    gres: {{type: h100, files: ["/dev/nvidia[0-7]"]}}
"""


def seconds(path: Path, *arguments: str) -> float:
    """How long Ansible takes over an inventory."""
    argv = [TOOL, "-i", str(path), *arguments]
    begin = time.perf_counter()
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    subprocess.run(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def write(path: Path, hosts: int) -> Path:
    """A topology of so many hosts, half of them with GPUs."""
    path.write_text(TOPOLOGY.format(cpus=f"{hosts // 2 - 1:05}", gpus=f"{hosts - hosts // 2:05}"), encoding="utf-8")
    return path


def main() -> int:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        topology, plain = write(folder / "cluster.yml", 10_000), folder / "plain.yml"
        seconds(topology, "--list", "--yaml", "--output", str(plain))
        best = {topology: float("inf"), plain: float("inf")}
        for _run in range(runs):
            for path in best:
                best[path] = min(best[path], seconds(path, "--graph"))
        ratio = best[topology] / best[plain]
        print(f"10,000 hosts: topology {best[topology]:.2f} s, plain YAML {best[plain]:.2f} s, ratio {ratio:.2f}")
        large = seconds(write(topology, 100_000), "--graph")
        print(f"100,000 hosts: topology {large:.2f} s")
    return 0 if ratio <= MOST_RATIO and large < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
