"""Dispatcher: decodes a text frame, runs its command handler, sends exactly one reply."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from wsserver.clock import Clock
from wsserver.errors import RateLimited, WsServerError
from wsserver.promise import Promise
from wsserver.protocol.close_codes import CloseCode
from wsserver.protocol.command_decoder import CommandDecoder, RefusedCommand
from wsserver.protocol.commands import (
    CHAT_COMMANDS,
    MONITOR_COMMANDS,
    Command,
)
from wsserver.protocol.envelope import Ref, peek
from wsserver.protocol.pushes import error_reply, reply
from wsserver.realtime.connections.connection import Backlog, ConnectionInfo, ReplyTo
from wsserver.realtime.connections.rate_limit import MessageRate, TokenBucket
from wsserver.realtime.observability.statistics import Statistics
from wsserver.storage.engine.fair_queue import read_for
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

FULL_BACKLOG_MS = 1000
"""When a command may be tried again whose connection has a full backlog."""

Answer = tuple[str, dict[str, Any]]
"""A reply's type and members."""
Outcome = Answer | None
Handler = Callable[[ConnectionInfo, Any], Outcome | Awaitable[Outcome]]
"""Returns the answer; or a coroutine, behind which the connection's next commands queue up; or a
promise, for which they do not wait, because the order of effects is settled already."""


class _InternalError(WsServerError):
    code = "internal_error"


