"""From a text frame to the handler of its command, and from its outcome to one reply."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from wsserver.clock import Clock
from wsserver.errors import RateLimited, WsServerError
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.commands import (
    CHAT_COMMANDS,
    MONITOR_COMMANDS,
    RefusedCommand,
    decode_command,
)
from wsserver.protocol.envelope import Ref, peek
from wsserver.protocol.pushes import error_reply, reply
from wsserver.realtime.connections.connection import Close, ConnectionInfo
from wsserver.realtime.connections.rate_limit import MessageRate, TokenBucket
from wsserver.realtime.messages.promise import Promise
from wsserver.realtime.observability.statistics import Statistics
from wsserver.storage.engine.fair_queue import read_for
from wsserver.tasks import Tasks
from wsserver.wire.frames import build_frame

log = logging.getLogger(__name__)

BACKLOG_LIMIT = 1024
BACKLOG_LIMIT_BYTES = 256 * 1024
"""Messages that may wait behind a slow command before the connection's reading is paused."""

Answer = tuple[str, dict[str, Any]]
"""A reply's type and members."""
Outcome = Answer | None
Handler = Callable[[ConnectionInfo, Any], Outcome | Awaitable[Outcome]]
"""Gives the answer at once; or a coroutine, behind which the connection's other commands wait; or a
promise: what has to be in order is in order already, and the next command may be looked at."""


class _InternalError(WsServerError):
    code = "internal_error"


class Backlog:
    """The messages that wait behind a connection's slow command."""

    __slots__ = ("_messages", "_size")

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Is it enough for now?"""
        return len(self._messages) >= BACKLOG_LIMIT or self._size >= BACKLOG_LIMIT_BYTES

    def append(self, payload: bytes) -> None:
        """Let one more wait."""
        self._messages.append(payload)
        self._size += len(payload)

    def take(self) -> bytes:
        """The one that has waited longest."""
        payload = self._messages.popleft()
        self._size -= len(payload)
        return payload


class Dispatcher:
    """Runs the commands of each connection one after the other, each answered exactly once.

    A handler that finishes at once costs no task. Behind one that waits, the connection's next
    frames queue up; past the limits of the backlog its socket is not read until all is worked off.
    """

    def __init__(
        self,
        handlers: dict[str, Handler],
        monitor_handlers: dict[str, Handler],
        limit: MessageRate,
        statistics: Statistics,
        clock: Clock,
        tasks: Tasks,
        close: Close,
    ) -> None:
        self._chat = (CHAT_COMMANDS, handlers)
        self._monitor = (MONITOR_COMMANDS, handlers | monitor_handlers)
        self._limit = limit
        self._statistics = statistics
        self._clock = clock
        self._tasks = tasks
        self._close = close

    def receive(self, connection: ConnectionInfo, payload: bytes) -> None:
        """Take a text message as it comes off the wire."""
        self._statistics.messages_received += 1
        wait_ms = self.spend(connection)
        if wait_ms:
            self._refuse_for_rate(connection, payload, wait_ms)
        elif connection.backlog is None or peek(payload)[0] == "pong":
            # A pong overtakes: the slow command may be the very ping that it answers.
            self._run(connection, payload)
        else:
            backlog: Backlog = connection.backlog
            backlog.append(payload)
            if backlog.is_full:
                connection.websocket.pause_reading()

    def spend(self, connection: ConnectionInfo) -> int:
        """Charge the connection for one message; 0, or how many milliseconds it is too early.

        Closes a connection that goes on and on (4029).
        """
        now = self._clock.monotonic()
        bucket = connection.bucket
        if bucket is None:
            bucket = connection.bucket = TokenBucket(self._limit, now)
        wait_ms = bucket.take(self._limit, now)
        if wait_ms and bucket.is_hopeless(now):
            self._close(connection, CloseCode.RATE_LIMIT, "too many messages, slow down")
        return wait_ms

    def _refuse_for_rate(self, connection: ConnectionInfo, payload: bytes, wait_ms: int) -> None:
        self._statistics.refused_commands += 1
        type_, ref = peek(payload)
        if type_ != "pong" and connection.is_alive:
            self._send(connection, error_reply(RateLimited(wait_ms), ref))

    def _run(self, connection: ConnectionInfo, payload: bytes) -> None:
        known, handlers = self._monitor if connection.is_monitor else self._chat
        try:
            type_, command, ref = decode_command(payload, known)
        except RefusedCommand as refused:
            self._fail(connection, refused.error, refused.ref)
            return
        try:
            outcome = handlers[type_](connection, command)
            if outcome is None or isinstance(outcome, tuple):
                self._answer(connection, outcome, ref)
                return
            if isinstance(outcome, Promise):
                outcome.when_done(partial(self._settle, connection, ref))
                return
        except Exception as error:  # noqa: BLE001 - the edge of a command; _fail logs it
            self._fail(connection, error, ref)
            return
        connection.backlog = Backlog()
        self._tasks.spawn(self._finish(connection, outcome, ref), name=f"command {type_}")

    def _settle(
        self, connection: ConnectionInfo, ref: Ref | None, promise: Promise[Outcome]
    ) -> None:
        """Answer a command that held nothing up."""
        try:
            self._answer(connection, promise.result(), ref)
        except Exception as error:  # noqa: BLE001 - the edge of a command; _fail logs it
            self._fail(connection, error, ref)

    async def _finish(
        self, connection: ConnectionInfo, outcome: Awaitable[Outcome], ref: Ref | None
    ) -> None:
        """Await a slow command, then run what has queued up behind it."""
        read_for(connection.user_id)
        try:
            self._answer(connection, await outcome, ref)
        except Exception as error:  # noqa: BLE001 - the edge of a command; _fail logs it
            self._fail(connection, error, ref)
        backlog: Backlog = connection.backlog
        connection.backlog = None
        while backlog and connection.is_alive:
            self._run(connection, backlog.take())
            if connection.backlog is not None:  # another slow one: the rest goes on waiting
                connection.backlog = backlog
                return
        if connection.is_alive:
            connection.websocket.resume_reading()

    def _answer(self, connection: ConnectionInfo, outcome: Outcome, ref: Ref | None) -> None:
        if outcome is not None and connection.is_alive:
            type_, members = outcome
            self._send(connection, reply(type_, ref, **members))

    def _fail(self, connection: ConnectionInfo, error: Exception, ref: Ref | None) -> None:
        if isinstance(error, WsServerError):
            self._statistics.refused_commands += 1
        else:
            self._statistics.internal_errors += 1
            log.error("command failed connection_id=%s", connection.connection_id, exc_info=error)
            error = _InternalError()
        if connection.is_alive:
            self._send(connection, error_reply(error, ref))

    def _send(self, connection: ConnectionInfo, text: bytes) -> None:
        self._statistics.messages_sent += 1
        connection.websocket.send(build_frame(text))
