#!/usr/bin/python
# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A container of a user, made by enroot from an image."""

from __future__ import annotations

DOCUMENTATION = r"""
module: enroot_container
short_description: A container of a user, made by enroot from an image
version_added: 0.1.0
author: aicluster.slurm contributors (@aicluster)
description:
  - Makes a container (a root file system) from an image of a registry or from a file, removes one, or only imports an
    image.
  - Notes inside the container from which image it came, and never takes one of another image for the wanted one.
  - What is unfinished has a name that nobody sees, and gets its own name at once, so that a run that is killed leaves
    no half of a container and no half of an image.
  - Many hosts that share the folder of the containers, or O(images_path), import an image once. The others wait for it.
requirements:
  - enroot 4.1 or later
options:
  name:
    description:
      - The container, as C(enroot list) shows it. Needed except where an image is imported, or an imported one removed.
    type: str
  image:
    description:
      - The image, in enroot's grammar, with C(docker://) or without, such as V(ubuntu:24.04),
        V(nvcr.io#nvidia/tensorflow:25.02-tf2-py3), or the absolute path of a squashfs file.
      - Credentials are those in the user's C(~/.config/enroot/.credentials).
    type: str
  state:
    description:
      - V(present) makes the container, V(absent) removes it, or the image in O(images_path) when O(name) is not given.
      - V(imported) has the image as a file in O(images_path), and no container.
    type: str
    choices: [present, absent, imported]
    default: present
  user:
    description:
      - Whose container it is. By default of the user that the module runs as.
      - Only root can do it for others. No file is touched as root then, so that it works on storage that squashes root.
    type: str
  pyxis:
    description: Whether the container is one for C(srun --container-name), which has names that begin with C(pyxis_).
    type: bool
    default: false
  images_path:
    description:
      - A folder in which imported images stay as files, such as one on the shared storage. The user has to be able to
        write there.
      - Without it an image is imported for the one container, and not kept.
    type: path
  on_image_change:
    description:
      - What to do with a container of the name that came from another image, or from one that nobody noted.
      - V(recreate) loses what was changed in it.
    type: str
    choices: [fail, recreate, keep]
    default: fail
  force:
    description:
      - Makes the container, or imports the image, anew even when it is there, as when a tag has a new image behind it.
      - Removes a container although processes run in it.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change, also on a host without enroot.
    support: full
  diff_mode:
    description: Shows the image before and after.
    support: full
  idempotent:
    description: Changes nothing when the container of this image is there. With O(force) it always does.
    support: partial
  platform:
    description: The platform.
    platforms: posix
    support: full
"""

EXAMPLES = r"""
- name: A container for alice, that she uses with srun --container-name=work
  aicluster.slurm.enroot_container:
    name: work
    image: nvcr.io#nvidia/tensorflow:25.02-tf2-py3
    user: alice
    pyxis: true

- name: The same image for many users, imported once to the share
  aicluster.slurm.enroot_container:
    name: course
    image: docker://ubuntu:24.04
    user: "{{ item }}"
    images_path: /data/images
    pyxis: true
  loop: [alice, bob]

- name: Remove a container, also when something runs in it
  aicluster.slurm.enroot_container:
    name: pyxis_work
    user: alice
    state: absent
    force: true
"""

RETURN = r"""
name:
  description: The container as C(enroot list) shows it.
  type: str
  returned: when there is a name
  sample: pyxis_work
path:
  description: Where the container is, or the image with O(state=imported).
  type: str
  returned: when enroot is there
  sample: /data/enroot/1000/pyxis_work
image:
  description: The image of what is there now, in the one spelling that all spellings of it have.
  type: str
  returned: success
  sample: registry-1.docker.io#library/ubuntu:24.04
digest:
  description: What the registry called the image when it was imported; of a file its size and time.
  type: str
  returned: success
  sample: sha256:1e622c5f073b4f6bfad6632f2616c7f59ef256e96fe78bf6a595d1dc4376ac02
commands:
  description: The commands that changed something, in order.
  type: list
  elements: list
  returned: success
  sample: [[enroot, remove, -f, --, pyxis_work]]
"""

