"""``CommandChannels``: runs the commands of event streams, on whichever node these are.

The client of an event stream sends its commands in requests, which any node may get. They are run
as if they had come on the connection itself: one after the other, with its limits.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from wsserver.cluster.control import Control, Request
from wsserver.cluster.nodes import Nodes
from wsserver.errors import NodeUnreachable, NotFound, TokenMissing, WsServerError
from wsserver.realtime.connections.channel import Channel
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.wire.event_stream import EventStream
from wsserver.wire.poller import Poller

PATIENCE_S: Final = 30.0
"""Time that another node has for the commands of one request."""


class CommandReplies(Struct, frozen=True):
    """The replies to commands, in their order."""

    replies: list[bytes | None]
    """None for a command without a reply."""
    is_known: bool = True
    """False: there is no event stream with this channel and user."""


UNKNOWN: Final = CommandReplies([], is_known=False)


class RunCommands(Request[CommandReplies], frozen=True):
    """Run commands for an event stream of the node that is asked."""

    connection_id: str
    secret: str
    user_id: str | None
    """None: the request has no token."""
    commands: list[bytes]


class CommandChannels:
    """Passes commands on to the node of their event stream, and returns the replies."""

    def __init__(
        self, control: Control, nodes: Nodes, hub: Hub, dispatcher: Dispatcher, poller: Poller
    ) -> None:
        self._control = control
        self._nodes = nodes
        self._hub = hub
        self._dispatcher = dispatcher
        self._poller = poller
        control.add_handler(RunCommands, self._run)

    async def run(
        self, user_id: str | None, channel: Channel, commands: Sequence[bytes]
    ) -> list[bytes | None]:
        """Run commands; returns a reply, or None, for each.

        ``user_id`` is None without a token, which is enough for streams that were opened without
        one. Raises ``NotFound`` if no event stream of this user has the channel, ``TokenMissing``,
        ``NodeUnreachable`` if its node does not answer: then some of them may have been run.
        """
        if not await self._nodes.may_answer(channel.node):
            raise _unknown(channel, user_id)
        request = RunCommands(channel.connection_id, channel.secret, user_id, list(commands))
        answers = await self._control.ask(channel.node, request, PATIENCE_S)
        answer = answers.by_node.get(channel.node)
        if answer is None:
            raise NodeUnreachable("the node of this event stream does not answer")
        if not answer.is_known:
            raise _unknown(channel, user_id)
        return answer.replies

    async def _run(self, request: RunCommands) -> CommandReplies:
        connection = self._hub.connections.get(request.connection_id)
        stream = None if connection is None else connection.websocket
        if connection is None or not isinstance(stream, EventStream):
            return UNKNOWN
        is_theirs = connection.user_id == request.user_id or (
            request.user_id is None and not stream.needs_token
        )
        if not is_theirs or not _is_secret(stream, request.secret):
            return UNKNOWN
        before = stream.cursor
        loop = asyncio.get_running_loop()
        replies: list[asyncio.Future[bytes | None]] = []
        for command in request.commands:
            reply: asyncio.Future[bytes | None] = loop.create_future()
            replies.append(reply)
            self._dispatcher.receive(connection, command, partial(_resolve, reply))
        answered = CommandReplies([await reply for reply in replies])
        tap = self._poller.tap_of(stream)
        if tap is not None:
            for command, text in zip(request.commands, answered.replies, strict=True):
                tap.note_command(command, text)
        if stream.cursor != before:
            stream.send_cursor()  # a session was joined or left: the browser has to know
        return answered


def _is_secret(stream: EventStream, secret: str) -> bool:
    return hmac.compare_digest(stream.secret.encode(), secret.encode())


def _resolve(reply: asyncio.Future[bytes | None], text: bytes | None) -> None:
    if not reply.done():  # the request was given up meanwhile
        reply.set_result(text)


def _unknown(channel: Channel, user_id: str | None) -> WsServerError:
    """One answer for an event stream that has ended, and for a channel that was made up."""
    if user_id is None:
        return TokenMissing()
    return NotFound("event stream", channel.connection_id, "it has ended, or is of somebody else")
