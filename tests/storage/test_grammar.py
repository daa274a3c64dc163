# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No exports file is read otherwise by this collection than by exportfs."""

from __future__ import annotations

import base64
import json
import posixpath
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import exports
from ansible_collections.aicluster.slurm.plugins.module_utils.exports import (
    Settings,
    is_name,
    read,
    render,
    settings_of,
)
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from .conftest import Storage

FOLDERS = ("/", "/srv", "/srv/c", "/srv/a b")
NAMES = ("n1", "n2.lab")

# Runs in a mount namespace where only these names resolve; for each line, a file in Base64, it tells what exportfs said
# and what it then has in its table.
JUDGE = r"""
import base64, json, subprocess, sys
for script in ("mount -t tmpfs t /var/lib/nfs", "test ! -d /etc/exports.d || mount -t tmpfs t /etc/exports.d",
               "mount -t tmpfs t /srv && mkdir -p /srv/c '/srv/a b'",
               "echo 'hosts: files' >/run/n && mount --bind /run/n /etc/nsswitch.conf",
               "printf '10.1.1.1 n1\n10.1.1.2 n2.lab\n' >/run/h && mount --bind /run/h /etc/hosts",
               ": >/run/e && mount --bind /run/e /etc/exports"):
    subprocess.run(["sh", "-c", script], check=True)
for line in sys.stdin:
    for name in ("etab", "rmtab"):
        open("/var/lib/nfs/" + name, "w").close()
    with open("/etc/exports", "wb") as file:
        file.write(base64.b64decode(line))
    said = subprocess.run(["exportfs", "-a"], capture_output=True, cwd="/")
    with open("/var/lib/nfs/etab", "rb") as file:
        texts = [base64.b64encode(each).decode() for each in (file.read(), said.stderr)]
    print(json.dumps(texts), flush=True)
"""


class Verdict(NamedTuple):
    """What exportfs made of a file."""

    etab: str
    stderr: str


