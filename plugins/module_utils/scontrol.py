# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes and jobs as a running Slurm shows them, and what scontrol has to be told so that nodes become as wanted.

Sources: scontrol(1), sinfo(1) and squeue(1) of Slurm 22.05.8 and 24.11.5, and what both answered; recorded answers are
in tests/unit/fixtures/slurm-22.05 and slurm-24.11.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, replace
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result, Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.hostlist import fold

MARK = "aicluster: "
"""What every Reason of this collection begins with."""

OURS, SLURM, HUMAN = "ours", "slurm", "human"
"""Whose a Reason is."""

_OUT = frozenset({"DOWN", "DRAIN", "FAIL"})
_OFF = frozenset({"POWER_DOWN", "POWERING_DOWN", "POWERED_DOWN"})


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
        return self.reason if self.words & _OUT else ""

    @property
    def holder(self) -> str | None:
        """Who keeps it out of service: OURS, SLURM, HUMAN, or nobody."""
        if not self.words & _OUT:
            return None
        # When slurmctld sets a node DOWN, it appends to the Reason that it finds, be it stale. The Reason of a drained
        # node is not, and a node that somebody else had set DOWN keeps its own.
        appended = bare_reason(self.reason) != self.reason
        if appended and self.reason_user == "slurm" and not self.flags & _OUT:
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


def check_text(option: str, text: str) -> str:
    """The text itself; ScontrolError for one that would garble what scontrol and sinfo print."""
    if not text.isprintable():
        raise ScontrolError(f"{option}: found {text[:80]!r}; accepted: one line of printable characters")
    return text


def check_reason(text: str) -> str:
    """The text with our mark; ScontrolError for one that Slurm would refuse or store as something else."""
    if not check_text("reason", text).strip():
        raise ScontrolError("reason: found no text; accepted: why the node is out of service")
    # scontrol drops quotes at the ends.
    if text[0] in "'\"" or text[-1] in "'\"":
        raise ScontrolError(f"reason: found {text[:80]!r}; accepted: text without a quote at its ends")
    return text if text.startswith(MARK) else MARK + text


# --- Changing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """How a node has to be; None leaves a thing as it is. The reason has our mark already."""

    state: str | None = None
    reason: str = ""
    weight: int | None = None
    features: tuple[str, ...] | None = None
    comment: str | None = None
    extra: str | None = None
    force_reason: bool = False


class _Target(NamedTuple):
    """A wanted state: what scontrol calls it, and the words of a node's state that it makes and removes.

    It is reached where one of `reached` is there, or where there are words to remove and all are gone.
    """

    told: str
    makes: frozenset[str]
    removes: frozenset[str]
    reached: frozenset[str]


def _target(
    told: str, makes: Iterable[str] = (), removes: Iterable[str] = (), reached: Iterable[str] | None = None
) -> _Target:
    return _Target(told, frozenset(makes), frozenset(removes), frozenset(makes if reached is None else reached))


_TARGETS = {
    "drained": _target("DRAIN", makes=["DRAIN"]),
    "down": _target("DOWN", makes=["DOWN"]),
    "resumed": _target("RESUME", removes=_OUT),
    "idle": _target("IDLE", removes=_OUT),
    "rebooted": _target("", makes=["DRAIN", "REBOOT_REQUESTED"], reached=["REBOOT_REQUESTED", "REBOOT_ISSUED"]),
    "powered_down": _target("POWER_DOWN", makes=["POWER_DOWN"], reached=_OFF),
    "powered_up": _target("POWER_UP", makes=["POWER_UP"], removes=_OFF, reached=["POWER_UP", "POWERING_UP"]),
}


def commands(wanted: Wanted, name: str, node: Node | None) -> list[list[str]]:
    """What has to run, in order, so that the node is as wanted; nothing where it is. Of nodes that are not there, only
    those that are wanted present or absent are meant.

    Raises ScontrolError for a node of slurm.conf that is wanted absent.
    """
    if node is None:
        return [] if wanted.state == "absent" else _create(wanted, name)
    settings = _attributes(wanted, node)
    act = not is_kept(wanted, node)
    argvs = []
    if wanted.state == "absent":
        # 22.05 would delete it until the next restart.
        if not node.flags & {"DYNAMIC_NORM", "DYNAMIC_FUTURE"}:
            raise ScontrolError(f"state: {name} stands in slurm.conf; accepted for absent: dynamic nodes")
        return [["scontrol", "delete", f"NodeName={name}"]] if act else []
    if act and _state_differs(wanted, node):
        if wanted.state == "rebooted":
            argvs.append(["scontrol", "reboot", "ASAP", "nextstate=RESUME", f"reason={wanted.reason}", name])
        elif wanted.state:
            settings["State"] = _TARGETS[wanted.state].told
            if wanted.state in ("drained", "down"):
                settings["Reason"] = wanted.reason
    if settings:
        argvs.append(update_argv(name, settings))
    return argvs


def is_kept(wanted: Wanted, node: Node) -> bool:
    """Whether the node stays in the state in which it is, though another is wanted: somebody else took it out."""
    if wanted.force_reason or wanted.state in (None, "present") or not _state_differs(wanted, node):
        return False
    if node.holder == SLURM:
        # Who wants the node back has seen to what slurmctld found; else a drain of its own tells more than ours would.
        return wanted.state not in ("resumed", "idle") and "DRAIN" in node.flags
    return node.holder == HUMAN


