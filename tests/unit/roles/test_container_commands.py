# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""sbuild.sh, srun.sh and nvcrlogin as programs: the command line that they produce, what they say, how they end."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FILES = ROOT / "roles/nodes/files/containers"
IMAGE = "nvcr.io#nvidia/tensorflow:25.02-tf2-py3"
WORKSPACE = ["--container-mounts=.:/workspace", "--container-workdir=/workspace"]

# Starts the commands as /usr/local/bin/NAME does, with another file of defaults.
MAIN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import commands
commands.DEFAULTS = sys.argv.pop(1)
sys.exit(commands.main())
"""

# Notes its command line, and makes the container that pyxis would make.
SRUN = """#!/bin/sh
for word; do printf '%s\\0' "$word"; done >> "$0.calls"; printf '\\n' >> "$0.calls"
for word; do
    case $word in
        --container-image=*) image=$word ;;
        --container-name=*:create) name=${word#*=} && name=pyxis_${name%:create} ;;
    esac
done
[ -z "$image" ] || mkdir "$HOME/.local/share/enroot/$name" || exit 1
exit "$(cat "$0.rc")"
"""


class User:
    """A user on the head, with a folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.store = self.home / ".local/share/enroot"
        self.store.mkdir(parents=True)
        self.project = self.home / "proj"
        self.project.mkdir()
        self.lib = folder / "lib"
        shutil.copytree(FILES, self.lib)
        shutil.copy(ROOT / "plugins/module_utils/enroot.py", self.lib)
        self.bin = folder / "bin"
        self.bin.mkdir()
        shutil.copy(ROOT / "tests/doubles/enroot", self.bin)
        self.srun = self.bin / "srun"
        self.srun.write_text(SRUN)
        self.srun.chmod(0o755)
        self.ends_with(0)
        self.defaults = folder / "containers.json"
        self.default(image=IMAGE, gpus=1, shared=True)
        self.environment: dict[str, str] = {}

    def default(self, **values: Any) -> None:
        self.defaults.write_text(json.dumps(values))

    def ends_with(self, rc: int) -> None:
        (self.bin / "srun.rc").write_text(f"{rc}\n")

    def run(self, *argv: str, stdin: str = "", folder: Path | None = None) -> tuple[int, str]:
        """rc, and all that it says."""
        done = subprocess.run(
            [sys.executable, "-c", MAIN, str(self.lib), str(self.defaults), *argv],
            cwd=folder or self.project,
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "HOME": str(self.home),
                "XDG_RUNTIME_DIR": str(self.home),
                "ENROOT_DOUBLE_CONF": str(self.home / "enroot.conf"),
                **self.environment,
            },
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    @property
    def calls(self) -> list[list[str]]:
        """The command lines of srun so far."""
        file = self.bin / "srun.calls"
        return [line.split("\0")[:-1] for line in file.read_text().splitlines()] if file.exists() else []

    def file(self, name: str, mode: int = 0o755) -> None:
        (self.project / name).write_text("#!/bin/sh\n")
        (self.project / name).chmod(mode)

    @property
    def containers(self) -> list[str]:
        return sorted(path.name for path in self.store.iterdir() if path.suffix != ".lock")


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


# --- srun.sh ----------------------------------------------------------------------------------------------------------

IN_PROJ = ["--container-name=proj", *WORKSPACE]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["setup.sh"], ["--gres=gpu:1", *IN_PROJ, "./setup.sh"]),
        (["python", "do_something.py"], ["--gres=gpu:1", *IN_PROJ, "python", "do_something.py"]),
        (["echo", "a b", "ä'\"$x", ""], ["--gres=gpu:1", *IN_PROJ, "echo", "a b", "ä'\"$x", ""]),
        (["--gres=gpu:2", "-p", "big", "x"], ["--gres=gpu:2", "-p", "big", *IN_PROJ, "x"]),
        (["-N2", "x", "-n", "5"], ["--gres=gpu:1", "-N2", *IN_PROJ, "x", "-n", "5"]),
        (["--gres-flags=enforce-binding", "x"], ["--gres=gpu:1", "--gres-flags=enforce-binding", *IN_PROJ, "x"]),
        (["--gpus=4", "--", "-x"], ["--gpus=4", *IN_PROJ, "-x"]),
        (["./tool", "x"], ["--gres=gpu:1", *IN_PROJ, "./tool", "x"]),
        (["folder"], ["--gres=gpu:1", *IN_PROJ, "folder"]),
    ],
)
def test_commands(user: User, arguments: list[str], expected: list[str]) -> None:
    user.file("setup.sh")
    user.file("do_something.py", 0o644)
    (user.project / "folder").mkdir()
    assert user.run("srun.sh", *arguments) == (0, "")
    assert user.calls == [expected]


