"""The seams to other processes that the settings name: none, or over Redis and the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from wsserver.clock import Clock
from wsserver.cluster.broker import Broker
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory, LocalConnections
from wsserver.cluster.leases import Leases
from wsserver.cluster.local import LocalControl, LocalDirectory, LocalLeases
from wsserver.cluster.memory import MemoryBroker
from wsserver.cluster.worker_identity import WorkerIdentity
from wsserver.config import Settings
from wsserver.config.fingerprints import fingerprints
from wsserver.identity.tickets import NoExchange, TicketExchange
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.sql_leases import SqlLeases


@dataclass(frozen=True)
class Seams:
    """The seams of one node, not started yet; ``directory_of`` is called once, with the hub."""

    broker: Broker
    control: Control
    leases: Leases
    tickets: TicketExchange
    directory_of: Callable[[LocalConnections], ConnectionDirectory]
    close: Callable[[], Awaitable[None]]
    """To be called after all of them have stopped."""
    send_now: Callable[[], None]
    """Sends to the other nodes what was published in this turn of the event loop."""
    processes: Callable[[], int]
    """How many nodes there are, this one included."""


def seams_of(
    settings: Settings,
    version: str,
    database: Database,
    clock: Clock,
    worker: WorkerIdentity | None = None,
) -> Seams:
    """The seams of this node, which starts now.

    ``database`` is the one of the whole cluster; ``worker``: which of several workers this is.
    """
    since = clock.wall()
    if settings.redis_url is None:
        return Seams(
            MemoryBroker(),
            LocalControl(settings.node),
            LocalLeases(),
            NoExchange(),
            lambda local: LocalDirectory(local, settings.node, version, since),
            _nothing,
            send_now=lambda: None,
            processes=lambda: 1,
        )
    # The driver is an extra, and takes 0.1 s to import.
    from wsserver.cluster.redis.wiring import build_redis

    made = build_redis(
        settings.redis_url,
        settings.node,
        version,
        since,
        password_file=settings.redis_password_file,
        database=lambda: (database.identity, database.location),
        wall=clock.wall,
        worker=worker,
        settings=partial(fingerprints, settings),
    )
    return Seams(
        made.broker,
        made.control,
        SqlLeases(database),
        made.tickets,
        made.directory_of,
        made.close,
        send_now=made.broker.send_now,
        processes=made.processes,
    )


async def _nothing() -> None:
    """Close nothing: there are no connections."""
