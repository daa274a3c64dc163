# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes and jobs as a running Slurm shows them.

Sources: scontrol(1), sinfo(1) and squeue(1) of Slurm 22.05.8 and 24.11.5, and what both answered; recorded answers are
in tests/unit/fixtures/slurm-22.05 and slurm-24.11.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Iterable, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import fold
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_failures import cause_of

MARK = "aicluster: "
"""What every Reason of this collection begins with."""

OURS, SLURM, HUMAN = "ours", "slurm", "human"
"""Whose a Reason is."""

OUT = frozenset({"DOWN", "DRAIN", "FAIL"})
"""What a node that is out of service is called."""


class ScontrolError(ValueError):
    """An answer that is not one of Slurm's, or a wish that Slurm would garble."""


# --- Nodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A node as slurmctld shows it."""

    name: str
    base: str
    """IDLE, ALLOCATED, MIXED, DOWN, UNKNOWN, FUTURE."""
    flags: frozenset[str]
    """DRAIN, NOT_RESPONDING, REBOOT_ISSUED and the like."""
    reason: str
    """May be of a time long past, see current_reason."""
    reason_user: str
    weight: int
    features: tuple[str, ...]
    active_features: tuple[str, ...]
    comment: str
    extra: str
    version: str
    """Of its slurmd; empty where none has registered yet."""
    slurmd_start_time: int | None
    """When its slurmd began, by the node's clock."""
    gres: str
    address: str = ""
    """NodeAddr."""
    partitions: tuple[str, ...] = ()

    @property
    def words(self) -> frozenset[str]:
        """Everything that its state says, in no order."""
        return self.flags | {self.base}

    @property
    def state(self) -> str:
        """Its state as scontrol writes it."""
        return "+".join([self.base, *sorted(self.flags)])

    @property
    def current_reason(self) -> str:
        """Why it is out of service; 24.11 keeps a Reason when the node returns, and then it means nothing."""
        return self.reason if self.words & OUT else ""

    @property
    def holder(self) -> str | None:
        """Who keeps it out of service: OURS, SLURM, HUMAN, or nobody."""
        if not self.words & OUT:
            return None
        # When slurmctld sets a node DOWN, it appends to the Reason that it finds, be it stale. The Reason of a drained
        # node is not, and a node that somebody else had set DOWN keeps its own.
        appended = bare_reason(self.reason) != self.reason
        if appended and self.reason_user == "slurm" and not self.flags & OUT:
            return SLURM
        return reason_owner(self.reason, self.reason_user)


def parse_nodes_json(text: str) -> dict[str, Node]:
    """Nodes by name, from `scontrol show nodes --json` (23.02 and later) or `sinfo --json` (22.05)."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScontrolError(f"nodes: found text that is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise ScontrolError("nodes: found JSON without a list `nodes`")
    # 22.05 exits with 0 and an empty list when it reached nobody; only this tells.
    if document.get("errors"):
        raise ScontrolError(f"nodes: Slurm reports errors: {document['errors']}")
    return _by_name(map(_node_of_json, document["nodes"]))


def _by_name(nodes: Iterable[Node]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for node in nodes:
        if found.setdefault(node.name, node) is not node:
            raise ScontrolError(f"nodes: found {node.name!r} twice; accepted: every node once")
    return found


def _node_of_json(record: Any) -> Node:
    try:
        # 24.11 has one list, 22.05 a word and a list.
        base, *flags = _words(record["state"]) + _words(record.get("state_flags"))
        return Node(
            name=_text(record["name"]),
            base=base.upper(),
            flags=frozenset(flag.upper() for flag in flags),
            reason=_text(record["reason"]),
            reason_user=_text(record["reason_set_by_user"]),
            weight=_number(record["weight"]),
            features=_words(record["features"]),
            active_features=_words(record["active_features"]),
            comment=_text(record["comment"]),
            extra=_text(record["extra"]),
            version=_text(record.get("slurmd_version", record.get("version"))),
            slurmd_start_time=_number(record["slurmd_start_time"]) or None,
            gres=_text(record["gres"]),
            address=_text(record.get("address")),
            partitions=_words(record.get("partitions")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScontrolError(f"nodes: found a record that is no node ({error!r})") from None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _words(value: Any) -> tuple[str, ...]:
    """A list, or a text with commas."""
    if isinstance(value, list):
        return tuple(map(_text, value))
    return tuple(filter(None, _text(value).split(",")))


def _number(value: Any) -> int:
    """A number, or 24.11's record of one."""
    if isinstance(value, dict):
        value = value["number"] if value.get("set") else 0
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


# The words after NodeName tell a record from a line of some free text.
_RECORD = re.compile(r"^(?=NodeName=\S+ (?:Arch|CoresPerSocket)=)", re.MULTILINE)
# Three keys with free text come last, always in this order.
_LINE = re.compile(
    r"(?P<head>.*?)(?:\sReason=(?P<reason>.*?)(?: \[(?P<user>[^\s\[\]@]+)@[^\s\[\]@]+\])?)?"
    r"(?:\sComment=(?P<comment>.*?))?(?:\sExtra=(?P<extra>.*?))?\s*",
    re.DOTALL,
)


# What older releases append to a state instead of a word of its own (sinfo(1) NODE STATE CODES).
_SYMBOLS = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
}


