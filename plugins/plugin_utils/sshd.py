# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether sshd does what the inventory says, where others configure it, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

AFTER = "a name of the file that comes after 10-aicluster.conf, or no such line, because the first one counts"


def sshd_findings(earlier: Iterable[Mapping[str, str]], names: Iterable[str], passwords: bool) -> list[str]:
    """What of the lines before ours would count in its place; `names` have keys of ours.

    In a Match block only what is for these users: an admin's exceptions for others, or by addresses, are left to them.
    """
    names = list(names)
    found = []
    for line in earlier:
        said, match = f"{line['keyword']} {line['value']}", line["match"]
        if line["keyword"] == "AuthorizedKeysFile":
            met = [name for name in names if match and meets(match, name)]
            if met:
                keys = f"to count before the keys of {', '.join(met)}"
                found.append(f"{line['file']}: found `{said}` behind `Match {match}`, {keys}; accepted: {AFTER}")
        elif not passwords and not match and line["value"].lower() != "no":
            keys = "to count before common_ssh_password: false"
            found.append(f"{line['file']}: found `{said}`, {keys}; accepted: {AFTER}")
    return found


def meets(criteria: str, name: str) -> bool:
    """Whether a Match line is for this user (sshd_config(5), PATTERNS in ssh_config(5)); not where it names none."""
    words = criteria.split()
    if [word.lower() for word in words] == ["all"]:
        return True
    patterns = [value for kind, value in zip(words[::2], words[1::2]) if kind.lower() == "user"]
    return bool(patterns) and all(_in_list(each.strip('"').split(","), name) for each in patterns)


def _in_list(patterns: Iterable[str], name: str) -> bool:
    """A pattern with `!` that matches counts for more than any other."""
    patterns = list(patterns)
    refused = any(fnmatchcase(name, each[1:]) for each in patterns if each.startswith("!"))
    return not refused and any(fnmatchcase(name, each) for each in patterns if not each.startswith("!"))
