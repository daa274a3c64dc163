# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes slurmctld run with the files that are in place, sees whether the cluster took them, and says if it did not."""

from __future__ import annotations

import re
import time
from typing import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import scontrol, slurm_failures
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result, Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.host_reach import Target, unreachable

PING = ("scontrol", "ping")
JOURNAL = ("journalctl", "--unit=slurmctld", "--lines=200", "--output=cat")
"""What slurmctld has written of late; its own log may lie anywhere."""
INVALID = "INVALID_REG"
"""A node that reports less than slurm.conf says of it (scontrol show node, 22.05 and later)."""


REGISTRATIONS = re.compile(r"MESSAGE_NODE_REGISTRATION_STATUS\s.*?count:(\d+)")
"""In what sdiag prints: how many registrations slurmctld has got since it started."""
REGISTERED_WITHIN = 10
"""Seconds for nodes to register anew; a slurmd takes less than one, on a machine that has other work some."""

SLURMD_PORT = 6818
REACHED_WITHIN = 3.0
"""Seconds for a machine to accept or refuse a connection."""
MANY = 100
"""So many machines are not off by chance."""

AS_SLURM = ["runuser", "-u", "slurm", "--"]
CARRY = """
for each in "$1"/* "$1"/.[!.]*; do
    case $each in
        */clustername) ;;
        *) test ! -e "$each" || cp --recursive "$each" "$2" || exit ;;
    esac
done
sync "$2" && cp "$1/clustername" "$2"
"""
"""Copies the state in one folder to another one, sh(1)."""


class NotTakenError(Exception):
    """The cluster did not take the configuration; the text says what was seen."""


