# SPDX-FileCopyrightText: aicluster.slurm contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host reaches: other hosts by their names, their ports, and the packages of its distribution. Reads only.

Sources: getaddrinfo(3), connect(2), ip(7), apt-cache(8).
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import socket
import time
from typing import Iterable, NamedTuple, Sequence, cast

POLICY = ["apt-cache", "policy", "slurm-client"]

AT_ONCE = 400
"""A process may have 1,024 files open by default (getrlimit(2))."""

RECVERR = {socket.AF_INET: (socket.SOL_IP, 11), socket.AF_INET6: (41, 25)}
"""IP_RECVERR and IPV6_RECVERR of linux/in.h and linux/in6.h, which Python does not name."""

ORIGIN = 4
"""The byte of struct sock_extended_err that says where an error comes from (linux/errqueue.h)."""

FROM_ICMP = (2, 3)
"""Its values for ICMP of IPv4 and of IPv6."""


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

    A port that refuses is reachable: nothing listens yet. One for which a firewall refuses is not.
    """
    every = list(targets)
    lots = (every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE))
    return sorted(each for lot in lots for each in _unreachable(lot, seconds))


def _unreachable(targets: Sequence[Target], seconds: float) -> list[str]:
    found: dict[Target, str] = {}
    with selectors.DefaultSelector() as selector:
        for target in targets:
            attempt = _socket(target)
            code = attempt.connect_ex(tuple(target))
            if code == errno.EINPROGRESS:
                selector.register(attempt, selectors.EVENT_WRITE, target)
            else:
                found[target] = _end(attempt, code)
        end = time.monotonic() + seconds
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            for key in [key for key, _events in ready] or list(selector.get_map().values()):
                attempt = cast(socket.socket, key.fileobj)
                selector.unregister(attempt)
                code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
                found[key.data] = _end(attempt, code)
    return [f"{target.host} port {target.port} ({why})" for target, why in found.items() if why]


def _socket(target: Target) -> socket.socket:
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    attempt = socket.socket(family, socket.SOCK_STREAM)
    attempt.setblocking(False)
    attempt.setsockopt(*RECVERR[family], 1)
    return attempt


def _end(attempt: socket.socket, code: int) -> str:
    """Closes it; why the port was not reached, empty where it was."""
    with attempt:
        if code == errno.ECONNREFUSED:
            return "a firewall refuses" if _by_icmp(attempt) else ""
        return os.strerror(code) if code else ""


def _by_icmp(attempt: socket.socket) -> bool:
    """Whether ICMP refused, as firewalls do (iptables' REJECT), and not the host by a reset; Linux 5.8 and up tell."""
    try:
        _data, ancillary, _flags, _address = attempt.recvmsg(1, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return False
    return any(len(data) > ORIGIN and data[ORIGIN] in FROM_ICMP for _level, _type, data in ancillary)
