# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports files: what exportfs makes of them, and canonical lines.

exports(5) leaves much unsaid; what counts here is what exportfs of nfs-utils 2.6.2 and 2.8.3 does, byte by byte: tokens
end at blanks that are neither quoted nor written in octal, a file ends at its first error, and the options of a line
add up from left to right, the last of two that contradict each other counting.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Iterable, Mapping, NamedTuple

MAX_CLIENT = 511
"""Bytes that a client with its options may have; exportfs reads no further."""
MAX_PATH = 1024

# Each word: the flag that it is about, and whether it sets it.
_FLAGS = {
    "ro": ("ro", True),
    "rw": ("ro", False),
    "insecure": ("insecure", True),
    "secure": ("insecure", False),
    "async": ("async", True),
    "sync": ("async", False),
    "nohide": ("nohide", True),
    "hide": ("nohide", False),
    "crossmnt": ("crossmnt", True),
    "nocrossmnt": ("crossmnt", False),
    "wdelay": ("wdelay", True),
    "no_wdelay": ("wdelay", False),
    "root_squash": ("root_squash", True),
    "no_root_squash": ("root_squash", False),
    "all_squash": ("all_squash", True),
    "no_all_squash": ("all_squash", False),
    "no_subtree_check": ("no_subtree_check", True),
    "subtree_check": ("no_subtree_check", False),
    "insecure_locks": ("insecure_locks", True),
    "secure_locks": ("insecure_locks", False),
    "no_acl": ("no_acl", True),
    "acl": ("no_acl", False),
    "pnfs": ("pnfs", True),
    "no_pnfs": ("pnfs", False),
    "nordirplus": ("nordirplus", True),
    "security_label": ("security_label", True),
    "no_auth_nlm": ("insecure_locks", True),
    "auth_nlm": ("insecure_locks", False),
}
_WORDS = {pair: word for word, pair in reversed(list(_FLAGS.items()))}
DEFAULT_FLAGS = frozenset(["ro", "wdelay", "root_squash", "no_subtree_check"])
_ALWAYS_SHOWN = ("async", "no_subtree_check")
_OF_FLAVOR = ("ro", "root_squash", "all_squash")
"""Flags that each security flavor has for itself. (Kernels differ over `insecure`; here it is one for all.)"""
_FLAVORS = {
    "krb5": "krb5",
    "krb5i": "krb5i",
    "krb5p": "krb5p",
    "sys": "sys",
    "unix": "sys",
    "none": "none",
    "null": "none",
}
_TEXT_VALUES = {"refer": "refer", "replicas": "replicas", "mountpoint": "mountpoint", "mp": "mountpoint"}
_NOBODY = (("anonuid", "65534"), ("anongid", "65534"))
"""What an anonymous user is by default."""
_NEWER = ("xprtsec", "reexport")
"""Values that only newer versions know (xprtsec from 2.6.3, reexport from 2.6.4)."""


class ExportsError(Exception):
    """Exports that cannot be, or that are refused; the text says where, what was found, and what is accepted."""


class Settings(NamedTuple):
    """What the options of an export come to."""

    flags: frozenset[str] = DEFAULT_FLAGS - set(_OF_FLAVOR)
    """The flags that are set, of those that hold for all flavors."""
    flavors: tuple[tuple[str, frozenset[str]], ...] = (("sys", DEFAULT_FLAGS & set(_OF_FLAVOR)),)
    """The security flavors in their order, each with the flags of its own that are set."""
    values: tuple[tuple[str, str], ...] = ()
    """What has a value, by key in alphabetical order; anonuid and anongid only where they are not 65534."""

    @property
    def writes_as_root(self) -> bool:
        """Whether root of a client is root in the export, and may write."""
        return any(not own & {"ro", "root_squash", "all_squash"} for _flavor, own in self.flavors)


class Entry(NamedTuple):
    """An export to one client."""

    path: str
    host: str
    """As it is written, `*` where none is written: that too is the world."""
    settings: Settings
    line: int
    """Where it ends, from 1."""


class Reading(NamedTuple):
    """What exportfs takes from a file."""

    entries: list[Entry]
    complaint: str
    """Why nothing after these entries counts, with the line; empty for a good file."""


