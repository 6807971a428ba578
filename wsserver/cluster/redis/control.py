"""``RedisControl``: requests and notices between nodes, over the bus."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar, get_args

import msgspec

from wsserver.cluster.control import Answers, Notice, Request
from wsserver.cluster.redis.bus import Bus
from wsserver.cluster.redis.outgoing import Datagram
from wsserver.errors import WsServerError
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

R = TypeVar("R")

ECHO_S = 2.0
"""Time for an own datagram to come back; without it nothing is known about other nodes."""
SLICE_S = 0.1
LATE_S = 3.0
"""A request that may have been on its way for longer is late: the requester waits no more."""


class _Call(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A request or notice on the wire."""

    name: str
    fields: msgspec.Raw


class _Answer(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The answer of a node."""

    is_ok: bool
    value: msgspec.Raw


class _Open:
    """A request whose answers are awaited."""

    def __init__(self, asked: Collection[str]) -> None:
        self.missing = set(asked)
        self.failed: set[str] = set()
        """Those that have answered with an error."""
        self.values: dict[str, bytes] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def note(self, node: str, answer: _Answer) -> None:
        """A node has answered; a failed one stays missing, but is not waited for."""
        if node not in self.missing or node in self.values:
            return
        if answer.is_ok:
            self.values[node] = bytes(answer.value)
            self.missing.discard(node)
        else:
            self.failed.add(node)
        if not self.missing - self.failed and not self.done.done():
            self.done.set_result(None)


class RedisControl:
    """Asks the nodes that ``living`` names, within a deadline."""

    has_others = True
    all_nodes = "*"

    def __init__(self, bus: Bus, living: Callable[[], Awaitable[Collection[str]]]) -> None:
        self.node = bus.node
        self._bus = bus
        self._living = living
        self._tasks = Tasks()
        self._handlers: dict[str, tuple[type[Request[Any]], Callable[[Any], Any]]] = {}
        self._listeners: dict[str, list[Callable[[Any], None]]] = {}
        self._notices: dict[str, type[Notice]] = {}
        self._open: dict[int, _Open] = {}
        self._is_stopped = False
        bus.on("request", self._requested)
        bus.on("answer", self._answered)
        bus.on("notice", self._noticed)

    def add_handler(
        self, kind: type[Request[R]], handler: Callable[[Any], R | Awaitable[R]]
    ) -> None:
        """Register the handler of a kind of request."""
        self._handlers[kind.__name__] = kind, handler

    def add_listener(self, kind: type[Notice], listener: Callable[[Any], None]) -> None:
        """Register the listener of a kind of notice."""
        self._notices[kind.__name__] = kind
        self._listeners.setdefault(kind.__name__, []).append(listener)

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after a reconnect."""
        self._bus.on_gap(listener)

    async def start(self) -> None:
        """Connect."""
        await self._bus.start()

    async def stop(self) -> None:
        """End running handlers and answer no more; open requests end as unreachable."""
        self._is_stopped = True
        await self._tasks.cancel()
        for request in self._open.values():
            if not request.done.done():
                request.done.set_result(None)

    async def is_up_within(self, timeout_s: float) -> bool:
        """Wait until other nodes can be asked and notified; False if they cannot be in time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not self._bus.is_up:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def can_notify(self) -> bool:
        """Whether a datagram comes back, which was sent now."""
        return await self._bus.echo(ECHO_S)

    async def ask_all(self, request: Request[R], timeout_s: float = 1.0) -> Answers[R]:
        """Ask every living node; the own handler runs first."""
        others = [node for node in await self._living() if node != self.node]
        return await self._ask(request, others, timeout_s, with_own=True)

    async def ask(self, node: str, request: Request[R], timeout_s: float = 1.0) -> Answers[R]:
        """Ask one node."""
        is_own = node == self.node
        return await self._ask(request, [] if is_own else [node], timeout_s, with_own=is_own)

    async def ask_patiently(
        self, node: str, request: Request[R], timeout_s: float
    ) -> Answers[R] | None:
        """Ask one node; the time runs from when the server has passed the request on.

        It is counted in slices, so that a standstill of this process costs one slice only. None if
        the server is too slow to say anything about the node.
        """
        asked = asyncio.create_task(self.ask(node, request, ECHO_S + timeout_s + SLICE_S))
        try:
            await asyncio.sleep(0)  # the request is sent before the echo
            if node != self.node and not await self._bus.echo(ECHO_S):
                return None
            for _ in range(round(timeout_s / SLICE_S)):
                await asyncio.wait({asked}, timeout=SLICE_S)
                if asked.done():
                    return await asked
            return Answers({}, (node,))
        finally:
            asked.cancel()

    def notify(self, notice: Notice) -> None:
        """Notify every node, this one first."""
        self.notify_here(notice)
        self._bus.send(self._bus.all_nodes, "notice", _encoded(notice))

    def notify_here(self, notice: Notice) -> None:
        """Call the listeners of this node."""
        for listener in self._listeners.get(type(notice).__name__, ()):
            listener(notice)

    async def _ask(
        self, request: Request[R], others: Collection[str], timeout_s: float, *, with_own: bool
    ) -> Answers[R]:
        asked = _Open(others)
        id_ = self._bus.new_id()
        if others:
            self._open[id_] = asked
            body = _encoded(request)
            for node in others:
                self._bus.send(self._bus.channel_of(node), "request", body, id_)
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            answers: dict[str, R] = {}
            if with_own:
                answers[self.node] = await self._run(type(request).__name__, request)
            left_s = max(0.0, deadline - asyncio.get_running_loop().time())
            if others and self._bus.is_up:
                await asyncio.wait({asked.done}, timeout=left_s)
        finally:
            self._open.pop(id_, None)
        answer_type = _answer_type(type(request))
        for node in sorted(asked.values):
            answers[node] = msgspec.msgpack.decode(asked.values[node], type=answer_type)
        return Answers(answers, tuple(sorted(asked.missing)))

    async def _run(self, name: str, request: Any) -> Any:
        answer = self._handlers[name][1](request)
        return await answer if inspect.isawaitable(answer) else answer

    def _requested(self, datagram: Datagram) -> None:
        if self._is_stopped:
            return
        self._tasks.spawn(self._answer(datagram, self._bus.delay_s), name="cluster request")

    async def _answer(self, datagram: Datagram, delay_s: float) -> None:
        answer = _Answer(False, msgspec.Raw(b"\xc0"))  # MessagePack's nil
        name = "?"
        try:
            call = msgspec.msgpack.decode(datagram.body, type=_Call)
            name = call.name
            if call.name in self._handlers:
                kind = self._handlers[call.name][0]
                if kind.is_void_late and delay_s > LATE_S:
                    log.warning(
                        "request of another node came late, not handled name=%s node=%s",
                        name,
                        datagram.node,
                    )
                    return
                value = await self._run(call.name, msgspec.msgpack.decode(call.fields, type=kind))
                answer = _Answer(True, msgspec.Raw(msgspec.msgpack.encode(value)))
        except WsServerError as error:  # as when the database is away
            log.warning(
                "request of another node failed name=%s node=%s code=%s error=%s",
                name,
                datagram.node,
                error.code,
                error,
            )
        except Exception:  # reported to the asking node as a failure of this one
            log.exception("request of another node failed name=%s node=%s", name, datagram.node)
        channel = self._bus.channel_of(datagram.node)
        self._bus.send(channel, "answer", msgspec.msgpack.encode(answer), datagram.id)

    def _answered(self, datagram: Datagram) -> None:
        request = self._open.get(datagram.id)
        if request is not None:
            request.note(datagram.node, msgspec.msgpack.decode(datagram.body, type=_Answer))

    def _noticed(self, datagram: Datagram) -> None:
        if datagram.node == self.node:
            return
        call = msgspec.msgpack.decode(datagram.body, type=_Call)
        kind = self._notices.get(call.name)
        if kind is not None:
            self.notify_here(msgspec.msgpack.decode(call.fields, type=kind))


def _encoded(call: msgspec.Struct) -> bytes:
    fields = msgspec.Raw(msgspec.msgpack.encode(call))
    return msgspec.msgpack.encode(_Call(type(call).__name__, fields))


def _answer_type(kind: type[Request[Any]]) -> Any:
    """The ``R`` of a subclass of ``Request[R]``."""
    return get_args(kind.__orig_bases__[0])[0]  # type: ignore[attr-defined]
