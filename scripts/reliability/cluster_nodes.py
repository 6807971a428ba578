"""A cluster on this machine: nodes, PostgreSQL, and Valkey with or without Sentinels."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from scripts.backends.postgres import PostgresServer
from scripts.backends.valkey import ValkeyProcess
from scripts.benchmark.http_client import HttpClient, RequestError
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Gone
from scripts.reliability.cluster_network import Link
from scripts.reliability.server import API, Server

HEALTHY_S = 40.0
"""Within which everything is well again after the end of a fault."""
SENTINELS = 3
DOWN_AFTER_MS = 1000
FAULTS_OF_CLIENTS = (OSError, EOFError, Gone, TimeoutError, RequestError)
"""What a client of a node may meet while the cluster is tormented."""


class Valkey:
    """One server; ``url`` is what the nodes are configured with."""

    def __init__(self, folder: Path) -> None:
        self._server = ValkeyProcess(folder)

    @property
    def url(self) -> str:
        """The address for the nodes."""
        return self._server.url

    async def start(self) -> None:
        """Start it."""
        await asyncio.to_thread(self._server.start)

    @property
    def primary(self) -> ValkeyProcess:
        """The server that takes writes."""
        return self._server

    async def recover(self) -> None:
        """Start what was killed."""
        if not self._server.is_running:
            await self.start()

    async def stop(self) -> None:
        """End all."""
        self._server.kill()


class ValkeyWithSentinels:
    """A primary, a replica and three Sentinels, which make the replica primary when that is due."""

    def __init__(self, folder: Path) -> None:
        self._first = ValkeyProcess(_made(folder / "one"))
        self._second = ValkeyProcess(
            _made(folder / "two"), "--replicaof", "127.0.0.1", str(self._first.port)
        )
        self._sentinels = []
        for number in range(SENTINELS):
            home = _made(folder / f"sentinel{number}")
            settings = home / "sentinel.conf"
            settings.write_text(
                f"sentinel monitor wsserver 127.0.0.1 {self._first.port} 2\n"
                f"sentinel down-after-milliseconds wsserver {DOWN_AFTER_MS}\n"
                "sentinel failover-timeout wsserver 3000\n",
                encoding="utf-8",
            )
            self._sentinels.append(ValkeyProcess(home, sentinel=settings))

    @property
    def url(self) -> str:
        """The address for the nodes."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self._sentinels)
        return f"redis+sentinel://{hosts}/wsserver"

    async def start(self) -> None:
        """Start all, and wait until the Sentinels have found the replica and each other."""
        for each in (self._first, self._second, *self._sentinels):
            await asyncio.to_thread(each.start)
        async with asyncio.timeout(HEALTHY_S):
            for sentinel in self._sentinels:
                await until(partial(_is_complete, sentinel))

    @property
    def primary(self) -> ValkeyProcess:
        """The server that takes writes, as the first Sentinel names it."""
        answer = self._sentinels[0].run("SENTINEL", "get-master-addr-by-name", "wsserver")
        is_second = str(self._second.port).encode() in answer
        return self._second if is_second else self._first

    async def recover(self) -> None:
        """Start what was killed; the Sentinels make it a replica of the other one."""
        for each in (self._first, self._second):
            if not each.is_running:
                await asyncio.to_thread(each.start)

    async def stop(self) -> None:
        """End all."""
        for each in (*self._sentinels, self._second, self._first):
            each.kill()


