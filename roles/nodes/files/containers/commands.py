# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands for those who work in containers: sbuild.sh, srun.sh and nvcrlogin.

python3 commands.py COMMAND [ARGUMENT...]. Beside it lies enroot.py, the module_utils of this collection.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import Callable, Iterator, NamedTuple, NoReturn, Sequence

import enroot
from enroot import EnrootError

DEFAULTS = "/etc/aicluster/containers.json"
WORKSPACE = ["--container-mounts=.:/workspace", "--container-workdir=/workspace"]
# A job that is given none of these gets the default number of GPUs.
GPU_OPTIONS = ("--gres=", "--gpus", "-G", "--tres-per")
# srun(1): short options that take a value, which may be an argument of its own.
WITH_VALUE = "ABcCdDeGiJLmMnNopqrStTwWx"
SHELL = "if command -v bash >/dev/null; then exec bash; fi; exec sh"

KEY = re.compile(r"[A-Za-z0-9_+/=.:~-]{8,}")
MACHINES = ("nvcr.io", "authn.nvidia.com")

SBUILD = """\
usage: sbuild.sh [-f] [SRUN OPTION...] [IMAGE]

Makes a container from an image, in a job. It is named like the current folder: in ~/proj that is pyxis_proj in
`enroot list`, and proj for `srun --container-name`. srun.sh runs commands in it.

  IMAGE   in enroot's grammar, as nvcr.io#nvidia/tensorflow:25.02-tf2-py3 or ubuntu:24.04, or a .sqsh file;
          by default {image}
  -f      take the place of a container that is there; what was changed in that one is lost

Other options go to srun, as in --partition=big or -p big; with a long one the value has to stand behind `=`.
"""
SRUN = """\
usage: srun.sh [SRUN OPTION...] [COMMAND [ARGUMENT...]]

Runs a command, without one a shell, in the container that sbuild.sh made in this folder, as a job with {gpus} GPU(s).
The current folder is /workspace there. A file of this folder that may be executed needs no ./ before its name. What
the command ends with, srun.sh ends with.

Options before the command go to srun, as in --gres=gpu:2 or -p big; with a long one the value has to stand behind `=`.
In a batch script or an allocation the command takes what the job has.
"""
NVCRLOGIN = """\
usage: nvcrlogin

Asks for an API key of NVIDIA's registry nvcr.io, without showing it, and keeps it in ~/.config/enroot/.credentials, for
batch jobs too. Another run replaces it. Also: nvcrlogin < FILE
"""


class Defaults(NamedTuple):
    """What the cluster has for who says nothing."""

    image: str = ""
    gpus: int = 0
    shared: bool = True
    """Whether all hosts see the containers."""


class RefusedError(Exception):
    """What is not done; the second argument is the exit code."""


def read_defaults() -> Defaults:
    """The file that the role nodes writes."""
    try:
        with open(DEFAULTS, encoding="utf-8") as file:
            return Defaults(**json.load(file))
    except FileNotFoundError:
        return Defaults()


