# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.aicluster.slurm.plugins.module_utils import config_files, slurm_generations
from ansible_collections.aicluster.slurm.plugins.module_utils.slurm_generations import (
    FILE,
    Generation,
    keep_number,
    make_key,
    own_key,
    own_number,
    publish,
    published,
)

KEY = "0" * 64
SECOND = Generation(2, {"slurm.conf": "ClusterName=lab\n", "gres.conf": "\udcff\n"}, '{"nodes": {}}\n')


def test_what_was_left_is_found(tmp_path: Path) -> None:
    publish(str(tmp_path), KEY, SECOND)
    assert published(str(tmp_path), KEY) == SECOND
    assert os.listdir(tmp_path) == [FILE]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_what_a_killed_run_left_half_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f"{FILE}.new").write_text("half", encoding="utf-8")
    publish(str(tmp_path), KEY, SECOND)
    assert published(str(tmp_path), KEY) == SECOND


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"body": "{}"}', '{"body": 1, "signature": "x"}', '{"body": "{}", "signature": null}'],
)
def test_what_no_head_wrote_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    assert published(str(tmp_path), KEY) is None


def test_what_somebody_changed_counts_for_nothing(tmp_path: Path) -> None:
    publish(str(tmp_path), KEY, SECOND)
    signed = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    signed["body"] = signed["body"].replace("ClusterName=lab", "SlurmUser=root")
    (tmp_path / FILE).write_text(json.dumps(signed), encoding="utf-8")
    assert published(str(tmp_path), KEY) is None


@pytest.mark.parametrize("key", ["", "1" * 64])
def test_another_key(tmp_path: Path, key: str) -> None:
    publish(str(tmp_path), KEY, SECOND)
    assert published(str(tmp_path), key) is None


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert published(str(tmp_path / "away"), KEY) is None


