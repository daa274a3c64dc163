# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports of NFS-Ganesha: the blocks of its configuration, and one export as a block (ganesha-export-config(8), 4.3).

A client is described in the words of exports(5), so that both servers take the same data.
"""

from __future__ import annotations

import re
from typing import Iterator, Mapping, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils.exports import (
    DEFAULT_FLAGS,
    ExportsError,
    Settings,
    precedence,
    words_of,
)

MAX_ID = 65535
ACCEPTED = "ro, rw, root_squash, no_root_squash, all_squash, secure, insecure, sec, anonuid, anongid"
"""Options that NFS-Ganesha has, in the words of exports(5). The defaults of the others are what it does anyway."""

_SQUASHES = {"root_squash": "Root_Squash", "all_squash": "All_Squash", "": "No_Root_Squash"}
_NOT_OF_FLAVOR = DEFAULT_FLAGS - {"ro", "root_squash"}


class Block(NamedTuple):
    """A block in braces; names of blocks and keys do not depend on case and are kept in small letters."""

    name: str
    values: dict[str, list[str]]
    blocks: list[Block]


class Export(NamedTuple):
    """An export block; `clients` by host is empty where the block is not one of ours."""

    id: int
    path: str
    clients: dict[str, Settings]


# --- the grammar ------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<mark>[{}=;,])|"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>[^']*)'|(?P<word>[^\s{}=;,"'\#]+)""",
    re.DOTALL,
)


class _Token(NamedTuple):
    text: str
    mark: bool
    """Whether it is one of the marks, and no quoted one."""
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens, and at the end an empty mark."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        line = text.count("\n", 0, position) + 1
        if not match:
            raise ExportsError(f"line {line}: found {text[position]!r}; accepted: a closed quote")
        position = match.end()
        if match["mark"]:
            yield _Token(match["mark"], True, line)
        elif match["double"] is not None:
            yield _Token(re.sub(r"\\(.)", r"\1", match["double"], flags=re.DOTALL), False, line)
        elif match.lastgroup:
            yield _Token(match[match.lastgroup], False, line)
    yield _Token("", True, text.count("\n") + 1)


class _Parser:
    """Reads blocks, one token after the other."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.folders: list[str] = []

    def _is(self, mark: str) -> bool:
        """Whether that mark comes next; it is taken."""
        found = self.tokens[0].mark and self.tokens[0].text == mark
        if found and mark:
            self.tokens.pop(0)
        return found

    def _word(self) -> str:
        if self.tokens[0].mark:
            self._refuse()
        return self.tokens.pop(0).text

    def _refuse(self) -> None:
        text, _mark, line = self.tokens[0]
        found = repr(text) if text else "the end of the file"
        raise ExportsError(f"line {line}: found {found}; accepted: blocks of `name = value;` in braces")

    def body(self, name: str, end: str) -> Block:
        """What is inside of a block; the file is one without a name."""
        block = Block(name.lower(), {}, [])
        while not self._is(end):
            word = self._word()
            if not name and word in ("%include", "%dir", "%url"):
                target = self._word()
                self.folders += [target] if word == "%dir" else []
            elif self._is("{"):
                block.blocks.append(self.body(word, "}"))
            elif name and self._is("="):
                values = block.values[word.lower()] = [self._word()]
                while self._is(","):
                    values.append(self._word())
                if not self._is(";"):
                    self._refuse()
            else:
                self._refuse()
        return block


def read(text: str) -> tuple[list[Block], list[str]]:
    """The blocks of a configuration, and the folders that it includes; ExportsError with the line for what is none."""
    parser = _Parser(text)
    return parser.body("", "").blocks, parser.folders


def exports(text: str) -> list[Export]:
    """The exports in the text of a file, without their clients."""
    return [
        Export(_number(block.values.get("export_id", ["0"])), "".join(block.values.get("path", [])), {})
        for block in read(text)[0]
        if block.name == "export"
    ]


def _number(words: list[str]) -> int:
    return int(words[0]) if words and words[0].isdecimal() else 0


# --- an export of ours ------------------------------------------------------------------------------------------------


# What the scanner of NFS-Ganesha takes for a client. Behind the slash it reads two digits at most.
_CLIENT = "|".join(
    [
        r"\*",
        r"@[A-Za-z_][\w.-]*",
        r"[\d.]+(/[1-9]\d?)?",
        r"[0-9a-f.]*:[0-9a-f:.]*(/[1-9]\d?)?",
        r"[A-Za-z_][\w.-]*",
        r"[\w.-]*[*?[][\w.*?[\]-]*",
    ]
)


def check(host: str, settings: Settings) -> Settings:
    """The settings as NFS-Ganesha has them; ExportsError where it cannot do what the kernel's server could."""
    differing = settings.flags ^ _NOT_OF_FLAVOR
    values = {key for key, _value in settings.values} - {"anonuid", "anongid"}
    if differing - {"insecure"} or values or len({own for _flavor, own in settings.flavors}) > 1:
        raise ExportsError(f"{host}: found {','.join(words_of(settings))}; accepted with NFS-Ganesha: {ACCEPTED}")
    if not re.fullmatch(_CLIENT, host, re.ASCII):
        raise ExportsError(
            f"{host}: found a client that NFS-Ganesha cannot read; accepted: an address, a network with a prefix of 1"
            " to 99, a name that begins with a letter, *.domain, @netgroup, or *"
        )
    # Who squashes all squashes root too.
    both = [(name, own | {"root_squash"} if "all_squash" in own else own) for name, own in settings.flavors]
    return settings._replace(flavors=tuple(both))


