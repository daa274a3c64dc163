# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""enroot: names of images and containers, what it prints, and what its errors mean.

The role nodes lays this file beside the commands for users, too, so it imports nothing of the collection.
"""

from __future__ import annotations

import json
import re
from typing import Iterable, Mapping, NamedTuple

PREFIX = "pyxis_"
"""What pyxis puts before the names of containers; enroot itself shows the names with it."""

ASIDE = ".aicluster-"
"""Begins what is not finished: `enroot list` and pyxis show no name with a dot before it."""

ORIGIN = ".aicluster.json"
"""The file in a container that tells its origin: it comes and goes with the container, whoever removes that."""

_HUB = "registry-1.docker.io"
_HUBS = (_HUB, "docker.io", "index.docker.io")
_PATH = re.compile(r"[a-z0-9._-]+(/[a-z0-9._-]+)*")
_TAG = re.compile(r"[\w][\w.-]*", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?")
_GRAMMAR = "[docker://][USER@][REGISTRY#]IMAGE[:TAG][@sha256:DIGEST], or the absolute path of a .sqsh file"


class EnrootError(Exception):
    """What cannot be, or did not work; the text says where, what was found, and what is accepted or to be done."""


class Image(NamedTuple):
    """An image, as it was named."""

    source: str
    """What enroot takes: a URI, or a path."""
    key: str
    """The same for two spellings of one image."""
    is_file: bool


class Origin(NamedTuple):
    """Where a container or an imported image came from."""

    image: str
    """The key of the image."""
    digest: str
    """What the registry called it; of a file its size and time."""


# --- names ------------------------------------------------------------------------------------------------------------


def parse_image(text: str) -> Image:
    """The image that a text names, in enroot's grammar or pyxis' shorter one. Raises EnrootError."""
    wrong = EnrootError(f"image: found {text!r}; accepted: {_GRAMMAR}")
    if any(ord(character) < 32 for character in text):
        raise wrong
    if text.startswith(("/", "./", "../")) or text.endswith(".sqsh"):
        if not text.startswith("/"):
            raise wrong
        return Image(text, text, True)
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "docker":
        raise wrong
    rest = rest if separator else text
    rest, _at, digest = _split_digest(rest)
    before, at, rest = rest.rpartition("@")
    registry, path, tag = _split(rest)
    parts_are_good = (
        _REGISTRY.fullmatch(registry)
        and _PATH.fullmatch(path)
        and _TAG.fullmatch(tag)
        and (not digest or _DIGEST.fullmatch(digest))
        and bool(before) == bool(at)
        and not re.search(r"[\s#/]", before)
    )
    if not parts_are_good:
        raise wrong
    # A tag beside a digest says nothing: enroot takes the digest.
    version = f"@{digest}" if digest else f":{tag}"
    if registry in _HUBS:
        registry, path = _HUB, path if "/" in path else f"library/{path}"
    return Image(
        f"docker://{text if not separator else text.partition('://')[2]}", f"{registry}#{path}{version}", False
    )


def _split_digest(text: str) -> tuple[str, str, str]:
    head, at, digest = text.rpartition("@")
    return (head, at, digest) if at and digest.startswith("sha256:") else (text, "", "")


def _split(text: str) -> tuple[str, str, str]:
    """Registry, path and tag. A registry before a slash is one when it has a dot or a port; else it is Docker Hub's."""
    registry, hash_sign, rest = text.partition("#")
    if not hash_sign:
        first, slash, others = text.partition("/")
        registry, rest = (first, others) if slash and re.search("[.:]", first) else (_HUB, text)
    path, colon, tag = rest.partition(":")
    return registry, path, tag if colon else "latest"


def container_name(name: str, pyxis: bool = False) -> str:
    """The name as enroot knows it, with pyxis' prefix once when it is pyxis'. Raises EnrootError."""
    bad = not name or "/" in name or name.startswith(".") or any(ord(character) < 32 for character in name)
    # The name goes into a file's name, with our own prefix before it.
    if bad or len(f"{ASIDE}{PREFIX}{name}".encode("utf-8", "surrogateescape")) > 240:
        raise EnrootError(
            f"name: found {name!r}; accepted: a name without a slash and a dot at its begin, 220 bytes at most"
        )
    return PREFIX + name if pyxis and not name.startswith(PREFIX) else name


def file_name(image: Image) -> str:
    """The name of an image's file; unlike enroot's own, two registries do not share one."""
    return re.sub(r"[/:#@]", "+", image.key) + ".sqsh"


# --- what enroot prints -----------------------------------------------------------------------------------------------


def parse_info(text: str) -> dict[str, str]:
    """The settings that `enroot info` prints."""
    return dict(re.findall(r"^  (ENROOT_[A-Z_]+)=(.*)$", text, re.MULTILINE))