def _state_differs(wanted: Wanted, node: Node) -> bool:
    if wanted.state == "absent":
        return True
    if wanted.state not in _TARGETS:
        return False
    target = _TARGETS[wanted.state]
    if not (node.words & target.reached or (target.removes and not node.words & target.removes)):
        return True
    return wanted.state in ("drained", "down") and bare_reason(node.reason) != bare_reason(wanted.reason)


def _attributes(wanted: Wanted, node: Node) -> dict[str, str]:
    """The keys that differ, as scontrol takes them."""
    settings = {}
    if wanted.features is not None and _features_differ(wanted.features, node):
        # Only in one command: active features have to be among the available ones at any time.
        settings["AvailableFeatures"] = settings["ActiveFeatures"] = ",".join(wanted.features)
    if wanted.weight not in (None, node.weight):
        settings["Weight"] = str(wanted.weight)
    if wanted.comment not in (None, node.comment):
        settings["Comment"] = str(wanted.comment)
    if wanted.extra not in (None, node.extra):
        settings["Extra"] = str(wanted.extra)
    return settings


def _features_differ(wanted: tuple[str, ...], node: Node) -> bool:
    return not set(node.features) == set(node.active_features) == set(wanted)


def _create(wanted: Wanted, name: str) -> list[list[str]]:
    argvs = [["scontrol", "create", f"NodeName={name}", "State=CLOUD"]]
    if wanted.features:
        argvs[0].append(f"Feature={','.join(wanted.features)}")
    if wanted.weight is not None:
        argvs[0].append(f"Weight={wanted.weight}")
    # Creating takes neither.
    settings = {key: text for key, text in (("Comment", wanted.comment), ("Extra", wanted.extra)) if text}
    return [*argvs, update_argv(name, settings)] if settings else argvs


def update_argv(name: str, settings: Mapping[str, str]) -> list[str]:
    """The command that changes one node. Never a list of nodes: one bad name and scontrol fails, the others changed."""
    return ["scontrol", "update", f"NodeName={name}", *(f"{key}={value}" for key, value in settings.items())]


def expected(wanted: Wanted, names: Iterable[str], there: Mapping[str, Node]) -> dict[str, Node]:
    """The nodes as they should be after `commands`, for check mode."""
    if wanted.state == "absent":
        return {name: node for name, node in there.items() if is_kept(wanted, node)}
    return {name: _expected(wanted, name, there.get(name)) for name in names}


def _expected(wanted: Wanted, name: str, node: Node | None) -> Node:
    if node is None:
        flags = frozenset({"CLOUD", "DYNAMIC_NORM", "POWERED_DOWN"})
        node = Node(name, "IDLE", flags, "", "", 1, (), (), "", "", "", None, "")
    if _state_differs(wanted, node) and not is_kept(wanted, node) and wanted.state:
        target = _TARGETS[wanted.state]
        words = node.words - target.removes | target.makes
        base = "DOWN" if "DOWN" in words else "IDLE" if node.base == "DOWN" else node.base
        node = replace(node, base=base, flags=words - {base}, reason=wanted.reason or node.reason)
    if wanted.features is not None and _features_differ(wanted.features, node):
        node = replace(node, features=wanted.features, active_features=wanted.features)
    return replace(
        node,
        weight=node.weight if wanted.weight is None else wanted.weight,
        comment=node.comment if wanted.comment is None else wanted.comment,
        extra=node.extra if wanted.extra is None else wanted.extra,
    )


# --- Failures ---------------------------------------------------------------------------------------------------------


class Cause(NamedTuple):
    """What a message of Slurm's means."""

    message: re.Pattern[str]
    words: str
    general: bool
    """Whether every other command would fail as well."""


# The first that matches counts.
_CAUSES = tuple(
    Cause(re.compile(message), words, general)
    for message, words, general in (
        (
            "Munge encode failed",
            "munged does not run on this host; look at `systemctl status munge`",
            True,
        ),
        (
            "Unable to contact slurm controller",
            "slurmctld does not answer; on the controller look at `systemctl status slurmctld` and the end of its log",
            True,
        ),
        (
            "Protocol authentication error|Zero Bytes were transmitted",
            "slurmctld does not accept what munge says of this host; compare /etc/munge/munge.key and the clock with"
            " the controller's, and look at munged's log there",
            True,
        ),
        (
            "Invalid user id|[Pp]ermission denied",
            "this user has no right to change nodes; run as root (become) or as SlurmUser",
            True,
        ),
        (
            "Unable to process configuration file|Could not establish a configuration source",
            "Slurm's commands have no valid slurm.conf on this host; look at /etc/slurm/slurm.conf",
            True,
        ),
        (
            "RebootProgram isn't defined",
            "slurm.conf has no RebootProgram",
            True,
        ),
        (
            "node table is full",
            "slurm.conf has no place for dynamic nodes; look at MaxNodeCount",
            True,
        ),
        (
            "Requested nodes are busy",
            "jobs run on the node; drain it and wait first",
            False,
        ),
        (
            "Invalid node state specified",
            "the node's state does not allow it: idle needs a node without jobs, powered_down and powered_up need"
            " SuspendProgram and ResumeProgram in slurm.conf",
            False,
        ),
    )
)


def cause_of(result: Result) -> Cause | None:
    """What made a command fail, if Slurm's message is a known one."""
    said = result.stderr + result.stdout if result.rc else result.stderr
    return next((cause for cause in _CAUSES if cause.message.search(said)), None)


def explain(result: Result) -> str:
    """Why a command failed and where to look, then what it said."""
    cause = cause_of(result)
    return f"{cause.words}: {CommandError(result)}" if cause else str(CommandError(result))