class Exportfs:
    """exportfs in a container, asked again and again."""

    def __init__(self, container: str) -> None:
        argv = ["docker", "exec", "-i", container, "unshare", "--mount", "python3", "-u", "-c", JUDGE]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def judge(self, text: str) -> Verdict:
        """Have it read the text of a file."""
        assert self.process.stdin
        assert self.process.stdout
        print(base64.b64encode(text.encode("utf-8", "surrogateescape")).decode(), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return Verdict(*(base64.b64decode(each).decode("utf-8", "surrogateescape") for each in answer))


@pytest.fixture(scope="module")
def exportfs(kernel: Storage) -> Iterator[Exportfs]:
    asked = Exportfs(str(kernel.machine.facts["container"]))
    yield asked
    assert asked.process.stdin
    asked.process.stdin.close()
    asked.process.wait(10)


Table = dict[tuple[str, str], Settings]


def table(text: str) -> Table:
    """Who may do what, as exportfs keeps it: folders that are there by their true path, and of two lines the first."""
    found: Table = {}
    for entry in read(text).entries:
        path = posixpath.normpath(re.sub("/+", "/", f"/{entry.path}"))
        found.setdefault((path if path in FOLDERS else entry.path, entry.host.lower()), entry.settings)
    return found


def resolved(found: Table) -> Table:
    """What exportfs does not leave out."""
    return {(path, host): value for (path, host), value in found.items() if not is_name(host) or host in NAMES}


GOOD = [
    *sorted(exports._FLAGS),
    *(f"anonuid={number}" for number in (7, -3, 65534)),
    "anongid=0",
    *(f"sec={flavors}" for flavors in ("sys", "unix", "krb5", "sys:krb5p", "none:sys")),
    *(f"fsid={number}" for number in ("0", "root", "0x1f", "017", "-2", "123e4567-e89b-12d3-a456-426614174000")),
    *("mp", "mp=/m", "mountpoint", "refer=/x@h", "replicas=/y@g+i"),
]
BAD = ["bogus", "sec=", "sec=des", "anonuid=", "anonuid=x", "anonuid=99999999999", "fsid=", "fsid=08", "RO", ""]
OPTIONS = [*GOOD, *BAD]
ADDRESSES = ["10.0.0.1", "10.0.0.0/8", "10.1.0.0/16", "fd00::1", "fd00::/8"]
PATTERNS = ["*.lab", "?.x", "[ab].x", "@net", "*"]
HOSTS = [*NAMES, *ADDRESSES, *PATTERNS, "10.1.0.0/255.255.0.0", "gss/krb5", "nosuch"]
PATHS = ["/srv/c", "/srv/c/", '"/srv/a b"', "/srv/a\\040b", "\\057srv/c", "srv/c", "/no/such", "/srv/ünï", "/srv/c#1"]

OPTION_LISTS = st.lists(st.sampled_from(OPTIONS), max_size=4).map(",".join)
CLIENTS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "", *HOSTS]),
    st.one_of(st.just(""), OPTION_LISTS.map("({})".format)),
)
GAPS = st.sampled_from([" ", " ", " ", "\t", "  ", " \\\n ", "\\\n"])
WORDS = st.one_of(
    CLIENTS, CLIENTS, CLIENTS, OPTION_LISTS.map("-{}".format), st.sampled_from(["# note", "#", '""', "\r"])
)
LINES = st.builds(
    lambda path, words: path + "".join(gap + word for gap, word in words),
    st.sampled_from(PATHS),
    st.lists(st.tuples(GAPS, WORDS), max_size=4),
)
GOOD_FILES = st.lists(LINES, max_size=5).map("\n".join)
PIECES = [
    *'/abn1.*@ \t\n\r\v"\\#(),-=',
    "\\040",
    "\\057",
    "\\012",
    "\\134",
    "\\777",
    "\\\n",
    "/srv/c",
    "rw",
    "ro",
    "(rw)",
    "sec=sys",
]
ANY_FILES = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.one_of(GOOD_FILES, ANY_FILES))
@example("/srv/c n1 (rw)\n")
@example("/srv/c n1(rw) -ro\n")
@example("/srv/c n1(ro\n/srv/c n2.lab(rw)\n")
@example("/srv/c -rw,anonuid=5 n1 -async n2.lab(ro)")
@example("/srv/c n1(rw,sec=krb5p,ro,sec=sys,no_root_squash)")
@example("/srv/c\r\n\r\n/srv/c n1\r\n")
def test_reads_as_exportfs_does(exportfs: Exportfs, text: str) -> None:
    entries = read(text).entries
    # exportfs writes a host into its table as it is, and cannot read such a one again itself.
    assume(not any(re.search(r'[\s"\\#]', entry.host) for entry in entries))
    # Behind a second group of default options it looks at memory that it did not set.
    assume(not any(entry.host.startswith("-") for entry in entries))
    # Digits alone are an old way to write an address.
    assume(not any(is_name(entry.host) and not re.search("[a-z]", entry.host) for entry in entries))
    verdict = exportfs.judge(text)
    refused = set(re.findall(r"Invalid (?:IP address|\w+ `.*' for) (\S+)", verdict.stderr))
    ours = {key: value for key, value in resolved(table(text)).items() if key[1] not in refused}
    assert ours == table(verdict.etab), verdict.stderr


WANTED = st.dictionaries(
    st.sampled_from([*NAMES, *ADDRESSES, *PATTERNS]),
    st.lists(st.sampled_from(GOOD), max_size=4).map(settings_of),
    min_size=1,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(FOLDERS), WANTED))
def test_takes_what_we_write(exportfs: Exportfs, wanted: dict[str, dict[str, Settings]]) -> None:
    verdict = exportfs.judge(render(wanted, "# ours\n"))
    assert verdict.stderr == ""
    assert table(verdict.etab) == {
        (path, host): each for path, clients in wanted.items() for host, each in clients.items()
    }
