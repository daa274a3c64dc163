# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is and has, as far as a cluster needs to know. Reads only.

Sources: hosts(5), proc(5), filesystems(5), os-release(5), ip(8), systemd-detect-virt(1), nvidia-smi(1).
"""

from __future__ import annotations

import grp
import ipaddress
import json
import os
import pwd
import re
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Mapping, NamedTuple

from ansible_collections.aicluster.slurm.plugins.module_utils import munge, slurm_generations, slurmd
from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner
from ansible_collections.aicluster.slurm.plugins.module_utils.packages import Package

Read = Callable[[str], str]
"""The text of a file, empty where there is none."""

GB = 10**9

IP_ADDRESSES = ["ip", "-4", "-json", "address"]
# The address that packets to elsewhere come from; none is sent.
IP_DEFAULT = ["ip", "-4", "-json", "route", "get", "8.8.8.8"]
CONTAINER = ["systemd-detect-virt", "--container"]
SLURMCTLD = ["systemctl", "is-active", "slurmctld"]
NVIDIA = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]

LOCALE = "/etc/default/locale"
"""What pam_env reads. Each start of Debian 13 makes it a link to /etc/locale.conf (tmpfiles.d/debian.conf)."""

CLOUD_HOSTS = "/etc/cloud/templates/hosts.debian.tmpl"
"""What cloud-init writes /etc/hosts from, on Debian and Ubuntu, where it is told to (manage_etc_hosts)."""

_PROC = "/proc"
_STEP = re.compile(r"slurmstepd: \[([0-9]+)")
"""How slurmstepd calls itself: by the number of its job, and the step."""
_PCI = "/sys/bus/pci/devices"
_CGROUPS = "/sys/fs/cgroup"
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


class Account(NamedTuple):
    """The cluster's account as it has to be."""

    user: str
    uid: int
    group: str
    gid: int
    home: str
    shell: str


# --- Pure -------------------------------------------------------------------------------------------------------------


def loopback_names(text: str) -> list[str]:
    """The names that a hosts file puts on a loopback address; 127.0.1.1 is ours to remove, see role common."""
    found = {}
    for line in text.splitlines():
        address, *listed = line.split("#")[0].split() or [""]
        try:
            loopback = ipaddress.ip_address(address).is_loopback
        except ValueError:
            continue
        if loopback and address != "127.0.1.1":
            found.update(dict.fromkeys(listed))
    return [name for name in found if name != "localhost"]


def distribution(os_release: str, debian_version: str) -> dict[str, str]:
    """The operating system under the names and in the spelling of Ansible's facts."""
    words = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    words = {key: value.strip("\"'") for key, value in words.items()}
    name = {"debian": "Debian", "ubuntu": "Ubuntu"}.get(words.get("ID", ""), words.get("NAME", "unknown"))
    version = words.get("VERSION_ID", "unknown")
    if name == "Debian" and re.fullmatch(r"[0-9.]+", debian_version.strip()):
        version = debian_version.strip()
    return {
        "distribution": name,
        "distribution_version": version,
        "distribution_major_version": version.split(".")[0],
    }


def ipv4_addresses(text: str) -> list[str]:
    """The addresses outside loopback, from what IP_ADDRESSES prints."""
    links = json.loads(text or "[]")
    return [
        info["local"]
        for link in links
        for info in link.get("addr_info", [])
        if info.get("family") == "inet" and "LOOPBACK" not in link.get("flags", [])
    ]


def mount_at(path: str, mounts: str) -> tuple[str, str]:
    """Source and type of the file system that is mounted at a path, from /proc/self/mounts; empty where none is."""
    found = ("", "")
    for line in mounts.splitlines():
        source, where, kind, *_rest = [word.replace("\\040", " ") for word in line.split(" ")]
        if where == path:
            found = (source, kind)
    return found


def slurm_version(package: str) -> str:
    """The release of Slurm (22.05) in the version of a package."""
    match = re.match(r"(?:[0-9]+:)?([0-9]+\.[0-9]+)", package)
    return match[1] if match else ""