def parse_nodes_text(text: str) -> dict[str, Node]:
    """Nodes by name, from `scontrol --oneliner show nodes`."""
    before, *records = _RECORD.split(text)
    if before.strip() not in ("", "No nodes in the system"):
        raise ScontrolError(f"nodes: found {before.strip()[:80]!r} where a node was expected")
    return _by_name(map(_node_of_text, records))


def _node_of_text(record: str) -> Node:
    match = _LINE.fullmatch(record)
    free = match.groupdict("") if match else {}
    try:
        values = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", free["head"].replace("=(null)", "=")))
        words = values["State"].split("+")
        base, *flags = (word.rstrip("".join(_SYMBOLS)) for word in words)
        flags += [_SYMBOLS[symbol] for word in words for symbol in word if symbol in _SYMBOLS]
        return Node(
            name=values["NodeName"],
            base=base,
            flags=frozenset(flags),
            reason=free["reason"],
            reason_user=free["user"],
            weight=int(values["Weight"]),
            features=_words(values["AvailableFeatures"]),
            active_features=_words(values["ActiveFeatures"]),
            comment=free["comment"],
            extra=free["extra"],
            version=values.get("Version", ""),
            slurmd_start_time=_epoch(values.get("SlurmdStartTime", "")),
            gres=values["Gres"],
            address=values.get("NodeAddr", ""),
            partitions=_words(values.get("Partitions", "")),
        )
    except (KeyError, ValueError) as error:
        raise ScontrolError(f"nodes: found {record[:80]!r}, which is no node ({error!r})") from None


def _epoch(text: str) -> int | None:
    """A time as scontrol writes it, on the clock of this host; None for its None and Unknown."""
    try:
        return int(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except (ValueError, OverflowError):
        return None


# --- Reading ----------------------------------------------------------------------------------------------------------

_AS_JSON = ("scontrol", "--all", "show", "nodes", "--json")
# Later versions have no list of nodes here, and scontrol had no JSON before.
_AS_JSON_22 = ("sinfo", "--all", "--json")
_AS_TEXT = ("scontrol", "--all", "--oneliner", "show", "nodes")


def parse_version(text: str) -> tuple[int, int]:
    """Year and month of the release, from `scontrol --version`."""
    match = re.match(r"slurm\S* ([0-9]{2})\.([0-9]{2})\b", text)
    if not match:
        raise ScontrolError(f"found {text.strip()[:80]!r}; accepted: `slurm` and a version, as scontrol --version says")
    return int(match[1]), int(match[2])


def read_nodes(run: Runner, version: tuple[int, int]) -> dict[str, Node]:
    """Every node but those in state FUTURE, by name: in JSON where this version has it.

    Raises CommandError, and ScontrolError for what cannot be read.
    """
    unread = None
    if version >= (22, 5):
        result = run(_AS_JSON if version >= (23, 2) else _AS_JSON_22)
        try:
            return parse_nodes_json(require(result).stdout)
        except (CommandError, ScontrolError) as error:
            # Slurm may be built without JSON, and 22.05 does not say what went wrong; the text shows either.
            if cause_of(result):
                raise CommandError(result) from None
            unread = error
    text = require(run(_AS_TEXT)).stdout
    if isinstance(unread, ScontrolError) and not text.strip():  # nothing shows either: what was there is what counts
        raise unread
    return parse_nodes_text(text)


class Job(NamedTuple):
    """A job that has nodes."""

    id: str
    user: str
    state: str
    partition: str
    nodes: str

    def __str__(self) -> str:
        return f"{self.id} of {self.user} ({self.state} on {self.nodes})"


def jobs_argv(nodes: Sequence[str]) -> list[str]:
    """The command that lists the jobs on these nodes. Nothing that users write takes part: a name may have newlines."""
    return ["squeue", "--noheader", f"--nodelist={fold(nodes)}", "--format=%i|%u|%T|%P|%N"]


def parse_jobs(text: str) -> list[Job]:
    """What `jobs_argv` prints."""
    jobs = []
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != len(Job._fields):
            raise ScontrolError(f"jobs: found the line {line[:80]!r}; accepted: {'|'.join(Job._fields)}")
        jobs.append(Job(*fields))
    return jobs


# --- Reasons ----------------------------------------------------------------------------------------------------------

# What slurmctld appends to a Reason (state_samples.txt; ResumeTimeout was seen on 24.11).
_SUFFIX = re.compile(r"(?: : (?:Not responding|reboot issued|ResumeTimeout reached))+$")
# Its own texts that a person could have typed as well; so they count when its account set them (state_samples.txt).
_PLAIN = re.compile(r"Not responding|reboot issued|ResumeTimeout reached|NO NETWORK ADDRESS FOUND")
# Those that nobody types (gres_mismatch.txt); on 22.05 the account changes to whoever ran `scontrol reconfigure`.
_SHAPED = re.compile(
    r"gres/\S+ count reported lower than configured \(\d+ < \d+\)"
    r"|gres/\S+ type \(\S+\) reported but not configured"
    r"|Low RealMemory \(reported:\d+ < [0-9.]+% of configured:\d+\)"
    r"|Low socket\*core\*thread count, Low CPUs"
)


def bare_reason(reason: str) -> str:
    """The Reason without what slurmctld appended."""
    return _SUFFIX.sub("", reason)


def reason_owner(reason: str, user: str) -> str:
    """Whose a Reason is; HUMAN in doubt."""
    bare = bare_reason(reason)
    if bare.startswith(MARK):
        return OURS
    if _SHAPED.fullmatch(bare) or (user == "slurm" and _PLAIN.fullmatch(bare)):
        return SLURM
    return HUMAN
