# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two NFS servers of a host: what they export, and one path of it changed so that no other export notices.

Neither is asked to read everything anew: exportfs adds (`-a`) and takes away (`-u`), NFS-Ganesha is told by D-Bus about
the one export. So whatever somebody else broke in a file of theirs stays without consequences here.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from typing import Callable, Mapping, NamedTuple, Protocol, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils import exports, ganesha
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, Runner
from ansible_collections.aicluster.slurm.plugins.module_utils.config_files import read_whole, write_whole
from ansible_collections.aicluster.slurm.plugins.module_utils.exports import ExportsError, Settings

HEADER = "# Written by Ansible (aicluster.slurm): changes made here are lost at the next run.\n"

Clients = Mapping[str, Settings]


class Other(NamedTuple):
    """An export of the path that is not ours."""

    file: str
    line: int
    host: str
    options: list[str]


class Plan(NamedTuple):
    """What there is to do."""

    file: str
    before: str
    """The text of the file, empty where there is none."""
    after: str
    stale: list[str]
    """Clients that the server still lets in, as it knows them."""
    in_use: bool
    """Whether the server has what is wanted already."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.after or bool(self.stale) or not self.in_use


class Server(Protocol):
    """One of the two servers, and one path in it; the methods raise ExportsError."""

    own: Clients
    """The path's clients in our file."""
    others: list[Other]
    commands: list[list[str]]
    """What changed something, in order."""
    warnings: list[str]

    def plan(self, wanted: Clients) -> Plan:
        """What it takes to have these clients."""

    def validate(self, plan: Plan) -> str:
        """Have the server judge the new file without applying it; how deep it looked, `deep` or `none`."""

    def apply(self, plan: Plan) -> None:
        """Change it; where the server does not take it the old state comes back before ExportsError is raised."""


def _put(path: str, text: str) -> None:
    """Make a file hold the text; one with nothing but our header goes away."""
    if text not in ("", HEADER):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_whole(path, text)
    elif os.path.exists(path):
        os.unlink(path)


class _Resolver:
    """Clients as the servers know them: names by their canonical name, which the resolver of this host tells."""

    def __init__(self, run: Runner) -> None:
        self.run = run
        self._known: dict[str, str | None] = {}

    def _look_up(self, host: str) -> str | None:
        if not exports.is_name(host):
            return host.lower()
        result = self.run(["getent", "ahosts", host])
        fields = result.stdout.split("\n")[0].split()
        return None if result.rc else (fields[2] if len(fields) > 2 else host).lower()

    def of(self, host: str) -> str:
        """The canonical name, or the name itself where it does not resolve."""
        if host not in self._known:
            self._known[host] = self._look_up(host)
        return self._known[host] or host.lower()

    def need(self, host: str) -> str:
        """The canonical name; ExportsError where a server would leave the client out."""
        name = self.of(host)
        if self._known[host] is None:
            raise ExportsError(f"clients: found {host}, which does not resolve; accepted: a name in /etc/hosts or DNS")
        return name


# --- the kernel's server ----------------------------------------------------------------------------------------------

# $1 is the file to judge, in the place of /etc/exports. The host's own exports are out of sight, and what exportfs
# notes goes with the mounts.
_JUDGE = """
mount -t tmpfs tmpfs /var/lib/nfs && : >/var/lib/nfs/etab && : >/var/lib/nfs/rmtab || exit 97
test ! -d /etc/exports.d || mount -t tmpfs tmpfs /etc/exports.d || exit 97
mount --bind "$1" /etc/exports || exit 97
exportfs -a || exit 98
"""
_NO_NAMESPACE = (1, 97, 126, 127)
_NOISE = re.compile(r"Neither 'subtree_check'|Assuming default behaviour|NOTE: this default|^\s*$")
"""Remarks on the lines of others; ours always have a subtree option."""


