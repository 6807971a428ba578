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
from wsserver.errors import NodeUnreachable, NotFound
from wsserver.identity.claims import Claims
from wsserver.realtime.connections.channel import Channel
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.wire.event_stream import EventStream

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
    user_id: str
    commands: list[bytes]


class CommandChannels:
    """Passes commands on to the node of their event stream, and returns the replies."""

    def __init__(self, control: Control, nodes: Nodes, hub: Hub, dispatcher: Dispatcher) -> None:
        self._control = control
        self._nodes = nodes
        self._hub = hub
        self._dispatcher = dispatcher
        control.add_handler(RunCommands, self._run)

    async def run(
        self, claims: Claims, channel: Channel, commands: Sequence[bytes]
    ) -> list[bytes | None]:
        """Run commands; returns a reply, or None, for each.

        Raises ``NotFound`` if no event stream of this user has the channel, ``NodeUnreachable`` if
        its node does not answer: then some of them may have been run.
        """
        if not await self._nodes.may_answer(channel.node):
            raise _unknown(channel)
        request = RunCommands(channel.connection_id, channel.secret, claims.sub, list(commands))
        answers = await self._control.ask(channel.node, request, PATIENCE_S)
        answer = answers.by_node.get(channel.node)
        if answer is None:
            raise NodeUnreachable("the node of this event stream does not answer")
        if not answer.is_known:
            raise _unknown(channel)
        return answer.replies

    async def _run(self, request: RunCommands) -> CommandReplies:
        connection = self._hub.connections.get(request.connection_id)
        stream = None if connection is None else connection.websocket
        if connection is None or not isinstance(stream, EventStream):
            return UNKNOWN
        if connection.user_id != request.user_id or not _is_secret(stream, request.secret):
            return UNKNOWN
        before = stream.cursor
        loop = asyncio.get_running_loop()
        replies: list[asyncio.Future[bytes | None]] = []
        for command in request.commands:
            reply: asyncio.Future[bytes | None] = loop.create_future()
            replies.append(reply)
            self._dispatcher.receive(connection, command, partial(_resolve, reply))
        answered = CommandReplies([await reply for reply in replies])
        if stream.cursor != before:
            stream.send_cursor()  # a session was joined or left: the browser has to know
        return answered


def _is_secret(stream: EventStream, secret: str) -> bool:
    return hmac.compare_digest(stream.secret.encode(), secret.encode())


def _resolve(reply: asyncio.Future[bytes | None], text: bytes | None) -> None:
    if not reply.done():  # the request was given up meanwhile
        reply.set_result(text)


def _unknown(channel: Channel) -> NotFound:
    """One answer for an event stream that has ended, and for a channel that was made up."""
    return NotFound("event stream", channel.connection_id, "it has ended, or is of somebody else")