class Dispatcher:
    """Runs the commands of each connection one after the other, each answered exactly once.

    A handler that returns its answer costs no task. While a coroutine runs, the connection's next
    frames go into its backlog; a full one pauses reading from the socket until it is empty.
    """

    def __init__(
        self, limit: MessageRate, statistics: Statistics, clock: Clock, tasks: Tasks
    ) -> None:
        self._handlers: dict[str, Handler] = {}
        self._monitor_handlers: dict[str, Handler] = {}
        self._commands: dict[str, type[Command]] = dict(CHAT_COMMANDS)
        self._monitor_commands: dict[str, type[Command]] = dict(MONITOR_COMMANDS)
        self._chat = (CommandDecoder(self._commands), self._handlers)
        self._monitor = (CommandDecoder(self._monitor_commands), self._monitor_handlers)
        self._limit = limit
        self._statistics = statistics
        self._clock = clock
        self._tasks = tasks

    @property
    def command_types(self) -> tuple[set[str], set[str]]:
        """The command types that have a handler: on all endpoints, and on a monitor's."""
        return set(self._handlers), set(self._monitor_handlers)

    def add_commands(self, kinds: Mapping[str, type[Command]]) -> None:
        """Accept more types of commands, on all endpoints; ``add_handlers`` has their handlers."""
        self._commands.update(kinds)
        self._monitor_commands.update(kinds)

    def add_handlers(self, handlers: Mapping[str, Handler]) -> None:
        """Register handlers by command type, for all endpoints."""
        self._handlers.update(handlers)
        self._monitor_handlers.update(handlers)

    def add_monitor_handlers(self, handlers: Mapping[str, Handler]) -> None:
        """Register handlers by command type, for ``/ws/admin/monitor`` only."""
        self._monitor_handlers.update(handlers)

    def receive(
        self, connection: ConnectionInfo, payload: bytes, reply_to: ReplyTo | None = None
    ) -> None:
        """Handle the payload of a text message.

        ``reply_to`` gets the reply of a command that came in a request of its own; without it the
        reply is written to the connection.
        """
        self._statistics.messages_received += 1
        wait_ms = self.spend(connection)
        if wait_ms:
            self._refuse_for_rate(connection, payload, wait_ms, reply_to)
        elif (backlog := connection.backlog) is None or peek(payload)[0] == "pong":
            # A pong overtakes: the slow command may be the very ping that it answers.
            self._run(connection, payload, reply_to)
        elif backlog.is_full and reply_to is not None:
            self._refuse_for_rate(connection, payload, FULL_BACKLOG_MS, reply_to)
        else:
            backlog.append(payload, reply_to)
            if backlog.is_full and reply_to is None:
                connection.websocket.pause_reading()

    def spend(self, connection: ConnectionInfo) -> int:
        """Count one message against the rate limit: 0, or the milliseconds to wait.

        Closes a connection (4029) that keeps exceeding the limit.
        """
        now = self._clock.monotonic()
        bucket = connection.bucket
        if bucket is None:
            bucket = connection.bucket = TokenBucket(self._limit, now)
        wait_ms = bucket.take(self._limit, now)
        if wait_ms and bucket.exceeds_refusals(now):
            connection.close(CloseCode.RATE_LIMIT, "too many messages, slow down")
        return wait_ms

    def _refuse_for_rate(
        self, connection: ConnectionInfo, payload: bytes, wait_ms: int, reply_to: ReplyTo | None
    ) -> None:
        self._statistics.refused_commands += 1
        type_, ref = peek(payload)
        is_replied = type_ != "pong" and connection.is_alive
        text = error_reply(RateLimited(wait_ms), ref) if is_replied else None
        self._send(connection, text, reply_to)

    def _run(self, connection: ConnectionInfo, payload: bytes, reply_to: ReplyTo | None) -> bool:
        """Run a command; True: it is a slow one, behind which the connection's next ones wait."""
        decoder, handlers = self._monitor if connection.is_monitor else self._chat
        try:
            type_, command, ref = decoder.decode(payload)
        except RefusedCommand as refused:
            self._fail(connection, refused.error, refused.ref, reply_to)
            return False
        try:
            outcome = handlers[type_](connection, command)
            if outcome is None or isinstance(outcome, tuple):
                self._answer(connection, outcome, ref, reply_to)
                return False
            if isinstance(outcome, Promise):
                outcome.when_done(partial(self._settle, connection, ref, reply_to))
                return False
        except Exception as error:  # noqa: BLE001 - the edge of a command; _fail logs it
            self._fail(connection, error, ref, reply_to)
            return False
        connection.backlog = Backlog()
        self._tasks.spawn(self._finish(connection, outcome, ref, reply_to), name=f"command {type_}")
        return True

    def _settle(
        self,
        connection: ConnectionInfo,
        ref: Ref | None,
        reply_to: ReplyTo | None,
        promise: Promise[Outcome],
    ) -> None:
        """Send the answer of a resolved promise."""
        try:
            self._answer(connection, promise.result(), ref, reply_to)
        except Exception as error:  # noqa: BLE001 - the edge of a command; _fail logs it
            self._fail(connection, error, ref, reply_to)

    async def _finish(
        self,
        connection: ConnectionInfo,
        outcome: Awaitable[Outcome],
        ref: Ref | None,
        reply_to: ReplyTo | None,
    ) -> None:
        """Await a slow command, then run the commands in the backlog."""
        read_for(connection.user_id)
        try:
            self._answer(connection, await outcome, ref, reply_to)
        except Exception as error:  # noqa: BLE001 - the edge of a command; _fail logs it
            self._fail(connection, error, ref, reply_to)
        backlog, connection.backlog = connection.backlog, None
        while backlog and connection.is_alive:
            if self._run(connection, *backlog.take()):
                connection.backlog = backlog
                return
        if connection.is_alive:
            connection.websocket.resume_reading()
        while backlog:  # the connection has ended: its requests get no replies any more
            self._send(connection, None, backlog.take()[1])

    def _answer(
        self,
        connection: ConnectionInfo,
        outcome: Outcome,
        ref: Ref | None,
        reply_to: ReplyTo | None,
    ) -> None:
        text = None
        if outcome is not None and connection.is_alive:
            type_, members = outcome
            text = reply(type_, ref, members)
        self._send(connection, text, reply_to)

    def _fail(
        self,
        connection: ConnectionInfo,
        error: Exception,
        ref: Ref | None,
        reply_to: ReplyTo | None,
    ) -> None:
        if isinstance(error, WsServerError):
            self._statistics.refused_commands += 1
        else:
            self._statistics.internal_errors += 1
            log.error("command failed connection_id=%s", connection.connection_id, exc_info=error)
            error = _InternalError()
        self._send(connection, error_reply(error, ref) if connection.is_alive else None, reply_to)

    def _send(
        self, connection: ConnectionInfo, text: bytes | None, reply_to: ReplyTo | None
    ) -> None:
        """Send a reply to where it is awaited; None: there is none."""
        if text is not None:
            self._statistics.messages_sent += 1
        if reply_to is not None:
            reply_to(text)
        elif text is not None:
            connection.websocket.send_text(text)