def folder_name(path: str) -> str:
    """The container of a folder: pyxis cuts at a colon, and enroot's table shows only ASCII in the C locale."""
    return re.sub(r"[^A-Za-z0-9._-]|^[.]", "_", os.path.basename(os.path.abspath(path)))[:200] or "root"


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options for srun at the begin, and the rest."""
    options: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option = rest.pop(0)
        if option == "--":
            break
        options.append(option)
        if len(option) == 2 and option[1] in WITH_VALUE and rest:
            options.append(rest.pop(0))
    return options, rest


def gpus(options: Sequence[str], defaults: Defaults) -> list[str]:
    """The default GPUs, where nothing else is said; a step takes what its job has."""
    said = any(option.startswith(GPU_OPTIONS) for option in options) or "SLURM_JOB_ID" in os.environ
    return [] if said or not defaults.gpus else [f"--gres=gpu:{defaults.gpus}"]


def as_file(command: str) -> str:
    """The command; with ./ when it is the name of a file here that may be executed."""
    if "/" in command or not os.path.isfile(command):
        return command
    if not os.access(command, os.X_OK):
        raise RefusedError(f"{command}: may not be executed; chmod +x {command}", 126)
    return f"./{command}"


def srun_command(arguments: Sequence[str], folder: str, defaults: Defaults) -> list[str]:
    """What srun.sh turns into."""
    options, command = split_options(arguments)
    where = [f"--container-name={folder_name(folder)}", *WORKSPACE]
    what = [as_file(command[0]), *command[1:]] if command else ["--pty", "sh", "-c", SHELL]
    return ["srun", *gpus(options, defaults), *options, *where, *what]


def build_command(options: Sequence[str], image: enroot.Image, name: str) -> list[str]:
    """The job that makes a container. `create` has pyxis fail, and not take what is there, when the name is taken."""
    source = image.source if image.is_file else image.source.split("://", 1)[1]
    where = [f"--container-image={source}", f"--container-name={name}:create"]
    return ["srun", "--nodes=1", "--ntasks=1", *options, *where, "true"]


class Builder:
    """Makes the container of a folder."""

    def __init__(self, name: str, image: enroot.Image, options: Sequence[str], force: bool) -> None:
        self.name = name
        self.full_name = enroot.PREFIX + name  # pyxis puts it before every name, also one that begins with it
        self.image = image
        self.options = options
        self.force = force

    def build(self, defaults: Defaults) -> int:
        """Do it; the exit code."""
        return self._build_shared() if defaults.shared else self._build_local()

    def _build_local(self) -> int:
        """On the node that the job gets; only there can the container be looked at."""
        if self.force:
            node = ["srun", "--nodes=1", "--ntasks=1", *self.options]
            subprocess.run([*node, "enroot", "remove", "-f", self.full_name], stderr=subprocess.DEVNULL, check=False)
        return run(build_command(self.options, self.image, self.name))

    def _build_shared(self) -> int:
        """Under another name first: a job that is cancelled, or a wrong image, spoils nothing."""
        store = self._store()
        with locked(os.path.join(store, f"{enroot.ASIDE}{self.full_name}.lock"), self.full_name):
            path = os.path.join(store, self.full_name)
            if is_in(store, self.full_name) and not self.force and self._is_there(path):
                return 0
            aside = f"{self.full_name}.new"
            self._remove(store, aside)
            rc = run(build_command(self.options, self.image, f"{self.name}.new"))
            if rc != 0:
                self._remove(store, aside)
                return rc
            if not is_in(store, aside):
                raise RefusedError(
                    f"the job made the container where this host does not see it: {store} is not shared with the node."
                    " Whoever runs the cluster can share it, or set nodes_containers_shared: false",
                    1,
                )
            self._note(os.path.join(store, aside, enroot.ORIGIN))
            self._remove(store, self.full_name)
            os.rename(os.path.join(store, aside), path)
            return 0

    def _note(self, path: str) -> None:
        """From which image it is, in a file of its own: an image can hold a link of this name, to anywhere."""
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "x", encoding="utf-8") as file:
            file.write(enroot.dump_origin(enroot.Origin(self.image.key, self._digest())))

    def _is_there(self, path: str) -> bool:
        """Whether it is the wanted one; RefusedError for another."""
        try:
            with open(os.path.join(path, enroot.ORIGIN), encoding="utf-8") as file:
                origin = enroot.load_origin(file.read())
        except FileNotFoundError:
            origin = None
        wish = enroot.Wish(self.full_name, self.image, "present")
        try:
            enroot.decide(wish, True, origin, self._digest())
        except EnrootError:
            found = f"from {origin.image}" if origin else "from an image that nobody noted"
            raise RefusedError(
                f"{self.full_name} is there already, {found}. To have one of {self.image.key} in its place, and lose"
                f" what was changed in it: sbuild.sh -f {self.image.source}",
                1,
            ) from None
        print(f"{self.full_name} is there already, from {self.image.key}; sbuild.sh -f makes it anew")
        return True

    def _digest(self) -> str:
        if not self.image.is_file:
            return ""
        status = os.stat(self.image.source)
        return enroot.file_digest(status.st_size, status.st_mtime_ns)

    def _store(self) -> str:
        done = subprocess.run(["enroot", "info"], stdout=subprocess.PIPE, text=True, check=False)
        path = enroot.parse_info(done.stdout).get("ENROOT_DATA_PATH")
        if not path:
            raise RefusedError("enroot does not tell where the containers are: enroot info", 1)
        return path

    def _remove(self, store: str, name: str) -> None:
        if is_in(store, name) and run(["enroot", "remove", "-f", "--", name]) != 0:
            raise RefusedError(f"{name} cannot be removed", 1)


def is_in(folder: str, name: str) -> bool:
    """Whether it is there. NFS shows what other hosts made to who opens the folder, and else up to a minute later."""
    return name in os.listdir(folder)


@contextmanager
def locked(path: str, name: str) -> Iterator[None]:
    """Alone with this container, among all hosts: the module enroot_container locks the same file."""
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise RefusedError(f"{name} is being made by somebody else at the moment", 1) from None
        except OSError:
            pass  # a share that has no locks
        yield


def run(argv: Sequence[str]) -> int:
    """Run it to its end; the exit code, that of a shell where a signal ended it."""
    # It hears Ctrl-C too, and cancels its job; killed, it would leave that. Nothing is raised here: between the end of
    # the process and its exit code it would cost the latter.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        rc = subprocess.call(argv)
    finally:
        signal.signal(signal.SIGINT, before)
    return rc if rc >= 0 else 128 - rc


def sbuild(arguments: Sequence[str]) -> int:
    """The command sbuild.sh."""
    defaults = read_defaults()
    options, rest = split_options(arguments)
    if "-h" in options or "--help" in options:
        print(SBUILD.format(image=defaults.image or "none"), end="")
        return 0
    force = "-f" in options
    options = [option for option in options if option != "-f"]
    if len(rest) > 1:
        raise RefusedError(f"found {len(rest)} images: {' '.join(rest)}; accepted: one", 2)
    text = rest[0] if rest else defaults.image
    if text.endswith(".sqsh") or text.startswith("."):
        text = os.path.abspath(text)
    return Builder(folder_name(os.getcwd()), enroot.parse_image(text), options, force).build(defaults)


def srun(arguments: Sequence[str]) -> NoReturn:
    """The command srun.sh."""
    defaults = read_defaults()
    options, _command = split_options(arguments)
    if "-h" in options or "--help" in options:
        print(SRUN.format(gpus=defaults.gpus), end="")
        sys.exit(0)
    argv = srun_command(arguments, os.getcwd(), defaults)
    os.execvp(argv[0], argv)


def credentials(old: str, key: str) -> str:
    """The file with the key in it; what it has of other registries stays."""
    ours = re.compile(rf"\s*machine\s+({'|'.join(map(re.escape, MACHINES))})(\s|$)")
    kept, is_ours = [], False
    for line in old.splitlines():
        # An entry may go on in the lines below it (netrc).
        is_ours = bool(ours.match(line)) or (is_ours and not re.match(r"\s*(machine|default|macdef|#)", line))
        kept += [] if is_ours else [line]
    lines = [f"machine {machine} login $oauthtoken password {key}" for machine in MACHINES]
    # The first one counts, also before an entry for all machines.
    return "\n".join([*lines, *kept]) + "\n"


def write_private(path: str, text: str) -> None:
    """Put the file in place at once; nobody else can read it at any time."""
    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def nvcrlogin(arguments: Sequence[str]) -> int:
    """The command nvcrlogin."""
    if arguments:
        print(NVCRLOGIN, end="")
        # A key on the command line would be in everybody's `ps` and in the history.
        return 0 if arguments[0] in ("-h", "--help") else 2
    key = getpass.getpass("API key of nvcr.io: ") if sys.stdin.isatty() else sys.stdin.read()
    key = key.strip()
    if not KEY.fullmatch(key):
        raise RefusedError("found no API key; accepted: one word of 8 or more letters, digits and _+/=.:~-", 1)
    path = os.path.expanduser("~/.config/enroot/.credentials")
    old = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            old = file.read()
    write_private(path, credentials(old, key))
    print(f"kept in {path}")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"sbuild.sh": sbuild, "srun.sh": srun, "nvcrlogin": nvcrlogin}


def main() -> int:
    """Run the command that is named first."""
    name, *arguments = sys.argv[1:]
    try:
        return COMMANDS[name](arguments)
    except RefusedError as refused:
        message, rc = refused.args
        print(f"{name}: {message}", file=sys.stderr)
        return int(rc)
    except (EnrootError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