# --- options ----------------------------------------------------------------------------------------------------------


class _Options:
    """Options of a line while they are read."""

    def __init__(self) -> None:
        self.flags = set(DEFAULT_FLAGS)
        self.flavors: dict[str, set[str]] = {}
        self.values: dict[str, str] = {}

    def copy(self) -> _Options:
        """The same options, to be added to."""
        new = _Options()
        new.flags = set(self.flags)
        new.flavors = {name: set(flags) for name, flags in self.flavors.items()}
        new.values = dict(self.values)
        return new

    def add(self, text: str) -> None:
        """Read words between commas; ExportsError for one that exportfs would not take."""
        words = [word.lstrip(" \t") for word in text.split(",")]
        if not words[-1]:
            words.pop()
        active: list[str] = []
        for word in words:
            if word in _FLAGS:
                flag, value = _FLAGS[word]
                for flags in [self.flags, *(self.flavors[name] for name in active)]:
                    (flags.add if value else flags.discard)(flag)
            elif word.startswith("sec="):
                active = self._add_flavors(word)
            else:
                key, equals, value_text = word.partition("=")
                self._add_value(word, key, value_text if equals else None)

    def _add_flavors(self, word: str) -> list[str]:
        names = word[len("sec=") :].split(":")
        if not all(name in _FLAVORS for name in names):
            raise ExportsError(f"found {word!r}; accepted: sec= and some of {', '.join(_FLAVORS)} between colons")
        active = [_FLAVORS[name] for name in names]
        for name in active:
            self.flavors.setdefault(name, set(self.flags))
        return active

    def _add_value(self, word: str, key: str, value: str | None) -> None:
        if key in ("anonuid", "anongid") and value is not None:
            if not re.fullmatch(r"[ \t-\r]*[+-]?[0-9]+", value):
                raise ExportsError(f"found {word!r}; accepted: {key}= and a number")
            number = min(max(int(value), -(2**63)), 2**63 - 1)
            self.values[key] = str((number + 2**31) % 2**32 - 2**31)
        elif key == "fsid" and value is not None:
            self._add_fsid(word, value)
        elif key in ("squash_uids", "squash_gids") and value is not None:
            # An old option, which exportfs reads and the kernel leaves alone.
            self.values[key] = f"{self.values[key]},{value}" if key in self.values else value
        elif key in _TEXT_VALUES and (value is not None or _TEXT_VALUES[key] == "mountpoint"):
            if _TEXT_VALUES[key] in ("refer", "replicas"):
                self.values.pop("refer", None)
                self.values.pop("replicas", None)
            self.values[_TEXT_VALUES[key]] = value or ""
        elif key in _NEWER and value:
            self.values[key] = value
        else:
            raise ExportsError(f"found {word!r}; accepted: an option of exports(5)")

    def _add_fsid(self, word: str, value: str) -> None:
        number = re.fullmatch(r"[ \t-\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))", value)
        if value == "root":
            self.values["fsid"] = "0"
        elif number:
            sign, hexadecimal, octal, decimal = number.groups()
            size = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
            size = 2**64 - 1 if size >= 2**64 else -size if sign == "-" else size
            self.values["fsid"] = str(size % 2**32)
        elif len(re.findall(r"[0-9a-fA-F]", value)) == 32:
            self.values["uuid"] = value
        else:
            raise ExportsError(f"found {word!r}; accepted: fsid= and root, a number, or a UUID")

    def settings(self) -> Settings:
        """What they come to."""
        own = set(_OF_FLAVOR)
        flavors = self.flavors or {"sys": self.flags}
        values = {key: value for key, value in self.values.items() if (key, value) not in _NOBODY}
        if "uuid" in values:
            # Beside a UUID a number has no meaning: exportfs overwrites it while it looks what the UUID is.
            values.pop("fsid", None)
        return Settings(
            frozenset(self.flags - own),
            tuple((name, frozenset(flags & own)) for name, flags in flavors.items()),
            tuple(sorted(values.items())),
        )


