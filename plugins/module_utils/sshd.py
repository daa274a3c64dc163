# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What sshd's configuration says before the file that the cluster writes: the first value counts (sshd_config(5))."""

from __future__ import annotations

import os
import re
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

_INCLUDE = re.compile(r"^\s*include\s(.*\s)?/etc/ssh/sshd_config\.d/\*\.conf\b", re.IGNORECASE | re.MULTILINE)
_MATCH = re.compile(r"^\s*match\s", re.IGNORECASE | re.MULTILINE)


def reads_drop_ins(text: str) -> bool:
    """Whether sshd reads the files of sshd_config.d, as Debian's sshd_config has it; one that is not there will."""
    return not text or bool(_INCLUDE.search(_MATCH.split(text, maxsplit=1)[0]))


def earlier(read: Callable[[str], str], folder: str = FOLDER) -> list[dict[str, str]]:
    """What counts before ours: `file`, `keyword`, `value`, and `match`, its block's criteria, empty outside of one."""
    include = _INCLUDE.search(text := read(CONFIG))
    found = list(_settings(CONFIG, text[: include.start()])) if include else []
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for name in names:
        if name.endswith(".conf") and not name.startswith(".") and name < OURS:
            path = os.path.join(folder, name)
            found += _settings(path, read(path))
    return found


def _settings(path: str, text: str) -> Iterator[dict[str, str]]:
    criteria = ""
    for line in text.splitlines():
        words = re.fullmatch(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*", line.split("#")[0])
        if words and words[1].lower() == "match":
            criteria = words[2]
        elif words and words[1].lower() in KEYWORDS:
            keyword = KEYWORDS[words[1].lower()]
            yield {"file": path, "keyword": keyword, "value": words[2].strip('"'), "match": criteria}
