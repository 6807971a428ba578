"""The live side wired together as ``app.build`` does, and clients at the far end of its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from wsserver.brokers.memory import MemoryBroker
from wsserver.identity.claims import Claims
from wsserver.identity.keys import SecretKeys
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier, sign_hmac
from wsserver.notifications.directory import Directory
from wsserver.realtime.access.access import SessionAccess
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.members import Members
from wsserver.realtime.access.organizations import EnteredOrganizations
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.commands.chat_commands import ChatCommands
from wsserver.realtime.commands.monitor_commands import MonitorCommands
from wsserver.realtime.commands.receipt_commands import ReceiptCommands
from wsserver.realtime.commands.stream_commands import StreamCommands
from wsserver.realtime.connect_state import Arrivals
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.connection_log import ConnectionLog
from wsserver.realtime.connections.heartbeat import HeartbeatSettings
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.rate_limit import MessageRate
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.delivery.trace_buffer import Traces
from wsserver.realtime.delivery_wiring import Deliveries, DeliverySettings
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.manager import ConnectionLimits, Newcomer, WebSocketManager
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import Inspection
from wsserver.realtime.operations.publishing import Publishing
from wsserver.realtime.streams.streams import Streams
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.notifications.known_users import KnownUserStore
from wsserver.storage.tables.audit import AuditEntry, AuditLog
from wsserver.storage.tables.members import MemberStore
from wsserver.storage.tables.organizations import OrganizationStore
from wsserver.storage.tables.revocations import RevocationStore
from wsserver.tasks import Tasks
from wsserver.wire.poller import Poller

SECRET = b"0123456789abcdef0123456789abcdef"
PATIENCE_S = 3.0
"""How long a client waits for what must come; a test that gets there has failed."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


SESSION_LIMIT = 8
"""Sessions that a connection may be in."""


