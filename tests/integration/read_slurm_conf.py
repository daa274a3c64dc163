# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds slurm_conf_reader against a real Slurm: `python -m tests.integration.read_slurm_conf IMAGE`.

IMAGE is a Debian image with package sources that answer, such as aicluster-base:trixie. PYTHONPATH is collections.
Every configuration in tests/unit/fixtures/slurm_conf is given to a slurmctld in a container, as it is and once more as
slurm_conf renders what the reader made of it: what scontrol shows has to be equal. Every snippet in
tests/unit/fixtures/conf_snippets.txt is given to scontrol, which has to take or refuse it as the file says.
"""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.aicluster.slurm.plugins.module_utils import slurm_conf, slurm_conf_reader

FIXTURES = Path(__file__).parent.parent / "unit" / "fixtures"
FOLDER = Path("/etc/slurm")
CONTROLLER = "ctl1"
ADDRESS = "192.0.2.254"

INSTALL = r"""
set -e
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
exec 3>&1 >/dev/null 2>&1
apt-get update -qq
apt-get install -y -qq --no-install-recommends slurmctld slurm-client munge iproute2
mkdir -p /run/munge && chown munge /run/munge && runuser -u munge munged
for folder in /var/spool/slurmctld /var/log/slurm; do mkdir -p $folder; chown slurm $folder; done
slurmctld -V >&3
"""

# Starts slurmctld without a state, prints what it makes of its configuration, and stops it.
SHOW = r"""
rm -rf /var/spool/slurmctld/* /var/log/slurm/*
slurmctld -D -c >/tmp/slurmctld.log 2>&1 &
for _ in $(seq 100); do
    scontrol ping >/dev/null 2>&1 && break
    kill -0 $! 2>/dev/null || break
    sleep 0.1
done
for what in config 'node --all --oneliner' 'partition --all --oneliner'; do
    echo "== $what"
    scontrol show $what || { cat /tmp/slurmctld.log /var/log/slurm/*; exit 1; }
done
kill -9 $! && wait $! 2>/dev/null
exit 0
"""

# What is another at each start; Reason has who and when behind it if it came from DownNodes.
VOLATILE = re.compile(
    r"^(BOOT_TIME|HASH_VAL|NEXT_JOB_ID|Configuration data as of) .*\n|"
    r" (BootTime|SlurmdStartTime|LastBusyTime|FreeMem|CPULoad)=\S+|(?<=\w) \[\w+@[-:T\d]+\]",
    re.MULTILINE,
)


class Container:
    """A machine with Slurm's controller and clients."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a shell script."""
        argv = ["docker", "exec", "-i", self.name, "bash", "-c", script]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    def isolate(self) -> None:
        """Cut the network, so that slurmctld finds none of the nodes; it needs one address to believe in networks."""
        docker("network", "disconnect", "bridge", self.name)
        self.run(f"ip addr add {ADDRESS}/32 dev lo")

    def write(self, files: dict[str, str]) -> None:
        """Make these the only files of Slurm's configuration."""
        self.run(f"rm -rf {FOLDER}; mkdir -p {FOLDER}/sub")
        for name, text in files.items():
            # Bytes, so that a carriage return stays one.
            subprocess.run(
                ["docker", "exec", "-i", self.name, "sh", "-c", f"cat >{FOLDER}/{name}"],
                input=text.encode(),
                check=True,
            )

    def show(self, files: dict[str, str], hosts: list[str]) -> list[str]:
        """What slurmctld makes of a configuration, in lines, without what changes at each start."""
        self.write(files)
        # A name that cannot be resolved would hold slurmctld up.
        self.run("cat >/etc/hosts", "".join(f"{ADDRESS} {host}\n" for host in hosts))
        shown = self.run(SHOW)
        if shown.returncode:
            raise SystemExit(f"slurmctld does not start:\n{shown.stdout}{shown.stderr}")
        return sorted(map(in_order, VOLATILE.sub("", shown.stdout).split("\n")))


def in_order(line: str) -> str:
    """A line of scontrol, with the partitions of a node and the node sets of a partition in alphabetical order."""
    return re.sub(r"(?<= Partitions=)\S+|(?<= NodeSets=)\S+", lambda match: ",".join(sorted(match[0].split(","))), line)


@contextmanager
def container(image: str, *options: str, command: Sequence[str] = ("sleep", "3600")) -> Iterator[Container]:
    """A container that is removed at the end."""
    name = f"aicluster-{uuid.uuid4().hex[:8]}"
    named = ("--name", name, "--hostname", CONTROLLER)
    docker("run", "--detach", *named, "--cap-add", "NET_ADMIN", *options, image, *command)
    try:
        yield Container(name)
    finally:
        docker("rm", "--force", name)


def docker(*argv: str) -> None:
    """Run a command of the container engine that has to succeed."""
    subprocess.run(["docker", *argv], check=True, stdout=subprocess.DEVNULL)


def files_of(site: Path) -> dict[str, str]:
    """The texts of a site's configuration, by their paths in its folder."""
    paths = sorted(site.rglob("*.conf"))
    # No file of a repository keeps its carriage returns for long.
    end = "\r\n" if site.name == "crlf" else "\n"
    return {str(path.relative_to(site)): path.read_text(encoding="utf-8").replace("\n", end) for path in paths}


def compare(machine: Container, site: Path, version: str) -> list[str]:
    """The lines that are not the same for the site's files and for what is rendered from them."""
    files = files_of(site)

    def read(path: str) -> str:
        try:
            return files[str(Path(path).relative_to(FOLDER))]
        except KeyError:
            raise FileNotFoundError(path) from None

    found = slurm_conf_reader.read_slurm_conf(str(FOLDER / "slurm.conf"), read, version)
    cgroup = (
        slurm_conf_reader.read_cgroup_conf(str(FOLDER / "cgroup.conf"), read, version) if "cgroup.conf" in files else {}
    )
    gres = slurm_conf_reader.read_gres_conf(str(FOLDER / "gres.conf"), read, version) if "gres.conf" in files else []
    hosts = {str(node.get(key, CONTROLLER)) for node in found.nodes for key in ("NodeAddr", "NodeHostname")}
    named = sorted(host for host in hosts if not re.fullmatch(r"[\d.]+", host))
    before = machine.show(files, named)
    after = machine.show(slurm_conf.render(found.cluster(cgroup)._replace(gres=gres)), named)
    return [f"- {line}" for line in before if line not in after] + [f"+ {line}" for line in after if line not in before]


def snippets() -> Iterator[tuple[bool, str]]:
    """Whether Slurm takes a file, and the file."""
    for line in (FIXTURES / "conf_snippets.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            verdict, text = line.split("\t", 1)
            yield verdict == "takes", text.encode().decode("unicode_escape")


def main() -> int:
    """Run all comparisons in a container of the image."""
    failures = 0
    with container(sys.argv[1]) as machine:
        installed = machine.run(INSTALL)
        version = installed.stdout.split()[-1] if installed.returncode == 0 else ""
        if not version:
            raise SystemExit(f"cannot install Slurm: {installed.stderr}")
        machine.isolate()
        for site in sorted((FIXTURES / "slurm_conf").iterdir()):
            _name, _dash, only = site.name.partition("-")
            if only and not version.startswith(only):
                continue
            differences = compare(machine, site, version)
            failures += bool(differences)
            print(f"{version} {site.name}: {'differs' if differences else 'equal'}", *differences, sep="\n  ")
        machine.write({})
        for takes, text in snippets():
            machine.write({"slurm.conf": text})
            refused = machine.run("scontrol show hostnames x").returncode
            if takes == bool(refused):
                failures += 1
                print(f"{version} {text!r}: {'refused' if refused else 'taken'}")
    print(f"{version}: {failures} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
