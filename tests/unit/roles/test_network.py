# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the cluster's network as they are written; tests/accounts has them in a kernel."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Values

MAP = {"n0": {"address": "10.0.0.1"}, "n1": {"address": "192.0.2.7"}, "n2": {"address": ""}}


@pytest.fixture
def value(role_value: Values) -> Values:
    def of_common(name: str, **said: Any) -> Any:
        return role_value("common", name, **{"__cluster_map": MAP, "inventory_hostname": "n0", **said})

    return of_common


def lines(value: Values, **said: Any) -> list[str]:
    return [line.strip() for line in value("__common_rules", **said)["content"].splitlines()]


def test_a_host_outside_of_the_clusters_network_is_let_in(value: Values) -> None:
    rules = lines(value, common_firewall=True, cluster_network="10.0.0.0/24", cluster_config={"SrunPortRange": "6-7"})
    assert "set inside { type ipv4_addr; flags interval; elements = { 10.0.0.0/24 } }" in rules
    assert "set members { type ipv4_addr; elements = { 10.0.0.1, 192.0.2.7 } }" in rules
    assert "ip saddr != @inside ip saddr != @members tcp dport { 6817, 6818, 2049, 6-7 } drop" in rules


def test_ports_of_srun_are_closed_for_others(value: Values) -> None:
    """The kernel gives ports up to 60999 to connections that this host begins, so answers are let in before."""
    rules = lines(value, common_firewall=True)
    drop = "ip saddr != @inside ip saddr != @members tcp dport { 6817, 6818, 2049, 60001-63000 } drop"
    assert rules.index("ct state established,related accept") < rules.index(drop)
    without = lines(value, common_firewall=True, cluster_config={"SrunPortRange": None})
    assert "ip saddr != @inside ip saddr != @members tcp dport { 6817, 6818, 2049 } drop" in without


def test_only_the_clusters_network_is_forwarded(value: Values) -> None:
    rules = lines(value, common_nat_interface="eth0", cluster_network="10.0.0.0/24")
    assert 'ip saddr @inside ip daddr != @inside oifname "eth0" masquerade' in rules
    assert 'oifname "eth0" ip saddr != @inside drop' in rules
    assert "chain input {" not in rules


def test_the_rules_come_before_the_network_and_after_those_of_others(value: Values) -> None:
    """By default a unit comes after sysinit.target, and so after cloud-init, which comes after the network."""
    unit = value("__common_rules_unit")["content"].splitlines()
    assert {"DefaultDependencies=no", "Before=network-pre.target shutdown.target", "Conflicts=shutdown.target"} <= {
        *unit
    }
    # nftables.service flushes all rules.
    assert {"After=nftables.service", "PartOf=nftables.service", "ReloadPropagatedFrom=nftables.service"} <= {*unit}
    load = "/usr/sbin/nft --file /etc/aicluster/network.nft"
    assert {f"ExecStart={load}", f"ExecReload={load}"} <= {*unit}


def test_nftables_brings_the_rules_when_it_starts_beside_them(value: Values) -> None:
    drop_in = value("__common_rules_again")
    assert drop_in["path"] == "/etc/systemd/system/nftables.service.d/aicluster.conf"
    assert {
        "Wants=aicluster-network.service",
        "ExecStartPost=-/usr/sbin/nft --file /etc/aicluster/network.nft",
    } <= {*drop_in["content"].splitlines()}
    found = {"survey": {**FOUND["survey"], "cloud_init": False}}
    run = {"__cluster_survey": found, "ansible_facts": {}, "common_control_key": "", "common_ssh_mesh": {}}
    assert drop_in in value("__common_files", **run, common_firewall=True)
    assert drop_in not in value("__common_files", **run)
    assert drop_in["path"] in value("__common_absent", **run)


def test_rules_change_without_a_moment_that_has_none(value: Values) -> None:
    run = {"__cluster_survey": FOUND, "ansible_facts": {}, "common_control_key": "", "common_firewall": True}
    (service,) = (each for each in value("__common_services", **run) if each["name"] == "aicluster-network.service")
    assert service["reload"] is True


FOUND = {
    "survey": {"locale": "/etc/default/locale", "login": "", "groups": {}, "packages": {"lacking": [], "there": []}}
}


def findings(value: Values, **said: Any) -> list[str]:
    found: list[str] = value(
        "__common_findings", __cluster_survey=FOUND, ansible_facts={}, common_control_key="", **said
    )
    return found


def test_a_gateway_that_no_run_comes_to_is_refused(value: Values) -> None:
    asked = {"common_gateway": "router", "common_nat_interface": "eth0"}
    assert value("__common_asked_for", **asked) is True
    assert findings(value, **asked) == [
        "common_gateway: found router; accepted: a host of the groups nfs, head, nodes and gpu"
    ]
    assert findings(value, common_nat_interface="eth0") == []
    # Nothing asks for a gateway.
    assert findings(value, common_gateway="router") == []


def test_one_port_leads_to_one_head(value: Values) -> None:
    heads = {"n0": {"address": "10.0.0.5"}, "n1": {"address": "10.0.1.5"}}
    asked = {"common_ssh_ports": True, "__cluster_heads": ["n0", "n1"], "common_gateway": "n0"}
    assert findings(value, __cluster_map=heads, **asked) == [
        "common_ssh_ports: found heads at 10.0.0.5 and 10.0.1.5; accepted: addresses that end in different numbers"
    ]
    assert findings(value, **asked) == []
