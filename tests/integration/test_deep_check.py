# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slurm judges a thousand nodes that nobody knows: soon, and without a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from scale import nodes

from .conftest import Controller

COUNT = 1_000
SECONDS = 5
TURNS = 3
"""The machine may do something else meanwhile: one turn has to be quick enough."""

# The addresses of scale.nodes lead to a wire with nobody at its end, and so does the resolver's.
WIRE = """
ip link add away type veth peer name nobody
for end in away nobody; do ip link set $end addrgenmode none; ip link set $end up; done
ip address add 198.18.255.254/15 dev away
cp /etc/resolv.conf /var/tmp/resolv.conf
echo nameserver 198.18.255.53 >/etc/resolv.conf
"""
CUT = "cat /var/tmp/resolv.conf >/etc/resolv.conf; ip link delete away"


@pytest.fixture
def wire(controller: Controller) -> Iterator[None]:
    controller.output(f"set -e{WIRE}")
    yield
    controller.output(CUT)


def sent(controller: Controller) -> int:
    """How many packets went to nodes or the resolver, questions for their hardware addresses among them."""
    return int(controller.output("cat /sys/class/net/away/statistics/tx_packets"))


def traces(controller: Controller) -> list[str]:
    """The processes, files and interfaces that a check could leave."""
    return [
        controller.output("pgrep --list-name 'slurm|scontrol|unshare|python|sleep'"),
        controller.output("find /tmp /etc/slurm /var/lib/aicluster /var/spool/slurmctld -type d | sort"),
        controller.output("sha256sum /etc/slurm/*; ip -brief address; cat /proc/mounts /etc/hosts"),
    ]


@pytest.mark.usefixtures("wire")
def test_a_thousand_nodes(controller: Controller) -> None:
    options = controller.options()
    options["nodes"] += nodes(COUNT)
    before, pid, packets = traces(controller), controller.pid(), sent(controller)
    took = []
    for _turn in range(TURNS):
        began = time.monotonic()
        result = controller.run("slurm_config", **options, state="planned")
        took.append(time.monotonic() - began)
        assert result["validated"] == "deep"
        assert len(result["plan"]["nodes"]["added"]) == COUNT
        if took[-1] < SECONDS:
            break
    print(f"{COUNT} nodes: {min(took):.1f} s")
    assert min(took) < SECONDS
    assert traces(controller) == before
    assert controller.pid() == pid
    assert sent(controller) == packets
    # What looks for a node is seen.
    assert controller.machine.shell.run("timeout 2 getent hosts node00001").rc
    assert sent(controller) > packets