class Live:
    """One node: the real classes, a real database, real sockets, a clock that the test moves."""

    def __init__(
        self,
        clock: Any,
        path: Path,
        *,
        heartbeat: HeartbeatSettings | None = None,
        limits: ConnectionLimits | None = None,
        rate: MessageRate | None = None,
        queue_limit_bytes: int = 1024 * 1024,
        stream_limit: int = 1000,
        roles: dict[str, list[str]] | None = None,
    ) -> None:
        self.clock = clock
        self.tasks = Tasks()
        self.permissions = Permissions(roles)
        self.revocations = Revocations(clock)
        self.database = Database(path, clock=clock)
        self.organizations = EnteredOrganizations(OrganizationStore(self.database))
        resolve = self.organizations.resolve
        self.tickets = Tickets(clock, revocations=self.revocations, resolve=resolve)
        self.verifier = TokenVerifier(
            SecretKeys(SECRET), ["HS256"], clock, revocations=self.revocations, resolve=resolve
        )
        self.audit = AuditLog(self.database)
        self.revocation_store = RevocationStore(self.database)
        self.members = Members(MemberStore(self.database))
        self.attendance = ConnectionLog(clock)
        self.traces = Traces(self.attendance, clock)
        self.hub = Hub(self.attendance, resolve)
        self.broker = MemoryBroker()
        self.statistics = Statistics(clock, "node-1")
        self.poller = Poller(
            IOLoop.current(), clock, queue_limit_bytes=queue_limit_bytes, coalesce_s=0
        )
        self.store = StreamStore(self.database)
        self.streams = Streams(
            self.store, self.broker.publish, clock, self.tasks, cork=self.poller.cork
        )
        self.router = Router(
            self.hub, self.broker, self.poller, self.statistics, clock, self.streams, self.traces
        )
        self.events = EventBus(self.tasks, clock, self.statistics.handler_failed)
        self.directory = Directory(
            KnownUserStore(self.database), self.hub, clock, self.organizations.get
        )
        self.tenancy = Tenancy(
            self.hub, self.members, self.organizations, self.directory, self.streams.writers
        )
        self.access = SessionAccess(self.permissions, self.members.is_member, self.tenancy)
        self.manager = manager = WebSocketManager(
            hub=self.hub,
            router=self.router,
            poller=self.poller,
            events=self.events,
            statistics=self.statistics,
            access=self.access,
            members=self.members,
            heartbeat=heartbeat or HeartbeatSettings(),
            limits=limits or ConnectionLimits(),
            clock=clock,
            streams=self.streams,
        )
        manager.on_claims = self.directory.note
        budget_bytes = queue_limit_bytes // 8 * 7
        self.receipt_store = ReceiptStore(self.database)
        self.deliveries = Deliveries(
            manager,
            self.router,
            self.store,
            self.receipt_store,
            clock,
            self.tasks,
            DeliverySettings(stream_limit=stream_limit, budget_bytes=budget_bytes),
        )
        self.deliveries.statuses.add_listener(self.traces.marked)
        self.streams.on_unreached = self.deliveries.inboxes.queued
        self.router.inboxes = self.deliveries.inboxes
        manager.arrivals = Arrivals(
            self.streams, self.deliveries.inboxes, self.access, self.revocations.check
        )
        self.inspection = Inspection(manager, self.permissions, self.tenancy, self.streams)
        self.publishing = Publishing(
            self.hub,
            self.router,
            self.permissions,
            self.members,
            self.tenancy,
            self.audit,
            self.events,
            clock,
        )
        self.administration = AdminActions(
            manager,
            self.permissions,
            self.members,
            self.tenancy,
            self.revocations,
            self.revocation_store,
            self.tickets,
            self.audit,
            clock,
        )
        self.receipts = ReceiptStore(self.database)
        self.tracing = Tracing(
            self.traces,
            self.hub,
            self.members,
            self.access,
            self.permissions,
            self.tenancy,
            self.store,
            self.receipts,
            clock,
        )
        self.handlers = (
            ChatCommands(manager, self.router, self.verifier, clock).table()
            | StreamCommands(manager.sessions, self.streams, budget_bytes, SESSION_LIMIT).table()
            | ReceiptCommands(self.deliveries.receipts).table()
        )
        self.monitor_handlers = MonitorCommands(
            manager.monitors, self.inspection, self.publishing, self.administration
        ).table()
        manager.dispatcher = Dispatcher(
            self.handlers,
            self.monitor_handlers,
            rate or MessageRate(1e6, 1e6),
            self.statistics,
            clock,
            self.tasks,
            manager.close,
        )
        self.seen: list[dict[str, Any]] = []
        """Every event since ``watch``."""
        self.clients: list[Client] = []

    async def start(self) -> None:
        await self.database.open()
        await self.members.load()
        await self.organizations.load()
        await self.streams.load()

    async def stop(self) -> None:
        self.poller.close()
        await self.streams.finish()
        await self.deliveries.receipts.settle()
        await self.tasks.cancel()
        for client in self.clients:
            client.socket.close()
        self.audit.close()
        await self.database.close()

    def claims(self, user: str = "u1", **changes: Any) -> Claims:
        if "sessions" in changes and changes["sessions"] != "*":
            changes["sessions"] = frozenset(changes["sessions"])
        changes.setdefault("exp", self.clock.wall() + 86400)
        return Claims(sub=user, **changes)

    def actor(self, role: str = "admin", user: str = "boss", **changes: Any) -> Actor:
        return Actor(self.claims(user, role=role, **changes), "10.0.0.9", "req_1")

    def token(self, user: str = "u1", **changes: Any) -> str:
        return sign_hmac(SECRET, {"sub": user, "exp": self.clock.wall() + 86400, **changes})

    async def connect(
        self,
        user: str = "u1",
        *,
        endpoint: str = "chat",
        session_id: str | None = None,
        protocol: str = "wsserver.v1",
        greeted: bool = True,
        received: bytes = b"",
        **claims: Any,
    ) -> Client:
        """A client that is connected and, unless told otherwise, has read its greeting."""
        fd, client = socket_pair()
        self.clients.append(client)
        newcomer = Newcomer(
            claims=self.claims(user, **claims),
            endpoint=endpoint,
            session_id=session_id,
            protocol=protocol,
            remote_ip="10.0.0.1",
            user_agent="test",
        )
        try:
            client.info = await self.manager.connect(fd, newcomer, received=received)
        except Exception:
            os.close(fd)
            raise
        if greeted:
            client.established = await client.receive("connection_established")
            if session_id is not None:
                client.joined = await client.receive("session_joined")
        return client

    async def monitor(self, user: str = "admin", role: str = "admin", **claims: Any) -> Client:
        return await self.connect(user, endpoint="monitor", role=role, **claims)

    async def in_session(self, user: str, session_id: str = "s1", **claims: Any) -> Client:
        """A client on ``/ws/chat`` that has joined a session."""
        client = await self.connect(user, **{"sessions": [session_id], **claims})
        await client.call("join_session", session_id=session_id)
        return client

    def watch(self, glob: str = "*") -> list[dict[str, Any]]:
        self.events.add_event_handler(glob, self.seen.append)
        return self.seen

    async def audited(self) -> list[AuditEntry]:
        return list((await self.audit.page(100)).items)

    async def tick(self, seconds: float, step_s: float | None = None) -> None:
        """Let time pass as the service's periodic work sees it."""
        step_s = step_s or self.manager.heartbeat.settings.tick_s
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            self.manager.heartbeat.advance()
        await settle()