def test_a_shell(user: User) -> None:
    assert user.run("srun.sh")[0] == 0
    assert user.calls[0][:-1] == ["--gres=gpu:1", *IN_PROJ, "--pty", "sh", "-c"]
    assert subprocess.run(["sh", "-nc", user.calls[0][-1]], check=False).returncode == 0


@pytest.mark.parametrize("rc", [0, 1, 42, 255])
def test_the_inner_exit_code(user: User, rc: int) -> None:
    user.ends_with(rc)
    assert user.run("srun.sh", "x")[0] == rc


def test_a_file_that_may_not_be_executed(user: User) -> None:
    user.file("setup.sh", 0o644)
    assert user.run("srun.sh", "setup.sh") == (126, "srun.sh: setup.sh: may not be executed; chmod +x setup.sh\n")
    assert user.calls == []


def test_in_a_job(user: User) -> None:
    user.environment["SLURM_JOB_ID"] = "7"
    user.run("srun.sh", "x")
    assert user.calls == [[*IN_PROJ, "x"]]


def test_a_cluster_without_gpus(user: User) -> None:
    user.default(gpus=0)
    user.run("srun.sh", "x")
    user.defaults.unlink()
    user.run("srun.sh", "x")
    assert user.calls == [[*IN_PROJ, "x"]] * 2


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("a b", "a_b"),
        ("x:auto", "x_auto"),
        ("größe", "gr__e"),
        ("v1.2-rc", "v1.2-rc"),
        ("a,b'c\"$d", "a_b_c__d"),
        # pyxis puts its prefix before every name, and neither enroot nor we show one that begins with a dot.
        ("pyxis_x", "pyxis_x"),
        (".config", "_config"),
    ],
)
def test_names_of_folders(user: User, folder: str, name: str) -> None:
    (path := user.home / folder).mkdir()
    assert user.run("srun.sh", "x", folder=path)[0] == 0
    assert user.calls[0][1] == f"--container-name={name}"
    # What was built in a folder is what runs in it.
    assert user.run("sbuild.sh", "ubuntu:20.04", folder=path)[0] == 0
    assert user.containers == [f"pyxis_{name}"]


def test_at_the_root(user: User) -> None:
    user.run("srun.sh", "x", folder=Path("/"))
    assert user.calls[0][1] == "--container-name=root"


# --- sbuild.sh --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "image"),
    [
        ([], IMAGE),
        (["nvcr.io#nvidia/tensorflow:22.02-tf2-py3"], "nvcr.io#nvidia/tensorflow:22.02-tf2-py3"),
        (["ubuntu:20.04"], "ubuntu:20.04"),
        (["docker://ubuntu:20.04"], "ubuntu:20.04"),
    ],
)
def test_building(user: User, arguments: list[str], image: str) -> None:
    assert user.run("sbuild.sh", *arguments) == (0, "")
    where = [f"--container-image={image}", "--container-name=proj.new:create"]
    assert user.calls == [["--nodes=1", "--ntasks=1", *where, "true"]]
    assert user.containers == ["pyxis_proj"]


def test_building_with_options_of_srun(user: User) -> None:
    user.run("sbuild.sh", "-p", "big", "--time=9", "ubuntu:20.04")
    assert user.calls[0][2:5] == ["-p", "big", "--time=9"]


def test_a_file_as_image(user: User) -> None:
    (user.project / "a b.sqsh").write_text("")
    assert user.run("sbuild.sh", "a b.sqsh") == (0, "")
    assert user.calls[0][2] == f"--container-image={user.project}/a b.sqsh"
    assert "is there already" in user.run("sbuild.sh", "./a b.sqsh")[1]
    (user.project / "a b.sqsh").write_text("another")
    assert user.run("sbuild.sh", "a b.sqsh")[0] == 1


def test_the_same_image_again(user: User) -> None:
    user.run("sbuild.sh", "ubuntu:20.04")
    rc, said = user.run("sbuild.sh", "docker.io#library/ubuntu:20.04")
    assert (rc, len(user.calls)) == (0, 1)
    assert said.startswith("pyxis_proj is there already, from registry-1.docker.io#library/ubuntu:20.04; ")