class Kernel:
    """The kernel's server, whose exports exportfs(8) keeps; ours are in a file of their own."""

    def __init__(self, run: Runner, path: str, exclusive: bool, etc: str = "/etc", state: str = "/var/lib/nfs") -> None:
        self.run = run
        self.path = path
        self.exclusive = exclusive
        self._canonical = _Resolver(run)
        self.real = os.path.realpath(path)
        self.folder = os.path.join(etc, "exports.d")
        self.file = os.path.join(self.folder, "aicluster.exports")
        self.etab = os.path.join(state, "etab")
        self.commands: list[list[str]] = []
        self.warnings: list[str] = []
        self.others: list[Other] = []
        self._settings_of_others: dict[str, tuple[Other, Settings]] = {}
        self._text = read_whole(self.file)
        reading = exports.read(self._text)
        if reading.complaint:
            raise ExportsError(f"{self.file}: {reading.complaint}. Mend this file, or remove it.")
        self._exports: dict[str, dict[str, Settings]] = {}
        for entry in reading.entries:
            self._exports.setdefault(entry.path, {})[entry.host] = entry.settings
        self.own: Clients = self._exports.get(path, {})
        for name in [os.path.join(etc, "exports"), *self._files()]:
            self._read_other(name)

    def _files(self) -> list[str]:
        """The files of others that exportfs reads besides /etc/exports, in its order."""
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        good = [name for name in names if name.endswith(".exports") and not name.startswith(".")]
        return [os.path.join(self.folder, name) for name in good if name != os.path.basename(self.file)]

    def _read_other(self, name: str) -> None:
        reading = exports.read(read_whole(name))
        if reading.complaint:
            self.warnings.append(f"{name}: {reading.complaint}. exportfs ignores the file from there on.")
        for entry in reading.entries:
            if os.path.realpath(entry.path) == self.real:
                other = Other(name, entry.line, entry.host, exports.words_of(entry.settings))
                self.others.append(other)
                self._settings_of_others.setdefault(entry.host.lower(), (other, entry.settings))

    def _live(self) -> dict[str, Settings]:
        """The clients of the path that the server lets in."""
        entries = exports.read(read_whole(self.etab)).entries
        return {entry.host.lower(): entry.settings for entry in entries if entry.path == self.real}

    def _names(self, wanted: Clients) -> dict[str, Settings]:
        """The wanted clients as exportfs knows them; refuses what it would leave out."""
        names: dict[str, Settings] = {}
        for host, settings in wanted.items():
            name = self._canonical.need(host)
            if names.setdefault(name, settings) != settings:
                raise ExportsError(f"clients: found {name} twice, with other options; accepted: once")
            other = self._settings_of_others.get(host.lower())
            if other and other[1] != settings:
                raise ExportsError(
                    f"clients: found {host} in {other[0].file} (line {other[0].line}) too, with other options:"
                    f" {','.join(other[0].options)}; accepted: one place for a client"
                )
        return names

    def plan(self, wanted: Clients) -> Plan:
        """What it takes to have these clients; where they are exclusive every other goes that no file of others has."""
        names = self._names(wanted)
        live = self._live()
        gone = [*live] if self.exclusive else map(self._canonical.of, self.own.keys() - wanted.keys())
        of_others = {self._canonical.of(other.host) for other in self.others}
        stale = sorted(set(gone) & live.keys() - names.keys() - of_others)
        all_exports = {**self._exports, self.path: dict(wanted)}
        text = exports.render(all_exports, HEADER)
        in_use = all(live.get(name) == settings for name, settings in names.items())
        return Plan(self.file, self._text, "" if text == HEADER else text, stale, in_use)

    def validate(self, plan: Plan) -> str:
        """Have exportfs read the new file, alone, in a mount namespace of its own."""
        if not plan.after:
            return "none"
        with tempfile.NamedTemporaryFile("w", prefix="aicluster-", encoding="utf-8", errors="surrogateescape") as file:
            file.write(plan.after)
            file.flush()
            result = self.run(["unshare", "--mount", "sh", "-c", _JUDGE, "sh", file.name])
        if result.rc in _NO_NAMESPACE:
            return "none"
        said = result.stderr.replace("/etc/exports:", f"{self.file}:")
        complaints = [line for line in said.splitlines() if not _NOISE.search(line)]
        if result.rc or complaints:
            raise ExportsError(f"exportfs refuses it: {' / '.join(complaints) or 'without a reason'}")
        return "deep"

    def apply(self, plan: Plan) -> None:
        """Take away, write, add, and see whether the server has it."""
        before = self._live()
        wanted = self._names(exports_at(plan.after, self.path))
        for name in plan.stale:
            self._change(["exportfs", "-u", _target(name, self.real)])
        _put(self.file, plan.after)
        result = self._change(["exportfs", "-a"])
        live = self._live()
        missing = [name for name, settings in wanted.items() if live.get(name) != settings]
        told = [line.strip() for line in result.stderr.splitlines() if not _NOISE.search(line)]
        if not missing:
            self.warnings += [f"exportfs: {line.replace('exportfs: ', '', 1)}" for line in told]
            return
        _put(self.file, plan.before)
        for name in sorted(live.keys() - before.keys() & wanted.keys()):
            self._change(["exportfs", "-u", _target(name, self.real)])
        self._change(["exportfs", "-a"])
        reason = " / ".join(told) or f"it does not export {self.path} to {', '.join(missing)} as wanted"
        raise ExportsError(f"the server did not take the exports: {reason}. The old ones are back.")

    def _change(self, argv: list[str]) -> Result:
        self.commands.append(argv)
        return self.run(argv)


