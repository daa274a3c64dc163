# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is and has, as far as it decides whether it can be part of a cluster. Reads only.

Sources: hosts(5), proc(5), filesystems(5), dpkg-query(1), apt-cache(8), nvidia-smi(1).
"""

from __future__ import annotations

import errno
import fnmatch
import ipaddress
import os
import re
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.aicluster.slurm.plugins.module_utils.command import Runner

Read = Callable[[str], str]
"""The text of a file, empty where there is none."""

GB = 10**9

# slurmd and slurmctld are of one source package; a head that is no node has only the second.
DPKG = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status} ${Version}\\n"]
POLICY = ["apt-cache", "policy", "slurm-client"]
NVIDIA = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]

_PCI = "/sys/bus/pci/devices"
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD"}


class Target(NamedTuple):
    """A port that has to be reachable."""

    host: str
    port: int


class Account(NamedTuple):
    """The cluster's account as it has to be."""

    user: str
    uid: int
    group: str
    gid: int


# --- Pure -------------------------------------------------------------------------------------------------------------


def loopback_names(text: str, names: Iterable[str]) -> list[str]:
    """Those of the names that a hosts file puts on a loopback address; 127.0.1.1 is ours to remove, see role common."""
    found = set()
    for line in text.splitlines():
        address, *listed = line.split("#")[0].split() or [""]
        try:
            loopback = ipaddress.ip_address(address).is_loopback
        except ValueError:
            continue
        if loopback and address != "127.0.1.1":
            found.update(listed)
    return [name for name in dict.fromkeys(names) if name in found and name != "localhost"]


def installed_packages(text: str) -> dict[str, str]:
    """Version by name, from what DPKG prints."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}


def candidate_version(text: str) -> str:
    """The version that apt would install, from what POLICY prints; empty where there is none."""
    match = re.search(r"^ *Candidate: *(?!\(none\))(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


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
        "nfs": "nfs4" in here or "/nfs.ko" in ready,
        "nfsd": "nfsd" in here or "/nfsd.ko" in ready,
        "cgroup_v2": "cgroup2" in here,
        "user_namespaces": limits[0] not in ("", "0") and limits[1] != "0",
    }


def gpus(run: Runner, read: Read, pci: str = _PCI) -> dict[str, Any]:
    """GPUs by vendor, whether a driver has device files for them, and the compute capability by model."""
    counted: dict[str, int] = {}
    for device in sorted(os.listdir(pci)) if os.path.isdir(pci) else []:
        vendor = _VENDORS.get(read(f"{pci}/{device}/vendor").strip())
        # Display and 3D controllers, and processing accelerators
        if vendor and read(f"{pci}/{device}/class")[:4] in ("0x03", "0x12"):
            counted[vendor] = counted.get(vendor, 0) + 1
    driver = any(re.fullmatch(r"nvidia[0-9]+|kfd", name) for name in os.listdir("/dev"))
    found = run(NVIDIA) if counted.get("NVIDIA") and driver else None
    capabilities = compute_capabilities(found.stdout) if found and found.rc == 0 else {}
    return {"counted": counted, "driver": driver, "capabilities": capabilities}


def slurm_versions(run: Runner, full: bool) -> str:
    """The release of Slurm that is installed, else (`full`) the one that apt would install; empty where neither is."""
    packages = installed_packages(run([*DPKG, "slurmctld", "slurmd", "slurm-client"]).stdout)
    found = slurm_version(next(iter(packages.values()), ""))
    return found or (slurm_version(candidate_version(run(POLICY).stdout)) if full else "")


def matching_packages(run: Runner, patterns: Sequence[str]) -> list[str]:
    """The installed packages that match."""
    if not patterns:
        return []
    packages = installed_packages(run([*DPKG, *patterns]).stdout)
    return [name for name in packages if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


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


def disk_size(path: str) -> dict[str, float]:
    """Size and free space in GB of the volume that the path lies on, or would lie on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    size, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    return {"size_gb": round(size / GB, 1), "free_gb": round(free / GB, 1)}


def is_mounted(path: str, mounts: str) -> bool:
    """Whether /proc/self/mounts has a mount at the path; asking the file system could wait for a dead server."""
    return any(line.split()[1:2] == [path] for line in mounts.splitlines())


def entries(path: str) -> list[str]:
    """A few of the names in a folder."""
    return sorted(os.listdir(path))[:5] if os.path.isdir(path) else []


def addresses(name: str) -> list[str]:
    """The IPv4 addresses of a name, as the system's resolver tells them."""
    infos = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({str(info[4][0]) for info in infos})


def names(address: str) -> list[str]:
    """The names of an address, as the system's resolver tells them."""
    name, others, _addresses = socket.gethostbyaddr(address)
    return sorted({name, *others})


def unreachable(targets: Iterable[Target], seconds: float) -> list[str]:
    """The ports that packets do not reach, all tried at once. A port that refuses is reachable: nothing listens yet."""
    lost = []
    with selectors.DefaultSelector() as selector:
        for target in targets:
            family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
            attempt = socket.socket(family, socket.SOCK_STREAM)
            attempt.setblocking(False)
            code = attempt.connect_ex(tuple(target))
            if code == errno.EINPROGRESS:
                selector.register(attempt, selectors.EVENT_WRITE, (attempt, target))
                continue
            attempt.close()
            if code not in (0, errno.ECONNREFUSED):
                lost.append(_lost(target, code))
        end = time.monotonic() + seconds
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            keys = [key for key, _events in ready] or list(selector.get_map().values())
            for key in keys:
                attempt, target = key.data
                code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
                selector.unregister(attempt)
                attempt.close()
                if code not in (0, errno.ECONNREFUSED):
                    lost.append(_lost(target, code))
    return sorted(lost)


def _lost(target: Target, code: int) -> str:
    return f"{target.host} port {target.port} ({os.strerror(code)})"
