# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import exports
from ansible_collections.aicluster.slurm.plugins.module_utils.exports import (
    ExportsError,
    Settings,
    check_host,
    is_name,
    is_world,
    precedence,
    read,
    render,
    settings_of,
    words_of,
)
from hypothesis import given
from hypothesis import strategies as st

MATRIX = (Path(__file__).parents[2] / "fixtures" / "exportfs_2.6.2_matrix.txt").read_text(encoding="utf-8")


class Recorded(NamedTuple):
    """What exportfs said of a file."""

    text: str
    stderr: str
    etab: str


def recorded() -> dict[str, Recorded]:
    """The cases of the matrix by name; its last one is a session with several files, and no case."""
    cases = {}
    for part in MATRIX.split("## ")[1:]:
        name, _break, rest = part.partition("\n")
        lines = rest.splitlines()
        text = [line[len("   | ") :] for line in lines if line.startswith("   | ")]
        said = [line for line in lines if not line.startswith("   | ")]
        end = "\n"
        if text and "exportfs: " in text[-1]:  # a last line without a break: the first complaint follows it
            text[-1], mark, complaint = text[-1].partition("exportfs: ")
            said.insert(0, mark + complaint)
            end = ""
        result = next(number for number, line in enumerate(said) if line.startswith("rc="))
        if text:
            cases[name] = Recorded(
                "\n".join(text) + end, "\n".join(said[:result]), "\n".join([*said[result + 1 :], ""])
            )
    return cases


CASES = recorded()


def table(text: str) -> dict[tuple[str, str], Settings]:
    """Who may do what, as exportfs keeps it: the first of two lines for a client counts, and links are followed."""
    found: dict[tuple[str, str], Settings] = {}
    for entry in read(text).entries:
        found.setdefault((os.path.realpath(os.path.join("/", entry.path)), entry.host.lower()), entry.settings)
    return found


def test_the_matrix_is_whole() -> None:
    assert len(CASES) == 30


@pytest.mark.parametrize("name", CASES)
def test_reads_as_exportfs_does(name: str) -> None:
    case = CASES[name]
    lost = set(re.findall(r"Failed to resolve (\S+)|Invalid prefix .* for (\S+)", case.stderr))
    names = {left or right for left, right in lost}
    etab = {(path.rstrip("\n"), host): settings for (path, host), settings in table(case.etab).items()}
    ours = {(path.rstrip("\n"), host): settings for (path, host), settings in table(case.text).items()}
    assert {key: settings for key, settings in ours.items() if key[1] not in names} == etab
    broken = re.search("syntax error|unknown keyword|unknown flavor|bad fsid|bad anonuid", case.stderr)
    assert bool(read(case.text).complaint) == bool(broken)