def test_another_image(user: User) -> None:
    user.run("sbuild.sh", "ubuntu:20.04")
    (user.store / "pyxis_proj/work").write_text("")
    rc, said = user.run("sbuild.sh", "ubuntu:22.04")
    assert (rc, len(user.calls)) == (1, 1)
    assert said.startswith("sbuild.sh: pyxis_proj is there already, from registry-1.docker.io#library/ubuntu:20.04. ")
    assert "sbuild.sh -f docker://ubuntu:22.04" in said
    assert user.run("sbuild.sh", "-f", "ubuntu:22.04") == (0, "")
    assert user.containers == ["pyxis_proj"]
    assert not (user.store / "pyxis_proj/work").exists()
    assert user.run("sbuild.sh", "ubuntu:22.04")[0] == 0


def test_a_container_of_a_plain_srun(user: User) -> None:
    (user.store / "pyxis_proj").mkdir()
    rc, said = user.run("sbuild.sh", "ubuntu:20.04")
    assert (rc, user.calls) == (1, [])
    assert "from an image that nobody noted" in said


def test_a_build_that_fails_spoils_nothing(user: User) -> None:
    user.run("sbuild.sh", "ubuntu:20.04")
    (user.store / "pyxis_proj/work").write_text("")
    (user.store / "pyxis_proj.new").mkdir()  # of one that was killed
    user.ends_with(3)
    assert user.run("sbuild.sh", "-f", "ubuntu:22.04") == (3, "")
    assert user.containers == ["pyxis_proj"]
    assert (user.store / "pyxis_proj/work").exists()


def test_two_builds_at_once(user: User) -> None:
    """Also with the module, which locks the same file."""
    with (user.store / ".aicluster-pyxis_proj.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        rc, said = user.run("sbuild.sh", "ubuntu:20.04")
    assert (rc, user.calls) == (1, [])
    assert said == "sbuild.sh: pyxis_proj is being made by somebody else at the moment\n"
    assert user.run("sbuild.sh", "ubuntu:20.04")[0] == 0


def test_a_store_that_is_not_shared(user: User) -> None:
    user.srun.write_text("#!/bin/sh\n")  # another node made it, in a folder of its own
    rc, said = user.run("sbuild.sh", "ubuntu:20.04")
    assert rc == 1
    assert f"{user.store} is not shared with the node. " in said


def test_a_link_in_an_image_leads_nowhere(user: User) -> None:
    """What is noted in the container is written with the rights of the user, on the host."""
    (victim := user.home / ".bashrc").write_text("mine\n")
    made = user.srun.read_text().replace(
        'exit "$(', f'ln -s {victim} "$HOME/.local/share/enroot/$name/.aicluster.json"; exit "$('
    )
    user.srun.write_text(made)
    assert user.run("sbuild.sh", "ubuntu:20.04") == (0, "")
    assert victim.read_text() == "mine\n"
    assert (
        "is there already, from registry-1.docker.io#library/ubuntu:20.04" in user.run("sbuild.sh", "ubuntu:20.04")[1]
    )


def test_who_interrupts_leaves_it_to_srun_to_cancel_the_job(user: User) -> None:
    done = user.home / "cancelled"
    user.srun.write_text(
        f'#!/bin/sh\ntrap "sleep 1; rmdir $HOME/.local/share/enroot/pyxis_proj.new; touch {done}; exit 9" INT\n'
        'mkdir "$HOME/.local/share/enroot/pyxis_proj.new"; kill -INT $PPID $$; sleep 9\n'
    )
    assert user.run("sbuild.sh", "ubuntu:20.04") == (9, "")
    assert (done.exists(), user.containers) == (True, [])


def test_a_store_of_each_node(user: User) -> None:
    user.default(image=IMAGE, shared=False)
    assert user.run("sbuild.sh", "-f", "--nodelist=n1", "ubuntu:20.04")[0] == 0
    job = ["--nodes=1", "--ntasks=1", "--nodelist=n1"]
    create = ["--container-image=ubuntu:20.04", "--container-name=proj:create", "true"]
    assert user.calls == [[*job, "enroot", "remove", "-f", "pyxis_proj"], [*job, *create]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Ubuntu"], "sbuild.sh: image: found 'Ubuntu'; accepted: "),
        (["a", "b"], "sbuild.sh: found 2 images: a b; accepted: one"),
    ],
)
def test_what_is_refused(user: User, arguments: list[str], said: str) -> None:
    rc, output = user.run("sbuild.sh", *arguments)
    assert rc != 0
    assert output.startswith(said)
    assert user.calls == []