def settings_of(words: Iterable[str]) -> Settings:
    """What options come to; ExportsError for what exportfs, or a line that this module writes, could not hold."""
    words = list(words)
    for word in words:
        if not re.fullmatch(r'[^\s,()"#\\]+', word) or not word.isprintable():
            raise ExportsError(f"found {word!r}; accepted: one option, without blanks, commas, quotes and brackets")
    options = _Options()
    options.add(",".join(words))
    return options.settings()


def words_of(settings: Settings) -> list[str]:
    """The canonical options: what matters most is always written, of the others only what is not the default."""
    values = dict(settings.values)
    first = settings.flavors[0][1]
    words = [] if _differ(settings) else _flavor_words(first)
    for _word, (flag, value) in _FLAGS.items():
        shown = flag in _ALWAYS_SHOWN or value != (flag in DEFAULT_FLAGS)
        word = _WORDS[flag, value]
        if flag not in _OF_FLAVOR and value == (flag in settings.flags) and shown and word not in words:
            words.append(word)
    for key, value_text in values.items():
        if key in ("squash_uids", "squash_gids"):
            words += [f"{key}={each}" for each in value_text.split(",")]
        else:
            name = "fsid" if key == "uuid" else key
            words.append(f"{name}={value_text}" if value_text else name)
    if _differ(settings):
        for flavor, own in settings.flavors:
            words += [f"sec={flavor}", *_flavor_words(own, everything=True)]
    elif [flavor for flavor, _own in settings.flavors] != ["sys"]:
        words.append("sec=" + ":".join(flavor for flavor, _own in settings.flavors))
    return words


def _differ(settings: Settings) -> bool:
    return len({own for _flavor, own in settings.flavors}) > 1


def _flavor_words(own: frozenset[str], everything: bool = False) -> list[str]:
    words = [_WORDS["ro", "ro" in own], _WORDS["root_squash", "root_squash" in own]]
    return [*words, _WORDS["all_squash", "all_squash" in own]] if everything or "all_squash" in own else words


# --- hosts ------------------------------------------------------------------------------------------------------------


def check_host(host: str) -> str:
    """A client as it is written into a file; ExportsError for what exportfs would not take, or take for another."""
    if host == "*" or re.fullmatch(r"@[A-Za-z_][\w.-]*", host, re.ASCII):
        return host
    if ":" in host or re.fullmatch(r"[\d./]+", host):
        try:
            return str(_network(host)) if "/" in host else str(ipaddress.ip_address(host))
        except ValueError as error:
            raise ExportsError(
                f"found {host!r}; accepted: an address, or a network such as 10.0.0.0/8 ({error})"
            ) from None
    if not re.fullmatch(r"[A-Za-z0-9_*?[][A-Za-z0-9_.*?[\]-]*", host):
        raise ExportsError(f"found {host!r}; accepted: an address, a network, a name, *.domain, @netgroup, or *")
    return host


