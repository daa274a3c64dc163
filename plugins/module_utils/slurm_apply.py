# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes slurmctld run with the files that are in place, sees whether the cluster took them, and says if it did not."""

from __future__ import annotations

import time
from typing import Callable, Mapping

from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Runner, require

INVALID = "INVALID_REG"
"""A node that reports less than slurm.conf says of it (scontrol show node, 22.05 and later)."""


class NotTakenError(Exception):
    """The cluster did not take the configuration; the text says what was seen."""


class Controller:
    """slurmctld of this host, driven by systemctl and scontrol; keeps the commands that changed something."""

    def __init__(
        self,
        run: Runner,
        timeout: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.timeout = timeout
        self.sleep = sleep
        self.clock = clock
        self.commands: list[list[str]] = []

    def is_active(self) -> bool:
        """Whether systemd sees the daemon running."""
        return self.run(["systemctl", "is-active", "--quiet", "slurmctld"]).rc == 0

    def version(self) -> str:
        """The version that is installed, such as 22.05.8. scontrol of 22.05 needs a configuration to tell its own."""
        return require(self.run(["slurmctld", "-V"])).stdout.split()[-1]

    def stop(self) -> None:
        """Stop the daemon."""
        self.commands.append(["systemctl", "stop", "slurmctld"])
        self.run(self.commands[-1])

    def nodes(self, version: str) -> dict[str, scontrol.Node]:
        """Every node as slurmctld sees it now."""
        return scontrol.read_nodes(self.run, scontrol.parse_version(f"slurm {version}"))

    def apply(self, action: str) -> None:
        """Start, reconfigure or restart; after a restart 22.05's slurmds keep the old files until a reconfigure."""
        if action == "reconfigure":
            self._change(["scontrol", "reconfigure"])
        else:
            self._change(["systemctl", "restart", "slurmctld"])
            self.wait_for_answer()
            self._change(["scontrol", "reconfigure"])
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        """Wait until the daemon answers; NotTakenError when it does not in time."""
        end = self.clock() + self.timeout
        while True:
            result = self.run(["scontrol", "ping"])
            if result.rc == 0:
                return
            if self.clock() > end or not self.is_active():
                raise NotTakenError(f"slurmctld does not answer: {scontrol.explain(result)}")
            self.sleep(0.5)

    def wait_for_nodes(self, before: Mapping[str, scontrol.Node], version: str) -> None:
        """Wait until every node that responded responds again, and none became invalid; NotTakenError otherwise."""
        responding = {name for name, node in before.items() if responds(node)}
        valid = {name for name, node in before.items() if INVALID not in node.flags}
        end = self.clock() + self.timeout
        while True:
            now = self._nodes_now(version)
            spoiled = [
                node for name, node in now.items() if INVALID in node.flags and (name in valid or name not in before)
            ]
            if spoiled:
                raise NotTakenError("; ".join(f"node {node.name} became invalid: {node.reason}" for node in spoiled))
            silent = sorted(name for name in responding & set(now) if not responds(now[name]))
            if not silent:
                return
            if self.clock() > end:
                raise NotTakenError(f"nodes that responded before do not any more: {', '.join(silent)}")
            self.sleep(1)

    def resume_spoiled(self, version: str) -> None:
        """After a rollback: nodes that slurmctld itself drained as invalid come back, once they are valid."""
        end = self.clock() + self.timeout
        while True:
            spoiled = [
                node
                for node in self._nodes_now(version).values()
                if "DRAIN" in node.flags
                and node.holder == scontrol.SLURM
                and not node.reason.startswith("Not responding")
            ]
            for node in (node for node in spoiled if INVALID not in node.flags and responds(node)):
                self._change(["scontrol", "update", f"nodename={node.name}", "state=resume"])
            if not any(INVALID in node.flags for node in spoiled) or self.clock() > end:
                return
            self.sleep(1)

    def _nodes_now(self, version: str) -> dict[str, scontrol.Node]:
        """The nodes after a change, which is not taken when slurmctld does not show them."""
        try:
            return self.nodes(version)
        except (CommandError, scontrol.ScontrolError) as error:
            raise NotTakenError(str(error)) from error

    def _change(self, argv: list[str]) -> None:
        self.commands.append(argv)
        try:
            require(self.run(argv))
        except CommandError as error:
            raise NotTakenError(str(error)) from error


def responds(node: scontrol.Node) -> bool:
    """Whether slurmctld hears from the node's slurmd."""
    return "NOT_RESPONDING" not in node.flags and node.base not in ("UNKNOWN", "DOWN", "FUTURE")
