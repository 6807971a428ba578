"""The command: starts everything, prints what to try, and ends everything with Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from scripts.local_cluster.backends import BackendMissing, Backends
from scripts.local_cluster.balancer import Balancer
from scripts.local_cluster.node import Node, NodeFailed

MOST_NODES = 9


class PortTaken(Exception):
    """The load balancer cannot listen; says why, and what to do."""


def main() -> int:
    """Run until SIGINT or SIGTERM; returns 1 if something that it needs is missing or fails."""
    arguments = parse(sys.argv[1:])
    try:
        asyncio.run(serve(arguments.nodes, arguments.port))
    except (BackendMissing, NodeFailed, PortTaken) as failed:
        say(str(failed))
        return 1
    return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/serve-cluster",
        description="Start nodes on PostgreSQL and Valkey of their own, behind a load balancer, all"
        " on loopback. A node that ends is started again after 3 s. Everything is deleted at the"
        " end (Ctrl-C).",
    )
    parser.add_argument("--nodes", type=int, default=2, metavar="N", help="1 to 9 (2)")
    parser.add_argument(
        "--port", type=int, default=8765, metavar="P", help="of the load balancer (8765)"
    )
    arguments = parser.parse_args(words)
    if not 1 <= arguments.nodes <= MOST_NODES:
        parser.error(f"argument --nodes: {arguments.nodes} is not between 1 and {MOST_NODES}")
    if not 0 <= arguments.port <= 65_535:
        parser.error(f"argument --port: {arguments.port} is not between 0 and 65535")
    return arguments


async def serve(count: int, port: int) -> None:
    """Start everything, and keep it running until a signal comes.

    Raises ``PortTaken``, ``BackendMissing`` or ``NodeFailed``; nothing is left running then.
    """
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(ending, ended.set)
    nodes: list[Node] = []
    async with AsyncExitStack() as stack:
        balancer = Balancer(lambda: [node.port for node in nodes if node.port])
        stack.push_async_callback(balancer.stop)
        try:
            bound = await balancer.start(port)
        except OSError as error:
            raise PortTaken(
                f"port {port} of 127.0.0.1: {os.strerror(error.errno or 0)};"
                " choose another one with --port, or 0 for any that is free"
            ) from error
        folder = Path(tempfile.mkdtemp(prefix="wsserver-cluster-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        say("PostgreSQL and Valkey start")
        backends = Backends(folder)
        stack.callback(backends.stop)
        await asyncio.to_thread(backends.start)
        environment = {
            "WSSERVER_JWT_SECRET": secrets.token_hex(32),
            "WSSERVER_DATABASE_URL": backends.database_url,
            "WSSERVER_REDIS_URL": backends.redis_url,
            # The addresses of the balancer and of the nodes.
            "WSSERVER_ALLOWED_HOSTS": "127.0.0.1,localhost",
        }
        stack.push_async_callback(_stop, nodes)
        for number in range(1, count + 1):
            if ended.is_set():
                return
            node = Node(f"n{number}", folder / f"n{number}", environment, say)
            nodes.append(node)
            await node.start()
        print(_text(nodes, f"http://127.0.0.1:{bound}"), flush=True)
        await _watch(nodes, ended)
        say("everything ends")


async def _watch(nodes: Sequence[Node], ended: asyncio.Event) -> None:
    """Start nodes again that have ended, until the event; raises ``NodeFailed``."""
    watching = [asyncio.ensure_future(node.watch()) for node in nodes]
    waiting = asyncio.ensure_future(ended.wait())
    try:
        done, _ = await asyncio.wait([waiting, *watching], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()  # a node that did not start again
    finally:
        for task in (waiting, *watching):
            task.cancel()
        await asyncio.gather(waiting, *watching, return_exceptions=True)


async def _stop(nodes: Sequence[Node]) -> None:
    await asyncio.gather(*(node.stop() for node in nodes))


def _text(nodes: Sequence[Node], url: str) -> str:
    """What to try; each node has printed a ticket for its console."""
    token_file = shlex.quote(str(nodes[0].folder / "dev-admin-token"))
    lines = [
        "",
        f"{len(nodes)} nodes behind {url}; try, each in a terminal or browser of its own:",
        "",
        *(f"  chat         {url}/console/chat#{_console_ticket(node)}" for node in nodes),
        f'  wsctl        export WSCTL_URL={url} WSCTL_TOKEN="$(cat {token_file})"',
        "               .venv/bin/wsctl nodes",
        "               .venv/bin/wsctl top",
        "               .venv/bin/wsctl console",
        "               .venv/bin/wsctl broadcast '你好'",
        f"  lose a node  kill -9 {nodes[0].pid}",
        "",
        *(
            f"  {node.name}  pid {node.pid}  http://127.0.0.1:{node.port}  log {node.log}"
            for node in nodes
        ),
        "",
        "Ctrl-C ends and deletes everything.",
    ]
    return "\n".join(lines)


def _console_ticket(node: Node) -> str:
    found = re.search(r"/console#(\S+)", node.printed)
    return found[1] if found else ""


def say(text: str) -> None:
    """Print to people who watch."""
    print(f"scripts/serve-cluster: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