class Cluster:
    """Nodes by number, the database and the broker."""

    def __init__(
        self,
        folder: Path,
        cores: set[int],
        count: int,
        *,
        with_sentinels: bool,
        **environment: str,
    ) -> None:
        self.postgres = PostgresServer()
        self._database = ""
        home = _made(folder / "valkey")
        self.valkey = ValkeyWithSentinels(home) if with_sentinels else Valkey(home)
        self._folder = folder
        self._cores = cores
        self._count = count
        self._environment = environment
        self.nodes: list[Server] = []
        self.running: set[int] = set()
        """The nodes that were started and not killed since."""
        self.statuses: list[int] = []
        """Exit statuses of the nodes that were stopped in order."""
        self.mended_at = 0.0
        """When the last fault ended."""
        self.started_at = 0.0
        """When the last node was ready."""
        self.links: list[list[Link]] = []
        """By node: its networks to PostgreSQL and, without Sentinels, to Valkey."""
        self.checks: list[Awaitable[str]] = []
        """What is to be waited for before the next fault; each says what was wrong."""
        self.noted: list[str] = []
        """What was wrong, as clients have noticed."""

    def mend(self) -> None:
        """Note that a fault ends now: what was killed is started, what stood still goes on."""
        self.mended_at = time.monotonic()

    @property
    def database_url(self) -> str:
        """Where the nodes keep everything."""
        return self._database

    async def start(self) -> None:
        """Start everything."""
        await asyncio.to_thread(self.postgres.start)
        self._database = await asyncio.to_thread(
            lambda: self.postgres.create_database(is_empty=True)
        )
        await self.valkey.start()
        for number in range(1, self._count + 1):
            database, valkey = await self._linked(self._database, self.valkey.url)
            node = Server(
                _made(self._folder / f"n{number}"),
                self._cores,
                WSSERVER_DATABASE_URL=database,
                WSSERVER_REDIS_URL=valkey,
                WSSERVER_NODE=f"n{number}",
                **self._environment,
            )
            self.nodes.append(node)
            await self.start_node(number - 1)

    async def _linked(self, *urls: str) -> list[str]:
        """The same addresses through links of a new node. The Sentinels name theirs directly."""
        links: list[Link] = []
        linked = []
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme == "redis+sentinel":
                linked.append(url)
                continue
            link = Link(int(parts.port or 0))
            await link.start()
            links.append(link)
            netloc = parts.netloc.replace(f":{parts.port}", f":{link.port}")
            linked.append(urlunsplit(parts._replace(netloc=netloc)))
        self.links.append(links)
        return linked

    async def start_node(self, index: int, *, wrong_s: float = 0.0) -> None:
        """Start a node, again after it was killed or stopped; with a wrong clock, if told."""
        await self.nodes[index].start(wrong_s=wrong_s)
        self.running.add(index)
        self.started_at = time.monotonic()

    async def kill_node(self, index: int) -> None:
        """SIGKILL."""
        self.running.discard(index)
        await self.nodes[index].kill()

    async def stop_node(self, index: int) -> None:
        """SIGTERM; notes the exit status."""
        self.running.discard(index)
        self.statuses.append(await self.nodes[index].stop())

    def any_node(self, chance: random.Random) -> Server | None:
        """A node that should answer."""
        running = sorted(self.running)
        return self.nodes[chance.choice(running)] if running else None

    async def until_healthy(self) -> str:
        """Wait until all running nodes say ``ok``; else what the last one said."""
        said = ""
        try:
            async with asyncio.timeout(HEALTHY_S):
                for index in sorted(self.running):
                    while True:
                        try:
                            said = await _health(self.nodes[index])
                        except FAULTS_OF_CLIENTS as error:
                            said = repr(error)
                        if '"status":"ok"' in said.replace(" ", ""):
                            break
                        await asyncio.sleep(0.1)
        except TimeoutError:
            return said
        return ""

    async def stop(self) -> None:
        """End everything; nothing is left."""
        for node in self.nodes:
            node.send_signal(signal.SIGCONT)
            await node.kill()
        for link in (link for links in self.links for link in links):
            await link.stop()
        await self.valkey.stop()
        await asyncio.to_thread(self.postgres.remove)


async def _health(node: Server) -> str:
    async with asyncio.timeout(3), HttpClient(node.port, make_token("probe", "admin")) as http:
        return (await http.get(f"{API}/health")).decode()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.05)


def _is_complete(sentinel: ValkeyProcess) -> bool:
    """Whether a Sentinel has found one replica and two other Sentinels."""
    master = sentinel.run("SENTINEL", "MASTER", "wsserver")
    return all(
        each in master for each in (b"num-slaves\r\n$1\r\n1", b"num-other-sentinels\r\n$1\r\n2")
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
