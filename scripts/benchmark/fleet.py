"""The nodes of one kind of server, and the private PostgreSQL and Valkey that they need."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from scripts.benchmark.procfs import State, cpus_s, tree
from scripts.benchmark.servers import Kind, Server
from scripts.local_cluster.backends import Backends


class Fleet:
    """Running nodes; what is said of one server is said of the first node."""

    def __init__(self, nodes: list[Server], backends: Backends) -> None:
        self.nodes = nodes
        self._backends = backends

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, kind: Kind, cores: set[int], environment: dict[str, str]
    ) -> AsyncIterator[Fleet]:
        """Start everything, and end it whatever happens; the nodes are on these cores only.

        PostgreSQL and Valkey are where the clients are, as they would be on another machine.
        """
        async with AsyncExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="wsserver-bench-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            backends = Backends(
                folder,
                has_postgres=kind.has_postgres,
                has_valkey=kind.has_valkey,
                is_durable=True,
            )
            stack.callback(backends.stop)
            # Not to be interrupted: what it starts has to be known to be stopped.
            await asyncio.shield(asyncio.to_thread(backends.start))
            environment = {**environment, **_addresses(backends)}
            nodes = []
            for number in range(1, kind.nodes + 1):
                own = {"WSSERVER_NODE": f"n{number}"} if kind.nodes > 1 else {}
                node = await Server.start(kind, cores, **environment, **own)
                stack.push_async_callback(node.stop)
                nodes.append(node)
            yield cls(nodes, backends)

    @property
    def kind(self) -> Kind:
        """What they are."""
        return self.nodes[0].kind

    @property
    def port(self) -> int:
        """Where messages are published."""
        return self.nodes[0].port

    @property
    def socket_urls(self) -> list[str]:
        """Where clients connect, by node."""
        return [node.socket_url for node in self.nodes]

    @property
    def folder(self) -> Path:
        """The first node's working folder."""
        return self.nodes[0].folder

    @property
    def log(self) -> str:
        """What the first node has said so far."""
        return self.nodes[0].log

    def cpu_s(self) -> float:
        """Processor time that all nodes have used so far."""
        return sum(node.cpu_s() for node in self.nodes)

    def backends_cpu_s(self) -> float:
        """The same of PostgreSQL and Valkey."""
        return sum(cpus_s(tree(pid)) for pid in self._backends.pids)

    def rss_bytes(self) -> int:
        """Memory that the first node has in use."""
        return self.nodes[0].rss_bytes()

    def state(self) -> State:
        """Descriptors, threads and memory of the first node."""
        return self.nodes[0].state()


def _addresses(backends: Backends) -> dict[str, str]:
    found = {
        "WSSERVER_DATABASE_URL": backends.database_url,
        "WSSERVER_REDIS_URL": backends.redis_url,
    }
    return {name: url for name, url in found.items() if url}
