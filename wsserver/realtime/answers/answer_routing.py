"""``AnswerRouting``: brings calls about an answer, on any node, to the one that owns it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from wsserver.cluster.control import Control, Request
from wsserver.errors import (
    NodeUnreachable,
    NotFound,
    RelayedError,
    StorageUnavailable,
    WsServerError,
)
from wsserver.promise import Promise
from wsserver.protocol.contents import GROWING
from wsserver.protocol.types import JsonObject
from wsserver.realtime.answers.owned_answer import (
    Ending,
    OwnedAnswer,
    appended_after_end,
    ended_after_end,
)
from wsserver.realtime.answers.owned_answers import OwnedAnswers
from wsserver.storage.messages.answers import AnswerMoved, AnswerRow, AnswerStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

T = TypeVar("T")

APPEND_S = 1.0
END_S = 5.0
"""Time for another node: the end is stored before it is answered."""
WAITING_LIMIT = 1000
"""Appends of one answer that may wait for its owner."""
AT_ONCE = 100
"""Appends of one answer in one call of its owner."""
ATTEMPTS = 3
"""How often the owner is looked up anew."""


class Refusal(Struct, frozen=True):
    """An error of the owner."""

    code: str
    message: str
    details: dict[str, Any]


class Outcome(Struct, frozen=True):
    """The answer to a call, or why it was refused."""

    answer: dict[str, Any] | None = None
    refusal: Refusal | None = None


Result = JsonObject | WsServerError
"""An ``Outcome`` as callers on this node get it."""


class Append(NamedTuple):
    """An append that was not answered yet."""

    seq: int
    text: str


class AppendToAnswer(Request[list[Outcome] | None], frozen=True):
    """Appends to an answer, in their order; None: the node does not own it."""

    message_id: str
    appends: list[Append]


class EndAnswer(Request[Outcome | None], frozen=True):
    """The end of an answer; None: the node does not own it."""

    message_id: str
    ending: Ending


class AnswerNow(Struct, frozen=True):
    """A growing answer as its owner has it."""

    row: AnswerRow
    content: str


class ReadAnswer(Request[AnswerNow | None], frozen=True):
    """A growing answer; None: the node does not own it."""

    message_id: str


class AnswerRouting:
    """Finds the owner of an answer, and calls it there.

    Without another node, or with an owner here, an append is answered at once. All others of an
    answer wait in one queue, so that they reach the owner in their order. Where the owner is lost,
    this node takes the answer over as soon as that is certain (``SqlLeases``); until then calls are
    refused with ``node_unreachable``.
    """

    def __init__(
        self, owned: OwnedAnswers, store: AnswerStore, control: Control, tasks: Tasks
    ) -> None:
        self._owned = owned
        self._store = store
        self._control = control
        self._tasks = tasks
        self._queues: dict[str, deque[tuple[Append, Promise[JsonObject]]]] = {}
        control.add_handler(AppendToAnswer, self._append_here)
        control.add_handler(EndAnswer, self._end_here)
        control.add_handler(ReadAnswer, self._read_here)

    def append(self, message_id: str, seq: int, text: str) -> JsonObject | Promise[JsonObject]:
        """Append to an answer; what it answers, now or later.

        Raises as ``OwnedAnswers.append``, ``AnswerEnded``, ``NotFound``, ``NodeUnreachable``, as
        the promise may.
        """
        queue = self._queues.get(message_id)
        if queue is None:
            answer = self._owned.get(message_id)
            if answer is not None and answer.ending is None:
                accepted = self._owned.append(answer, seq, text)
                return {"seq": accepted.seq, "length": accepted.length}
            queue = self._queues[message_id] = deque()
            self._tasks.spawn(self._work_off(message_id, queue), name=f"append {message_id}")
        if len(queue) >= WAITING_LIMIT:
            raise _unreachable(message_id)
        promise: Promise[JsonObject] = Promise()
        queue.append((Append(seq, text), promise))
        return promise

    async def end(self, message_id: str, ending: Ending) -> JsonObject:
        """End an answer; raises as ``OwnedAnswers.end``, and as ``append``."""

        async def here(answer: OwnedAnswer) -> JsonObject:
            return await self._owned.end(answer, ending)

        async def there(node: str) -> JsonObject | None:
            asked = await self._control.ask(node, EndAnswer(message_id, ending), END_S)
            if node not in asked.by_node:
                raise _unreachable(message_id)
            outcome = asked.by_node[node]
            if outcome is None:
                return None
            result = result_of(outcome)
            if isinstance(result, WsServerError):
                raise result
            return result

        return await self._call(message_id, here, there, lambda row: ended_after_end(row, ending))

    async def read(self, message_id: str) -> AnswerNow:
        """A growing answer from its owner, or an ended one without its text."""

        async def here(answer: OwnedAnswer) -> AnswerNow:
            return self._now(answer)

        async def there(node: str) -> AnswerNow | None:
            asked = await self._control.ask(node, ReadAnswer(message_id), APPEND_S)
            if node not in asked.by_node:
                raise _unreachable(message_id)
            return asked.by_node[node]

        return await self._call(message_id, here, there, lambda row: AnswerNow(row, ""))

    # Looking up

    async def _call(
        self,
        message_id: str,
        here: Callable[[OwnedAnswer], Awaitable[T]],
        there: Callable[[str], Awaitable[T | None]],
        ended: Callable[[AnswerRow], T],
    ) -> T:
        """Call ``here`` or ``there`` with the owner, or ``ended`` with the row of its end."""
        for _ in range(ATTEMPTS):
            answer = self._owned.get(message_id)
            if answer is not None:
                if answer.ending is not None:
                    await asyncio.wait([answer.ending])
                    continue
                try:
                    return await here(answer)
                except AnswerMoved:
                    continue
            row = await self._store.find(message_id)
            if row is None:
                raise NotFound("answer", message_id)
            if row.state != GROWING:
                return ended(row)
            if await self._is_found_here(row):
                continue
            try:
                outcome = await there(row.node)
            except NodeUnreachable:
                await self._owned.take_over(message_id)
                if self._owned.get(message_id) is None:
                    raise
                continue
            if outcome is not None:
                return outcome
            await self._owned.take_over(message_id)
        raise _unreachable(message_id)

    async def _is_found_here(self, row: AnswerRow) -> bool:
        """Whether an answer that is not known here is this node's nevertheless."""
        if row.owner == self._store.owner:
            for stored in await self._store.read([row.message_id]):
                self._owned.find(stored)
        elif row.node == self._control.node:  # of an earlier process of this name
            await self._owned.take_over(row.message_id)
        return self._owned.get(row.message_id) is not None

    # Appends

    async def _work_off(
        self, message_id: str, queue: deque[tuple[Append, Promise[JsonObject]]]
    ) -> None:
        """Bring the waiting appends of one answer to its owner."""
        batch: list[tuple[Append, Promise[JsonObject]]] = []
        try:
            while queue:
                batch = [queue.popleft() for _ in range(min(len(queue), AT_ONCE))]
                results = await self._append_all(message_id, [append for append, _ in batch])
                for (_, promise), result in zip(batch, results, strict=True):
                    _settle(promise, result)
                batch = []
        finally:
            del self._queues[message_id]
            for _, promise in [*batch, *queue]:  # only where this task was cancelled
                if not promise.done():
                    promise.reject(StorageUnavailable("the server is stopping"))

    async def _append_all(self, message_id: str, appends: list[Append]) -> list[Result]:
        async def here(answer: OwnedAnswer) -> list[Result]:
            return self._append_to(answer, appends)

        async def there(node: str) -> list[Result] | None:
            asked = await self._control.ask(node, AppendToAnswer(message_id, appends), APPEND_S)
            if node not in asked.by_node:
                raise _unreachable(message_id)
            outcomes = asked.by_node[node]
            return None if outcomes is None else [result_of(each) for each in outcomes]

        def ended(row: AnswerRow) -> list[Result]:
            return [_try(partial(appended_after_end, row, *append)) for append in appends]

        try:
            return await self._call(message_id, here, there, ended)
        except WsServerError as error:
            return [error] * len(appends)
        except Exception:  # the edge of a task: the callers have to be answered
            log.exception("appends failed message_id=%s", message_id)
            return [StorageUnavailable("not appended")] * len(appends)

    def _append_to(self, answer: OwnedAnswer, appends: list[Append]) -> list[Result]:
        def append(each: Append) -> JsonObject:
            accepted = self._owned.append(answer, *each)
            return {"seq": accepted.seq, "length": accepted.length}

        return [_try(partial(append, each)) for each in appends]

    # From other nodes

    async def _append_here(self, request: AppendToAnswer) -> list[Outcome] | None:
        answer = await self._owned_now(request.message_id)
        if answer is None:
            return None
        return [outcome_of(each) for each in self._append_to(answer, request.appends)]

    async def _end_here(self, request: EndAnswer) -> Outcome | None:
        answer = await self._owned_now(request.message_id)
        if answer is None:
            return None
        try:
            return outcome_of(await self._owned.end(answer, request.ending))
        except AnswerMoved:
            return None
        except WsServerError as error:
            return outcome_of(error)

    async def _read_here(self, request: ReadAnswer) -> AnswerNow | None:
        answer = self._owned.get(request.message_id)
        return None if answer is None else self._now(answer)

    async def _owned_now(self, message_id: str) -> OwnedAnswer | None:
        """An answer that this node owns, once it is not ending."""
        while (answer := self._owned.get(message_id)) is not None and answer.ending is not None:
            await asyncio.wait([answer.ending])
        return answer

    def _now(self, answer: OwnedAnswer) -> AnswerNow:
        return AnswerNow(answer.row(self._store.owner, self._control.node), answer.text.content)


def outcome_of(result: Result) -> Outcome:
    """A result for another node."""
    if isinstance(result, WsServerError):
        return Outcome(refusal=Refusal(result.code, result.message, result.details))
    return Outcome(result)


def result_of(outcome: Outcome) -> Result:
    """A result of another node."""
    if outcome.refusal is not None:
        return RelayedError(outcome.refusal.code, outcome.refusal.message, outcome.refusal.details)
    return outcome.answer or {}


def _unreachable(message_id: str) -> NodeUnreachable:
    return NodeUnreachable(
        f"the node of answer {message_id} does not answer; if it is lost, another one goes on",
        retry_after_s=2,
    )


def _try(call: Callable[[], JsonObject]) -> Result:
    try:
        return call()
    except WsServerError as error:
        return error


def _settle(promise: Promise[JsonObject], result: Result) -> None:
    if isinstance(result, WsServerError):
        promise.reject(result)
    else:
        promise.resolve(result)