def parse_processes(text: str) -> dict[str, list[int]]:
    """The processes of each container on this host, as `enroot list --fancy` prints them."""
    header, *rows = text.splitlines() or [""]
    # Names may have blanks in them, so the columns are where the header says.
    place = header.find("PID")
    found: dict[str, list[int]] = {}
    name = ""
    for row in rows:
        name = row[:place].strip() or name
        number = row[place:].split(" ", 1)[0] if place > 0 else ""
        found.setdefault(name, []).extend([int(number)] if number.isdigit() else [])
    return found


def dump_origin(origin: Origin) -> str:
    """What the file ORIGIN holds."""
    return json.dumps(origin._asdict(), indent=2) + "\n"


def load_origin(text: str) -> Origin | None:
    """What it says; None for what nobody of us wrote."""
    try:
        data = json.loads(text)
        return Origin(str(data["image"]), str(data["digest"]))
    except (ValueError, TypeError, KeyError):
        return None


# The order counts: a namespace that cannot be made is said with "No space left on device", too.
_MEANINGS = (
    (
        r"failed to create (user|mount) namespace|failed to mount overlay",
        "this host lets users make no namespaces; the role nodes with nodes_containers sets what the kernel needs, and"
        " enroot+caps has to be installed to import images",
    ),
    (
        r"error code: 40[13]\b|error: 40[13]\b",
        "the registry refuses: no credentials, wrong ones, or no right to this image",
    ),
    (r"error code: 429\b|error: 429\b", "the registry was asked too often: wait, or log in to it"),
    (r"error code: 404\b|error: 404\b", "the registry has no such image or tag"),
    (r"No space left on device|Disk quota exceeded|[Ww]rite failed because", "the disk is full"),
    (
        r"curl: \((5|6|7|28|35|60)\)",
        "the registry cannot be reached: its name, the network, a proxy, or its certificate",
    ),
    (r"\[ERROR\] File already exists", "the name is taken"),
    (r"\[ERROR\] Invalid image reference", f"no name of an image; accepted: {_GRAMMAR}"),
    (r"\[ERROR\] Invalid image format", "the file is no squashfs image"),
    (r"\[ERROR\] Command not found", "enroot lacks a program on this host"),
    (
        r"mkdir: cannot create directory .*(Permission denied|Read-only)",
        "the user may not write where enroot keeps its files; see the paths in /etc/enroot/enroot.conf",
    ),
)


def explain(rc: int, output: str) -> str:
    """What went wrong, in words for who waits for the container; and enroot's own, which name the place."""
    said = [line for line in output.splitlines() if line.strip()]
    words = re.sub(r"^\[\w+\] ", "", said[-1]) if said else f"no word, exit code {rc}"
    text = "\n".join(said)
    for pattern, meaning in _MEANINGS:
        found = re.search(pattern, text)
        if found:
            line = next(line for line in said if re.search(pattern, line))
            return f"{meaning} (enroot: {re.sub(r'^.ERROR. ', '', line).strip()})"
    return f"enroot: {words}"


# --- what to do -------------------------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """What is wanted of a container."""

    name: str
    image: Image | None
    state: str
    on_image_change: str = "fail"
    force: bool = False


def decide(wish: Wish, exists: bool, origin: Origin | None, digest: str) -> str:
    """`nothing`, `create`, `replace` or `remove`; EnrootError where the container is another one than wanted.

    The digest is that of a file, which is at hand; what a registry has meanwhile under a tag is not asked.
    """
    if wish.state == "absent":
        return "remove" if exists else "nothing"
    if not exists:
        if wish.image is None:
            raise EnrootError(f"{wish.name}: there is no such container; accepted without an image: one that is there")
        return "create"
    if wish.image is None:
        return "nothing"
    if wish.force:
        return "replace"
    if _is_same(wish.image, origin, digest):
        return "nothing"
    if wish.on_image_change != "fail":
        return {"keep": "nothing", "recreate": "replace"}[wish.on_image_change]
    found = origin.image if origin else "an image that nobody noted"
    if origin and origin.image == wish.image.key:
        found = f"an older state of {origin.image}"
    raise EnrootError(
        f"{wish.name}: found a container of {found}; wanted: {wish.image.key}. What was changed in it would be lost, so"
        " say on_image_change=recreate, or keep, or take another name"
    )


def _is_same(image: Image, origin: Origin | None, digest: str) -> bool:
    return origin is not None and origin.image == image.key and (not image.is_file or origin.digest == digest)


def file_digest(size: int, mtime_ns: int) -> str:
    """Which state of a file it is; to read 10 GB for a checksum would take longer than to make the container."""
    return f"size={size} mtime={mtime_ns}"


def describe(exists: bool, origin: Origin | None) -> str:
    """A container or image as one side of a diff."""
    if not exists:
        return ""
    return f"image: {origin.image}\ndigest: {origin.digest}\n" if origin else "image: not noted\n"


def users_environment(name: str, home: str, environment: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The environment of another user: proxies and enroot's settings stay, where the caller has files does not."""
    callers = ("TMPDIR", "TMP", "TEMP")
    kept: Mapping[str, str] = {
        key: value for key, value in environment if not key.startswith("XDG_") and key not in callers
    }
    return {**kept, "HOME": home, "USER": name, "LOGNAME": name}
