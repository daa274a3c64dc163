# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What sshd's configuration says before the file that the cluster writes: the first value counts (sshd_config(5))."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
from typing import Callable, Iterator

CONFIG = "/etc/ssh/sshd_config"
FOLDER = "/etc/ssh/sshd_config.d"
OURS = "10-aicluster.conf"
"""The name of the file that role common writes there."""

KEYWORDS = {
    "passwordauthentication": "PasswordAuthentication",
    "kbdinteractiveauthentication": "KbdInteractiveAuthentication",
    "challengeresponseauthentication": "KbdInteractiveAuthentication",  # its older name
    "authorizedkeysfile": "AuthorizedKeysFile",
}
"""What that file may set, by the name in lower case."""

_INCLUDE = re.compile(r"^[ \t]*include(?:[ \t]*=[ \t]*|[ \t]+)(.*)", re.IGNORECASE | re.MULTILINE)
_MATCH = re.compile(r"^\s*match\s", re.IGNORECASE | re.MULTILINE)


def reads_drop_ins(text: str) -> bool:
    """Whether sshd reads the files of sshd_config.d, as Debian's sshd_config has it; one that is not there will."""
    return not text or _include(_MATCH.split(text, maxsplit=1)[0]) is not None


def earlier(read: Callable[[str], str], folder: str = FOLDER) -> list[dict[str, str]]:
    """What counts before ours: `file`, `keyword`, `value`, and `match`, its block's criteria, empty outside of one."""
    include = _include(text := read(CONFIG))
    found = list(_settings(CONFIG, text[:include])) if include is not None else []
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        if name.endswith(".conf") and not name.startswith(".") and name < OURS:
            path = os.path.join(folder, name)
            found += _settings(path, read(path))
    return found


def _include(text: str) -> int | None:
    """Where the line begins that makes sshd read our file; a name without a folder is one in /etc/ssh."""
    for line in _INCLUDE.finditer(text):
        try:
            patterns = shlex.split(line[1], comments=True)
        except ValueError:  # a quote without its end
            continue
        if any(fnmatch.fnmatch(f"{FOLDER}/{OURS}", os.path.join("/etc/ssh", pattern)) for pattern in patterns):
            return line.start()
    return None


def _settings(path: str, text: str) -> Iterator[dict[str, str]]:
    criteria = ""
    for line in text.splitlines():
        words = re.fullmatch(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*", line.split("#")[0])
        if words and words[1].lower() == "match":
            criteria = words[2]
        elif words and words[1].lower() in KEYWORDS:
            keyword = KEYWORDS[words[1].lower()]
            yield {"file": path, "keyword": keyword, "value": words[2].strip('"'), "match": criteria}
