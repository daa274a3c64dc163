# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""ranks.py FILE COUNT NODES: whether hello.py said hello as often as it should, on so many nodes."""

from __future__ import annotations

import re
import sys


def main() -> None:
    """Look."""
    path, count, nodes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.findall(r"^rank (\d+) of (\d+) (\S+), sum (\d+)$", file.read(), re.MULTILINE)
    ranks = sorted(int(rank) for rank, _of, _node, _sum in found)
    wanted = count * (count - 1) // 2
    if ranks != list(range(count)) or {of for _rank, of, _node, _sum in found} != {str(count)}:
        sys.exit(f"FAIL: {count} ranks were asked for, these are known of each other: {found or 'none'}")
    if len({node for _rank, _of, node, _sum in found}) != nodes:
        sys.exit(f"FAIL: the ranks were to run on {nodes} nodes: {found}")
    if {int(total) for _rank, _of, _node, total in found} != {wanted}:
        sys.exit(f"FAIL: the ranks' sum is {wanted}, they found {found}")


if __name__ == "__main__":
    main()
