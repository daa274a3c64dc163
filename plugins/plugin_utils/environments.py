# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Python environments and data sets on the share, each as a job that makes it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

_ENVIRONMENT = """\
#!/bin/bash
# Builds the environment $name beside the one that is in use, and takes its place when it works.
set -euo pipefail
{settings}
builds=$base/.builds
build=$builds/$name-$id
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
{variables}
umask 022
mkdir -p "$builds"
if [[ $(cat "$build/.aicluster" 2>/dev/null) == "$id" ]]; then
    # An earlier one that is wanted again; jobs may still run out of it.
    echo "$build is whole, and used again"
    rm -f "$build/.replaced"
else
    # What is half done, be it of this job or of one that was killed, is of no use to anybody.
    rm -rf "$build"
    # venv does not say why it failed; when the share is full, this does.
    trap '(( $? == 0 )) || {{ head -c 16M /dev/zero > "$build/.room" || true; rm -rf "$build"; }}' EXIT
    echo "building $build with $python on $SLURMD_NODENAME"
    "$python" -m venv "$build"
    cat > "$build/requirements.txt" <<'REQUIREMENTS'
{requirements}
REQUIREMENTS
    "$build/bin/python" -m pip install --no-cache-dir {options} -r "$build/requirements.txt"
    "$build/bin/python" -m pip check
    # A program that runs goes on with this build after another one took its place, whatever it imports then.
    site=$("$build/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo 'import _this_build' > "$site/_this_build.pth"
    cat > "$site/_this_build.py" <<'PYTHON'
import os
import sys

link, build = sys.prefix + os.sep, os.path.realpath(sys.prefix) + os.sep
sys.path[:] = [build + path[len(link) :] if path.startswith(link) else path for path in sys.path]
if sys.executable.startswith(link):
    sys.executable = build + sys.executable[len(link) :]
PYTHON
    for module in {imports}; do
        "$build/bin/python" -c "import $module" || {{ echo "FAIL: cannot import $module"; exit 1; }}
    done
    echo -n "$id" > "$build/.aicluster"
fi

# From here on it is in use: a link changes at once.
old=$(readlink "$base/$name" || true)
ln -sfn ".builds/$name-$id" "$base/.$name.new.$id"
mv -T "$base/.$name.new.$id" "$base/$name"
trap - EXIT
if [[ $old && $old != ".builds/$name-$id" && -d $base/$old ]]; then date +%s > "$base/$old/.replaced"; fi

# An older build goes when every job that runs now began after it was replaced, and no process on a head has it open.
oldest=$(squeue --noheader --all --states=running,suspended,completing --format='%A %S' |
    while read -r job begin; do
        [[ ! $begin || $job == "$SLURM_JOB_ID" ]] || date +%s --date="$begin" || echo 0
    done | sort -n | head -n 1)
for replaced in "$builds/$name"-*/.replaced; do
    [[ -e $replaced ]] || continue
    folder=$(dirname "$replaced")
    [[ $folder != "$build" && $folder != "$base/$old" && ! " $in_use " == *" $folder "* ]] || continue
    [[ ! $oldest || $oldest -gt $(<"$replaced") ]] && rm -rf "$folder" && echo "removed $folder, which nothing uses"
done
"$build/bin/python" -m pip list
"""

_DATASET = """\
#!/bin/bash
# Fetches a data set, and puts it in its place when it is whole and right.
set -euo pipefail
{settings}
part=$base/.$name.part
umask 022
mkdir -p "$base"
rm -rf "$part" "$part.folder"
trap '(( $? == 0 )) || rm -rf "$part" "$part.folder"' EXIT
{variables}
python3 - "$url" "$part" "$sum" "$unpack" <<'PYTHON'
import hashlib, shutil, sys, tarfile, urllib.request
url, part, wanted, unpack = sys.argv[1:]
digest = hashlib.sha256()
try:
    with urllib.request.build_opener().open(url) as source, open(part, "wb") as target:
        for block in iter(lambda: source.read(1 << 20), b""):
            digest.update(block)
            target.write(block)
except OSError as error:
    sys.exit(f"FAIL: {{url}}: {{error}}")
if digest.hexdigest() != wanted:
    sys.exit(f"FAIL: {{url}}: sha256: found {{digest.hexdigest()}}; accepted: {{wanted}}")
if unpack == "zip":
    shutil.unpack_archive(part, part + ".folder", "zip")
elif unpack:
    with tarfile.open(part) as archive:
        archive.extractall(part + ".folder", **({{"filter": "data"}} if hasattr(tarfile, "data_filter") else {{}}))
PYTHON
[[ ! $unpack ]] || {{ rm "$part"; mv "$part.folder" "$part"; }}
# A folder cannot take the place of another at once; for that moment the stamp is away.
rm -f "$base/.$name.stamp"
if [[ -e $base/$name ]]; then rm -rf "$base/.$name.old"; mv -T "$base/$name" "$base/.$name.old"; fi
mv -T "$part" "$base/$name"
rm -rf "$base/.$name.old"
echo -n "$id" > "$base/.$name.stamp"
"""


