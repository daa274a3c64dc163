# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host reaches: other hosts by their names, their ports, and the packages of its distribution. Reads only.

Sources: getaddrinfo(3), connect(2), apt-cache(8).
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import socket
import time
from typing import Iterable, NamedTuple, Sequence

POLICY = ["apt-cache", "policy", "slurm-client"]


AT_ONCE = 400
"""A process may have 1,024 files open by default (getrlimit(2))."""


class Target(NamedTuple):
    """A port that has to be reachable."""

    host: str
    port: int


def candidate_version(text: str) -> str:
    """The version that apt would install, from what POLICY prints; empty where there is none."""
    match = re.search(r"^ *Candidate: *(?!\(none\))(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def addresses(name: str) -> list[str]:
    """The IPv4 addresses of a name, as the system's resolver tells them."""
    infos = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({str(info[4][0]) for info in infos})


def names(address: str) -> list[str]:
    """The names of an address, as the system's resolver tells them."""
    name, others, _addresses = socket.gethostbyaddr(address)
    return sorted({name, *others})


def unreachable(targets: Iterable[Target], seconds: float) -> list[str]:
    """The ports that packets do not reach, of which a few hundred are tried at once, each lot for some seconds.

    A port that refuses is reachable: nothing listens yet.
    """
    every = list(targets)
    lots = (every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE))
    return sorted(each for lot in lots for each in _unreachable(lot, seconds))


def _unreachable(targets: Sequence[Target], seconds: float) -> list[str]:
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
    return lost


def _lost(target: Target, code: int) -> str:
    return f"{target.host} port {target.port} ({os.strerror(code)})"
