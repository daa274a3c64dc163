# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import host_files
from ansible_collections.aicluster.slurm.plugins.module_utils.command import CommandError, Result
from ansible_collections.aicluster.slurm.plugins.module_utils.host_files import (
    Absent,
    Block,
    File,
    Folder,
    Link,
    Wanted,
    differences,
    with_block,
    with_lines,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

ME, MINE = str(os.getuid()), str(os.getgid())
HOSTS = "127.0.0.1 localhost\n127.0.1.1 node1\n::1 ip6-localhost\n"


def block(content: str, without: str = "", path: str = "/etc/hosts") -> Block:
    return Block(path, content, "aicluster.slurm", without)


def apply(wanted: list[Wanted]) -> list[str]:
    """Write what differs; afterwards nothing may."""
    found = differences(wanted)
    for each in found:
        write(each)
    assert differences(wanted) == []
    return [each.wanted.path for each in found]


# --- pure -------------------------------------------------------------------------------------------------------------


def test_a_block_comes_changes_and_goes() -> None:
    first = with_block(HOSTS, block("10.0.0.1 a\n10.0.0.2 b", r"^127\.0\.1\.1\s"))
    assert first == (
        "127.0.0.1 localhost\n::1 ip6-localhost\n"
        "# BEGIN aicluster.slurm\n10.0.0.1 a\n10.0.0.2 b\n# END aicluster.slurm\n"
    )
    behind = first + "10.9.9.9 mine\n"
    assert with_block(behind, block("10.0.0.3 c")) == behind.replace("10.0.0.1 a\n10.0.0.2 b", "10.0.0.3 c")
    assert with_block(behind, block("")) == "127.0.0.1 localhost\n::1 ip6-localhost\n10.9.9.9 mine\n"
    # The regular expression is for what others wrote, not for the block.
    assert "127.0.1.1 x" in with_block(HOSTS, block("127.0.1.1 x", r"^127\.0\.1\.1\s"))


@given(st.text("ab #\n"), st.text("cd\n", min_size=1))
def test_a_block_leaves_the_rest_alone(text: str, content: str) -> None:
    once = with_block(text, block(content))
    assert with_block(once, block(content)) == once
    assert with_block(once, block("")).splitlines() == text.splitlines()


def test_lines_that_are_kept() -> None:
    first = with_block("", Block("/x", "b 1\nc 2\na 3", "ours", keep="^(z) "))
    assert first == "# BEGIN ours\na 3\nb 1\nc 2\n# END ours\n"
    # Whoever did not tell keeps the line, those who told have theirs, and those who are gone have none.
    assert with_block(first, Block("/x", "a 4", "ours", keep="^(b|z) ")) == "# BEGIN ours\na 4\nb 1\n# END ours\n"
    assert with_block(first, Block("/x", "", "ours", keep="^(z) ")) == ""
    assert with_block(first + "b 9\n", Block("/x", "", "ours", keep="^b ")) == "# BEGIN ours\nb 1\n# END ours\nb 9\n"


INCLUDE = "@include common-session"
STACK = f"account required pam_nologin.so\n{INCLUDE}\nsession required pam_limits.so\n"


def test_a_block_that_stands_for_a_line() -> None:
    session = Block("/x", "@include ours", "session", in_place_of=INCLUDE)
    changed = with_block(STACK, session)
    assert changed == STACK.replace(INCLUDE, "# BEGIN session\n@include ours\n# END session")
    assert with_block(changed, session) == changed
    assert with_block(changed, replace(session, content="")) == STACK
    assert with_block(STACK, replace(session, content="")) == STACK
    # Somebody has a stack of another kind.
    assert with_block("session required pam_unix.so", session) == "session required pam_unix.so"


def test_lines_in_the_place_of_others() -> None:
    assert with_lines("a 1\nb 2\nc 3\n", "^b", "x") == "a 1\nx\nc 3\n"
    assert with_lines("", "^b", "x") == ""


# --- on a disk --------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_its_owners_once_it_is_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = Folder(str(home), ME, MINE, 0o700, once=True)
    assert apply([folder]) == [str(home)]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    home.chmod(0o750)
    assert differences([folder]) == []
    assert len(differences([replace(folder, once=False)])) == 1
    # Somebody who was killed between making it and giving it away.
    assert len(differences([replace(folder, owner=str(os.getuid() + 1))])) == 1


def test_two_blocks_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "sshd"
    path.write_text(STACK)
    blocks = [Block(str(path), "@include ours", "session", in_place_of=INCLUDE), Block(str(path), "account ours", "a")]
    apply([*blocks])
    assert path.read_text().count("ours") == 2
    apply([replace(each, content="") for each in blocks])
    assert path.read_text() == STACK


def test_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    (tmp_path / "old").write_text("x")
    wanted: list[Wanted] = [
        Absent(str(tmp_path / "old")),
        Folder(str(tmp_path / "a" / "b"), ME, MINE, 0o700),
        File(str(tmp_path / "c" / "d"), "text\n", ME, MINE, 0o755),
        block("10.0.0.1 a", path=str(tmp_path / "hosts")),
    ]
    assert apply(wanted) == [str(tmp_path / name) for name in ("old", "a/b", "c/d", "hosts")]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "c" / "d").stat().st_mode) == 0o755
    assert (tmp_path / "c" / "d").read_text() == "text\n"
    assert sorted(os.listdir(tmp_path)) == ["a", "c", "hosts"]