@pytest.mark.parametrize("name", CASES)
def test_renders_what_exportfs_reads_the_same(name: str) -> None:
    wanted: dict[str, dict[str, Settings]] = {}
    for entry in read(CASES[name].text).entries:
        wanted.setdefault(entry.path, {}).setdefault(entry.host, entry.settings)
    again = read(render(wanted))
    assert again.complaint == ""
    assert {(entry.path, entry.host): entry.settings for entry in again.entries} == {
        (path, host): settings for path, clients in wanted.items() for host, settings in clients.items()
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("# nothing", []),
        ("\n \t\n", []),
        ("/a#b h#1(rw)", [("/a#b", "h#1")]),
        ("/a h # h2\n/b h", [("/a", "h"), ("/b", "h")]),
        ("/a h (rw)", [("/a", "h"), ("/a", "*")]),
        ("/a h(rw) -ro\n", [("/a", "h"), ("/a", "*")]),
        ("/a", [("/a", "*")]),
        ('"/a b"c h', [("/a bc", "h")]),
        ("/a\\134040b h", [("/a b", "h")]),
        ("/a\\777 h", [("/a\\777", "h")]),
        ("/a \\\n\\\n  h", [("/a", "h")]),
        ("/a\\\nh", [("/a", "h")]),
        ('/a ""h g', [("/a", "h"), ("/a", "g")]),
        ('/a h "" /b g', [("/a", "h"), ("/b", "g")]),
        ("/a h\r\n/b g\r\n", [("/a", "h"), ("/b", "g")]),
        ("/a\v h", [("/a", "h")]),
        ('"/a\\000b" h', [("/a", "h")]),
        ("/a h()", [("/a", "h")]),
        ("/a h(rw,)", [("/a", "h")]),
        ("/a h[1-9].x(rw) ?(ro)", [("/a", "h[1-9].x"), ("/a", "?")]),
    ],
)
def test_where_tokens_end(text: str, found: list[tuple[str, str]]) -> None:
    reading = read(text)
    assert [(entry.path, entry.host) for entry in reading.entries] == found
    assert reading.complaint == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("/a h(rw", "line 1: found 'h(rw'; accepted: client(option,option) without blanks"),
        ("/a h(", "line 1: found 'h('"),
        ("/a h(rw)x", "line 1: found 'h(rw)x'"),
        ("/a h(r(w)(ro))", "line 1: found 'h(r(w)(ro))'"),
        ("/x g\n\n/a h(rw, ro)", "line 3: found 'h(rw,'"),
        ("/a h(,rw)", "line 1: found ''; accepted: an option of exports(5)"),
        ("/a h(RW)", "line 1: found 'RW'"),
        ("/a -bogus h", "line 1: found 'bogus'"),
        ("/a h(sec=sys:des)", "line 1: found 'sec=sys:des'"),
        ("/a h(anonuid=)", "line 1: found 'anonuid='"),
        ("/a h(fsid=08)", "line 1: found 'fsid=08'"),
        ("/a h(refer)", "line 1: found 'refer'"),
        ("/a " + "h" * 512, "line 1: found a client of /a with more than 511 bytes"),
        ("/" + "a" * 1024 + " h", "line 1: found no path of up to 1024 bytes"),
        ("/x g\r\n\r\n/a h\r\n", "line 2: found no path"),
    ],
)
def test_where_a_file_ends(text: str, complaint: str) -> None:
    reading = read(text)
    assert reading.complaint.startswith(complaint)
    # What stands before the error counts, and nothing behind it.
    assert [entry.path for entry in reading.entries] == (["/x"] if "/x" in text else [])


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ("rw,ro", ""),
        ("ro,rw,sync,async", "async,rw"),
        ("sec=sys", ""),
        ("sec=unix:null", "sec=sys:none"),
        ("rw,sec=krb5p,ro,sec=sys,no_root_squash", "sec=krb5p,ro,sec=sys,ro,no_root_squash"),
        ("sec=sys:krb5,rw,sec=krb5,ro", "sec=sys,rw,sec=krb5,ro"),
        ("no_auth_nlm", "insecure_locks"),
        ("mp", "mountpoint"),
        ("mp=/x", "mountpoint=/x"),
        ("fsid=root", "fsid=0x0"),
        ("fsid=-1", "fsid=037777777777"),
        ("anonuid=4294967295", "anonuid=-1"),
        ("anonuid=65534,anongid=65534", ""),
        ("refer=/a@h,replicas=/b@g", "replicas=/b@g"),
    ],
)
def test_options_that_come_to_the_same(options: str, same: str) -> None:
    assert table(f"/a h({options})") == table(f"/a h({same})")


def test_default_options_add_up() -> None:
    found = table("/a -rw,anonuid=5 h g(ro) -async k")
    assert found == {
        ("/a", "h"): settings_of(["rw", "anonuid=5"]),
        ("/a", "g"): settings_of(["anonuid=5"]),
        ("/a", "k"): settings_of(["rw", "anonuid=5", "async"]),
    }


@pytest.mark.parametrize(
    ("options", "canonical"),
    [
        ([], "ro root_squash sync no_subtree_check"),
        (["async", "rw", "subtree_check"], "rw root_squash async subtree_check"),
        (
            ["all_squash", "anonuid=0", "no_wdelay"],
            "ro root_squash all_squash sync no_wdelay no_subtree_check anonuid=0",
        ),
        (["rw", "sec=krb5i:krb5p"], "rw root_squash sync no_subtree_check sec=krb5i:krb5p"),
        (
            ["fsid=123e4567-e89b-12d3-a456-426614174000"],
            "ro root_squash sync no_subtree_check fsid=123e4567-e89b-12d3-a456-426614174000",
        ),
    ],
)
def test_canonical_options(options: list[str], canonical: str) -> None:
    assert words_of(settings_of(options)) == canonical.split()


@pytest.mark.parametrize("word", ["", "rw,ro", "r w", "rw)", "(rw", 'mp="x"', "rw#", "mp=\\040", "mp=\x7f", "mp=\n"])
def test_words_that_are_no_option(word: str) -> None:
    with pytest.raises(ExportsError, match="accepted: one option"):
        settings_of(["sync", word])


