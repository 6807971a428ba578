"""Nodes for the contract suite of the seams between processes, by implementation."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

import msgspec

from tests.support.fake_connections import fake_connection
from wsserver.cluster.broker import (
    NO_RECIPIENTS,
    Broker,
    Outcome,
    Publication,
    PublishResult,
    Signal,
    begin_each,
)
from wsserver.cluster.control import Control
from wsserver.cluster.directory import Change, ConnectionDirectory, Reservation
from wsserver.cluster.local import LocalControl, LocalDirectory
from wsserver.cluster.memory import MemoryBroker
from wsserver.cluster.redis.wiring import build_redis
from wsserver.protocol.targets import EVERYONE
from wsserver.realtime.connections.hub import Hub, HubRecords


class Receiver:
    """The receiving side of a node: notes what arrives, and returns a fixed result."""

    def __init__(self, result: PublishResult = NO_RECIPIENTS) -> None:
        self.result = result
        self.publications: list[Publication] = []
        self.together: list[int] = []
        """Numbers of publications that arrived in one datagram."""
        self.signals: list[Signal] = []

    @property
    def ids(self) -> list[str]:
        return [each.message_id for each in self.publications]

    def deliver(self, publication: Publication) -> PublishResult:
        self.publications.append(publication)
        return self.result

    def deliver_all(self, publications: Sequence[Publication], until: float = inf) -> list[Outcome]:
        self.together.append(len(publications))
        return begin_each(self.deliver, publications, until)

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)


@dataclass
class ClusterNode:
    """The seams of one node."""

    name: str
    broker: Broker
    control: Control
    directory: ConnectionDirectory
    receiver: Receiver = field(default_factory=Receiver)
    hub: Hub = field(default_factory=Hub)

    async def open(
        self,
        connection_id: str,
        user_id: str,
        *,
        at: float = 0.0,
        organization_id: str | None = None,
        sessions: tuple[str, ...] = (),
        reservation: Reservation | None = None,
    ) -> Change:
        connection = fake_connection(user_id, organization_id=organization_id)
        connection.connection_id, connection.connected_at = connection_id, at
        self.hub.add(connection)
        for session_id in sessions:
            self.hub.join(connection, session_id)
        changed: asyncio.Future[Change] = asyncio.get_running_loop().create_future()
        self.directory.opened(connection_id, user_id, reservation, changed.set_result)
        for session_id in sessions:
            self.directory.joined(connection_id, user_id, session_id, _ignore)
        return await changed

    async def reserve(self, user_id: str, limit: int) -> Reservation | None:
        found = self.directory.reserve(user_id, limit)
        return found if found is None or isinstance(found, Reservation) else await found

    async def users(self, session_id: str) -> dict[str, int]:
        """The users in a session, each with the number of connections."""
        found = self.directory.session_users(session_id)
        users = found if isinstance(found, list) else await found
        return {each["user_id"]: each["connections"] for each in users}

    async def join(self, connection_id: str, user_id: str, session_id: str) -> int:
        self.hub.join(self.hub.connections[connection_id], session_id)
        count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.directory.joined(connection_id, user_id, session_id, count.set_result)
        return await count

    async def leave(self, connection_id: str, user_id: str, session_id: str) -> int:
        self.hub.leave(self.hub.connections[connection_id], session_id)
        count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.directory.left(connection_id, user_id, session_id, count.set_result)
        return await count

    async def close(
        self, connection_id: str, user_id: str, *, is_handed_over: bool = False
    ) -> Change:
        connection = self.hub.connections[connection_id]
        for session_id in list(connection.sessions or ()):
            self.hub.leave(connection, session_id)
            self.directory.left(connection_id, user_id, session_id, _ignore)
        self.hub.remove(connection)
        changed: asyncio.Future[Change] = asyncio.get_running_loop().create_future()
        self.directory.closed(
            connection_id, user_id, changed.set_result, is_handed_over=is_handed_over
        )
        return await changed

    def update(self, connection_id: str, **claims: Any) -> None:
        connection = self.hub.connections[connection_id]
        self.hub.reclaim(connection, msgspec.structs.replace(connection.claims, **claims))
        self.directory.updated(connection_id)


class Cluster(Protocol):
    """An implementation of all seams."""

    is_shared: bool
    """Whether there may be several nodes."""

    def nodes(self, count: int) -> AbstractAsyncContextManager[list[ClusterNode]]:
        """Start nodes; without ``is_shared`` it is one."""
        ...


class LocalCluster:
    """The implementations for a single process."""

    is_shared = False

    @asynccontextmanager
    async def nodes(self, count: int) -> AsyncIterator[list[ClusterNode]]:
        hub = Hub()
        node = ClusterNode(
            "n1",
            MemoryBroker(),
            LocalControl("n1"),
            LocalDirectory(HubRecords(hub, "n1"), "n1", "1.0", 0.0),
            hub=hub,
        )
        node.broker.subscribe(node.receiver)
        seams = (node.directory, node.broker, node.control)
        for seam in seams:
            await seam.start()
        yield [node]
        for seam in reversed(seams):
            await seam.stop()


class RedisCluster:
    """The implementations over a real server; each node has connections of its own."""

    is_shared = True

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def nodes(self, count: int) -> AsyncIterator[list[ClusterNode]]:
        async with AsyncExitStack() as stack:
            nodes = []
            for number in range(1, count + 1):
                nodes.append(await stack.enter_async_context(self.node(f"n{number}")))
            for node in nodes:  # so that each knows all
                await node.directory.nodes()
            yield nodes

    @asynccontextmanager
    async def node(
        self,
        name: str,
        settings: Mapping[str, str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> AsyncIterator[ClusterNode]:
        """A node; ``settings``: the fingerprints that it shows; ``wall``: its clock."""
        seams = build_redis(
            self.url, name, "1.0", 0.0, settings=lambda _: settings or {}, wall=wall
        )
        hub = Hub()
        directory = seams.directory_of(HubRecords(hub, name))
        node = ClusterNode(name, seams.broker, seams.control, directory, hub=hub)
        node.broker.subscribe(node.receiver)
        ordered = (directory, seams.broker, seams.control)
        try:
            for seam in ordered:
                await seam.start()
            yield node
        finally:
            for each in reversed(ordered):
                await each.stop()
            await seams.close()

    @asynccontextmanager
    async def vanishing(self, name: str) -> AsyncIterator[ClusterNode]:
        """A node that ends like by ``kill -9``: it stops sending, and takes nothing out."""
        seams = build_redis(self.url, name, "1.0", 0.0)
        hub = Hub()
        directory = seams.directory_of(HubRecords(hub, name))
        node = ClusterNode(name, seams.broker, seams.control, directory, hub=hub)
        for seam in (directory, seams.broker, seams.control):
            await seam.start()
        yield node
        for tasks in (seams.broker._bus._tasks, directory._tasks):
            await tasks.end()
        await seams.close()


@asynccontextmanager
async def two_nodes(url: str) -> AsyncIterator[list[ClusterNode]]:
    """Two nodes over the server of a URL, each with one connection that everything reaches."""
    async with RedisCluster(url).nodes(2) as nodes:
        for node in nodes:
            node.receiver.result = PublishResult(1, 1, 0)
        yield nodes


async def publish(node: ClusterNode, id_: str) -> int:
    """Publish to everyone; returns the number of matching connections."""
    result = await node.broker.publish(Publication(id_, "x", EVERYONE, b"{}"))
    return result.matched


def upkeep(node: ClusterNode) -> Any:
    """What keeps the directory up to date, with its state."""
    directory: Any = node.directory
    return directory._upkeep


async def eventually(
    condition: Callable[[], Any], expected: Any = True, *, within: float = 3.0
) -> None:
    """Wait until a condition, or what it awaits, equals what is expected."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found == expected:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"{found!r} is not {expected!r}")
        await asyncio.sleep(0.01)


def _ignore(_: int) -> None:
    """Do nothing with a number."""