class DeliveryError(ValueError):
    """Bad input, in one line."""


def environment_jobs(
    environments: Sequence[Mapping[str, Any]],
    base: str,
    variables: Mapping[str, str],
    in_use: Sequence[str] = (),
    locks: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """A job for each environment under the folder `base`, as the module slurm_jobs takes them.

    `locks` are the texts of the lock files by path, `in_use` builds that processes on a head have open.
    """
    jobs = []
    for item in environments:
        name = _name(item, "delivery_environments")
        lines = [(locks or {})[item["lock"]]] if item.get("lock") else item.get("requirements") or []
        if not lines:
            raise DeliveryError(
                f"delivery_environments: {name}: found neither requirements nor lock; accepted: one of them"
            )
        python = item.get("python") or "/usr/bin/python3"
        options = item.get("pip_options") or []
        imports = item.get("imports") or []
        identity = _identity(python, lines, options, imports)
        script = _ENVIRONMENT.format(
            settings=_settings(base=base, name=name, id=identity, python=python, in_use=" ".join(in_use)),
            variables=_exports(variables),
            requirements="\n".join(line.rstrip() for line in lines),
            options=shlex.join(options),
            imports=shlex.join(imports),
        )
        stamp = f"{base}/{name}/.aicluster"
        jobs.append(_job(item, f"environment-{name}", f"environment {name}", script, stamp, identity))
    return jobs


def dataset_jobs(
    datasets: Sequence[Mapping[str, Any]], base: str, variables: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A job for each data set under the folder `base`."""
    jobs = []
    for item in datasets:
        name = _name(item, "delivery_datasets")
        source = str(item.get("src") or "")
        sha256 = str(item.get("sha256") or "").lower()
        if not re.match(r"(https?|ftp|file)://|/", source):
            raise DeliveryError(
                f"delivery_datasets: {name}: src: found {source!r}; accepted: a URL, or a path of the nodes"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise DeliveryError(f"delivery_datasets: {name}: sha256: found {sha256!r}; accepted: 64 hexadecimal digits")
        url = f"file://{source}" if source.startswith("/") else source
        unpack = ("zip" if url.endswith(".zip") else "tar") if item.get("unpack") else ""
        identity = _identity(sha256, unpack)
        script = _DATASET.format(
            settings=_settings(base=base, name=name, id=identity, url=url, sum=sha256, unpack=unpack),
            variables=_exports(variables),
        )
        jobs.append(_job(item, f"dataset-{name}", f"data set {name}", script, f"{base}/.{name}.stamp", identity))
    return jobs


def python_for_mpi(environments: Sequence[Mapping[str, Any]], base: str) -> str:
    """The interpreter of the first environment with mpi4py and numpy; empty where there is none."""
    for item in environments:
        names = {
            re.split(r"[^A-Za-z0-9_-]", line.strip(), maxsplit=1)[0].lower() for line in item.get("requirements") or []
        }
        if item.get("mpi") or {"mpi4py", "numpy"} <= names:
            return f"{base}/{item['name']}/bin/python"
    return ""


def _job(item: Mapping[str, Any], name: str, title: str, script: str, stamp: str, identity: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "script": script,
        "options": ["--nodes=1", "--ntasks=1", *(item.get("sbatch_options") or [])],
        "seconds": int(item.get("minutes") or 120) * 60,
        "stamp": stamp,
        "content": identity,
    }


def _name(item: Mapping[str, Any], variable: str) -> str:
    name = str(item.get("name") or "")
    if not _NAME.fullmatch(name):
        raise DeliveryError(f"{variable}: name: found {name!r}; accepted: letters, digits and -_.")
    return name


def _identity(*things: object) -> str:
    return hashlib.sha256(json.dumps(things).encode()).hexdigest()[:12]


def _settings(**values: str) -> str:
    return "\n".join(f"{key}={shlex.quote(value)}" for key, value in values.items())


def _exports(variables: Mapping[str, str]) -> str:
    for key in variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise DeliveryError(f"delivery_variables: found {key!r}; accepted: names of environment variables")
    return "\n".join(f"export {key}={shlex.quote(str(value))}" for key, value in variables.items())