def test_key_and_number(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert (own_key(folder), own_number(folder)) == ("", 0)
    key = make_key(folder)
    assert len(key) == 64
    assert make_key(folder) == own_key(folder) == key
    assert stat.S_IMODE((tmp_path / slurm_generations.KEY).stat().st_mode) == 0o400
    keep_number(folder, 7)
    assert own_number(folder) == 7


def test_numbers_do_not_count_for_what_is_the_same() -> None:
    assert SECOND.same(SECOND._replace(number=9))
    assert not SECOND.same(SECOND._replace(store=""))
    assert not SECOND.same(None)


# --- take_newer.py, as systemd runs it --------------------------------------------------------------------------------


class Head:
    """A head with configuration 1, and the share with SECOND on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.share = (folder / name for name in ("etc", "state", "share"))
        for path in (self.state, self.share):
            path.mkdir()
        conf = f"ClusterName=old\nStateSaveLocation={self.share}\n"
        config_files.install(str(self.folder), str(self.state), {"slurm.conf": conf, "topology.conf": "x\n"})
        keep_number(str(self.state), 1)
        self.key = make_key(str(self.state))
        self.library = folder / "lib"
        self.library.mkdir()
        script = Path(__file__).parents[4] / "roles" / "head" / "files" / "take_newer.py"
        for source in (script, *(Path(str(module.__file__)) for module in (config_files, slurm_generations))):
            text = source.read_text(encoding="utf-8").replace(slurm_generations.MUNGE, str(folder / "munge.key"))
            (self.library / source.name).write_text(text, encoding="utf-8")
        self.munge = folder / "munge.key"
        self.munge.write_text("first", encoding="utf-8")
        os.utime(self.munge, (0, 1000))
        self.mark = folder / "run" / "older"

    def start(self) -> str:
        argv = [str(self.library / "take_newer.py"), str(self.folder), str(self.state), str(self.mark)]
        return subprocess.run(
            [sys.executable, *argv], check=True, capture_output=True, text=True, cwd="/"
        ).stdout.strip()

    def texts(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8", errors="surrogateescape") for path in self.folder.iterdir()}


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


def test_the_newer_one_is_taken_as_a_whole(head: Head) -> None:
    publish(str(head.share), head.key, SECOND)
    assert head.start() == "took configuration 2 of the other heads"
    assert head.texts() == SECOND.texts
    assert (head.state / "nodes.json").read_text(encoding="utf-8") == SECOND.store
    assert own_number(str(head.state)) == 2
    assert config_files.ConfigFiles(str(head.folder), str(head.state / "slurm"), SECOND.texts).used() == SECOND.texts


def test_what_was_kept_of_foreign_files_comes_and_goes_with_it(head: Head) -> None:
    note = head.state / "slurm" / "kept.json"
    second = SECOND._replace(texts={"slurm.conf": f"StateSaveLocation={head.share}\n"})
    publish(str(head.share), head.key, second._replace(kept='{"config": {}}'))
    head.start()
    assert note.read_text(encoding="utf-8") == '{"config": {}}'
    publish(str(head.share), head.key, second._replace(number=3))
    head.start()
    assert not note.exists()


def test_a_change_that_is_under_way_is_left(head: Head) -> None:
    """The module restarts slurmctld with files that nobody has published yet."""
    publish(str(head.share), head.key, SECOND)
    mark = head.state / "slurm" / "pending"
    mark.touch()
    before = head.texts()
    assert (head.start(), head.texts()) == ("the configuration is being changed", before)
    # The run was ended by a power cut.
    os.utime(mark, (0, 0))
    assert head.start() == "took configuration 2 of the other heads"


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_not_newer_is_left(head: Head, number: int) -> None:
    before = head.texts()
    publish(str(head.share), head.key, SECOND._replace(number=number))
    assert head.start() == "this head has the newest configuration"
    assert head.texts() == before


def test_what_others_than_heads_left_is_not_taken(head: Head) -> None:
    before = head.texts()
    publish(str(head.share), KEY, SECOND)
    assert head.start() == "this head has the newest configuration"
    assert head.texts() == before


def test_without_a_configuration(head: Head) -> None:
    (head.folder / "slurm.conf").unlink()
    assert head.start() == "no StateSaveLocation"


DIGEST = hashlib.sha256(b"first").hexdigest()


@pytest.mark.parametrize(
    ("digest", "since", "older"),
    [
        (DIGEST, 2000, False),
        ("0" * 64, 2000, True),
        # Somebody has changed it here, and site.yml will bring it to the others.
        ("0" * 64, 500, False),
        ("", 0, False),
    ],
)
def test_a_munge_key_that_changed_meanwhile_keeps_slurmctld_from_starting(
    head: Head, digest: str, since: float, older: bool
) -> None:
    publish(str(head.share), head.key, SECOND._replace(munge=digest, munge_time=since))
    said = head.start()
    assert ("found an older key" in said, head.mark.exists()) == (older, older)
    assert (head.texts() == SECOND.texts) is not older
    # site.yml has brought it.
    os.utime(head.munge, (0, 3000))
    assert "found an older key" not in head.start()
    assert not head.mark.exists()
    assert head.texts() == SECOND.texts


def test_a_head_without_a_munge_key_starts(head: Head) -> None:
    head.munge.unlink()
    publish(str(head.share), head.key, SECOND._replace(munge=DIGEST, munge_time=2000))
    assert head.start() == "took configuration 2 of the other heads"


def test_the_munge_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_generations, "MUNGE", str(tmp_path / "munge.key"))
    assert slurm_generations.own(str(tmp_path), {})[4:] == ("", 0)
    (tmp_path / "munge.key").write_text("first", encoding="utf-8")
    os.utime(tmp_path / "munge.key", (0, 1000.5))
    own = slurm_generations.own(str(tmp_path), {})
    assert own[4:] == (DIGEST, 1000.5)
    # Each head got it at another time.
    assert own.same(own._replace(munge_time=2000))
    assert not own.same(own._replace(munge="0" * 64))