# --- nvcrlogin --------------------------------------------------------------------------------------------------------

KEY = "nvapi-abcDEF_123"


def lines(key: str) -> str:
    return "".join(f"machine {name} login $oauthtoken password {key}\n" for name in ("nvcr.io", "authn.nvidia.com"))


def test_login(user: User) -> None:
    file = user.home / ".config/enroot/.credentials"
    rc, said = user.run("nvcrlogin", stdin=f"{KEY}\n")
    assert (rc, said) == (0, f"kept in {file}\n")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (lines(KEY), 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_another_login_replaces_and_keeps_the_others(user: User) -> None:
    file = user.home / ".config/enroot/.credentials"
    file.parent.mkdir(parents=True)
    file.write_text(
        f"machine r.example.org login me password x\n machine nvcr.io login a password b\n{lines('old-key-1')}# last"
    )
    file.chmod(0o644)
    user.run("nvcrlogin", stdin=KEY)
    assert file.read_text() == f"{lines(KEY)}machine r.example.org login me password x\n# last\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_login_replaces_entries_of_several_lines(user: User) -> None:
    """curl takes the first that it finds, and netrc has no lines."""
    file = user.home / ".config/enroot/.credentials"
    file.parent.mkdir(parents=True)
    other = "machine nvcr.io.example.org\n  login me\n  password x\ndefault login d password e\n"
    old = "machine nvcr.io\n  login $oauthtoken\n  password old-key-1\n"
    file.write_text(old + other.replace("default", old + "default"))
    user.run("nvcrlogin", stdin=KEY)
    assert file.read_text() == lines(KEY) + other


@pytest.mark.parametrize(
    "key",
    [
        "",
        "short",
        f"{KEY}\nmachine evil login a password b",
        f'{KEY}"x',
        f"{KEY}'x",
        f"{KEY} x",
        "$(touch /tmp/x)",
        f"{KEY}#",
    ],
)
def test_a_key_injects_nothing(user: User, key: str) -> None:
    rc, said = user.run("nvcrlogin", stdin=key)
    assert rc == 1
    assert said.startswith("nvcrlogin: found no API key; accepted: ")
    assert not key or key not in said
    assert not (user.home / ".config").exists()


def test_the_key_is_no_argument(user: User) -> None:
    rc, said = user.run("nvcrlogin", KEY)
    assert (rc, KEY in said) == (2, False)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sbuild.sh", "srun.sh", "nvcrlogin"])
def test_help(user: User, name: str) -> None:
    rc, said = user.run(name, "--help")
    assert (rc, said.split("\n")[0].split()[:2]) == (0, ["usage:", name])
    assert "{" not in said
    assert user.calls == []
    # What lies in /usr/local/bin leads to it.
    start = (FILES / name).read_text().splitlines()[-1]
    assert start == f'exec /usr/bin/python3 -E -s /usr/local/lib/aicluster/containers/commands.py {name} "$@"'


# --- the epilog -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="it becomes the job's user")
def test_the_epilog_removes_only_what_the_job_left(user: User, tmp_path: Path) -> None:
    epilog = tmp_path / "epilog"
    # The script sets its own PATH, and root's home is that of the account.
    text = (FILES / "epilog.sh").read_text().replace("PATH=/usr/local/sbin", f"PATH={user.bin}:/usr/local/sbin")
    epilog.write_text(text)
    names = ["pyxis_7.0", "pyxis_7.12", "pyxis_7_7.0", "pyxis_7_mine", "pyxis_77.0", "pyxis_proj", "7.0", "pyxis_7.0x"]
    for name in names:
        (user.store / name).mkdir()
    environment = {
        "ENROOT_DATA_PATH": str(user.store),
        "ENROOT_CACHE_PATH": str(tmp_path / "cache"),
        "ENROOT_RUNTIME_PATH": str(tmp_path / "run"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_USER": "root",
    }
    for context, left in (
        ("prolog_slurmd", names),
        ("epilog_slurmd", [name for name in names if name not in names[:3]]),
    ):
        done = subprocess.run(["sh", epilog], env={**environment, "SLURM_SCRIPT_CONTEXT": context}, check=False)
        assert (done.returncode, user.containers) == (0, sorted(left))
