"""``build_redis``: the seams of one node over one Redis, wired together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from wsserver.cluster.redis.broker import RedisBroker
from wsserver.cluster.redis.bus import Bus
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.directory import RedisDirectory
from wsserver.cluster.redis.leases import RedisLeases
from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.nodes import NodeInfo, NodeRegistry
from wsserver.cluster.seat import Seat


@dataclass(frozen=True)
class RedisSeams:
    """The seams; to be started in this order, and stopped in the other."""

    link: RedisLink
    directory: RedisDirectory
    broker: RedisBroker
    control: RedisControl
    leases: RedisLeases

    async def close(self) -> None:
        """Close the connections, after all seams have stopped."""
        await self.link.close()


def build_redis(
    url: str, node: str, version: str, since: float, seat: Seat | None = None
) -> RedisSeams:
    """Build the seams; nothing is connected yet. Raises ``RedisUnusable`` for a malformed URL.

    A worker's ``seat`` has its ``instance``, and the one whose name it takes over.
    """
    link = RedisLink(url)
    instance = secrets.token_hex(8) if seat is None else seat.instance
    predecessor = None if seat is None else seat.predecessor
    bus = Bus(link, node)
    registry = NodeRegistry(link, node, instance, NodeInfo(since, version), predecessor)
    control = RedisControl(bus, registry.living)
    directory = RedisDirectory(link, registry, control)
    return RedisSeams(
        link, directory, RedisBroker(bus, link), control, RedisLeases(link, f"{node}/{instance}")
    )
