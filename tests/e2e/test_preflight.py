# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight on hosts with a fault each: all of them are told at once, on the screen and in the report."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from . import play
from .cluster import Cluster, Machine

pytestmark = [
    pytest.mark.disruptive,
    pytest.mark.skipif(
        os.environ.get("MOLECULE_SCENARIO_NAME", "two-hosts") != "two-hosts",
        reason="the scenario two-hosts plays these",
    ),
]

NOWHERE = "203.0.113.9"
STRANGER = "slurm-smd-double"
CONTROL = (
    f"Package: {STRANGER}\\nVersion: 1\\nArchitecture: all\\nMaintainer: a test <x@example.org>\\nDescription: one\\n"
)
PACKAGE = f"""
    mkdir -p /tmp/{STRANGER}/DEBIAN && cd /tmp/{STRANGER} && printf '{CONTROL}' >DEBIAN/control &&
    dpkg-deb --build . /tmp/{STRANGER}.deb >/dev/null && dpkg --install /tmp/{STRANGER}.deb
"""
MINIMA = {"nfs": {"memory_gb": 1000000}, "nodes": {"free_gb": {"/srv": 0.1}}}
KEYS = {"check", "level", "where", "what", "found", "accepted", "fix", "text"}


class Fault(NamedTuple):
    """Something that is wrong with one host, and how preflight tells it."""

    machine: Machine
    plant: str
    remove: str
    tells: tuple[str, str, str]
    """Its check, its level, and what it is about."""
    found: str
    """A regular expression."""
    accepted: str
    """Likewise."""


def edited(path: str, change: str) -> tuple[str, str]:
    """A file changed by sed, and put back; in its place, where the engine of containers mounts some."""
    kept = f"/run/{Path(path).name}.before"
    return f"cp -p {path} {kept} && sed '{change}' {kept} >{path}", f"cat {kept} >{path} && rm {kept}"


def faults(cluster: Cluster) -> list[Fault]:
    """Every one on one host, a few of them on the same."""
    head = cluster.head
    one, other = (machine for machine in cluster.nodes if machine is not head)
    address = {machine.name: machine.output("hostname -I").split()[0] for machine in (head, one, other)}
    names, ports = ("names", "warn", "name resolution"), ("ports", "fail", "way to others")
    answers = "a port that answers or refuses"
    return [
        # Its own name on loopback: what a job there tells the others leads them to themselves.
        Fault(
            other,
            *edited("/etc/hosts", f"$ a 127.0.0.5 {other.node}"),
            ("names", "warn", "/etc/hosts"),
            f"{other.node} on a loopback address",
            f"its own name on {address[other.name]}",
        ),
        # An old address of the head, on one node.
        Fault(
            one,
            *edited("/etc/hosts", f"s/^{re.escape(address[head.name])}\\b/{NOWHERE}/"),
            names,
            f"{head.node} at {NOWHERE}",
            f"{head.node} at {address[head.name]}",
        ),
        Fault(
            one,
            *edited("/etc/passwd", f"s/^{cluster.user}:/stranger:/"),
            ("ids", "fail", "the cluster's account"),
            r"user stranger with the id \d+",
            "names and ids that are free, or ours",
        ),
        Fault(
            head,
            PACKAGE,
            f"dpkg --purge {STRANGER}; rm -r /tmp/{STRANGER}*",
            ("packages", "fail", "conflicting packages"),
            STRANGER,
            "none of them",
        ),
        Fault(
            other,
            "mount -t tmpfs -o size=1m tmpfs /srv",
            "umount /srv",
            ("disk", "fail", "free space of /srv"),
            "0 GB",
            r"0\.1 GB or more for nodes",
        ),
        # What a firewall does: the one cannot send, and what the other sends is never answered.
        Fault(
            one,
            f"ip route add unreachable {address[other.name]}",
            f"ip route del unreachable {address[other.name]}",
            ports,
            rf"no way to {other.name} .* port 6818 \(No route to host\)",
            answers,
        ),
        Fault(other, "true", "true", ports, rf"no way to {one.name} .* port 6818 \(Connection timed out\)", answers),
        # By a minimum that no host has.
        Fault(
            cluster.group("nfs")[0],
            "true",
            "true",
            ("memory", "warn", "memory"),
            r"[\d.]+ GB",
            r"1e\+06 GB or more for nfs",
        ),
    ]


@contextmanager
def planted(every: list[Fault]) -> Iterator[None]:
    """All of them, for a while."""
    with ExitStack() as stack:
        for fault in every:
            stack.callback(fault.machine.output, fault.remove)
            fault.machine.output(fault.plant)
        yield


def preflight(
    cluster: Cluster, folder: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The run, as a person sees it, and its report."""
    done = subprocess.run(
        play.command(
            "ansible-playbook", *play.sources(cluster.inventory), *arguments, str(play.ROOT / "playbooks/preflight.yml")
        ),
        cwd=folder,
        env={"ANSIBLE_CONFIG": str(play.ROOT / "ansible.cfg"), **os.environ, "ANSIBLE_LOG_PATH": "/dev/null"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads((folder / "preflight.json").read_text())
    return done, report


def is_of(finding: dict[str, Any], fault: Fault) -> bool:
    """Whether it tells this fault, of this host."""
    told = (finding["where"], finding["check"], finding["level"], finding["what"])
    return told == (fault.machine.name, *fault.tells) and bool(re.fullmatch(fault.found, finding["found"]))


def test_every_fault_is_told_at_once(cluster: Cluster, tmp_path: Path) -> None:
    minima = ("-e", json.dumps({"preflight_minima": MINIMA}))
    every = faults(cluster)
    with planted(every):
        bad, told = preflight(cluster, tmp_path, *minima)
    good, clean = preflight(cluster, tmp_path)

    # One finding is one fault, and every fault is found, whole.
    usual = [finding["text"] for finding in clean["findings"]]
    new = [finding for finding in told["findings"] if finding["text"] not in usual]
    for finding in new:
        assert set(finding) == KEYS
        assert finding["fix"], finding
    for fault in every:
        matching = [each for each in new if is_of(each, fault)]
        assert len(matching) == 1, json.dumps([fault[3:], new], indent=1)
        assert re.fullmatch(fault.accepted, matching[0]["accepted"])
    assert len(new) == len(every), new
    assert set(told["hosts"]) == {machine.name for machine in cluster.machines}

    # What fails the run ends it, with all of it in one message; the others are warnings.
    assert bad.returncode != 0
    printed = bad.stdout.replace("\\n", "\n")
    for finding in new:
        assert finding["text"] in printed
        assert (f"WARNING: {finding['text']}" in printed) == (finding["level"] == "warn")
    assert {*told["failed"]} == {finding["text"] for finding in new if finding["level"] == "fail"}

    assert (good.returncode, clean["failed"]) == (0, []), good.stdout
    assert f"nothing stands in the way on {len(cluster.machines)} hosts" in good.stdout


def test_a_network_that_no_host_is_in(cluster: Cluster, tmp_path: Path) -> None:
    done, told = preflight(cluster, tmp_path, "-e", "cluster_network=203.0.113.0/24")
    assert done.returncode != 0
    found = {each["where"]: each for each in told["findings"] if each["check"] == "address"}
    assert set(found) == {machine.name for machine in cluster.machines}
    for machine in cluster.machines:
        finding = found[machine.name]
        assert finding["found"] in machine.output("hostname -I").split()
        assert finding["accepted"] == "an address in cluster_network 203.0.113.0/24"
        assert "nodes_address" in finding["fix"]