def _network(host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network, its host bits dropped: exportfs compares clients as text."""
    return ipaddress.ip_network(host, strict=False)


def is_name(host: str) -> bool:
    """Whether exportfs looks the client up, and knows it by its canonical name."""
    if host in ("", "*") or host.startswith(("@", "gss/")) or re.search(r"[*?[/]", host):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def is_world(host: str) -> bool:
    """Whether everybody is such a client."""
    return not host.strip("*?.") or host.endswith(("/0", "/0.0.0.0"))


def precedence(host: str) -> tuple[int, int, str]:
    """Where the client stands among others, the most particular one first, as the kernel's server takes them."""
    if is_world(host):
        return 4, 0, host
    if host.startswith("@"):
        return 3, 0, host
    if re.search(r"[*?[]", host):
        return 2, 0, host
    if "/" in host:
        prefix = host.rpartition("/")[2]
        return 1, -int(prefix) if prefix.isdecimal() else 0, host
    return 0, 0, host


# --- files ------------------------------------------------------------------------------------------------------------

_END = -1
_BREAKS = frozenset(b" \t\n\v\f\r\0")


class _Scanner:
    """Reads an exports file as exportfs does."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    @property
    def line(self) -> int:
        """The line that is being read, from 1."""
        return self.data.count(b"\n", 0, self.position) + 1

    def _next(self) -> int:
        """The next byte; a line that is continued holds one blank in the place of the break."""
        if self.position >= len(self.data):
            return _END
        byte = self.data[self.position]
        self.position += 1
        if byte == ord("\\") and self.data[self.position : self.position + 1] == b"\n":
            self.position += 1
            while self.data[self.position : self.position + 1] in (b" ", b"\t"):
                self.position += 1
            return ord(" ")
        return byte

    def _skip(self, blanks: bytes) -> None:
        """Go over blanks and a comment, which begins only where a token could."""
        while (byte := self._next()) != _END:
            if byte == ord("#"):
                end = self.data.find(b"\n", self.position)
                self.position = len(self.data) if end < 0 else end + 1
                if end < 0:
                    return
                byte = ord("\n")
            if byte not in blanks:
                self.position -= 1
                return

    def token(self, blanks: bytes, limit: int) -> str | None:
        """The next token, empty where none is, None for one that is too long."""
        self._skip(blanks)
        token = bytearray()
        quoted = False
        while len(token) <= limit:
            byte = self._next()
            if byte == _END or (byte in _BREAKS and not quoted):
                if byte == ord("\n"):
                    self.position -= 1
                # exportfs keeps tokens as strings of C.
                return token.split(b"\0")[0].decode("utf-8", "surrogateescape")
            if byte == ord('"'):
                quoted = not quoted
                continue
            token.append(byte)
            if re.fullmatch(rb"\\[0-3][0-7]{2}", token[-4:]):
                token[-4:] = bytes([int(token[-3:], 8)])
        return None


def read(text: str) -> Reading:
    """What exportfs takes from the text of a file."""
    scanner = _Scanner(text.encode("utf-8", "surrogateescape"))
    entries: list[Entry] = []
    try:
        while True:
            path = scanner.token(b" \t\n\0", MAX_PATH)
            if not path:
                at_end = path == "" and scanner.position >= len(scanner.data)
                return Reading(
                    entries, "" if at_end else f"line {scanner.line}: found no path of up to {MAX_PATH} bytes"
                )
            entries.extend(_read_clients(scanner, path))
    except _BrokenError as error:
        return Reading(entries + error.entries, f"line {scanner.line}: {error}")


class _BrokenError(Exception):
    """A line that exportfs does not read to its end."""

    def __init__(self, text: str, entries: list[Entry]) -> None:
        super().__init__(text)
        self.entries = entries


def _read_clients(scanner: _Scanner, path: str) -> list[Entry]:
    """The rest of a line, after its path."""
    entries: list[Entry] = []

    def token() -> str:
        found = scanner.token(b" \t\0", MAX_CLIENT)
        if found is None:
            raise _BrokenError(f"found a client of {path} with more than {MAX_CLIENT} bytes", entries)
        return found

    defaults = _Options()
    client = token()
    while True:
        options = defaults.copy()
        try:
            if client.startswith("-"):
                defaults.add(client[1:])
                options = defaults.copy()
                client = token()
            host, bracket, rest = client.partition("(")
            if bracket:
                if rest.count(")") != 1 or not rest.endswith(")"):
                    raise ExportsError(f"found {client!r}; accepted: client(option,option) without blanks")
                options.add(rest[:-1])
        except ExportsError as error:
            raise _BrokenError(str(error), entries) from None
        entries.append(Entry(path, host or "*", options.settings(), scanner.line))
        client = token()
        if not client:
            return entries


def render_path(path: str) -> str:
    """A path as a line holds it: what would end or change it in octal, as exportfs itself writes it."""
    return re.sub(r'[\x00-\x20\x7f"#\\]', lambda match: f"\\{ord(match[0]):03o}", path)


def render(exports: Mapping[str, Mapping[str, Settings]], header: str = "") -> str:
    """A file with the exports by path and host, a line each."""
    lines = []
    for path, clients in sorted(exports.items()):
        for host in sorted(clients, key=precedence):
            client = f"{host}({','.join(words_of(clients[host]))})"
            if len(client.encode()) > MAX_CLIENT or len(path.encode("utf-8", "surrogateescape")) > MAX_PATH:
                raise ExportsError(
                    f"found {path} {client}; accepted: {MAX_PATH} bytes in a path, {MAX_CLIENT} in a client"
                )
            lines.append(f"{render_path(path)} {client}\n")
    return header + "".join(lines)
