# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of each host before a cluster is made of them, and what the answers mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

LEVELS = ("fail", "warn", "skip")

GROUPS = ("control", "nfs", "head", "nodes", "gpu")
"""Those that have minima; control is the control host."""

VOLUMES = ("size_gb", "free_gb")
NEEDS = ("cpus", "memory_gb", *VOLUMES)
"""What a minimum may be of. The volumes are by path."""

CHECKS = {
    "address": "fail",
    "cgroup": "warn",
    "clock": "fail",
    "connection": "warn",
    "cpu": "warn",
    "disk": "fail",
    "gpu": "warn",
    "ids": "fail",
    "inventory": "fail",
    "kernel": "warn",
    "memory": "warn",
    "names": "warn",
    "os": "fail",
    "packages": "fail",
    "ports": "fail",
    "privileges": "fail",
    "python": "fail",
    "share": "fail",
    "version": "fail",
}
"""Every check, and what a finding of it does by default."""

REFUSED = "refused"
"""The check of what roles refuse in any case."""

SLURMCTLD, SLURMD, NFS, SSH = 6817, 6818, 2049, 22

MEMORY_TOLERANCE = 0.9
"""The kernel and the firmware keep some of what was bought."""

PYTHON = (3, 8)

DISK_FIX = "Make room there, or change preflight_minima"

_LINE = re.compile(r"(?P<where>.*?): (?P<what>.*?): found (?P<found>.*); accepted: (?P<accepted>.*)")
# What Ansible puts before the message of a filter.
_FILTER = re.compile(r".*?The filter plugin '[^']*' failed: ")
# What the findings of the inventory are about, to their check; all others are `inventory`.
_CHECK_OF = {
    "nodes_address": "address",
    "cluster_network": "address",
    "operating system": "os",
    "architecture": "os",
    "cluster_shared_path": "share",
    "nfs_external": "share",
    "nfs_mount": "share",
    "nfs_service": "share",
}
_FIX_OF = {
    "nodes_address": "Set nodes_address for the host, or change cluster_network",
    "operating system": "Install one that is accepted, or take the host out of the inventory",
    "architecture": "Take the host out of the inventory",
    "cluster_shared_path": "Move away what is there, or unmount it",
    "StateSaveLocation": "Let its server give the folder to slurm",
    "nfs_mount": "Boot a kernel that has the module nfsv4",
    "nfs_service": "Boot a kernel that has the module nfsd, or set nfs_service",
}
_FIX_OF_OTHERS = "Correct it in the inventory"


class Finding(NamedTuple):
    """Something that is not as it has to be."""

    check: str
    where: str
    """A host, several with commas, or the inventory."""
    what: str
    found: str
    accepted: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: found {self.found}; accepted: {self.accepted}. {self.fix}"


class View(NamedTuple):
    """A host of this run, and what it says of itself."""

    name: str
    node: str
    """Its name in Slurm."""
    address: str
    groups: Sequence[str]
    survey: Mapping[str, Any]
    """What the modules host_survey and host_reach returned."""
    asked: Mapping[str, str]
    """The names that it had to resolve, with their addresses."""
    declares_gpus: bool
    mps: int
    """`gpu_mps`."""


class Rules(NamedTuple):
    """What is accepted."""

    minima: Mapping[str, Mapping[str, Any]]
    """By group: `cpus`, `memory_gb`, and by path `size_gb` and `free_gb`."""
    clock_skew: float
    """In seconds."""
    compute_capability: str
    """NVIDIA GPUs have to be newer."""
    writes_etc_hosts: bool


# --- Questions --------------------------------------------------------------------------------------------------------


def pairs(
    groups: Mapping[str, Sequence[str]], compute: Sequence[str], addresses: Mapping[str, str], new: Collection[str]
) -> dict[str, list[dict[str, Any]]]:
    """The ports that each host has to reach, where it or the other one is new; an unknown address is left out."""
    heads, servers = groups.get("head") or [], groups.get("nfs") or []
    needed: list[tuple[str, str, int]] = [(node, head, SLURMCTLD) for node in compute for head in heads]
    needed += [(head, node, port) for head in heads for node in compute for port in (SLURMD, SSH)]
    # Every node would have to reach every other one; a ring finds the same firewalls, with one connection a node.
    needed += [(node, other, SLURMD) for node, other in zip(compute, [*compute[1:], *compute[:1]])]
    clients = dict.fromkeys([*heads, *compute])
    needed += [(client, server, port) for client in clients for server in servers for port in (NFS, SSH)]
    found: dict[str, list[dict[str, Any]]] = {}
    for source, target, port in dict.fromkeys(needed):
        if source != target and addresses.get(target) and (source in new or target in new):
            found.setdefault(source, []).append({"host": addresses[target], "port": port})
    return found


