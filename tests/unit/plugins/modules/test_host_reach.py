# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import host_reach as reach
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result
from ansible_collections.aicluster.slurm.plugins.modules import host_reach
from module_arguments import module_arguments

POLICY = "slurm-client:\n  Installed: (none)\n  Candidate: 24.11.5-4\n  Version table:\n     24.11.5-4 500\n"


@pytest.mark.parametrize(
    ("text", "version"), [(POLICY, "24.11.5-4"), ("slurm-client:\n  Candidate: (none)\n", ""), ("", "")]
)
def test_candidate_version(text: str, version: str) -> None:
    assert reach.candidate_version(text) == version


def test_resolver() -> None:
    assert reach.addresses("localhost") == ["127.0.0.1"]
    assert "localhost" in reach.names("127.0.0.1")
    with pytest.raises(OSError, match=r".*"):
        reach.addresses("no.such.host.invalid")


def test_ports() -> None:
    with socket.socket() as listening, socket.socket() as closed:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        closed.bind(("127.0.0.1", 0))  # nobody listens: it refuses
        ports = [each.getsockname()[1] for each in (listening, closed)]
        targets = [reach.Target("127.0.0.1", port) for port in ports]
        assert reach.unreachable(targets, 2) == []
        # A network that has no way, and one for examples that nobody answers in (RFC 5737)
        lost = reach.unreachable([*targets, reach.Target("255.255.255.255", 22)], 0.5)
    assert [text.split(" (")[0] for text in lost] == ["255.255.255.255 port 22"]


REJECTED = [(0, 11, b"o\x00\x00\x00\x02\x03\x03" + bytes(9) + b"\x02\x00\x00\x00\x7f\x00\x00\x01" + bytes(8))]
"""What Linux 6.18 queued for a port of 127.0.0.1 with iptables' REJECT."""

OWN = [(0, 11, b"o\x00\x00\x00\x01\x00\x00\x00" + bytes(24))]
"""An error of this host itself (SO_EE_ORIGIN_LOCAL of linux/errqueue.h)."""


@pytest.mark.parametrize(("queued", "lost"), [(REJECTED, ["a firewall refuses"]), (OWN, []), ([], [])])
def test_a_firewall_may_refuse(
    monkeypatch: pytest.MonkeyPatch, queued: list[tuple[int, int, bytes]], lost: list[str]
) -> None:
    def queue(_socket: socket.socket, _size: int, _ancillary: int, flags: int) -> tuple[Any, ...]:
        assert flags == socket.MSG_ERRQUEUE
        return b"", queued, flags, None

    monkeypatch.setattr(socket.socket, "recvmsg", queue, raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        target = reach.Target(*closed.getsockname())
        assert reach.unreachable([target], 2) == [f"127.0.0.1 port {target.port} ({why})" for why in lost]


def test_no_more_ports_at_once_than_a_process_may_have_open(monkeypatch: pytest.MonkeyPatch) -> None:
    lots: list[int] = []

    def one(lot: Sequence[reach.Target], _seconds: float) -> list[str]:
        lots.append(len(lot))
        return [f"{lot[0].port}"]

    monkeypatch.setattr(reach, "_unreachable", one)
    targets = [reach.Target("node", port) for port in range(1000, 2100)]
    assert reach.unreachable(iter(targets), 1.0) == ["1000", "1400", "1800"]
    assert lots == [400, 400, 300]


@pytest.mark.parametrize("apt", [True, False])
def test_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, apt: bool) -> None:
    if apt:
        (tmp_path / "apt-cache").touch(mode=0o755)

    def run(argv: Sequence[str]) -> Result:
        assert list(argv) == reach.POLICY
        return Result(list(argv), 0, POLICY, "")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host_reach, "module_runner", lambda _module: run)
    options = {"resolve": {"localhost": "127.0.0.1"}, "connect": [{"host": "255.255.255.255", "port": 22}]}
    with module_arguments(options), pytest.raises(SystemExit) as end:
        host_reach.main()
    assert end.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] is False
    assert result["reach"]["addresses"] == {"localhost": ["127.0.0.1"]}
    assert "localhost" in result["reach"]["names"]["127.0.0.1"]
    assert len(result["reach"]["unreachable"]) == 1
    assert result["reach"]["slurm"] == ("24.11" if apt else "")