def test_render() -> None:
    rw = settings_of(["rw"])
    clients = {
        "*": settings_of([]),
        "*.lab": rw,
        "@rack": rw,
        "10.0.0.0/8": rw,
        "10.1.0.0/16": rw,
        "node2": rw,
        "::1": rw,
    }
    assert render({'/d "1"#': {"h": rw}, "/c": clients}, "# ours\n") == (
        "# ours\n"
        "/c ::1(rw,root_squash,sync,no_subtree_check)\n"
        "/c node2(rw,root_squash,sync,no_subtree_check)\n"
        "/c 10.1.0.0/16(rw,root_squash,sync,no_subtree_check)\n"
        "/c 10.0.0.0/8(rw,root_squash,sync,no_subtree_check)\n"
        "/c *.lab(rw,root_squash,sync,no_subtree_check)\n"
        "/c @rack(rw,root_squash,sync,no_subtree_check)\n"
        "/c *(ro,root_squash,sync,no_subtree_check)\n"
        "/d\\040\\0421\\042\\043 h(rw,root_squash,sync,no_subtree_check)\n"
    )


@pytest.mark.parametrize("export", [("/a" * 600, "h"), ("/a", "h" * 500)])
def test_lines_that_exportfs_would_not_read(export: tuple[str, str]) -> None:
    with pytest.raises(ExportsError, match="accepted: 1024 bytes in a path, 511 in a client"):
        render({export[0]: {export[1]: settings_of([])}})


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("node1", "node1"),
        ("Node-1.lab_2", "Node-1.lab_2"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.0.0/255.255.0.0", "10.1.0.0/16"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("FE80::1", "fe80::1"),
        ("*.lab", "*.lab"),
        ("n[1-3]?", "n[1-3]?"),
        ("@rack1", "@rack1"),
        ("*", "*"),
    ],
)
def test_hosts(host: str, canonical: str) -> None:
    assert check_host(host) == canonical


@pytest.mark.parametrize(
    "host",
    [
        "",
        "-ro",
        "a b",
        "h(rw)",
        "300.0.0.1",
        "10.0.0.0/33",
        "10.0.0",
        "::g",
        "gss/krb5",
        "@",
        "a,b",
        "n#1",
        'h"',
        "a/24",
    ],
)
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(ExportsError, match="accepted: "):
        check_host(host)


def test_kinds_of_hosts() -> None:
    assert [
        host for host in ("n1", "n1.lab", "10.0.0.1", "::1", "10.0.0.0/8", "*", "", "*.x", "@g") if is_name(host)
    ] == [
        "n1",
        "n1.lab",
    ]
    world = ("*", "", "?", "*.*", "0.0.0.0/0", "::/0", "0.0.0.0/0.0.0.0")
    assert all(map(is_world, world))
    assert not any(map(is_world, ("*.lab", "10.0.0.0/8", "@g", "n1")))
    hosts = ["*", "*.lab", "10.0.0.0/8", "10.0.0.0/24", "n1"]
    assert sorted(hosts, key=precedence) == hosts[::-1]


@pytest.mark.parametrize(
    ("options", "as_root"),
    [
        ("rw,no_root_squash", True),
        ("ro,no_root_squash", False),
        ("rw", False),
        ("rw,no_root_squash,all_squash", False),
        ("ro,sec=sys,rw,no_root_squash,sec=krb5,ro", True),
    ],
)
def test_who_writes_as_root(options: str, as_root: bool) -> None:
    assert settings_of(options.split(",")).writes_as_root is as_root


# --- anything at all --------------------------------------------------------------------------------------------------

WORDS = st.one_of(
    st.sampled_from(sorted(exports._FLAGS)),
    st.sampled_from(["sec=sys", "sec=krb5:sys", "sec=none:krb5p", "mp", "mp=/m", "refer=/r@h", "fsid=0", "fsid=7"]),
    st.integers(-1, 70000).map("anonuid={}".format),
)


@given(st.lists(WORDS, max_size=8))
def test_canonical_options_say_the_same(words: list[str]) -> None:
    settings = settings_of(words)
    assert settings_of(words_of(settings)) == settings
    assert words_of(settings_of(words_of(settings))) == words_of(settings)


PATHS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=40)


@given(st.dictionaries(PATHS.map("/{}".format), st.lists(WORDS, max_size=4), max_size=4))
def test_a_rendered_file_is_read_as_it_was_meant(paths: dict[str, list[str]]) -> None:
    wanted = {path: {"node1": settings_of(words)} for path, words in paths.items()}
    reading = read(render(wanted, "# header\n"))
    assert reading.complaint == ""
    assert {entry.path: {entry.host: entry.settings} for entry in reading.entries} == wanted


@given(st.text(st.sampled_from('/ab h()=,-#"\\0123 \t\n\r\v') | st.characters(codec="utf-8"), max_size=60))
def test_every_text_can_be_read(text: str) -> None:
    reading = read(text)
    assert all(entry.path for entry in reading.entries)
    # Once more behind a good line: what follows changes nothing of it.
    assert read(f"/first h\n{text}").entries[0][:2] == ("/first", "h")