def compute_capabilities(text: str) -> dict[str, str]:
    """Compute capability by model, from what NVIDIA prints."""
    rows = (line.rpartition(",") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _comma, value in rows if re.fullmatch(r"\s*[0-9]+\.[0-9]+\s*", value)}


def memory_mb(text: str) -> int:
    """The memory in MiB, from /proc/meminfo."""
    match = re.search(r"^MemTotal:\s*([0-9]+) kB", text, re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


def account_conflicts(wanted: Account, users: Mapping[str, int], groups: Mapping[str, int]) -> list[str]:
    """What stands in the way of the account, from the ids of users and groups by their names."""
    found = []
    for kind, name, number, there in (
        ("user", wanted.user, wanted.uid, users),
        ("group", wanted.group, wanted.gid, groups),
    ):
        found += [
            f"{kind} {other} with the id {number}" for other, its in there.items() if its == number != there.get(name)
        ]
        if there.get(name, number) != number:
            found.append(f"{kind} {name} with the id {there[name]}")
    return found


def account_is_there(wanted: Account, passwd: str, group: str, shadow: str) -> bool:
    """Whether the account is as it has to be and has no password, from passwd(5), group(5) and shadow(5)."""
    user = f"{wanted.user}:x:{wanted.uid}:{wanted.gid}:"
    home = f":{wanted.home}:{wanted.shell}"
    return (
        any(line.startswith(user) and line.endswith(home) for line in passwd.splitlines())
        and any(line.startswith(f"{wanted.group}:x:{wanted.gid}:") for line in group.splitlines())
        and any(line.startswith(f"{wanted.user}:!") for line in shadow.splitlines())
    )


# --- Looking ----------------------------------------------------------------------------------------------------------


def read_file(path: str) -> str:
    """The text of a file, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def kernel_abilities(read: Read) -> dict[str, bool]:
    """What the running kernel can do, built in, loaded, or as a module that lies ready."""
    here = {line.split()[-1] for line in read("/proc/filesystems").splitlines() if line.strip()}
    folder = f"/lib/modules/{os.uname().release}"
    ready = read(f"{folder}/modules.dep") + read(f"{folder}/modules.builtin")
    limits = (
        read("/proc/sys/user/max_user_namespaces").strip(),
        read("/proc/sys/kernel/unprivileged_userns_clone").strip(),
    )
    return {
        "nfs": "nfs4" in here or "/nfsv4.ko" in ready,
        "nfsd": "nfsd" in here or "/nfsd.ko" in ready,
        # A container that shows its cgroups but may not write them runs jobs, and confines none. Nor does a kernel that
        # was started without some controllers, as that of Raspberry Pi OS is.
        "cgroup_v2": {"cpuset", "memory"}.issubset(read(f"{_CGROUPS}/cgroup.controllers").split())
        and os.access(f"{_CGROUPS}/cgroup.procs", os.W_OK),
        "user_namespaces": limits[0] not in ("", "0") and limits[1] != "0",
    }


def gpus(run: Runner, read: Read, pci: str = _PCI, dev: str = "/dev") -> dict[str, Any]:
    """GPUs by vendor, whether a driver has device files for them, and the compute capability by model."""
    counted: dict[str, int] = {}
    for device in sorted(os.listdir(pci)) if os.path.isdir(pci) else []:
        vendor = _VENDORS.get(read(f"{pci}/{device}/vendor").strip())
        # What is part of an Intel processor is no card.
        inside = vendor == "Intel" and device.startswith("0000:00:")
        # Display and 3D controllers, and processing accelerators
        if vendor and not inside and read(f"{pci}/{device}/class")[:4] in ("0x03", "0x12"):
            counted[vendor] = counted.get(vendor, 0) + 1
    files = os.listdir(dev) + (os.listdir(f"{dev}/dri") if "Intel" in counted and os.path.isdir(f"{dev}/dri") else [])
    driver = any(re.fullmatch(r"nvidia[0-9]+|kfd|renderD[0-9]+", name) for name in files)
    found = run(NVIDIA) if counted.get("NVIDIA") and driver else None
    capabilities = compute_capabilities(found.stdout) if found and found.rc == 0 else {}
    return {"counted": counted, "driver": driver, "capabilities": capabilities}


def facts(run: Runner, read: Read) -> dict[str, Any]:
    """Those of Ansible's facts that the roles read, under their names: gathering them all takes a second of a CPU."""
    container = run(CONTAINER)
    routes = json.loads(run(IP_DEFAULT).stdout or "[]")
    return {
        **distribution(read("/etc/os-release"), read("/etc/debian_version")),
        "hostname": os.uname().nodename.split(".")[0],
        "all_ipv4_addresses": ipv4_addresses(run(IP_ADDRESSES).stdout),
        "default_ipv4": {"address": routes[0]["prefsrc"]} if routes and "prefsrc" in routes[0] else {},
        "virtualization_tech_guest": ["container", container.stdout.strip()] if container.rc == 0 else [],
    }


def slurm(run: Runner, there: Mapping[str, Package]) -> dict[str, Any]:
    """The installed release (empty where none is), and what slurmd says of the hardware."""
    daemons = [there[name].version for name in ("slurmctld", "slurmd", "slurm-client") if name in there]
    return {
        "release": slurm_version(daemons[0]) if daemons else "",
        "slurmd": slurmd.said(run),
    }


def jobs(read: Read, proc: str = _PROC) -> list[int]:
    """The numbers of the jobs with a step that runs here, also while slurmd is down or knows no controller."""
    processes = (read(f"{proc}/{name}/cmdline") for name in os.listdir(proc) if name.isdigit())
    steps = (_STEP.match(line) for line in processes)
    return sorted({int(step[1]) for step in steps if step})


def head(run: Runner, read: Read, folder: str) -> dict[str, Any]:
    """What a head knows: whether its slurmctld runs, the number of its configuration, the node store, and since when
    it has its munge key.

    Raises ValueError where somebody else has written there.
    """
    path = os.path.join(folder, slurm_generations.STORE)
    try:
        store = json.loads(read(path) or "{}")
    except ValueError as error:
        raise ValueError(
            f"{path}: found no JSON ({error}); accepted: what a run of these roles has left there"
        ) from None
    return {
        "running": run(SLURMCTLD).stdout.strip() == "active",
        "generation": slurm_generations.own_number(folder),
        "store": store,
        "key_time": munge.key_time(),
    }


def in_time(jobs: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """What those of the jobs return that are done in time and raise no OSError; all run at once.

    A dead NFS server or name server holds up whoever asks for it, for minutes or for ever.
    """
    found: dict[str, Any] = {}

    def run(key: str, job: Callable[[], Any]) -> None:
        with suppress(OSError):
            found[key] = job()

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in jobs.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(found)


def users_and_groups(account: Account) -> tuple[dict[str, int], dict[str, int]]:
    """The ids of users and of groups by their names; a directory may tell those of the account, and list nobody."""
    users = [*pwd.getpwall(), *_asked(pwd.getpwnam, account.user), *_asked(pwd.getpwuid, account.uid)]
    groups = [*grp.getgrall(), *_asked(grp.getgrnam, account.group), *_asked(grp.getgrgid, account.gid)]
    return {each.pw_name: each.pw_uid for each in users}, {each.gr_name: each.gr_gid for each in groups}


def _asked(look: Callable[[Any], Any], key: object) -> list[Any]:
    try:
        return [look(key)]
    except KeyError:
        return []


def disk_size(path: str) -> dict[str, float]:
    """Size and free space in GB of the volume that the path lies on, or would lie on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    size, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    return {"size_gb": round(size / GB, 1), "free_gb": round(free / GB, 1)}


def entries(path: str) -> list[str]:
    """A few of the names in a folder."""
    return sorted(os.listdir(path))[:5] if os.path.isdir(path) else []
