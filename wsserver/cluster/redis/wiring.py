"""``build_redis``: the seams of one node over one Redis, wired together."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsserver.cluster.directory import LocalConnections
from wsserver.cluster.redis.broker import RedisBroker
from wsserver.cluster.redis.bus import Bus
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.directory import RedisDirectory
from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.nodes import NodeInfo, NodeRegistry
from wsserver.cluster.redis.tickets import RedisTickets
from wsserver.cluster.worker_identity import WorkerIdentity


@dataclass(frozen=True)
class RedisSeams:
    """The seams of a node. The directory is started first, and stopped last."""

    link: RedisLink
    registry: NodeRegistry
    broker: RedisBroker
    control: RedisControl
    tickets: RedisTickets

    def directory_of(self, local: LocalConnections) -> RedisDirectory:
        """The directory, over the connections of this node; to be called once."""
        return RedisDirectory(self.link, self.registry, self.control, local)

    def processes(self) -> int:
        """How many living nodes there are, as last read; at least this one."""
        return max(1, len(self.registry.last_living))

    async def close(self) -> None:
        """Close the connections, after all seams have stopped."""
        await self.link.close()


def build_redis(
    url: str,
    node: str,
    version: str,
    since: float,
    *,
    password_file: Path | None = None,
    database: Callable[[], tuple[str, str]] = lambda: ("", ""),
    wall: Callable[[], float] = time.time,
    worker: WorkerIdentity | None = None,
    settings: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> RedisSeams:
    """Build the seams; nothing is connected yet. Raises ``RedisUnusable`` for a malformed URL.

    ``database``: identity and location of the nodes' database. ``wall``: seconds since the epoch.
    ``worker``: has the ``instance`` of this run, and that of the run whose name it takes over.
    ``settings``: fingerprints of the settings that all nodes share, for the database's identity.
    """
    link = RedisLink(url, password_file=password_file)
    instance = secrets.token_hex(8) if worker is None else worker.instance
    predecessor = None if worker is None else worker.predecessor
    bus = Bus(link, node, lambda: registry.all_read_batches)
    info = NodeInfo(since, version, reads_batches=True)
    registry = NodeRegistry(link, node, instance, info, database, wall, predecessor, settings)

    async def living() -> list[str]:
        # A server that hangs would hold up each request, until the command times out.
        is_away = not bus.is_up and bool(registry.last_living)
        return registry.last_living if is_away else await registry.living()

    control = RedisControl(bus, living)
    broker = RedisBroker(bus, link, lambda: registry.last_living)
    return RedisSeams(link, registry, broker, control, RedisTickets(link))
