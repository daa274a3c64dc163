# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a deploy takes, beside the floor: `make bench`, or `.venv/bin/python benchmarks/deploy.py [HOSTS ...]`.

The floor is a bare parallel shell script that brings munge and Slurm to a head and its nodes, and runs a job over them
(benchmarks/floor). For each number of hosts (3 and 8) fresh containers, reached by ssh, are made for the floor and then
for playbooks/site.yml with the variables of benchmarks/scope.yml. The table says for each kind of run: seconds, module
calls of the busiest compute node, and how many times longer than the floor; the same as JSON in .cache/bench.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hosts import HERE, ROOT, SETTINGS, fresh, playing, timed, write_inventory

PARTITION = {"cluster_partitions": {"main": {"MaxTime": "2:00:00"}}}
ROUNDS = 10


def floor(hosts: Sequence[str]) -> dict[str, float]:
    """The floor on fresh hosts, and again."""
    with fresh("bench-floor", hosts):
        script = [str(HERE / "floor/floor"), "bench-floor", *hosts]
        return {kind: timed(script) for kind in ("first run", "unchanged")}


class Site:
    """Runs of site.yml on hosts that are reached by ssh."""

    def __init__(self, addresses: Mapping[str, str], folder: Path) -> None:
        self.addresses = addresses
        self.folder = folder

    def play(self, hosts: Sequence[str], playbook: str, *further: str) -> dict[str, Any]:
        """Seconds of a run over a head and its nodes, and what the callback says of it."""
        inventory, report = self.folder / "hosts", self.folder / "report.json"
        write_inventory(inventory, {name: self.addresses[name] for name in hosts})
        seconds = timed(
            playing(inventory, *further, playbook),
            **SETTINGS,
            ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="module_calls",
            MODULE_CALLS_REPORT=str(report),
        )
        return {"seconds": seconds, **json.loads(report.read_text(encoding="utf-8"))}

    def site(self, hosts: Sequence[str], *arguments: str) -> dict[str, Any]:
        """A run of site.yml."""
        return self.play(hosts, str(ROOT / "playbooks/site.yml"), "-e", f"@{HERE / 'scope.yml'}", *arguments)

    def round(self, hosts: Sequence[str]) -> float:
        """Seconds of one round of a trivial module over all hosts: what ten more of them cost, by ten."""
        playbook = self.folder / "rounds.yml"
        ping = {"ansible.builtin.ping": None}
        seconds: list[float] = []
        for rounds in (1, 1 + ROUNDS):
            play = [{"hosts": "all", "gather_facts": False, "tasks": [ping] * rounds}]
            playbook.write_text(json.dumps(play), encoding="utf-8")
            seconds.append(self.play(hosts, str(playbook))["seconds"])
        return round((seconds[1] - seconds[0]) / ROUNDS, 2)


def deploy(hosts: Sequence[str], new: str) -> dict[str, Any]:
    """site.yml on fresh hosts, again, with a changed partition, and for one new node."""
    with fresh("bench", [*hosts, new]) as addresses, tempfile.TemporaryDirectory() as folder:
        site = Site(addresses, Path(folder))
        found = {
            "first run": site.site(hosts),
            "unchanged": site.site(hosts),
            "one partition": site.site(hosts, "-e", json.dumps(PARTITION)),
            "one new node": site.site([*hosts, new], "-e", json.dumps(PARTITION), "--limit", new),
        }
        changed = found["unchanged"]["changed"]
        if any(changed.values()):
            raise SystemExit(f"a run without a change has changed {changed}")
        return {"runs": found, "round": site.round(hosts)}


def row(count: int, kind: str, run: Mapping[str, Any], beside: Mapping[str, float]) -> str:
    """A line of the table."""
    calls = max(number for host, number in run["calls"].items() if host.startswith("node"))
    ratio = f"{run['seconds'] / beside[kind]:8.1f}" if kind in beside else " " * 8
    return f"{count:5} {kind:14} {run['seconds']:8.1f} {beside.get(kind, '')!s:>8} {ratio} {calls:6} {run['tasks']:6}"


def main() -> None:
    """Measure, and print."""
    numbers = [int(text) for text in sys.argv[1:]] or [3, 8]
    results = {}
    print(f"{'hosts':5} {'run':14} {'seconds':>8} {'floor':>8} {'ratio':>8} {'calls':>6} {'tasks':>6}")
    for count in numbers:
        *hosts, new = ["head", *(f"node{number}" for number in range(1, count + 1))]
        beside = floor(hosts)
        results[count] = {"floor": beside, **deploy(hosts, new)}
        for kind, run in results[count]["runs"].items():
            print(row(count, kind, run, beside))
        print(f"{count:5} one round of a trivial module: {results[count]['round']} s", flush=True)
    for count, result in results.items():
        for kind, run in result["runs"].items():
            print(f"\nslowest tasks with {count} hosts, {kind}:")
            print("\n".join(f"{seconds:8.2f} {task}" for seconds, task in run["slowest"]))
    (ROOT / ".cache/bench.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
