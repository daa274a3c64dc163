# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_case import RefusedError
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import HEADER
from slurm_config_host import (
    AFTER,
    BEFORE,
    DESCRIBED_ANEW,
    FOREIGN,
    LIVE,
    OPTIONS,
    PING,
    QUEUE,
    RECONFIGURE,
    VERSION,
    Host,
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_foreign_files_are_not_lost(host: Host) -> None:
    host.put(FOREIGN + "NodeName=old CPUs=2\nPartitionName=x Nodes=old MaxTime=1:00\n")
    (host.etc / "plugstack.conf").write_text("optional x.so\n", encoding="utf-8")
    (host.etc / "gres.conf").write_text("NodeName=n1 Name=gpu File=/dev/gpu0\n", encoding="utf-8")
    before = host.state()
    with pytest.raises(RefusedError) as caught:
        host.use(VERSION)
    assert str(caught.value).split("\n", 1)[1].splitlines() == [
        "cluster_config:",
        '  MailProg: "/bin/mail"',
        "nodes of the inventory:",
        "  old:",
        '    NodeAddr: "old"',
        '    CPUs: "2"',
        "cluster_partitions:",
        "  x:",
        '    Nodes: "old"',
        '    MaxTime: "1:00"',
        "cluster_gres:",
        '  - {"NodeName": "n1", "Name": "gpu", "File": "/dev/gpu0"}',
        "cluster_plugstack:",
        '  - "optional x.so"',
    ]
    assert host.state() == before


@pytest.mark.parametrize(("adopt", "there"), [("keep", True), ("drop", False)])
def test_foreign_files_that_are_kept_or_dropped(host: Host, adopt: str, there: bool) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt=adopt)
    assert ("MailProg=/bin/mail" in host.text()) is there
    assert host.copy("previous") == FOREIGN


def test_what_was_kept_stays_until_the_data_has_it(host: Host) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep")
    text = host.text()
    assert not host.use(*LIVE, adopt="keep")["changed"]
    with pytest.raises(RefusedError, match=r'\ncluster_config:\n  MailProg: "/bin/mail"$'):
        host.use(VERSION)
    assert host.text() == text
    pasted = {**OPTIONS["config"], "MailProg": "/bin/mail"}
    assert not host.use(*LIVE, config=pasted)["changed"]
    # From now on it is data like any other.
    assert host.use(*LIVE, *QUEUE, state="planned")["plan"]["action"] == "reconfigure"


def test_what_is_in_the_data_by_now_goes_with_it(host: Host) -> None:
    """As a node that was decommissioned after it had been put into the inventory."""
    host.put(FOREIGN + "NodeName=old CPUs=2\nPartitionName=x Nodes=old\n")
    (host.etc / "gres.conf").write_text("NodeName=old Name=gpu File=/dev/gpu0\n", encoding="utf-8")
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep")
    nodes = [*OPTIONS["nodes"], {"NodeName": "old", "NodeAddr": "old", "CPUs": 2}]
    partitions = {**OPTIONS["partitions"], "x": {"Nodes": "old"}}
    assert not host.use(*LIVE, adopt="keep", nodes=nodes, partitions=partitions)["changed"]
    # Its GPUs are in no data, and stay as long as it is there.
    assert "NodeName=old" in host.texts()["gres.conf"]
    changes = host.use(*LIVE, *QUEUE, adopt="keep", state="planned")["plan"]["changes"]
    assert {(change["kind"], change["name"]) for change in changes} >= {
        ("node", "old"),
        ("partition", "x"),
        ("gres.conf", "old"),
    }


def test_what_was_kept_goes_when_it_is_dropped(host: Host) -> None:
    host.put(FOREIGN)
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep")
    host.use(*LIVE, *QUEUE, *BEFORE, RECONFIGURE, PING, *AFTER, adopt="drop")
    assert "MailProg" not in host.text()
    assert not host.use(*LIVE)["changed"]


def test_only_what_was_foreign_is_kept(host: Host) -> None:
    host.put(FOREIGN)
    partitions = {**OPTIONS["partitions"], "night": {"Nodes": "ALL"}}
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW, adopt="keep", partitions=partitions)
    host.use(*LIVE, *QUEUE, *BEFORE, RECONFIGURE, PING, *AFTER, adopt="keep")
    assert "night" not in host.text()
    assert "MailProg=/bin/mail" in host.text()


def test_foreign_files_of_which_nothing_is_lost(host: Host) -> None:
    host.put(FOREIGN.replace("MailProg=/bin/mail\n", ""))
    host.use(*LIVE, *QUEUE, *DESCRIBED_ANEW)
    assert host.text().startswith(HEADER)


def test_foreign_files_with_what_they_include(host: Host) -> None:
    host.put("Include nodes.conf\nClusterName=lab\nSlurmctldHost=head(10.0.0.1)\nPartitionName=main Nodes=ALL\n")
    (host.etc / "nodes.conf").write_text("NodeName=n[1-3]\n", encoding="utf-8")
    with pytest.raises(RefusedError, match="nodes of the inventory:\n  n3:"):
        host.use(VERSION)