def groups_of(name: str, groups: Mapping[str, Sequence[str]], compute: Sequence[str]) -> list[str]:
    """The groups of a host as far as they matter; a head that computes is like a node."""
    found = [group for group in ("nfs", "head", "nodes", "gpu") if name in (groups.get(group) or [])]
    return [*found, "nodes"] if name in compute and "nodes" not in found else found


def minima(wanted: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The minima by group, in numbers. Raises ValueError for what is none, which would ask for nothing."""
    return {_known("preflight_minima", group, GROUPS): _needs(group, needs or {}) for group, needs in wanted.items()}


def _needs(group: str, needs: object) -> dict[str, Any]:
    where = f"preflight_minima.{group}"
    if not isinstance(needs, Mapping):
        raise ValueError(f"{where}: found {needs!r}; accepted: a map of {', '.join(NEEDS)}")
    found: dict[str, Any] = {}
    for key, need in needs.items():
        _known(where, key, NEEDS)
        if need is None:
            continue
        if key not in VOLUMES:
            found[key] = _number(f"{where}.{key}", need)
        elif isinstance(need, Mapping) and all(str(path).startswith("/") for path in need):
            found[key] = {str(path): _number(f"{where}.{key}.{path}", size) for path, size in need.items()}
        else:
            raise ValueError(f"{where}.{key}: found {need!r}; accepted: a map of paths, each with a size in GB")
    return found


def _known(where: str, name: object, accepted: Sequence[str]) -> str:
    if name not in accepted:
        near = "".join(f", meant {match}?" for match in get_close_matches(str(name), accepted, n=1))
        raise ValueError(f"{where}: found {name!r}{near}; accepted: {', '.join(accepted)}")
    return str(name)


def _number(where: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{where}: found {value!r}; accepted: a number from 0 on")
    return number


def paths(names: Iterable[str], minima: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The paths whose volumes count for a host in these groups."""
    found = {
        path: None for group in names for key in ("size_gb", "free_gb") for path in minima.get(group, {}).get(key) or {}
    }
    return list(found)


# --- Answers ----------------------------------------------------------------------------------------------------------


def levels(changes: Mapping[str, str]) -> dict[str, str]:
    """What a finding of each check does. Raises ValueError."""
    for check, level in changes.items():
        _known("preflight_levels", check, list(CHECKS))
        if level not in LEVELS:
            raise ValueError(f"preflight_levels.{check}: found {level!r}; accepted: {', '.join(LEVELS)}")
    return {**CHECKS, **changes, REFUSED: "fail"}


def inventory_finding(line: str) -> Finding:
    """A finding of plugin_utils.preflight."""
    match = _LINE.fullmatch(line)
    if not match:
        raise ValueError(f"{line!r} is no finding")
    what = match["what"]
    return Finding(_CHECK_OF.get(what, "inventory"), **match.groupdict(), fix=_FIX_OF.get(what, _FIX_OF_OTHERS))


def lost_findings(said: Mapping[str, str]) -> list[Finding]:
    """The hosts that Ansible could not talk to, by what it said of each."""
    accepted = "ssh, sudo, and Python 3.8 or newer"
    return [
        Finding("connection", name, "connection", text or "no answer, or an error", accepted, "See whether ssh does")
        for name, text in said.items()
    ]


def refused_findings(said: Mapping[str, Sequence[str]]) -> list[Finding]:
    """What closer looks refused, by host, in lines of `_LINE` or otherwise; what several say alike is told once."""
    hosts: dict[str, list[str]] = {}
    for host, text in ((host, text) for host, texts in said.items() for text in texts):
        lines = text.splitlines()
        for line in lines if any(map(_LINE.fullmatch, lines)) else [" ".join(text.split())]:
            hosts.setdefault(line.removeprefix(f"{host}: "), []).append(host)
    return [_refused(", ".join(names), line) for line, names in hosts.items()]


def _refused(where: str, line: str) -> Finding:
    match = _LINE.fullmatch(f"{where}: {_FILTER.sub('', line)}")
    if not match:
        return Finding(REFUSED, where, "closer look", line, "an answer without an error", "See what came before")
    return Finding(REFUSED, **match.groupdict(), fix=_FIX_OF.get(match["what"], _FIX_OF_OTHERS))


def survey_findings(views: Sequence[View], rules: Rules) -> list[Finding]:
    """Everything that the hosts' answers say, host by host, and then what only shows between them."""
    found = [finding for view in views for check in _OF_ONE for finding in check(view, rules)]
    return [*found, *_clock(views, rules), *_version(views), *_names(views, rules), *_ports(views)]


def control_findings(sizes_gb: Mapping[str, float], minima: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """The volumes of the control host."""
    needs = minima.get("control", {}).get("size_gb") or {}
    return [
        Finding("disk", "control host", f"size of {path}", f"{sizes_gb[path]:.1f} GB", f"{need:g} GB or more", DISK_FIX)
        for path, need in needs.items()
        if sizes_gb[path] < float(need)
    ]


def _hardware(view: View, rules: Rules) -> Iterator[Finding]:
    for group in view.groups:
        needs, survey = rules.minima.get(group, {}), view.survey
        fix = f"Take another machine for {group}, or change preflight_minima"
        cpus, memory = float(needs.get("cpus") or 0), float(needs.get("memory_gb") or 0)
        if survey["cpus"] < cpus:
            yield Finding("cpu", view.name, "CPUs", f"{survey['cpus']}", f"{cpus:g} or more for {group}", fix)
        found = survey["memory_mb"] * 1024**2 / 1000**3
        if found < memory * MEMORY_TOLERANCE:
            yield Finding("memory", view.name, "memory", f"{found:.1f} GB", f"{memory:g} GB or more for {group}", fix)


def _disks(view: View, rules: Rules) -> Iterator[Finding]:
    asked = set(paths(view.groups, rules.minima))
    for path in sorted(asked - set(view.survey["disks"])):
        fix = "Its server may be down: look at `findmnt`"
        yield Finding("disk", view.name, path, "no answer of its file system", "one that answers in 5 s", fix)
    for key, what in (("size_gb", "size"), ("free_gb", "free space")):
        needs: dict[str, tuple[float, str]] = {}
        for group in view.groups:
            for path, need in (rules.minima.get(group, {}).get(key) or {}).items():
                needs[path] = max(needs.get(path, (0.0, group)), (float(need), group))
        for path, (need, group) in needs.items():
            there = view.survey["disks"].get(path, {}).get(key)
            if there is not None and there < need:
                accepted = f"{need:g} GB or more for {group}"
                yield Finding("disk", view.name, f"{what} of {path}", f"{there:g} GB", accepted, DISK_FIX)


def _software(view: View, _rules: Rules) -> Iterator[Finding]:
    survey = view.survey
    python = survey["python"]
    if tuple(int(part) for part in re.findall(r"[0-9]+", python)[:2]) < PYTHON:
        yield Finding("python", view.name, "Python", python, "3.8 or newer", "Set ansible_python_interpreter")
    if survey["uid"] != 0:
        fix = "Give the ssh user sudo; -K asks for its password"
        yield Finding("privileges", view.name, "become", f"the user id {survey['uid']}", "root, by sudo", fix)
    strangers = survey["packages"]["strangers"]
    if strangers:
        accepted, fix = "none of them", f"apt-get remove {' '.join(strangers)}"
        yield Finding("packages", view.name, "conflicting packages", ", ".join(strangers), accepted, fix)
    if survey["conflicts"]:
        accepted, fix = (
            "names and ids that are free, or ours",
            "Set cluster_uid, cluster_gid, cluster_user or cluster_group",
        )
        yield Finding("ids", view.name, "the cluster's account", ", ".join(survey["conflicts"]), accepted, fix)


def _kernel(view: View, _rules: Rules) -> Iterator[Finding]:
    if "nodes" in view.groups and not view.survey["kernel"]["user_namespaces"]:
        accepted = "user namespaces, for containers of users"
        fix = "Set user.max_user_namespaces and kernel.unprivileged_userns_clone by sysctl"
        yield Finding("kernel", view.name, "kernel", "no user_namespaces", accepted, fix)


def _gpu(view: View, rules: Rules) -> Iterator[Finding]:
    gpus = view.survey["gpus"]
    if "gpu" not in view.groups:
        return
    counted = ", ".join(f"{number} {vendor}" for vendor, number in gpus["counted"].items())
    if not counted and not view.declares_gpus:
        accepted = "a GPU on the PCI bus, or gpu_devices"
        yield Finding("gpu", view.name, "GPUs", "none", accepted, "Take the host out of the group gpu")
    if view.mps and counted and not view.declares_gpus and "NVIDIA" not in gpus["counted"]:
        accepted = "NVIDIA GPUs, because MPS is CUDA's"
        yield Finding("inventory", view.name, "gpu_mps", f"{view.mps} with {counted}", accepted, "Use gpu_shards")
    if counted and not gpus["driver"]:
        fix = "Install the vendor's driver, and start the machine again"
        yield Finding("gpu", view.name, "GPU driver", f"{counted}, and no device files", "a loaded driver", fix)
    for model, capability in gpus["capabilities"].items():
        if _release(capability) <= _release(rules.compute_capability):
            accepted, fix = (
                f"newer than {rules.compute_capability}",
                "Take the GPU out, or the host out of the group gpu",
            )
            yield Finding("gpu", view.name, "compute capability", f"{capability} ({model})", accepted, fix)


def _loopback(view: View, _rules: Rules) -> Iterator[Finding]:
    if view.survey["loopback"]:
        found = f"{', '.join(view.survey['loopback'])} on a loopback address"
        fix = "Take it off that line of /etc/hosts: others would be sent to themselves"
        yield Finding("names", view.name, "/etc/hosts", found, f"its own name on {view.address}", fix)


_OF_ONE = (_software, _hardware, _disks, _kernel, _gpu, _loopback)


def _clock(views: Sequence[View], rules: Rules) -> Iterator[Finding]:
    """The clocks that certainly differ from most; the control host's counts for less, and is no fault of theirs."""
    if len(views) < 2:
        return
    usual = _agreed([view.survey["ahead"] for view in views])
    for view in views:
        least, most = view.survey["ahead"]
        skew = max(least - usual, 0.0) + min(most - usual, 0.0)
        if abs(skew) > rules.clock_skew:
            found = f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
            accepted = f"within {rules.clock_skew:g} s of the others"
            yield Finding("clock", view.name, "clock", found, accepted, "Set it, and see why chrony does not")


def _agreed(spans: Sequence[Sequence[float]]) -> float:
    """The time that lies in most spans (Marzullo's algorithm, as in RFC 1305, appendix C); one of 0 counts for half."""
    edges = (
        [(least, -1.0) for least, _most in spans] + [(most, 1.0) for _least, most in spans] + [(0.0, -0.5), (0.0, 0.5)]
    )
    best, found, agreeing = 0.0, 0.0, 0.0
    for time, step in sorted(edges):
        agreeing -= step
        if (agreeing, -abs(time)) > (best, -abs(found)):
            best, found = agreeing, time
    return found


def _version(views: Sequence[View]) -> Iterator[Finding]:
    """The hosts whose Slurm is not that of the head, or of most."""
    found = {
        view.name: view.survey["slurm"]
        for view in views
        if view.survey["slurm"] and set(view.groups) & {"head", "nodes"}
    }
    heads = [view.name for view in views if "head" in view.groups and view.name in found]
    if not found:
        return
    usual = found[heads[0]] if heads else Counter(found.values()).most_common(1)[0][0]
    for name, version in found.items():
        if version != usual:
            fix = "Install the same release everywhere"
            yield Finding("version", name, "Slurm", version, f"{usual}, as {heads[0] if heads else 'most'} has", fix)


def _ports(views: Sequence[View]) -> Iterator[Finding]:
    """The ways between the hosts that are closed."""
    owners = {view.address: view.name for view in views}
    for view in views:
        for lost in view.survey["unreachable"]:
            address = lost.split()[0]
            found = lost.replace(address, f"{owners[address]} ({address})", 1) if address in owners else lost
            fix = "Open it in the firewalls between the two"
            yield Finding(
                "ports", view.name, "way to others", f"no way to {found}", "a port that answers or refuses", fix
            )


def _names(views: Sequence[View], rules: Rules) -> Iterator[Finding]:
    """Names that lead elsewhere, and addresses that have another host's name."""
    fix = "Correct /etc/hosts or the name server"
    for view in views:
        missing = []
        for name, address in view.asked.items():
            there = view.survey["addresses"].get(name)
            if there and address not in there:
                found = f"{name} at {', '.join(there)}"
                yield Finding("names", view.name, "name resolution", found, f"{name} at {address}", fix)
            if not there:
                missing.append(name)
            others = {each.split(".")[0] for each in view.survey["names"].get(address, [])} - {name}
            strangers = sorted(others & {other.node for other in views})
            if strangers:
                found = f"{address} named {', '.join(strangers)}"
                yield Finding("names", view.name, "name resolution", found, f"{address} named {name}", fix)
        if missing and not rules.writes_etc_hosts:
            found = f"no address of {', '.join(missing)}"
            yield Finding("names", view.name, "name resolution", found, "an address of every host", fix)


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", text))
