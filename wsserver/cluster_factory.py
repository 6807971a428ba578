"""The seams to other processes that the settings name: none, or over Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wsserver.cluster.broker import Broker
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.cluster.leases import Leases
from wsserver.cluster.local import Connected, LocalControl, LocalDirectory, LocalLeases
from wsserver.cluster.memory import MemoryBroker
from wsserver.config import Settings


@dataclass(frozen=True)
class Seams:
    """The seams of one node, not started yet; ``directory_of`` is called once, with the hub."""

    broker: Broker
    control: Control
    leases: Leases
    directory_of: Callable[[Connected], ConnectionDirectory]
    close: Callable[[], Awaitable[None]]
    """To be called after all of them have stopped."""


def seams_of(settings: Settings, version: str, since: float) -> Seams:
    """The seams of this node; ``since``: when it started, in seconds since the epoch."""
    if settings.redis_url is None:
        return Seams(
            MemoryBroker(),
            LocalControl(settings.node),
            LocalLeases(),
            lambda connected: LocalDirectory(connected, settings.node, version, since),
            _nothing,
        )
    # The driver is an extra, and takes 0.1 s to import.
    from wsserver.cluster.redis.wiring import build_redis

    made = build_redis(settings.redis_url, settings.node, version, since)
    return Seams(made.broker, made.control, made.leases, made.directory.over, made.close)


async def _nothing() -> None:
    """Close nothing: there are no connections."""