import fcntl
import json
import os
import pwd
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Mapping, cast

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.aicluster.slurm.plugins.module_utils import enroot
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Result, Runner, module_runner
from ansible_collections.aicluster.slurm.plugins.module_utils.enroot import EnrootError, Image, Origin, Wish


def become(account: pwd.struct_passwd) -> None:
    """Be this user from now on, for good: what follows happens with no other rights than theirs."""
    os.initgroups(account.pw_name, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    environment = enroot.users_environment(account.pw_name, account.pw_dir, os.environ.items())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir("/")  # what root was in may be closed to the user


def do_as(name: str | None, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work returns, done by a process of that user's; this one has to stay who it is, to read its own code."""
    try:
        account = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EnrootError(f"user: found {name}; accepted: an account of this host") from None
    if account.pw_uid == os.geteuid():
        return work()
    if os.geteuid() != 0:
        raise EnrootError(f"user: found {name}; accepted for whoever is not root: oneself")
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            answer: dict[str, Any] = {"outcome": work()}
        except (EnrootError, OSError) as error:
            answer = {"error": str(error)}
        with os.fdopen(sender, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(answer))
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    said: dict[str, Any] = json.loads(text or '{"error": "the process of the user ended without a word"}')
    if "error" in said:
        raise EnrootError(said["error"])
    outcome: dict[str, Any] = said["outcome"]
    return outcome


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Alone, among all hosts that share the folder; the lock ends with the process, and its file stays."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.fchmod(handle, 0o666)  # for the other users of the folder, whatever the umask
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        # NFS shows what others made meanwhile to who opens the folder anew, and else up to a minute later.
        os.listdir(os.path.dirname(path))
        yield
    finally:
        os.close(handle)


def read_origin(path: str) -> Origin | None:
    """What the file says, None without it."""
    try:
        with open(path, encoding="utf-8") as file:
            return enroot.load_origin(file.read())
    except (OSError, UnicodeDecodeError):
        return None


def write_origin(path: str, origin: Origin) -> None:
    """Note it, in a file of its own: an image can hold a link of this name, to anywhere."""
    remove_file(path)
    with open(path, "x", encoding="utf-8") as file:
        file.write(enroot.dump_origin(origin))


def remove_file(path: str) -> None:
    """Remove it where it is."""
    if os.path.lexists(path):
        os.unlink(path)


class Enroot:
    """enroot on this host, as the user that this process is."""

    def __init__(self, run: Runner, images_path: str | None) -> None:
        self._run = run
        self.images_path = images_path
        self.commands: list[list[str]] = []
        self.data_path = enroot.parse_info(self._ask("info").stdout).get("ENROOT_DATA_PATH", "")
        if not self.data_path:
            raise EnrootError(
                "enroot: found no ENROOT_DATA_PATH in what `enroot info` prints; accepted: enroot 4.1 or later"
            )

    def _ask(self, *arguments: str) -> Result:
        result = self._run(["enroot", *arguments])
        if result.rc != 0:
            raise EnrootError(enroot.explain(result.rc, f"{result.stdout}\n{result.stderr}"))
        return result

    def _do(self, *arguments: str) -> None:
        self.commands.append(["enroot", *arguments])
        self._ask(*arguments)

    def path(self, name: str) -> str:
        """Where a container is."""
        return os.path.join(self.data_path, name)

    def exists(self, name: str) -> bool:
        """Whether enroot lists it."""
        return name in self._ask("list").stdout.splitlines()

    def origin(self, name: str) -> Origin | None:
        """What the container says of itself."""
        return read_origin(os.path.join(self.path(name), enroot.ORIGIN))

    def digest(self, image: Image) -> str:
        """Which state of the image it is now."""
        if not image.is_file:
            return self._ask("digest", "--", image.source).stdout.strip()
        try:
            status = os.stat(image.source)
        except OSError as error:
            raise EnrootError(f"image: {image.source}: {error.strerror}") from None
        return enroot.file_digest(status.st_size, status.st_mtime_ns)

    def image_path(self, image: Image) -> str:
        """Where the file of an imported image is kept."""
        return os.path.join(str(self.images_path), enroot.file_name(image))

    def _import(self, image: Image, target: str) -> None:
        remove_file(target)
        try:
            self._do("import", "-o", target, "--", image.source)
        except EnrootError:
            remove_file(target)
            raise

    def have_image(self, image: Image, force: bool) -> tuple[str, Origin]:
        """The image as a file that stays, imported unless it is there."""
        target = self.image_path(image)
        origin = read_origin(f"{target}.json")
        if origin and not force and os.path.exists(target):
            return target, origin
        folder, name = os.path.split(target)
        with locked(os.path.join(folder, f"{enroot.ASIDE}{name}.lock")):
            origin = read_origin(f"{target}.json")
            if force or not origin or not os.path.exists(target):
                origin = Origin(image.key, self.digest(image))
                part = os.path.join(folder, f"{enroot.ASIDE}{name}")
                self._import(image, part)
                try:
                    # Without the note an image counts as none, so that there is never a note of another one.
                    remove_file(f"{target}.json")
                    write_origin(f"{part}.json", origin)
                    os.replace(part, target)
                    os.replace(f"{part}.json", f"{target}.json")
                except OSError:  # a disk that is full now
                    remove_file(part)
                    remove_file(f"{part}.json")
                    raise
            return target, origin

    def make(self, name: str, image: Image, force: bool) -> Origin:
        """Make the container, and only then take an old one of the name away."""
        aside = enroot.ASIDE + name
        if os.path.lexists(self.path(aside)):
            self.remove(aside, force=True)
        if not force:
            self._check_idle(name)  # an import takes long, and nobody would see what it leaves
        single = self.path(aside + ".sqsh")
        try:
            if image.is_file:
                source, origin = image.source, Origin(image.key, self.digest(image))
            elif self.images_path:
                source, origin = self.have_image(image, force)
            else:
                source, origin = single, Origin(image.key, self.digest(image))
                self._import(image, single)
            self._do("create", "-n", aside, "--", source)
            write_origin(os.path.join(self.path(aside), enroot.ORIGIN), origin)
            if os.path.lexists(self.path(name)):
                self.remove(name, force)
        except (EnrootError, OSError):
            if os.path.lexists(self.path(aside)):
                self.remove(aside, force=True)
            raise
        finally:
            remove_file(single)
        os.rename(self.path(aside), self.path(name))
        return origin

    def _check_idle(self, name: str) -> None:
        busy = enroot.parse_processes(self._ask("list", "-f").stdout).get(name, [])
        if busy:
            raise EnrootError(
                f"{name}: found processes in it: {', '.join(map(str, busy))}; accepted: a container without, or force"
            )

    def remove(self, name: str, force: bool) -> None:
        """Remove the container; a run in which something of it is left fails."""
        if not force:
            self._check_idle(name)
        self._do("remove", "-f", "--", name)
        if os.path.lexists(self.path(name)):
            raise EnrootError(f"{name}: enroot removed it, and left {self.path(name)}")


def manage_container(tool: Enroot, wish: Wish, check_mode: bool) -> dict[str, Any]:
    """The container as wanted."""

    def look() -> tuple[str, bool, Origin | None]:
        exists = tool.exists(wish.name)
        origin = tool.origin(wish.name) if exists else None
        digest = tool.digest(wish.image) if wish.image and wish.image.is_file else ""
        return enroot.decide(wish, exists, origin, digest), exists, origin

    step, existed, origin = look()
    before = enroot.describe(existed, origin)
    if step != "nothing" and not check_mode:
        with locked(tool.path(f"{enroot.ASIDE}{wish.name}.lock")):
            # Another host that shares the folder may have done it while this one waited.
            step, existed, origin = look()
            if step == "remove":
                tool.remove(wish.name, wish.force)
            elif step != "nothing" and wish.image:
                origin = tool.make(wish.name, wish.image, wish.force)
    if step == "remove":
        origin = None
    elif step != "nothing" and check_mode and wish.image:
        origin = Origin(wish.image.key, "known after the import")
    after = enroot.describe(wish.state != "absent", origin)
    return result(step != "nothing", tool.path(wish.name), before, after, origin)


def manage_image(tool: Enroot, image: Image, state: str, force: bool, check_mode: bool) -> dict[str, Any]:
    """The file of an imported image as wanted."""
    target = tool.image_path(image)
    exists = os.path.exists(target)
    origin = read_origin(f"{target}.json") if exists else None
    before = enroot.describe(exists, origin)
    if state == "absent":
        if not check_mode:
            for path in (target, f"{target}.json"):
                remove_file(path)
        return result(exists, target, before, "", None)
    changed = force or origin is None
    if changed and not check_mode:
        _path, origin = tool.have_image(image, force)
        changed = bool(tool.commands)
    elif changed:
        origin = Origin(image.key, "known after the import")
    return result(changed, target, before, enroot.describe(True, origin), origin)


def result(changed: bool, path: str, before: str, after: str, origin: Origin | None) -> dict[str, Any]:
    """What the module returns of it."""
    return {
        "changed": changed,
        "path": path,
        "image": origin.image if origin else "",
        "digest": origin.digest if origin else "",
        "diff": {"before_header": path, "after_header": path, "before": before, "after": after if changed else before},
    }


def check(params: Mapping[str, Any]) -> None:
    """Refuse options that say nothing together. Raises EnrootError."""
    of_container = params["name"] is not None and params["state"] != "imported"
    if not of_container and not (params["image"] and params["images_path"]):
        raise EnrootError("name: found none; accepted: a name, or image and images_path with state imported or absent")
    if not of_container and params["state"] == "present":
        raise EnrootError("name: found none; accepted: a name with state present")
    if params["images_path"] and not params["images_path"].startswith("/"):
        raise EnrootError(f"images_path: found {params['images_path']}; accepted: an absolute path")


def run_module(module: AnsibleModule, run: Runner) -> dict[str, Any]:
    """The whole of it; what it gives back is the result."""
    params = module.params
    check(params)
    image = enroot.parse_image(params["image"]) if params["image"] else None
    name = enroot.container_name(params["name"], params["pyxis"]) if params["name"] is not None else None
    of_container = name is not None and params["state"] != "imported"
    named = {"name": name} if name else {}
    if not module.get_bin_path("enroot"):
        if not module.check_mode:
            raise EnrootError("enroot: found none on this host; accepted: enroot 4.1 or later")
        return {
            **named,
            "changed": params["state"] != "absent",
            "image": image.key if image else "",
            "digest": "",
            "commands": [],
            "msg": "no enroot on this host yet",
        }

    def work() -> dict[str, Any]:
        tool = Enroot(run, params["images_path"])
        if of_container:
            wish = Wish(str(name), image, params["state"], params["on_image_change"], params["force"])
            found = manage_container(tool, wish, module.check_mode)
        else:
            # There is one: check() saw to it.
            found = manage_image(tool, cast(Image, image), params["state"], params["force"], module.check_mode)
        return {**named, **found, "commands": tool.commands}

    return do_as(params["user"], work)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "image": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent", "imported"], "default": "present"},
            "user": {"type": "str"},
            "pyxis": {"type": "bool", "default": False},
            "images_path": {"type": "path"},
            "on_image_change": {"type": "str", "choices": ["fail", "recreate", "keep"], "default": "fail"},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        outcome = run_module(module, module_runner(module))
    except (EnrootError, OSError) as error:
        module.fail_json(msg=f"enroot_container: {error}")
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
