"""Who is connected to a cluster, and what its nodes say of that in lists, refusals and events."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import count

import msgspec

from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.tokens import make_token
from scripts.reliability.client import Connection, Gone, OnPush, Refused
from scripts.reliability.cluster_nodes import FAULTS_OF_CLIENTS, Cluster, until
from scripts.reliability.server import API, Server

REBUILT_S = 10.0
"""Within which the lists are right again, and the end of a lost connection is reported."""
LIMIT = 5
"""Connections that a user may have."""
GUESTS = 4
"""Connections of one user that stay: two left behind by a dead node would make six of them."""
GUEST = "guest"
REFUSED = 429
"""The status of a handshake beyond the limit; 4504 for clients that name a subprotocol."""
SILENT_S = 3.0
ANSWER_S = 20.0
CROWD = 30

_numbers = count(1)


class Guest:
    """A connection that comes back to any node whenever it ends, and follows nothing."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self.connection: Connection | None = None

    async def run(self) -> None:
        """Stay until cancelled."""
        while True:
            node = self._cluster.any_node(self._chance)
            if node is not None:
                try:
                    await self._stay(node)
                except FAULTS_OF_CLIENTS:
                    pass  # the next node
            await asyncio.sleep(self._chance.uniform(0.01, 0.2))

    async def _stay(self, node: Server) -> None:
        connection = await opened(self._cluster, node, GUEST)
        self.connection = connection
        try:
            while True:
                await asyncio.wait_for(connection.ask("ping"), SILENT_S)
                await asyncio.sleep(1)
        finally:
            self.connection = None
            connection.cut()


async def opened(
    cluster: Cluster, node: Server, user_id: str, on_push: OnPush | None = None
) -> Connection:
    """Connect a user who has fewer connections than are allowed: a refusal is noted."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await Connection.open(node.socket_url, user_id, on_push)
    except Refused as refused:
        if refused.status == REFUSED:
            cluster.noted.append(f"{user_id} was refused, and has not {LIMIT} connections")
        raise


class Lists:
    """Compares what nodes say of connections and of users in sessions with what there is."""

    def __init__(
        self,
        cluster: Cluster,
        users: Iterable[str],
        present: Callable[[], set[str]],
        absent: Callable[[], Awaitable[str]],
    ) -> None:
        """``present``: the ids of all connections of these users.

        ``absent``: says which users of a session are not seen in it.
        """
        self._cluster = cluster
        self._users = frozenset(users)
        self._present = present
        self._absent = absent

    async def until_right(self) -> str:
        """Wait until all nodes list what is there; else the last difference."""
        cluster = self._cluster
        deadline = max(cluster.mended_at, cluster.started_at) + REBUILT_S
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    differing = await self._differing()
            except FAULTS_OF_CLIENTS as error:
                differing = repr(error)
            if not differing or time.monotonic() > deadline:
                return differing
            await asyncio.sleep(0.1)

    async def _differing(self) -> str:
        wrong = []
        for index in sorted(self._cluster.running):
            before = self._present()
            listed = await self._listed(self._cluster.nodes[index])
            if listed not in (before, self._present()):
                missing, extra = sorted(before - listed), sorted(listed - before)
                wrong.append(f"n{index + 1} lists {extra}, and not {missing}")
        return "; ".join(wrong) or await self._absent()

    async def _listed(self, node: Server) -> set[str]:
        async with HttpClient(node.port, make_token("probe", "admin")) as http:
            answer = msgspec.json.decode(await http.get(f"{API}/connections?limit=500"))
        if "unreachable" in answer:
            raise Gone(f"unreachable: {answer['unreachable']}")
        rows = answer["connections"]
        return {each["connection_id"] for each in rows if each["user_id"] in self._users}


class Visit:
    """A user who is connected to one node, and monitors on all others, which report the end."""

    def __init__(self, visitor: str, node: str, monitors: list[Connection]) -> None:
        self._visitor = visitor
        self._node = node
        self._monitors = monitors
        self._ends: list[Counter[str]] = []
        """By monitor: the ends that it has reported, by reason."""

    @classmethod
    async def begin(cls, cluster: Cluster, index: int) -> Visit:
        """Connect; returns when all monitors have reported that the visitor is there."""
        visitor = f"visitor{next(_numbers)}"
        visit = cls(visitor, f"n{index + 1}", [])
        came = []
        async with asyncio.timeout(ANSWER_S):
            for other in sorted(cluster.running - {index}):
                is_there, ends = asyncio.Event(), Counter[str]()
                came.append(is_there)
                visit._ends.append(ends)
                url = cluster.nodes[other].socket_url.replace("/ws/chat", "/ws/admin/monitor")
                noting = visit._noting(is_there, ends)
                monitor = await Connection.open(url, "monitor", noting, role="admin")
                wanted = {"events": ["user_*"], "interval_s": 60}
                answer = await monitor.call("subscribe", args=wanted)
                if answer["type"] == "error":
                    raise Gone(str(answer))
                visit._monitors.append(monitor)
            await Connection.open(cluster.nodes[index].socket_url, visitor)  # ends with its node
            for is_there in came:
                await is_there.wait()
        return visit

    def _noting(self, is_there: asyncio.Event, ends: Counter[str]) -> Callable[[bytes], None]:
        def note(payload: bytes) -> None:
            event = msgspec.json.decode(payload).get("event", {})
            if event.get("user_id") != self._visitor:
                return
            if event["name"] == "user_connected":
                is_there.set()
            elif event["name"] == "user_disconnected":
                ends[event["reason"]] += 1

        return note

    async def ended(self, lost_at: float) -> str:
        """Wait until each monitor has reported the end; a fault, if it is not once and in time."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(lost_at + REBUILT_S - time.monotonic()):
                    await until(lambda: all(self._ends))
            await asyncio.sleep(0.5)  # for a second report
            if any(monitor.ended.is_set() for monitor in self._monitors):
                return f"a monitor of {self._visitor} was cut off"
            if any(ends.total() != 1 for ends in self._ends):
                said = [dict(ends) for ends in self._ends]
                return f"{self._visitor} on the killed {self._node}: user_disconnected {said}"
            return ""
        finally:
            for monitor in self._monitors:
                monitor.cut()


@asynccontextmanager
async def crowding(url: str, user_id: str) -> AsyncIterator[None]:
    """Many connections of one user to one node, which are being admitted."""
    opening = [asyncio.ensure_future(Connection.open(url, user_id)) for _ in range(CROWD)]
    try:
        yield
    finally:
        for one in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(one, Connection):
                one.cut()


def new_user(kind: str) -> str:
    """A user who has never been connected."""
    return f"{kind}{next(_numbers)}"


async def admission(cluster: Cluster, chance: random.Random, user_id: str) -> str:
    """Connect a user without living connections: five get in, the sixth does not; else a fault."""
    members: list[Connection] = []
    try:
        async with asyncio.timeout(2 * ANSWER_S):
            for number in range(1, LIMIT + 2):
                node = cluster.any_node(chance)
                if node is None:
                    return ""
                try:
                    members.append(await Connection.open(node.socket_url, user_id))
                    status = 101
                except Refused as refused:
                    status = refused.status
                if status != (101 if number <= LIMIT else REFUSED):
                    return f"{user_id}, whose node was killed: connection {number} got {status}"
    except FAULTS_OF_CLIENTS as error:
        return f"{user_id}, whose node was killed: {error!r}"
    finally:
        for connection in members:
            connection.cut()
    return ""
