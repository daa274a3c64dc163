# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""share.py write|read FOLDER NODE,NODE... MEGABYTES: a node writes a file of its own, and reads that of its neighbour.

Prints what it measured, one line `MEASURED what node number unit` each.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time

BLOCK = 1 << 20


def blocks(node: str, megabytes: int) -> list[bytes]:
    """What the node's file has: nothing that a server could compress or know already, and the same in every run."""
    seed = random.Random(node)
    some = [seed.getrandbits(8 * BLOCK).to_bytes(BLOCK, "little") for _block in range(min(4, megabytes))]
    return [some[number % len(some)] for number in range(megabytes)]


def checksum(parts: list[bytes]) -> str:
    """Of everything."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def write(path: str, parts: list[bytes]) -> float:
    """Write the file until it is on the server; the seconds that it took."""
    begin = time.monotonic()
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - begin


def read(path: str) -> tuple[list[bytes], float]:
    """Read the file, not out of this machine's memory where that can be helped; and the seconds that it took."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begin = time.monotonic()
        parts = list(iter(lambda: file.read(BLOCK), b""))
        return parts, time.monotonic() - begin


def main() -> None:
    """Do what is asked on this node."""
    what, folder, ring, megabytes = sys.argv[1:]
    nodes = ring.split(",")
    node = os.environ["SLURMD_NODENAME"]
    size = int(megabytes)
    if what == "write":
        try:
            seconds = write(f"{folder}/{node}", blocks(node, size))
        except OSError as error:
            sys.exit(f"FAIL: {node} cannot write to the share: {error}")
    else:
        neighbour = nodes[(nodes.index(node) + 1) % len(nodes)]
        try:
            parts, seconds = read(f"{folder}/{neighbour}")
        except OSError as error:
            sys.exit(f"FAIL: {node} cannot read what {neighbour} wrote to the share: {error}")
        if checksum(parts) != checksum(blocks(neighbour, size)):
            sys.exit(f"FAIL: {node} reads something else from the share than {neighbour} wrote")
    print(f"MEASURED {what} {node} {size / max(seconds, 1e-6):.1f} MiB/s", flush=True)


if __name__ == "__main__":
    main()