def render(export: Export, header: str = "") -> str:
    """The block of an export; who is not among its clients has no access."""
    # The first block that has a client counts, so that a wide one never stands before a narrow one.
    blocks: list[tuple[Settings, list[str]]] = []
    for host in sorted(export.clients, key=precedence):
        if not blocks or blocks[-1][0] != export.clients[host]:
            blocks.append((export.clients[host], []))
        blocks[-1][1].append(host)
    lines = [
        "EXPORT {",
        f"    Export_Id = {export.id};",
        f"    Path = {_quoted(export.path)};",
        f"    Pseudo = {_quoted(export.path)};",
        "    Access_Type = None;",
        "    FSAL {",
        "        Name = VFS;",
        "    }",
    ]
    for settings, members in blocks:
        lines += ["    CLIENT {", *(f"        {key} = {value};" for key, value in _keys(settings, members)), "    }"]
    return header + "\n".join([*lines, "}", ""])


def _quoted(path: str) -> str:
    if re.search(r'["\\\x00-\x1f\x7f]', path):
        raise ExportsError(f"path: found {path!r}; accepted with NFS-Ganesha: no quote, backslash or break in it")
    return f'"{path}"'


def _keys(settings: Settings, hosts: list[str]) -> list[tuple[str, str]]:
    values = dict(settings.values)
    own = settings.flavors[0][1]
    squash = "all_squash" if "all_squash" in own else "root_squash" if "root_squash" in own else ""
    return [
        ("Clients", ", ".join(hosts)),
        ("Access_Type", "RO" if "ro" in own else "RW"),
        ("Squash", _SQUASHES[squash]),
        ("PrivilegedPort", "false" if "insecure" in settings.flags else "true"),
        ("SecType", ", ".join(flavor for flavor, _own in settings.flavors)),
        ("Anonymous_Uid", values.get("anonuid", "65534")),
        ("Anonymous_Gid", values.get("anongid", "65534")),
    ]


def parse(text: str) -> Export:
    """The export in a file that `render` wrote; ExportsError for another."""
    blocks, _folders = read(text)
    if [block.name for block in blocks] != ["export"]:
        raise ExportsError("found something else than one export; accepted: the file as it was written")
    block = blocks[0]
    try:
        members = [block for block in block.blocks if block.name == "client"]
        clients = {host: _settings(client) for client in members for host in client.values["clients"]}
        return Export(int(block.values["export_id"][0]), block.values["path"][0], clients)
    except (KeyError, IndexError, ValueError) as error:
        raise ExportsError(f"found an export without {error}; accepted: the file as it was written") from None


def _settings(client: Block) -> Settings:
    values = client.values
    squash = {name: flag for flag, name in _SQUASHES.items()}[values["squash"][0]]
    own = {"RO": {"ro"}, "RW": set()}[values["access_type"][0]]
    own |= {"": set(), "root_squash": {"root_squash"}, "all_squash": {"root_squash", "all_squash"}}[squash]
    anonymous = [("anongid", values["anonymous_gid"][0]), ("anonuid", values["anonymous_uid"][0])]
    return Settings(
        _NOT_OF_FLAVOR | ({"insecure"} if values["privilegedport"][0] == "false" else set()),
        tuple((flavor, frozenset(own)) for flavor in values["sectype"]),
        tuple(item for item in anonymous if item[1] != "65534"),
    )


def free_id(taken: Mapping[int, str]) -> int:
    """The lowest number that no export has; 0 is the root of all."""
    return next(number for number in range(1, MAX_ID + 1) if number not in taken)


def file_name(path: str) -> str:
    """The file for a path: one for each, and readable."""
    name = re.sub(r"[^A-Za-z0-9./]", _in_hexadecimal, path.strip("/")).replace("/", "-")
    return f"aicluster-{name or 'root'}.conf"


def _in_hexadecimal(match: re.Match[str]) -> str:
    return "".join(f"_{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))
