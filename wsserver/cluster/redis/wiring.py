"""``build_redis``: the seams of one node over one Redis, wired together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from wsserver.cluster.redis.broker import RedisBroker
from wsserver.cluster.redis.bus import Bus
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.directory import RedisDirectory
from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.nodes import NodeInfo, NodeRegistry


@dataclass(frozen=True)
class RedisSeams:
    """The seams; to be started in this order, and stopped in the other."""

    link: RedisLink
    directory: RedisDirectory
    broker: RedisBroker
    control: RedisControl

    async def close(self) -> None:
        """Close the connections, after all seams have stopped."""
        await self.link.close()


def build_redis(url: str, node: str, version: str, since: float) -> RedisSeams:
    """Build the seams; nothing is connected yet. Raises ``RedisUnusable`` for a malformed URL."""
    link = RedisLink(url)
    instance = secrets.token_hex(8)
    bus = Bus(link, node)
    registry = NodeRegistry(link, node, instance, NodeInfo(since, version))
    control = RedisControl(bus, registry.living)
    directory = RedisDirectory(link, registry, control)
    broker = RedisBroker(bus, link, lambda: registry.last_living)
    return RedisSeams(link, directory, broker, control)