def test_rights_alone_are_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text\n")
    path.chmod(0o666)
    (found,) = differences([File(str(path), "text\n", ME, MINE)])
    assert (found.before, found.after) == (f"{ME} {MINE} 0666\ntext\n", f"{ME} {MINE} 0644\ntext\n")
    assert apply([File(str(path), "text\n", ME, MINE)]) == [str(path)]
    tmp_path.chmod(0o711)
    assert apply([Folder(str(tmp_path), ME, MINE, 0o750)]) == [str(tmp_path)]


def test_the_file_of_somebody_else_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    path.chmod(0o640)
    apply([block("10.0.0.1 a", path=str(path))])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_mounted_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    number = path.stat().st_ino

    def busy(*_arguments: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(host_files, "write_whole", busy)
    apply([block("10.0.0.1 a", path=str(path))])
    assert path.read_text().endswith("10.0.0.1 a\n# END aicluster.slurm\n")
    assert path.stat().st_ino == number


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (File("/etc", "x"), "/etc: found a folder; accepted: a file"),
        (Folder("/etc/passwd"), "/etc/passwd: found no folder; accepted: a folder"),
        (Folder("/x", owner="nobody-here"), "owner: found 'nobody-here', whom this host does not know"),
        (File("/x", "", group="nobody-here"), "group: found 'nobody-here', which this host does not know"),
    ],
)
def test_what_cannot_be(wanted: Wanted, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        differences([wanted])


def test_links(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "localtime"
    assert apply([Link(str(path), "../zone/a")]) == [str(path)]
    assert os.readlink(path) == "../zone/a"
    (found,) = differences([Link(str(path), "../zone/b")])
    assert (found.before, found.after) == ("link to ../zone/a\n", "link to ../zone/b\n")
    (path.parent / "localtime.aicluster").touch()  # of a killed run
    apply([Link(str(path), "../zone/b")])
    path.unlink()
    path.write_text("a file")
    apply([Link(str(path), "../zone/b")])
    assert os.listdir(path.parent) == ["localtime"]


def test_a_draft_is_judged_before_anything_is_written(tmp_path: Path) -> None:
    path = str(tmp_path / "sudoers")
    seen: list[str] = []

    def judge(argv: Sequence[str]) -> Result:
        assert argv[:-1] == ["visudo", "-cf"]
        seen.append(Path(argv[-1]).read_text())
        return Result(list(argv), 0 if "good" in seen[-1] else 1, "", "syntax error near line 1\n")

    good, bad, plain = (
        File(path, text, ME, MINE, 0o440, command)
        for text, command in (("good\n", ("visudo", "-cf")), ("bad\n", ("visudo", "-cf")), ("any\n", ()))
    )
    host_files.validate(judge, differences([good, plain]))
    with pytest.raises(CommandError, match=r"failed \(rc=1\): syntax error near line 1$"):
        host_files.validate(judge, differences([bad]))
    assert seen == ["good\n", "bad\n"]
    apply([good])
    host_files.validate(judge, differences([good]))
    assert len(seen) == 2
