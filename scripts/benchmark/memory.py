"""What an idle connection weighs, part by part: real handshakes on socket pairs, traced by Python.

Everything that is still held after the handshake counts, where it was made; what the kernel holds
for a socket does not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import linecache
import logging
import os
import socket
import sys
import tempfile
import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import wsserver
from scripts.benchmark.procfs import raise_descriptor_limit
from scripts.benchmark.tokens import SECRET, make_token
from wsserver.app import build
from wsserver.config import load_settings
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Paths
from wsserver.web.server.fast_path import FastPath

WARM_UP = 20
SETTLE_S = 1.0
FRAMES = 8
"""How far up the stack to look for a line of wsserver."""
PACKAGE = f"{Path(wsserver.__file__).parent}{os.sep}"
"""Of the whole path, as a clone may be called wsserver too."""
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SPARE_DESCRIPTORS = 64


class Rule(NamedTuple):
    """To which part belongs what a line of the server has made."""

    path: str
    """The file's path in the package begins so."""
    text: str
    """The line contains this."""
    part: str


RULES = (
    Rule("wire/poller.py", "Transport(", "transport"),
    Rule("wire/", "", "table of the poller"),
    Rule("realtime/connecting.py", "ConnectionInfo(", "connection record"),
    Rule("realtime/connections/connection.py", "", "connection record"),
    Rule("realtime/connecting.py", "", "time of connecting"),
    Rule("protocol/ids.py", "", "connection id"),
    Rule("identity/claim", "", "claims of the token"),
    Rule("identity/tokens.py", "decode", "claims of the token"),
    Rule("identity/", "", "cache of verified tokens"),
    Rule("realtime/connections/expiry.py", "", "watch for the token's expiry"),
    Rule("realtime/connections/hub.py", "", "indexes by id, user, organization, session"),
    Rule(
        "realtime/connections/connection_index.py", "", "indexes by id, user, organization, session"
    ),
    Rule("realtime/connections/timer_wheel.py", "", "timers of the heartbeat"),
    Rule("realtime/connections/heartbeat.py", "", "timers of the heartbeat"),
    Rule("notifications/user_directory.py", "", "known users, for notifications"),
    Rule("web/", "", "address and user agent"),
)
OTHER = "everything else"


class Part(NamedTuple):
    """One row: what a connection holds of something."""

    name: str
    bytes: float
    objects: float


def part_of(frames: Sequence[tuple[str, int]]) -> str | None:
    """The part that an object belongs to; None if no line of the server made it.

    ``frames``: file and line, the outermost first, as ``tracemalloc`` has them.
    """
    for path, line in reversed(frames):
        if path.startswith(PACKAGE):
            inside = path.removeprefix(PACKAGE)
            text = linecache.getline(path, line)
            for rule in RULES:
                if inside.startswith(rule.path) and rule.text in text:
                    return rule.part
            return OTHER
    return None


async def weigh(connections: int, folder: Path) -> list[Part]:
    """Let so many in, each with a token of its own; return what each holds, the heaviest first."""
    environment = {"WSSERVER_JWT_SECRET": SECRET, "WSSERVER_DATA_DIR": str(folder)}
    system = build(load_settings(None, environment, {}, False))
    await system.service.start()
    context: WebContext = system.application.settings["context"]
    paths = Paths(system.application.settings["routes"].endpoints)
    fast_path = FastPath(context, paths, _refused)
    requests = [_handshake(number) for number in range(connections + WARM_UP)]
    clients: list[int] = []
    try:
        for request in requests[:WARM_UP]:
            clients.append(_enter(fast_path, request))
        gc.collect()
        tracemalloc.start(FRAMES)
        before = tracemalloc.take_snapshot()
        for request in requests[WARM_UP:]:
            clients.append(_enter(fast_path, request))
        await asyncio.sleep(SETTLE_S)
        gc.collect()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        if len(system.manager.hub) != connections + WARM_UP:
            raise RuntimeError("not everybody was let in")
    finally:
        for client in clients:
            os.close(client)
        fast_path.cut()
        await system.service.stop()
    return _parts(before, after, connections)


def _enter(fast_path: FastPath, request: bytes) -> int:
    """Connect a client; return its descriptor."""
    server, client = socket.socketpair()
    server.setblocking(False)
    client.sendall(request)
    # A string of its own for each, as accept() makes them.
    fast_path.receive(server, (".".join(("127", "0", "0", "1")), 40000))
    return client.detach()


def _handshake(number: int) -> bytes:
    return (
        "GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {make_token(f'user-{number}')}\r\n"
        f"User-Agent: {USER_AGENT}\r\n\r\n"
    ).encode()


def _refused(connection: socket.socket, _address: tuple[object, ...], _received: bytes) -> None:
    connection.close()
    raise RuntimeError("a good handshake was not let in")


def _parts(
    before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, connections: int
) -> list[Part]:
    sizes: defaultdict[str, int] = defaultdict(int)
    counts: defaultdict[str, int] = defaultdict(int)
    for each in after.compare_to(before, "traceback"):
        part = part_of([(frame.filename, frame.lineno) for frame in each.traceback])
        if part is not None:
            sizes[part] += each.size_diff
            counts[part] += each.count_diff
    parts = [Part(name, sizes[name] / connections, counts[name] / connections) for name in sizes]
    return sorted(parts, key=lambda part: -part.bytes)


def show(parts: Sequence[Part], connections: int) -> str:
    """A table, in bytes and objects of one connection."""
    rows = [f"{'part':<46}{'bytes':>8}{'objects':>9}"]
    total = Part("together", sum(p.bytes for p in parts), sum(p.objects for p in parts))
    rows += [f"{p.name:<46}{p.bytes:>8.0f}{p.objects:>9.1f}" for p in (*parts, total)]
    python = ".".join(map(str, sys.version_info[:3]))
    return "\n".join([*rows, "", f"{connections:,} connections, Python {python}"])


def main() -> int:
    """Weigh, and print the table."""
    parser = argparse.ArgumentParser(prog="scripts/memory", description=__doc__)
    parser.add_argument("--connections", type=int, default=4000, metavar="N")
    arguments = parser.parse_args()
    # Tracing makes the server slow, which it notices.
    logging.getLogger("wsserver").setLevel(logging.ERROR)
    limit = raise_descriptor_limit()
    needed = 2 * (arguments.connections + WARM_UP) + SPARE_DESCRIPTORS
    if needed > limit:
        print(f"it needs {needed} file descriptors, and this shell allows {limit}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="wsserver-memory-") as folder:
        parts = asyncio.run(weigh(arguments.connections, Path(folder)))
    print(show(parts, arguments.connections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
