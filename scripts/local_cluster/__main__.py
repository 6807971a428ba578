"""The command: starts everything, prints what to try, and ends everything with Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
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

from scripts.local_cluster.balancer import Balancer
from scripts.local_cluster.node import Node, NodeFailed
from tests.support.postgres_server import PostgresServer
from tests.support.valkey_process import ValkeyProcess

MOST_NODES = 9


def main() -> int:
    """Run until SIGINT or SIGTERM."""
    arguments = parse(sys.argv[1:])
    try:
        asyncio.run(serve(arguments.nodes, arguments.port))
    except NodeFailed as failed:
        print(f"a node did not start:\n{failed}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"--port {arguments.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/serve-cluster",
        description="Start nodes on PostgreSQL and Valkey of their own, behind a load balancer."
        " Everything is deleted at the end (Ctrl-C).",
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
    """Start everything, and keep it running until a signal comes."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="wsserver-cluster-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        say("PostgreSQL and Valkey start")
        postgres = await asyncio.to_thread(PostgresServer)
        stack.callback(postgres.remove)
        await asyncio.to_thread(postgres.start)
        database_url = await asyncio.to_thread(postgres.create_database, is_empty=True)
        valkey = ValkeyProcess(folder)
        stack.callback(valkey.kill)
        await asyncio.to_thread(valkey.start)
        environment = {
            "WSSERVER_JWT_SECRET": secrets.token_hex(32),
            "WSSERVER_DATABASE_URL": database_url,
            "WSSERVER_REDIS_URL": valkey.url,
            # The addresses of the balancer and of the nodes.
            "WSSERVER_ALLOWED_HOSTS": "127.0.0.1,localhost",
        }
        nodes = [Node(f"n{n}", folder / f"n{n}", environment, say) for n in range(1, count + 1)]
        balancer = Balancer(lambda: [node.port for node in nodes if node.port])
        stack.push_async_callback(balancer.stop)
        bound = await balancer.start(port)
        for node in nodes:
            stack.push_async_callback(node.stop)
            await node.start()
        watching = [asyncio.ensure_future(node.watch()) for node in nodes]
        stack.callback(lambda: [task.cancel() for task in watching])
        print(_text(nodes, f"http://127.0.0.1:{bound}"), flush=True)
        waiting = asyncio.ensure_future(ended.wait())
        done, _ = await asyncio.wait([waiting, *watching], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        for task in done - {waiting}:
            task.result()  # a node that did not start again
        say("everything ends")
        for task in watching:
            task.cancel()
        await asyncio.gather(*(node.stop() for node in nodes))


def _text(nodes: Sequence[Node], url: str) -> str:
    """What to try; each node has printed a ticket for the console."""
    token_file = shlex.quote(str(nodes[0].folder / "dev-admin-token"))
    lines = [
        "",
        f"{len(nodes)} nodes behind {url}; try, each in a terminal or browser of its own:",
        "",
        *(f"  console      {url}/console#{_console_ticket(node)}" for node in nodes),
        f'  wsctl        export WSCTL_URL={url} WSCTL_TOKEN="$(cat {token_file})"',
        "               .venv/bin/wsctl nodes",
        "               .venv/bin/wsctl top",
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
