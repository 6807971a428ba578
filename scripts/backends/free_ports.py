"""Ports for servers that are stopped and started again."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 100


def free_port() -> int:
    """A free port outside of the range of ephemeral ports.

    A client's outgoing connection could take an ephemeral port while the server is down.
    """
    try:
        lowest_given = int(EPHEMERAL.read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        lowest_given = LOWEST
    if lowest_given > LOWEST:
        for _ in range(TRIES):
            port = random.randrange(LOWEST, lowest_given)  # noqa: S311 - no secret
            if _is_free(port):
                return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
