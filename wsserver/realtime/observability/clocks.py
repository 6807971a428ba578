"""``Clocks``: how far the clocks of a cluster differ."""

from __future__ import annotations

from msgspec import Struct

from wsserver.clock import Clock
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.errors import StorageUnavailable
from wsserver.storage.engine.database import Database


class ClockOffsets(Struct, frozen=True):
    """Seconds by which clocks are ahead of this node's; negative: behind."""

    nodes: dict[str, float]
    redis: float | None
    """None: there is none, or it has not been measured."""
    database: float | None
    """None: it is on this machine, or cannot be read."""


class Clocks:
    """Compares this node's clock with those of other nodes, of Redis and of the database.

    Nodes measure theirs against Redis' clock with each renewal of their lease.
    """

    def __init__(
        self, clock: Clock, node: str, connections: ConnectionDirectory, database: Database
    ) -> None:
        self._clock = clock
        self._node = node
        self._connections = connections
        self._database = database

    async def read(self) -> ClockOffsets:
        """The offsets of now; never raises."""
        offsets = {
            each.node: each.clock_offset_s
            for each in await self._connections.nodes()
            if each.state != "lost" and each.clock_offset_s is not None
        }
        own_s = offsets.get(self._node)
        if own_s is None:
            return ClockOffsets({}, None, await self._of_database())
        return ClockOffsets(
            {name: round(offset_s - own_s, 3) for name, offset_s in offsets.items()},
            round(-own_s, 3),
            await self._of_database(),
        )

    async def _of_database(self) -> float | None:
        before = self._clock.wall()
        try:
            at = await self._database.clock()
        except StorageUnavailable:
            return None
        return None if at is None else round(at - (before + self._clock.wall()) / 2, 3)
