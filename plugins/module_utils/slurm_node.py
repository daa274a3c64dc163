# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What scontrol has to be told so that nodes become as wanted.

Source: scontrol(1) of Slurm 22.05.8 and 24.11.5, and what both did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterable, Mapping, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.scontrol import (
    HUMAN,
    MARK,
    OUT,
    SLURM,
    Node,
    ScontrolError,
    bare_reason,
)

_OFF = frozenset({"POWER_DOWN", "POWERING_DOWN", "POWERED_DOWN"})


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
    "resumed": _target("RESUME", removes=OUT),
    "idle": _target("IDLE", removes=OUT),
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
