# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storage servers in containers: one with exportfs of the kernel's server, one with a running NFS-Ganesha.

`--ansible-inventory` names two bare hosts, `kernel` and `ganesha`; the first is the client of the second, too.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ansible
import pytest

from ..e2e import play
from ..e2e.cluster import Cluster, Machine

PACKAGES = {"kernel": "nfs-kernel-server libnfs-utils", "ganesha": "nfs-ganesha nfs-ganesha-vfs"}
INSTALL = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "

GANESHA = """
NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Allow_Set_Io_Flusher_Fail = true; }
NFSv4 { Grace_Period = 5; Lease_Lifetime = 5; }
%dir /etc/ganesha/exports.d
"""


MODULES = "/opt/modules"
COLLECTION = "ansible_collections/aicluster/slurm/plugins"
MAIN = """
import json, sys
from module_arguments import module_arguments
from ansible_collections.aicluster.slurm.plugins.modules import nfs_export
with module_arguments(json.load(sys.stdin)):
    nfs_export.main()
"""


@dataclass(frozen=True)
class Storage:
    """One of the servers."""

    machine: Machine

    def output(self, command: str) -> str:
        """What a command prints that has to succeed."""
        return self.machine.output(command)

    def write(self, path: str, text: str) -> None:
        """Make a file hold a text."""
        self.output(f"mkdir -p $(dirname {path}) && cat > {path} <<'END-OF-TEXT'\n{text}\nEND-OF-TEXT")

    @property
    def container(self) -> str:
        """The container that it is."""
        return str(self.machine.facts["container"])

    @cached_property
    def address(self) -> str:
        """Where the others reach it."""
        return self.output("hostname -i").split()[0]

    def export(self, path: str, *hosts: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """The result of the module; AssertionError with its message where it fails."""
        words = options.pop("words", ["rw"])
        clients = [{"host": host, "options": words} for host in hosts]
        arguments = {"path": path, "clients": clients, "_ansible_check_mode": check, **options}
        argv = ["docker", "exec", "-i", "-e", f"PYTHONPATH={MODULES}", self.container, "python3", "-c", MAIN]
        done = subprocess.run(argv, input=json.dumps(arguments), capture_output=True, text=True, check=False)
        result: dict[str, Any] = json.loads(done.stdout or json.dumps({"msg": done.stderr}))
        assert done.returncode == 0, result["msg"]
        return result

    def ship(self) -> None:
        """Lay the module and what it needs of Ansible into the host: a run of Ansible for each call takes seconds."""
        library = Path(ansible.__file__).parent
        names = {f"ansible/{name}": library / name for name in ("__init__.py", "_vendor", "release.py", "module_utils")}
        names |= {f"{COLLECTION}/{name}": play.ROOT / "plugins" / name for name in ("modules", "module_utils")}
        names["module_arguments.py"] = play.ROOT / "tests/support/module_arguments.py"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, source in names.items():
                tar.add(source, f"{MODULES[1:]}/{name}", filter=lambda each: None if "pycache" in each.name else each)
        subprocess.run(["docker", "cp", "-", f"{self.container}:/"], input=archive.getvalue(), check=True)

    @contextmanager
    def watched(self, command: str) -> Iterator[None]:
        """While this lasts the command succeeds whenever it is tried, which is all the time."""
        self.output("rm -f /tmp/stop /tmp/tried /tmp/failed")
        attempt = f"{command} >/dev/null 2>&1 || date >>/tmp/failed; echo >>/tmp/tried; sleep 0.05"
        loop = f"while ! test -e /tmp/stop; do {attempt}; done"
        self.write("/tmp/watch", loop)
        self.output("setsid sh /tmp/watch </dev/null >/dev/null 2>&1 & sleep 0.5")
        try:
            yield
        finally:
            self.output("touch /tmp/stop; sleep 0.5")
        assert int(self.output("wc -l </tmp/tried")) > 10
        assert not self.machine.shell.file("/tmp/failed").exists, "the other export was not reachable for a while"


@pytest.fixture(scope="session")
def storages(request: pytest.FixtureRequest) -> dict[str, Storage]:
    """Both servers, installed."""
    cluster = Cluster(str(request.config.getoption("ansible_inventory")))
    found = {machine.name: Storage(machine) for machine in cluster.machines}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: found[name].output(INSTALL + PACKAGES[name]), found))
    for storage in found.values():
        storage.ship()
    return found


@pytest.fixture(scope="session")
def kernel(storages: dict[str, Storage]) -> Storage:
    """Where exportfs keeps the exports; nfsd itself does not start in a container."""
    return storages["kernel"]


@pytest.fixture(scope="session")
def client(storages: dict[str, Storage]) -> Storage:
    """Where libnfs is."""
    return storages["kernel"]


@pytest.fixture(scope="session")
def ganesha(storages: dict[str, Storage]) -> Storage:
    """Where NFS-Ganesha runs."""
    server = storages["ganesha"]
    server.write("/etc/ganesha/ganesha.conf", GANESHA)
    server.output("mkdir -p /etc/ganesha/exports.d; systemctl reset-failed nfs-ganesha; systemctl restart nfs-ganesha")
    return server
