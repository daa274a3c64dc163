# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The states of slurm_node that take programs of the site, or nodes that are not in slurm.conf."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..e2e.cluster import wait_for
from .conftest import Controller

CALLS, STOP = "/var/tmp/calls", "/var/tmp/stop"
# The programs of a site write down for whom they were called. The test is the power supply; the reboot is one of slurmd
# alone, which calls itself rebooted (-b).
PROGRAMS = f"""
for name in suspend resume reboot; do
    printf '#!/bin/sh\\necho %s "$@" >>{CALLS}\\n' $name >/usr/local/bin/$name
done
# Without an accuracy of its own a timer may be a minute late.
when='--on-active=2 --timer-property=AccuracySec=100ms'
echo "systemd-run --quiet $when systemctl restart slurmd" >>/usr/local/bin/reboot
chmod +x /usr/local/bin/suspend /usr/local/bin/resume /usr/local/bin/reboot
install -m 0666 /dev/null {CALLS}
"""
ABLE = {
    "RebootProgram": "/usr/local/bin/reboot",
    "SuspendProgram": "/usr/local/bin/suspend",
    "ResumeProgram": "/usr/local/bin/resume",
    "SuspendTime": 86400,
    "SuspendTimeout": 5,
    "ResumeTimeout": 60,
    "MaxNodeCount": 10,
    "PrivateData": "cloud",
}


@pytest.fixture(scope="module")
def unable(controller: Controller) -> Controller:
    """A cluster of one node that runs, with none of these programs."""
    controller.output(f"set -e{PROGRAMS}")
    controller.output("systemctl start slurmd")
    controller.wait_for_state("n1", "IDLE")
    return controller


@pytest.fixture(scope="module")
def able(unable: Controller) -> Iterator[Controller]:
    """The same, with the programs."""
    unable.use(unable.options(**ABLE))
    unable.output("systemctl restart slurmd")
    unable.wait_for_state("n1", "IDLE")
    yield unable
    unable.output("systemctl stop slurmd")


def calls(controller: Controller, *wanted: str) -> list[str]:
    """What the programs were called with, as soon as that is as wanted."""
    found = wait_for(
        lambda: [line.strip() for line in controller.output(f"cat {CALLS}").splitlines()],
        lambda lines: lines == list(wanted),
        seconds=60,
    )
    controller.output(f": >{CALLS}")
    return found


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("rebooted", "slurm.conf has no RebootProgram"),
        ("powered_down", "need SuspendProgram and ResumeProgram"),
    ],
)
def test_without_the_program_the_cause_is_named(unable: Controller, state: str, said: str) -> None:
    assert said in unable.fails("slurm_node", name="n1", state=state)
    assert unable.state("n1") == {"IDLE"}


def test_without_a_place_no_node_is_made(unable: Controller) -> None:
    # 22.05 makes a node even so, and shows it to nobody.
    said = "`cloud` in PrivateData" if unable.version < (23, 2) else "look at MaxNodeCount"
    assert said in unable.fails("slurm_node", name="d1", state="present")
    assert list(unable.shown("nodes")) == ["n1"]


def test_a_reboot_waits_for_the_job(able: Controller) -> None:
    able.output(f"rm -f {STOP}")
    job = able.output(
        f"cd / && sbatch --parsable -o /dev/null --wrap 'until [ -e {STOP} ]; do sleep 0.2; done'"
    ).strip()
    able.wait_for_state("n1", "ALLOCATED")
    wanted = {"name": "n1", "state": "rebooted", "reason": "new kernel"}
    result = able.run("slurm_node", **wanted)
    command = ["scontrol", "reboot", "ASAP", "nextstate=RESUME", "reason=aicluster: new kernel", "n1"]
    assert (result["changed"], result["commands"]) == (True, [command])
    assert {"DRAIN", "REBOOT_REQUESTED"} <= able.state("n1")
    again = able.run("slurm_node", **wanted)
    assert (again["changed"], again["commands"]) == (False, [])
    assert calls(able) == []
    able.output(f"touch {STOP}")
    assert calls(able, "reboot") == ["reboot"]
    able.wait_for_state("n1", "IDLE")
    assert "JobState=COMPLETED" in able.output(f"scontrol show job {job}")


def test_power(able: Controller) -> None:
    result = able.run("slurm_node", name="n1", state="powered_down")
    assert (result["changed"], result["commands"]) == (
        True,
        [["scontrol", "update", "NodeName=n1", "State=POWER_DOWN"]],
    )
    assert not able.run("slurm_node", name="n1", state="powered_down")["changed"]
    assert calls(able, "suspend n1") == ["suspend n1"]
    able.output("systemctl stop slurmd")
    able.wait_for_state("n1", "IDLE", "POWERED_DOWN")
    assert not able.run("slurm_node", name="n1", state="powered_down")["changed"]

    result = able.run("slurm_node", name="n1", state="powered_up")
    assert (result["changed"], result["commands"]) == (True, [["scontrol", "update", "NodeName=n1", "State=POWER_UP"]])
    assert not able.run("slurm_node", name="n1", state="powered_up")["changed"]
    assert calls(able, "resume n1") == ["resume n1"]
    able.output("systemctl start slurmd")
    able.wait_for_state("n1", "IDLE")
    assert not able.run("slurm_node", name="n1", state="powered_up")["changed"]


def test_dynamic_nodes_come_and_go(able: Controller) -> None:
    wanted = {"name": "d[1-2]", "state": "present", "features": ["burst"], "weight": 7, "comment": "on loan"}
    predicted = able.run("slurm_node", **wanted, _ansible_check_mode=True)
    assert list(able.shown("nodes")) == ["n1"]
    made = able.run("slurm_node", **wanted)
    assert (made["changed"], made["before"], made["commands"]) == (True, {}, predicted["commands"])
    assert made["after"] == predicted["after"]
    for name in ("d1", "d2"):
        node = able.shown("nodes")[name]
        assert (node["AvailableFeatures"], node["Weight"], node["Comment"]) == ("burst", "7", "on loan")
        assert {"CLOUD", "DYNAMIC_NORM"} <= able.state(name)
    assert not able.run("slurm_node", **wanted)["changed"]

    # A node like any other: its machine is asked for.
    assert able.run("slurm_node", name="d1", state="powered_up")["changed"]
    assert calls(able, "resume d1") == ["resume d1"]

    said = able.fails("slurm_node", name="n1,d2", state="absent")
    assert "n1 stands in slurm.conf" in said
    assert set(able.shown("nodes")) == {"d1", "d2", "n1"}
    gone = able.run("slurm_node", name="d[1-2]", state="absent")
    assert (gone["changed"], gone["after"]) == (True, {})
    assert list(able.shown("nodes")) == ["n1"]
    assert not able.run("slurm_node", name="d[1-2]", state="absent")["changed"]
    assert able.state("n1") == {"IDLE"}
