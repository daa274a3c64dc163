# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slurm itself judges a configuration before it is put in place, without touching the controller that runs.

Deep: a slurmctld of its own, in private network and mount namespaces in which every name leads to one address that is
nobody's, so that no node is contacted and no name resolved; it needs CAP_SYS_ADMIN. Syntax: scontrol parses its
configuration before it does anything, which shows unknown keys and bad values, but no unknown node in a partition.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from typing import Iterable, Mapping, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner, require
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_conf import ConfigError

SECONDS = 60
"""How long the private slurmctld has to start: it takes 0.2 s, or a second with 1,000 nodes, but a head may be busy."""

# getaddrinfo wants a host that has an address besides the loopback's (AI_ADDRCONFIG); RFC 5737 keeps this one free.
ADDRESS = "192.0.2.254"

_REPLACED = re.compile(
    r"^\s*(StateSaveLocation|SlurmctldPidFile|SlurmctldLogFile|SlurmctldDebug|AccountingStorageType|JobCompType)\s*=.*$",
    re.IGNORECASE | re.MULTILINE,
)

_MIDDLE = "--- nodes ---"
_ADDRESS = re.compile(r"^(\s*SlurmctldHost\s*=[^(\n]*)\([^)\n]*\)", re.IGNORECASE | re.MULTILINE)
_CONTROLLER = re.compile(r"^\s*SlurmctldHost\s*=\s*([^(\s]+).*\n?", re.IGNORECASE | re.MULTILINE)
# $1 is the folder. Ends as soon as slurmctld says that it runs (and then what it made of the configuration), or has
# ended, or the time is over.
_SCRIPT = f"""
ip link set lo up && ip addr add {ADDRESS}/32 dev lo && mount --bind "$1/hosts" /etc/hosts || exit 97
slurmctld -D -c -f "$1/slurm.conf" >"$1/out" 2>&1 &
pid=$!
end=$(($(date +%s) + {SECONDS}))
while kill -0 $pid 2>/dev/null && [ "$(date +%s)" -lt $end ]; do
    if grep -q 'Running as primary controller' "$1/log" "$1/out" 2>/dev/null; then
        export SLURM_CONF="$1/slurm.conf"
        scontrol --all --oneliner show partitions && echo {_MIDDLE} && scontrol --all --oneliner show nodes
        kill -9 $pid
        wait $pid 2>/dev/null
        exit 0
    fi
    sleep 0.05
done
kill -9 $pid 2>/dev/null
cat "$1/out" "$1/log" 2>/dev/null
exit 98
"""
_SILENT = f"slurmctld ended, or did not start within {SECONDS} s, and said nothing of why"
_NO_NAMESPACE = (97, 126, 127)
_COMPLAINT = re.compile(r"\b(fatal|error)\b")
# What a slurmctld says that starts without its state, mail program or MPI library.
_HARMLESS = re.compile(
    r"state file|Information may be lost|Jobs may be lost|may be lost!|MailProg|[pP][mM][iI]x|MPI:|pidfile"
)


class Verdict(NamedTuple):
    """What Slurm said of a configuration."""

    depth: str
    """Which of the two judged: deep or syntax."""
    complaints: list[str]
    """Empty when the configuration is good."""
    partitions: str = ""
    """What `scontrol --oneliner show partitions` says under this configuration; empty where nobody could be asked."""
    nodes: str = ""
    """The same of the nodes."""


def candidate(slurm_conf: str, folder: str, host: str) -> str:
    """slurm.conf for the private slurmctld: its state, log and pid file are in `folder`, and it asks no database.

    Of several controllers `host` is the only one: it would wait as the backup of another.
    """
    kept = _REPLACED.sub("", slurm_conf)
    if host in _CONTROLLER.findall(kept):
        kept = _CONTROLLER.sub(lambda line: line[0] if line[1] == host else "", kept)
    # The addresses of the controllers are on no interface there; `hosts` has their names.
    kept = _ADDRESS.sub(r"\1", kept)
    return kept + f"\nStateSaveLocation={folder}/state\nSlurmctldPidFile={folder}/pid\nSlurmctldLogFile={folder}/log\n"


def hostname() -> str:
    """What this host calls itself, as slurmctld compares it with SlurmctldHost."""
    return os.uname().nodename.split(".")[0]


def hosts(names: Iterable[str]) -> str:
    """/etc/hosts for the private slurmctld."""
    return "127.0.0.1 localhost\n" + "".join(f"{ADDRESS} {name}\n" for name in names)


def check(run: Runner, texts: Mapping[str, str], names: Iterable[str]) -> Verdict:
    """Have Slurm judge these files, by name; `names` are all hosts in them. Raises ConfigError when it refuses them."""
    folder = tempfile.mkdtemp(prefix="aicluster-")
    try:
        os.makedirs(os.path.join(folder, "state"))
        prepared = {**texts, "slurm.conf": candidate(texts["slurm.conf"], folder, hostname()), "hosts": hosts(names)}
        for name, text in prepared.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
        require(run(["chmod", "755", folder]))
        require(run(["chown", "-R", "slurm", folder]))
        verdict = judge(run, folder)
    finally:
        shutil.rmtree(folder)
    if verdict.complaints:
        refused = f"Slurm refuses the configuration ({verdict.depth} check)"
        raise ConfigError([f"{refused}: {line}" for line in verdict.complaints])
    return verdict


def judge(run: Runner, folder: str) -> Verdict:
    """Have Slurm judge the files in `folder`, prepared with `candidate` and `hosts`."""
    deep = run(["unshare", "--net", "--mount", "sh", "-c", _SCRIPT, "sh", folder])
    if deep.rc == 0:
        partitions, _middle, nodes = deep.stdout.partition(f"{_MIDDLE}\n")
        return Verdict("deep", [], partitions, nodes)
    if deep.rc == 98:
        lines = [line for line in deep.stdout.splitlines() if _COMPLAINT.search(line) and not _HARMLESS.search(line)]
        return Verdict("deep", list(dict.fromkeys(_bare(line) for line in lines)) or [_SILENT])
    syntax = run(["env", f"SLURM_CONF={folder}/slurm.conf", "scontrol", "show", "hostnames", "localhost"])
    if syntax.rc == 0:
        return Verdict("syntax", [])
    return Verdict("syntax", [_bare(line) for line in syntax.stderr.splitlines()] or ["scontrol does not read it"])


def _bare(line: str) -> str:
    """A log line without its time and daemon."""
    return re.sub(r"^(\[[^]]*\]\s*)?(\w+:\s+)?((?:error|fatal):)", r"\3", line.strip())
