# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The jobs that build environments and fetch data sets: what they are asked, and what their scripts really do."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.aicluster.slurm.plugins.plugin_utils.environments import (
    DeliveryError,
    dataset_jobs,
    environment_jobs,
    python_for_mpi,
)

# Stands for an interpreter: makes a folder that looks like an environment; `pip install` fails for what is named bad.
PYTHON = """#!/bin/sh
case "$1 $2 $3" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
    "-m pip install") for last; do :; done; ! grep -q bad "$last";;
    "-m pip "*) ;;
    "-c import sysconfig"*) dirname "$(dirname "$0")";;
    "-c "*) test "$2" != "import missing";;
    *) echo "unexpected: $*"; exit 99;;
esac
"""


def run(script: str, folder: Path, begins: str = "") -> subprocess.CompletedProcess[str]:
    """Play a script, with a squeue that knows of one other job, which began then."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name, text in {
        "python": PYTHON,
        "squeue": f"#!/bin/sh\necho '7 2000-01-01T00:00:00'\necho '{begins}'\n",
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "SLURMD_NODENAME": "n1", "SLURM_JOB_ID": "7"}
    return subprocess.run(["bash", "-c", script], env=variables, capture_output=True, text=True, check=False)


def build(folder: Path, *lines: str, begins: str = "", in_use: tuple[str, ...] = (), **more: Any) -> Any:
    item = {"name": "ml", "python": str(folder / "tools/python"), "requirements": list(lines), **more}
    return run(environment_jobs([item], f"{folder}/env", {"A": "b c"}, in_use)[0]["script"], folder, begins)


def builds(folder: Path) -> set[str]:
    return {path.name for path in (folder / "env/.builds").iterdir()}


def test_an_environment_takes_its_place_when_it_works(tmp_path: Path) -> None:
    done = build(tmp_path, "numpy")
    assert done.returncode == 0, done.stdout + done.stderr
    job = environment_jobs([{"name": "ml", "python": f"{tmp_path}/tools/python", "requirements": ["numpy"]}], "/e", {})[
        0
    ]
    assert (tmp_path / "env/ml/.aicluster").read_text() == job["content"]
    assert job["stamp"] == "/e/ml/.aicluster"


@pytest.mark.parametrize("broken", [{"lines": ["bad"]}, {"lines": ["numpy"], "imports": ["missing"]}])
def test_what_cannot_be_built_leaves_the_old_one_in_use(tmp_path: Path, broken: dict[str, Any]) -> None:
    build(tmp_path, "scipy")
    before = (tmp_path / "env/ml/.aicluster").read_text()
    old = builds(tmp_path)
    done = build(tmp_path, *broken["lines"], **{key: value for key, value in broken.items() if key != "lines"})
    assert done.returncode != 0
    assert (tmp_path / "env/ml/.aicluster").read_text() == before
    assert builds(tmp_path) == old


def test_an_old_one_goes_when_nothing_uses_it(tmp_path: Path) -> None:
    build(tmp_path, "one")
    first = builds(tmp_path)
    # A job that began long ago may use the first one.
    build(tmp_path, "two", begins="8 2001-01-01T00:00:00")
    build(tmp_path, "three", begins="8 2001-01-01T00:00:00")
    assert len(builds(tmp_path)) == 3
    # A process on a head has it open.
    held = f"{tmp_path}/env/.builds/{next(iter(first))}"
    build(tmp_path, "four", in_use=(held,))
    assert first <= builds(tmp_path)
    build(tmp_path, "five")
    assert not first & builds(tmp_path)
    assert len(builds(tmp_path)) == 2


def test_an_older_one_that_is_wanted_again_is_not_built_anew(tmp_path: Path) -> None:
    build(tmp_path, "one")
    [first] = (tmp_path / "env/.builds").iterdir()
    (first / "in-use-by-a-job").touch()
    build(tmp_path, "two", begins="8 2001-01-01T00:00:00")
    done = build(tmp_path, "one", begins="8 2001-01-01T00:00:00")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "env/ml/in-use-by-a-job").exists()
    # It is in use, and no older one any more.
    build(tmp_path, "two")
    build(tmp_path, "one")
    assert (tmp_path / "env/ml/in-use-by-a-job").exists()


def test_what_a_killed_job_left_half_done_is_built_anew(tmp_path: Path) -> None:
    build(tmp_path, "one")
    [first] = (tmp_path / "env/.builds").iterdir()
    (first / ".aicluster").unlink()
    (first / "half").touch()
    (tmp_path / f"env/.ml.new.{first.name.rpartition('-')[2]}").symlink_to("nowhere")
    done = build(tmp_path, "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "env/ml/half").exists()
    assert (tmp_path / "env/ml/.aicluster").exists()


def test_a_changed_list_is_another_environment() -> None:
    items = [{"name": "ml", "requirements": names} for names in (["numpy"], ["numpy", "scipy"])]
    stamps = {environment_jobs([item], "/e", {})[0]["content"] for item in items}
    assert len(stamps) == 2


def test_a_lock_file() -> None:
    item = {"name": "ml", "lock": "lock.txt", "pip_options": ["--require-hashes"], "minutes": 5}
    job = environment_jobs([item], "/e", {}, locks={"lock.txt": "numpy==2 --hash=sha256:0\n"})[0]
    assert "numpy==2 --hash=sha256:0\n" in job["script"]
    assert "--require-hashes -r" in job["script"]
    assert job["seconds"] == 300


@pytest.mark.parametrize("item", [{"name": "../x", "requirements": ["a"]}, {"name": "a"}, {"requirements": ["a"]}])
def test_bad_environments(item: dict[str, Any]) -> None:
    with pytest.raises(DeliveryError, match="delivery_environments"):
        environment_jobs([item], "/e", {})


def test_bad_variables() -> None:
    with pytest.raises(DeliveryError, match="delivery_variables"):
        environment_jobs([{"name": "a", "requirements": ["b"]}], "/e", {"A; rm -rf /": "x"})


def test_python_for_mpi() -> None:
    plain = {"name": "a", "requirements": ["numpy==2.0"]}
    full = {"name": "b", "requirements": ["numpy>=2", "mpi4py"]}
    assert python_for_mpi([plain, full], "/e") == "/e/b/bin/python"
    assert python_for_mpi([plain], "/e") == ""
    assert python_for_mpi([{"name": "c", "lock": "x", "mpi": True}], "/e") == "/e/c/bin/python"


# --- Data sets --------------------------------------------------------------------------------------------------------


def fetch(folder: Path, source: Path, sha256: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    wanted = sha256 or hashlib.sha256(source.read_bytes()).hexdigest()
    item = {"name": "set", "src": str(source), "sha256": wanted, **more}
    return run(dataset_jobs([item], f"{folder}/sets", {})[0]["script"], folder)


def test_a_data_set_arrives(tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_text("1,2\n")
    assert fetch(tmp_path, source).returncode == 0
    assert (tmp_path / "sets/set").read_text() == "1,2\n"
    assert (tmp_path / "sets/.set.stamp").exists()


def test_a_wrong_checksum_leaves_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_text("1,2\n")
    fetch(tmp_path, source)
    source.write_text("other\n")
    done = fetch(tmp_path, source, sha256="0" * 64)
    assert done.returncode != 0
    assert "FAIL" in done.stderr
    assert (tmp_path / "sets/set").read_text() == "1,2\n"
    assert {path.name for path in (tmp_path / "sets").iterdir()} == {"set", ".set.stamp"}


def test_an_archive_becomes_a_folder_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("1")
    for content in ("1", "2"):
        (tmp_path / "one.txt").write_text(content)
        subprocess.run(["tar", "-czf", "source.tgz", "one.txt"], cwd=tmp_path, check=True)
        done = fetch(tmp_path, tmp_path / "source.tgz", unpack=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "sets/set/one.txt").read_text() == content
    assert {path.name for path in (tmp_path / "sets").iterdir()} == {"set", ".set.stamp"}


@pytest.mark.parametrize(
    "item",
    [
        {"name": "a", "src": "x", "sha256": "0" * 64},
        {"name": "a", "src": "/x", "sha256": "0"},
        {"name": "", "src": "/x", "sha256": "0" * 64},
    ],
)
def test_bad_data_sets(item: dict[str, Any]) -> None:
    with pytest.raises(DeliveryError, match="delivery_datasets"):
        dataset_jobs([item], "/d", {})