class Client:
    """The far end of a socket: masked frames out, frames in."""

    info: ConnectionInfo
    established: dict[str, Any]
    joined: dict[str, Any]

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.pushes: list[dict[str, Any]] = []
        """Pushes that came while ``call`` waited for its reply, pings excepted."""
        self.pings: list[dict[str, Any]] = []
        self.wire_pings: list[bytes] = []
        self._buffer = b""
        self._ref = 0

    @property
    def id(self) -> str:
        return self.info.connection_id

    def send_frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        else:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        self.socket.sendall(head + b"\0\0\0\0" + payload)  # masked with zeros

    def send(self, type_: str | bytes, **members: Any) -> None:
        if isinstance(type_, bytes):
            self.send_frame(TEXT, type_)
        else:
            self.send_frame(TEXT, json.dumps({"type": type_, **members}).encode())

    async def call(self, type_: str, **members: Any) -> dict[str, Any]:
        """Send a command and return its one reply."""
        self._ref += 1
        self.send(type_, ref=self._ref, **members)
        return await self.reply(self._ref)

    async def reply(self, ref: Any) -> dict[str, Any]:
        while True:
            message = await self.message()
            if "ref" in message:
                assert message["ref"] == ref, message
                return message
            self.pushes.append(message)

    async def error(self, type_: str, **members: Any) -> str:
        """Send a command that must be refused; return the code."""
        answer = await self.call(type_, **members)
        assert answer["type"] == "error", answer
        return str(answer["error"]["code"])

    async def receive(self, type_: str) -> dict[str, Any]:
        """The next push, which must be of this type."""
        message = self.pushes.pop(0) if self.pushes else await self.message()
        assert message["type"] == type_, message
        return message

    async def rest(self) -> list[dict[str, Any]]:
        """Everything pushed so far: what comes before the answer to a command sent now."""
        await settle()
        await self.call("ping")
        taken, self.pushes = self.pushes, []
        return taken

    async def message(self) -> dict[str, Any]:
        """The next JSON message that is no heartbeat."""
        while True:
            opcode, payload = await self.frame()
            if opcode == PING:
                self.wire_pings.append(payload)
                continue
            assert opcode == TEXT, (opcode, payload)
            message: dict[str, Any] = json.loads(payload)
            if message["type"] != "ping":
                return message
            self.pings.append(message)

    async def closing(self) -> tuple[int, str]:
        """Code and reason of the close frame, whatever comes before it (kept in ``pushes``)."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()
            if opcode == TEXT:
                self.pushes.append(json.loads(payload))

    async def frame(self) -> tuple[int, bytes]:
        head = await self._take(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(await self._take(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._take(8), "big")
        return head[0] & 15, await self._take(size)

    async def _take(self, count: int) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < count:
            data = await asyncio.wait_for(loop.sock_recv(self.socket, 65536), PATIENCE_S)
            if not data:
                raise EOFError("the server closed the socket")
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


def socket_pair() -> tuple[int, Client]:
    """A descriptor for a poller to own, and the client at its far end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours.detach(), Client(theirs)


async def settle() -> None:
    """Let the loop do what is ready: sockets included."""
    for _ in range(5):
        await asyncio.sleep(0)


MakeLive = Callable[..., Awaitable[Live]]
