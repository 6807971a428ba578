"""``Reply``: one answer of an AI in a session, from the provider's pieces to a growing message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from msgspec import UNSET, UnsetType

from wsserver.errors import AnswerEnded, NotFound, TermChanged, WsServerError
from wsserver.extensions.responders.options import ResponderOptions
from wsserver.extensions.responders.pieces import Piece, Text, Usage
from wsserver.identity.claims import LATEST_S, Claims
from wsserver.protocol.answers import (
    AnswerAppendRequest,
    AnswerCancelRequest,
    AnswerFinishRequest,
    AnswerRequest,
)
from wsserver.protocol.requests import Sender
from wsserver.protocol.types import JsonObject
from wsserver.realtime.access.actor import Actor

log = logging.getLogger(__name__)

REASON_LIMIT = 200


class AnswerApi(Protocol):
    """Answers that grow; ``realtime.operations.answers.Answers`` implements it."""

    async def start(self, actor: Actor, session_id: str, request: AnswerRequest) -> JsonObject:
        """Begin an answer."""
        ...

    def append(
        self, actor: Actor, message_id: str, request: AnswerAppendRequest
    ) -> JsonObject | Awaitable[JsonObject]:
        """Append text."""
        ...

    async def finish(
        self, actor: Actor, message_id: str, request: AnswerFinishRequest
    ) -> JsonObject:
        """End it."""
        ...

    async def cancel(
        self, actor: Actor, message_id: str, request: AnswerCancelRequest
    ) -> JsonObject:
        """Cancel it."""
        ...


class Stopped(Exception):
    """The answer was ended by somebody else, or the session has another holder: stop asking."""


class Who(NamedTuple):
    """Whose messages the answers are."""

    responder: str
    user_id: str
    username: str | None

    @property
    def actor(self) -> Actor:
        """The producer of the answers, as a backend would be."""
        claims = Claims(sub=self.user_id, exp=LATEST_S, role="service")
        return Actor(claims, request_id=f"responder:{self.responder}", via="server")

    @property
    def sender(self) -> Sender:
        """The sender of the messages."""
        return Sender(user_id=self.user_id, username=self.username, role="ai")


def who_of(name: str, options: ResponderOptions) -> Who:
    """Whose messages the answers of a responder are: by default a user with its name."""
    if options.sender is None:
        return Who(name, name, None)
    return Who(name, options.sender.user_id, options.sender.username)


class Reply:
    """Feeds a growing answer; it begins with the first text.

    ``on_begin`` is called with its message id before more text follows.
    """

    def __init__(
        self,
        answers: AnswerApi,
        who: Who,
        session_id: str,
        term: int,
        on_begin: Callable[[str], Awaitable[None]],
    ) -> None:
        self._answers = answers
        self._who = who
        self._session_id = session_id
        self._term = term
        self._on_begin = on_begin
        self._seq = 0
        self._texts: list[str] = []
        self._beginning: asyncio.Future[None] | None = None
        self.message_id: str | None = None
        """None: nothing has been shown."""
        self.usage: dict[str, Any] = {}
        """As the provider counts."""

    async def take(self, piece: Piece) -> None:
        """Show a piece. Raises ``Stopped`` if the answer was ended or the holder has changed."""
        if isinstance(piece, Usage):
            self.usage.update(piece.counts)
        elif isinstance(piece, Text) and piece.text:
            try:
                await self._show(piece.text)
            except (AnswerEnded, TermChanged, NotFound) as error:
                raise Stopped from error

    async def finish(self, usage: JsonObject) -> None:
        """The answer is whole."""
        noted: JsonObject | UnsetType = usage or UNSET
        try:
            await self._end(AnswerFinishRequest(usage=noted, seq=self._seq))
        except WsServerError as error:
            if error.code != "out_of_order":
                raise
            # The node that had the answer is lost, and with it the latest texts.
            await self._end(AnswerFinishRequest(usage=noted, content="".join(self._texts)))

    async def fail(self, reason: str, usage: JsonObject) -> None:
        """The provider has failed in the middle of it."""
        reason = reason[:REASON_LIMIT]
        await self._end(AnswerFinishRequest(state="failed", reason=reason, usage=usage or UNSET))

    async def report(self, usage: JsonObject) -> None:
        """Count what it has used, after it was ended by others."""
        if not usage:
            return
        try:
            await self.fail("stopped", usage)
        except Stopped:
            return
        except WsServerError as error:
            log.warning(
                "usage of an answer not counted message_id=%s error=%s", self.message_id, error
            )

    async def settle(self) -> None:
        """Wait until it has begun, if that is under way: it may be interrupted meanwhile."""
        if self._beginning is not None:
            await asyncio.wait([self._beginning])
            self._beginning.exception()  # if it has not begun, there is nothing to end

    async def cancel(self, reason: str) -> None:
        """It is not wanted any more."""
        await self.settle()
        if self.message_id is not None:
            await cancel_answer(self._answers, self._who.actor, self.message_id, reason)

    async def _show(self, text: str) -> None:
        if self.message_id is None:
            # Interrupted before its id is stored, the answer would never be ended.
            self._beginning = asyncio.ensure_future(self._begin(text))
            await asyncio.shield(self._beginning)
            return
        self._seq += 1
        self._texts.append(text)
        done = self._answers.append(
            self._who.actor, self.message_id, AnswerAppendRequest(seq=self._seq, text=text)
        )
        if isinstance(done, Awaitable):
            await done

    async def _begin(self, text: str) -> None:
        request = AnswerRequest(sender=self._who.sender, content=text, term=self._term)
        begun = await self._answers.start(self._who.actor, self._session_id, request)
        self.message_id = begun["message_id"]
        self._texts.append(text)
        await self._on_begin(begun["message_id"])

    async def _end(self, request: AnswerFinishRequest) -> None:
        if self.message_id is None:
            return
        try:
            await self._answers.finish(self._who.actor, self.message_id, request)
        except (AnswerEnded, NotFound) as error:
            raise Stopped from error


async def cancel_answer(answers: AnswerApi, actor: Actor, message_id: str, reason: str) -> None:
    """Cancel an answer that may have ended or been deleted."""
    try:
        await answers.cancel(actor, message_id, AnswerCancelRequest(reason=reason))
    except (AnswerEnded, NotFound):
        return
