# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the cluster's network, in the kernel: ports that only the cluster reaches, and a way to the heads."""

from __future__ import annotations

import json
import socket

import pytest

from ..e2e import play
from ..e2e.cluster import wait_for
from .conftest import Lab


def address(lab: Lab, name: str) -> str:
    """The address of a host in the cluster's network."""
    return lab.host("node1").output(f"getent hosts {name}").split()[0]


def answers(where: tuple[str, int]) -> bool:
    """Whether this machine, which is outside the cluster, reaches a port."""
    try:
        with socket.create_connection(where, timeout=5):
            return True
    except TimeoutError:
        return False
    except ConnectionRefusedError:
        return True


def test_only_the_cluster_reaches_the_ports_of_slurm(lab: Lab) -> None:
    head = address(lab, "head0")
    inside = "timeout 5 bash -c 'exec 3<>/dev/tcp/head0/6817'"
    assert lab.host("node1").shell.run(inside).rc == 0
    assert lab.host("head0").shell.run(inside).rc == 0
    # Other ports are as they were, so it is the rule that keeps this machine out.
    assert answers((head, 22))
    assert not answers((head, 6817))
    # Where srun listens, and nobody does now: a port that is let through refuses at once.
    assert lab.host("node1").shell.run("timeout 5 bash -c 'exec 3<>/dev/tcp/head0/60001' 2>&1 | grep refused").rc == 0
    assert not answers((head, 60001))


def test_a_firewall_that_refuses_is_no_port_that_nobody_listens_on(lab: Lab) -> None:
    node = lab.host("node1")
    where = address(lab, "node1")
    ports = {7001: "reject", 7002: "reject with tcp reset", 7003: "accept"}
    asked = {"connect": [{"host": where, "port": port} for port in ports]}
    rules = " ".join(f"tcp dport {port} {verdict};" for port, verdict in ports.items())
    node.output(f"nft 'table inet others {{ chain input {{ type filter hook input priority 0; {rules} }}; }}'")
    try:
        module = ("-m", "aicluster.slurm.host_reach", "-a", json.dumps(asked))
        report = play.run(play.command("ansible", "-i", lab.cluster.inventory, "head0", *module))
    finally:
        node.output("nft delete table inet others")
    [(_host, _task, result)] = play.results(report)
    # The kernel's own refusal is a reset, and so is one that looks like it.
    assert result["reach"]["unreachable"] == [f"{where} port 7001 (a firewall refuses)"]


def test_a_port_of_the_gateway_leads_to_the_head(lab: Lab) -> None:
    port = 22000 + int(address(lab, "head0").split(".")[3])
    with socket.create_connection((address(lab, "nfs0"), port), timeout=10) as connection:
        assert connection.recv(4) == b"SSH-"
    fingerprint = lab.host("node1").output(f"ssh-keyscan -t ed25519 -p {port} nfs0 2>/dev/null").split()[-1]
    assert fingerprint in lab.host("head0").output("cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert lab.host("head0").shell.run(f"ss -ltn | grep :{port}").rc == 1


@pytest.mark.parametrize("name", ["nfs0", "node1"])
def test_rules_come_again_at_each_start_and_beside_those_of_others(lab: Lab, name: str) -> None:
    host = lab.host(name)
    assert host.output("systemctl is-enabled aicluster-network") == "enabled"
    host.output("nft add table inet others")
    host.output("systemctl restart aicluster-network")
    tables = host.output("nft list tables").splitlines()
    host.output("nft delete table inet others")
    assert {"table inet others", "table inet aicluster"} <= set(tables)


@pytest.mark.parametrize("verb", ["start", "restart", "reload", "stop nftables; systemctl start"])
def test_rules_outlive_those_of_the_machine(lab: Lab, verb: str) -> None:
    """nftables.service flushes all rules before it reads its own."""
    node = lab.host("node1")
    # Debian's service may be started five times in ten seconds; one that nobody refers to is not known here.
    node.shell.run("systemctl reset-failed nftables")
    if verb != "start":
        node.output("systemctl start nftables")
    node.output("nft add table inet others")
    node.output(f"systemctl {verb} nftables")
    # Its reload follows that of the other one, for which alone systemctl waits.
    wait_for(lambda: "table inet aicluster" in node.output("nft list tables"), bool)
    tables = node.output("nft list tables").splitlines()
    active = "systemctl is-active aicluster-network"
    assert wait_for(lambda: node.shell.run(active).rc == 0, bool)
    node.output("systemctl stop nftables; systemctl start aicluster-network")
    assert "table inet others" not in tables
    assert "table inet aicluster" in tables


def test_rules_that_are_off_are_gone(lab: Lab) -> None:
    node = lab.host("node1")
    off = lab.play({"common_firewall": False}, "--limit", "node1")
    assert off.rc == 0, off.said
    assert "inet aicluster" not in node.output("nft list tables")
    assert node.shell.run("systemctl cat aicluster-network").rc == 1
    on = lab.play({}, "--limit", "node1")
    assert on.rc == 0, on.said
    assert "inet aicluster" in node.output("nft list tables")