def exports_at(text: str, path: str) -> dict[str, Settings]:
    """The clients of a path in the text of a file."""
    return {entry.host: entry.settings for entry in exports.read(text).entries if entry.path == path}


def _target(host: str, path: str) -> str:
    """An export as exportfs takes it on its command line: the address of IPv6 in brackets."""
    address, slash, prefix = host.partition("/")
    return f"[{address}]{slash}{prefix}:{path}" if ":" in host else f"{host}:{path}"


# --- NFS-Ganesha ------------------------------------------------------------------------------------------------------

_BUS = ["org.ganesha.nfsd", "/org/ganesha/nfsd/ExportMgr", "org.ganesha.nfsd.exportmgr"]
_BUSY = "try again later"
_TRIES = 10


class Ganesha:
    """NFS-Ganesha, with a file for each path; a file that is in place is in use, because it comes there last."""

    def __init__(
        self,
        run: Runner,
        path: str,
        etc: str = "/etc/ganesha",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.run = run
        self._canonical = _Resolver(run)
        self.sleep = sleep
        self.path = path
        self.folder = os.path.join(etc, "exports.d")
        self.file = os.path.join(self.folder, ganesha.file_name(path))
        # The server reads every file of the folder, whatever its name.
        self.aside = os.path.join(etc, ".aicluster.new")
        self.commands: list[list[str]] = []
        self.warnings: list[str] = []
        self.others: list[Other] = []
        self._taken: dict[int, str] = {}
        self._lack = self._look_at(os.path.join(etc, "ganesha.conf"))
        self._text = read_whole(self.file)
        self._export = self._read_own()
        self.own: Clients = self._export.clients
        for name in sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []:
            if os.path.join(self.folder, name) != self.file:
                self._read_other(os.path.join(self.folder, name))
        self._live = self._show()

    def _look_at(self, name: str) -> str:
        """What the main file lacks: it has to include our folder, or a restart would forget the exports."""
        try:
            folders = ganesha.read(read_whole(name))[1]
        except ExportsError as error:
            return f"{name}: {error}"
        self._read_other(name)
        if self.folder in [folder.rstrip("/") for folder in folders]:
            return ""
        return f"{name}: found no line `%dir {self.folder}`; accepted: a file with it"

    def _read_other(self, name: str) -> None:
        try:
            found = ganesha.exports(read_whole(name))
        except ExportsError as error:
            self.warnings.append(f"{name}: {error}. NFS-Ganesha does not start with it.")
            return
        for export in found:
            self._taken[export.id] = name
            if export.path.rstrip("/") == self.path.rstrip("/"):
                raise ExportsError(f"path: found {self.path} in {name} too; accepted: one place for a path")

    def _read_own(self) -> ganesha.Export:
        if not self._text:
            return ganesha.Export(0, self.path, {})
        try:
            return ganesha.parse(self._text)
        except ExportsError as error:
            self.warnings.append(f"{self.file}: {error}. It is written anew.")
            return ganesha.Export(0, self.path, {})

    def _show(self) -> dict[int, str] | None:
        """The paths that the server exports, by number; None where it does not run."""
        result = self.run(["busctl", "--system", "--json=short", "call", *_BUS, "ShowExports"])
        if result.rc:
            return None
        return {int(row[0]): str(row[1]) for row in json.loads(result.stdout)["data"][-1]}

    def plan(self, wanted: Clients) -> Plan:
        """What it takes to have these clients; nobody but this file lets clients in to the path."""
        live = self._live or {}
        number = next((number for number, path in live.items() if path == self.path and number), 0) or self._export.id
        if not number or number in self._taken:
            number = ganesha.free_id({**self._taken, **live})
        text = ganesha.render(ganesha.Export(number, self.path, dict(wanted)), HEADER) if wanted else ""
        in_use = self._live is None or (self.path in live.values()) == bool(wanted)
        return Plan(self.file, self._text, text, [], in_use)

    def validate(self, plan: Plan) -> str:
        """NFS-Ganesha cannot try a file, and judges when it is told; what can be seen before are names."""
        for host in ganesha.parse(plan.after).clients if plan.after else ():
            self._canonical.need(host)
        return "none"

    def apply(self, plan: Plan) -> None:
        """Tell the server, and put the file in place once it took it."""
        if self._lack:
            raise ExportsError(self._lack)
        if self._live is None:
            self.warnings.append("NFS-Ganesha does not run; it reads the export when it starts")
            _put(self.file, plan.after)
        elif not plan.after:
            self._remove()
            _put(self.file, "")
        else:
            export = ganesha.parse(plan.after)
            os.makedirs(self.folder, mode=0o755, exist_ok=True)
            write_whole(self.aside, plan.after)
            try:
                self._load(export.id, plan)
                os.replace(self.aside, self.file)
            finally:
                if os.path.exists(self.aside):
                    os.unlink(self.aside)

    def _load(self, number: int, plan: Plan) -> None:
        """Add or update the export; what the server says of it has to be free of errors."""
        live = self._live or {}
        verb = "UpdateExport" if number in live else "AddExport"
        expression = f"EXPORT(Export_Id={number})"
        result = self._call(verb, "ss", self.aside, expression)
        if result.rc == 0 and "rrors found" not in result.stdout and (self._show() or {}).get(number) == self.path:
            return
        # An export may be there in spite of an error in it, with fewer clients.
        if plan.before and number in live:
            self._call("UpdateExport", "ss", self.file, expression)
        elif number not in live and number in (self._show() or {}):
            self._call("RemoveExport", "q", str(number))
        reason = " / ".join((result.stderr.strip() or result.stdout.strip()).splitlines()[-4:])
        raise ExportsError(f"the server did not take the export: {reason}. The old one is back.")

    def _remove(self) -> None:
        for number in [number for number, path in (self._live or {}).items() if path == self.path and number]:
            result = self._call("RemoveExport", "q", str(number))
            if result.rc:
                raise ExportsError(f"the server does not remove the export: {result.stderr.strip()}")

    def _call(self, method: str, signature: str, *arguments: str) -> Result:
        """Call a method of the server, which takes one change at a time."""
        argv = ["busctl", "--system", "call", *_BUS, method, signature, *arguments]
        self.commands.append(argv)
        for _try in range(_TRIES):
            result = self.run(argv)
            if result.rc == 0 or _BUSY not in result.stderr:
                break
            self.sleep(1)
        return result


# --- what to change ---------------------------------------------------------------------------------------------------


def after(before: Clients, wanted: Clients, present: bool, exclusive: bool) -> dict[str, Settings]:
    """The clients that a path shall have; without any it is not exported."""
    if present:
        return dict(wanted) if exclusive else {**before, **wanted}
    return {host: settings for host, settings in before.items() if host not in wanted} if wanted else {}


def refuse_world(clients: Clients) -> None:
    """ExportsError for what makes everybody root of the export."""
    for host, settings in clients.items():
        if exports.is_world(host) and settings.writes_as_root:
            raise ExportsError(
                f"clients: found {host} with rw and no_root_squash, which makes everybody root here;"
                " accepted: named clients, root_squash, or allow_world"
            )


def views(clients: Clients) -> list[dict[str, object]]:
    """Clients as the module returns them."""
    return [
        {"host": host, "options": exports.words_of(clients[host])} for host in sorted(clients, key=exports.precedence)
    ]


def detect(run: Runner, installed: Sequence[str]) -> str:
    """Which of the installed servers, `kernel` and `ganesha`, exports: of two the one that runs; empty for none."""
    if len(installed) < 2:
        return "".join(installed)
    return "ganesha" if run(["systemctl", "is-active", "--quiet", "nfs-ganesha"]).rc == 0 else "kernel"
