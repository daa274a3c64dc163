# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of several heads speaks for the cluster, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What a head says of itself."""

    name: str
    """Its name in the inventory."""
    running: bool
    """Whether its slurmctld runs."""
    generation: int
    """Which configuration it has; 0 where there never was more than one head."""
    store: Mapping[str, Any]
    """Its node store."""
    key_time: float = 0
    """When its munge key was written, in seconds since 1970."""


def read_answers(heads: Iterable[str], looks: Mapping[str, Mapping[str, Any]]) -> list[Answer]:
    """What those of the heads say of which there is a look, as M(aicluster.slurm.host_survey) returns it."""
    return [Answer(name, **looks[name]["survey"]["head"]) for name in heads if "survey" in looks.get(name, {})]


def doubtful_ways(names: Iterable[str], variables: Callable[[str], Mapping[str, Any]]) -> list[str]:
    """The hosts with a variable of the connection that is a template: it may lead elsewhere when others delegate.

    `variables` gives those of a host as they stand in the inventory.
    """
    return [
        name
        for name in names
        if any(key.startswith("ansible_") and "{{" in str(value) for key, value in variables(name).items())
    ]


def speaker(answers: Sequence[Answer]) -> Answer | None:
    """The head that controls the cluster, in the order of the inventory; where none does, one that knows the most.

    A slurmctld that starts takes over from those after it in slurm.conf, so the first that runs is the one.
    """
    running = [answer for answer in answers if answer.running]
    return next(iter(running or sorted(answers, key=lambda answer: (-answer.generation, not answer.store))), None)


def key_holder(answers: Sequence[Answer]) -> Answer | None:
    """The head with the cluster's munge key: the newest, because one that was away while it changed has an older one.

    Of those that were deployed: the package makes a key, too.
    """
    deployed = [answer for answer in answers if answer.running or answer.store]
    return max(deployed, key=lambda answer: answer.key_time, default=speaker(answers))


def newest_store(answers: Sequence[Answer]) -> Mapping[str, Any]:
    """The node store of the newest generation; of several alike that of a running head, then of the first one."""
    best = sorted(answers, key=lambda answer: (-answer.generation, not answer.running, not answer.store))
    return best[0].store if best else {}


def joined(nodes: Mapping[str, str], run: Collection[str], answers: Sequence[Answer]) -> list[str]:
    """The heads, of all in the inventory with their node names, that are in this run or were deployed before it.

    One that is neither must not count yet: nobody made a place for the state that it would share. Where nobody was
    deployed there is nothing to go by, and all count.
    """
    stored = newest_store(answers).get("heads") or {}
    deployed = {answer.name for answer in answers if answer.running or answer.store}
    deployed |= {name for name, node in nodes.items() if node in stored}
    return [name for name in nodes if name in run or name in deployed or not deployed]


def misled(reached: Mapping[str, str], hostnames: Mapping[str, str]) -> list[str]:
    """Connections that lead elsewhere by delegation: one with inventory_hostname in it does, without an error.

    Both are hostnames by the names in the inventory: of the machines reached by delegation, and the true ones.
    """
    return [
        f"{name}: ansible_host (or another variable of the connection): found one that leads to {hostname} when another"
        f" host delegates to {name}; accepted: a value without inventory_hostname in it"
        for name, hostname in reached.items()
        if hostnames.get(name) and hostname.split(".")[0] != hostnames[name]
    ]