class Controller:
    """slurmctld of this host, driven by systemctl and scontrol; keeps the commands that changed something."""

    def __init__(
        self,
        run: Runner,
        timeout: float,
        installed: bool = True,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        lost: Callable[[Iterable[Target], float], Sequence[str]] = unreachable,
    ) -> None:
        self.run = run
        self.timeout = timeout
        self.installed = installed
        self.sleep = sleep
        self.clock = clock
        self.lost = lost
        self.commands: list[list[str]] = []
        self._version = ""
        self._host = ""
        self._place = 0

    def among(self, hosts: Sequence[str], host: str) -> None:
        """Tell it the controllers in their order, and which one it is: of several the others answer, too."""
        if len(hosts) > 1 and host in hosts:
            self._host, self._place = host, hosts.index(host)

    def take_charge(self, hosts: Sequence[str], host: str) -> None:
        """Control the cluster instead of another one of these hosts, whose slurmctld ends by that. NotTakenError."""
        if host not in answering(self.run(PING).stdout):
            self.start()
        if hosts.index(host):
            self._change(["scontrol", "takeover", str(hosts.index(host))])
        for _look in self._looks():
            if answering(self.run(PING).stdout)[:1] == [host]:
                return
        raise NotTakenError("it controls the cluster after `scontrol takeover`, too")

    def is_active(self) -> bool:
        """Whether systemd sees the daemon running."""
        return self.run(["systemctl", "is-active", "--quiet", "slurmctld"]).rc == 0

    def version(self) -> str:
        """The version that is installed, such as 22.05.8. scontrol of 22.05 needs a configuration to tell its own."""
        if not self._version:
            self._version = require(self.run(["slurmctld", "-V"])).stdout.split()[-1]
        return self._version

    def stop(self) -> None:
        """Stop the daemon."""
        self.commands.append(["systemctl", "stop", "slurmctld"])
        self.run(self.commands[-1])

    def end(self) -> None:
        """Stop the daemon for good. Raises NotTakenError."""
        self._change(["systemctl", "disable", "--now", "slurmctld"])

    def start(self) -> None:
        """Start or restart the daemon, and wait until it answers."""
        # systemd refuses a sixth start in ten seconds, and a rollback must not be the one that it refuses.
        self.run(["systemctl", "reset-failed", "slurmctld"])
        self._change(["systemctl", "restart", "slurmctld"])
        self.wait_for_answer()

    def nodes(self, ask: Runner | None = None) -> dict[str, scontrol.Node]:
        """Every node as slurmctld sees it now; `ask` where clients need another slurm.conf than the one in place."""
        return scontrol.read_nodes(ask or self.run, scontrol.parse_version(f"slurm {self.version()}"))

    def forget_cluster_id(self, state_save_location: str) -> None:
        """Stop the daemon and take away the id that it made up; jobs are in other files. `apply` starts it."""
        self._change(["systemctl", "stop", "slurmctld"])
        self._change(["rm", "-f", f"{state_save_location}/clustername"])

    def carry_state(self, before: str, after: str) -> None:
        """Stop the daemon and copy its state, as its user: on a share root may be nobody. `apply` starts it.

        The file by which a folder counts as a state comes last: a copy that was killed in the middle is none.
        """
        self._change(["systemctl", "stop", "slurmctld"])
        self._change([*AS_SLURM, "sh", "-c", CARRY, "sh", before, after])

    def retire_state(self, folder: str) -> None:
        """Have a folder count as one without a state: what is in it belongs to another time."""
        self.commands.append([*AS_SLURM, "mv", "-f", f"{folder}/clustername", f"{folder}/clustername.before"])
        self.run(self.commands[-1])

    def apply(self, action: str, registering: int = 0) -> None:
        """Start, reconfigure or restart; after a restart 22.05's slurmds keep the old files until a reconfigure.

        So many nodes as `registering` says have to register anew: before that, nobody knows whether they are valid.
        """
        if action != "reconfigure":
            self.start()
            if self._place:
                # A backup that starts waits for SlurmctldTimeout, although nobody before it runs.
                self._change(["scontrol", "takeover", str(self._place)])
        before = self.registrations() if registering else 0
        self._change(["scontrol", "reconfigure"])
        self.wait_for_answer()
        if self._host:
            self._wait_for_own_files()
        if registering:
            for _look in self._looks(REGISTERED_WITHIN, 0.25):
                if self.registrations() >= before + registering:
                    return

    def registrations(self) -> int:
        """How many registrations of nodes slurmctld has got."""
        found = REGISTRATIONS.search(self.run(["sdiag"]).stdout)
        return int(found[1]) if found else 0

    def _wait_for_own_files(self) -> None:
        """Wait until the controller in charge runs with the files of this host; NotTakenError when it does not."""
        for _look in self._looks():
            shown = self.run(["scontrol", "show", "config"])
            if shown.rc == 0 and not re.search(r"^HASH_VAL\s*=\s*Different", shown.stdout, re.MULTILINE):
                return
        raise NotTakenError("another controller controls the cluster, with other files")

    def set_partition_states(self, states: Mapping[str, str]) -> None:
        """Give the partitions that are there these states: UP, DOWN, DRAIN or INACTIVE."""
        try:
            there = partition_states(self.run)
        except CommandError as error:
            raise NotTakenError(str(error)) from error
        for name, state in there.items():
            if states.get(name, state) != state:
                self._change(["scontrol", "update", f"PartitionName={name}", f"State={states[name]}"])

    def answers(self) -> bool:
        """Whether the daemon answers now."""
        return self._up(self.run(PING))

    def _up(self, ping: Result) -> bool:
        # It is content with any controller that answers, a backup among them.
        return ping.rc == 0 and (not self._host or f" at {self._host} is UP" in ping.stdout)

    def wait_for_answer(self) -> None:
        """Wait until the daemon answers; NotTakenError when it does not in time."""
        said = ""
        # In a small cluster it takes 0.1 s.
        for _look in self._looks(pause=0.125):
            result = self.run(PING)
            if self._up(result):
                return
            said = slurm_failures.explain(result)
            if not self.is_active():
                said = last_fatal(self.run(JOURNAL).stdout) or said
                break
        raise NotTakenError(f"slurmctld does not answer: {said}")

    def wait_for_nodes(self, before: Mapping[str, scontrol.Node], restarting: Sequence[str] = ()) -> None:
        """Wait until every node that responded responds again, and none became invalid; NotTakenError otherwise.

        Nodes whose slurmd is still to be restarted are not judged: until then they report what the old files say. Nor
        are machines that are off: slurmctld may believe in them for SlurmdTimeout, and no run with --limit asks them.
        """
        responding = {name for name, node in before.items() if responds(node)}
        invalid = {name for name, node in before.items() if INVALID in node.flags}
        left_out = set(restarting)
        silent: dict[str, scontrol.Node] = {}
        for _look in self._looks(pause=1):
            now = {name: node for name, node in self.nodes_now().items() if name not in left_out}
            spoiled = [node for name, node in now.items() if INVALID in node.flags and name not in invalid]
            if spoiled:
                raise NotTakenError("; ".join(f"node {node.name} became invalid: {node.reason}" for node in spoiled))
            silent = {name: now[name] for name in sorted(responding & set(now)) if not responds(now[name])}
            if not silent:
                return
        guilty = silent.keys() - self._off(silent.values())
        if guilty:
            raise NotTakenError(f"nodes that responded before do not any more: {', '.join(sorted(guilty))}")

    def _off(self, nodes: Collection[scontrol.Node]) -> set[str]:
        """Those of the nodes whose machine does not even refuse a connection: no configuration of Slurm causes that."""
        # A name would have to be resolved, which may take its time; what these roles write are addresses.
        addresses = {node.name: node.address for node in nodes if re.fullmatch(r"[0-9.]+|.*:.*", node.address)}
        if not addresses or len(nodes) > MANY:
            return set()
        told = re.search(r"^SlurmdPort\s*=\s*(\d+)", self.run(["scontrol", "show", "config"]).stdout, re.MULTILINE)
        port = int(told[1]) if told else SLURMD_PORT
        lost = self.lost([Target(address, port) for address in addresses.values()], REACHED_WITHIN)
        return {name for name, address in addresses.items() if address in {line.split()[0] for line in lost}}

    def resume_spoiled(self, before: Mapping[str, scontrol.Node]) -> None:
        """After a rollback: nodes that slurmctld drained as invalid since `before` come back once they are valid."""
        drained = {name for name, node in before.items() if "DRAIN" in node.flags}
        for _look in self._looks():
            spoiled = [
                node
                for name, node in self.nodes_now().items()
                if "DRAIN" in node.flags
                and name not in drained
                and node.holder == scontrol.SLURM
                and not node.reason.startswith("Not responding")
            ]
            if not spoiled:
                return
            for node in spoiled:
                if INVALID not in node.flags and responds(node):
                    self._change(["scontrol", "update", f"NodeName={node.name}", "State=RESUME"])

    def nodes_now(self) -> dict[str, scontrol.Node]:
        """The nodes after a change, which is not taken when slurmctld does not show them."""
        try:
            return self.nodes()
        except (CommandError, scontrol.ScontrolError) as error:
            raise NotTakenError(str(error)) from error

    def _looks(self, seconds: float | None = None, pause: float = 0.5) -> Iterator[None]:
        """One turn for each look at what is waited for, once at least and until `seconds` (the time-out) are over."""
        end = self.clock() + (self.timeout if seconds is None else seconds)
        yield
        while self.clock() <= end:
            self.sleep(pause)
            yield

    def _change(self, argv: list[str]) -> None:
        self.commands.append(argv)
        try:
            require(self.run(argv))
        except CommandError as error:
            raise NotTakenError(str(error)) from error


def answering(said: str) -> list[str]:
    """The hosts whose slurmctld answers, by what `scontrol ping` or `show config` said; the first one controls."""
    return re.findall(r"^Slurmctld\(\S+\) at (\S+) is UP", said, re.MULTILINE)


def last_fatal(journal: str) -> str:
    """Why the daemon ended, by what systemd's journal has since its last start; empty where it did not say."""
    since = re.split(r"^Start(?:ed|ing) slurmctld\b.*$", journal, flags=re.MULTILINE)[-1]
    found = re.findall(r"^slurmctld: (fatal: .*?)\.?$", since, re.MULTILINE)
    return found[-1] if found else ""


def partition_states(ask: Runner) -> dict[str, str]:
    """Each partition's state. Raises CommandError."""
    shown = require(ask(["scontrol", "--all", "--oneliner", "show", "partitions"])).stdout
    return dict(re.findall(r"^PartitionName=(\S+) .*\sState=(\S+)", shown, re.MULTILINE))


def responds(node: scontrol.Node) -> bool:
    """Whether slurmctld hears from the node's slurmd."""
    return "NOT_RESPONDING" not in node.flags and node.base not in ("UNKNOWN", "DOWN", "FUTURE")
