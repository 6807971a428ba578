"""A reply that is interrupted: no answer goes on growing that nobody knows of."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wsserver.errors import TermChanged
from wsserver.extensions.responders.conversation import growing_in
from wsserver.extensions.responders.pieces import Text
from wsserver.extensions.responders.reply import Reply, Stopped, Who
from wsserver.protocol.answers import (
    AnswerAppendRequest,
    AnswerCancelRequest,
    AnswerFinishRequest,
    AnswerRequest,
)
from wsserver.realtime.access.actor import Actor


class SlowAnswers:
    """Answers that begin when ``gate`` is set; ``ended``: those that were cancelled."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.ended: list[str] = []
        self._fault = fault

    async def start(self, actor: Actor, session_id: str, request: AnswerRequest) -> Any:
        await self.gate.wait()
        if self._fault is not None:
            raise self._fault
        return {"message_id": "m1"}

    async def append(self, actor: Actor, message_id: str, request: AnswerAppendRequest) -> Any:
        raise AssertionError("nothing is appended")

    async def finish(self, actor: Actor, message_id: str, request: AnswerFinishRequest) -> Any:
        raise AssertionError("it is not finished")

    async def cancel(self, actor: Actor, message_id: str, request: AnswerCancelRequest) -> Any:
        self.ended.append(message_id)


async def interrupted(answers: SlowAnswers) -> tuple[Reply, list[str]]:
    """A reply that was interrupted while it began; and what it has told of its beginning."""
    begun: list[str] = []

    async def on_begin(message_id: str) -> None:
        begun.append(message_id)

    reply = Reply(answers, Who("bot", "bot", None), "s1", 1, on_begin)
    taking = asyncio.ensure_future(reply.take(Text("It ")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    return reply, begun


@pytest.mark.gen_test
async def test_what_was_beginning_is_cancelled_once_it_has_begun() -> None:
    answers = SlowAnswers()
    reply, begun = await interrupted(answers)
    cancelling = asyncio.ensure_future(reply.cancel("new_message"))
    await asyncio.sleep(0)
    assert (begun, answers.ended) == ([], [])
    answers.gate.set()
    await cancelling
    assert (begun, answers.ended) == (["m1"], ["m1"])


@pytest.mark.gen_test
async def test_what_could_not_begin_needs_no_end() -> None:
    answers = SlowAnswers(TermChanged(2))
    reply, begun = await interrupted(answers)
    answers.gate.set()
    await reply.cancel("new_message")
    assert (begun, answers.ended) == ([], [])
    with pytest.raises(Stopped):
        await reply.take(Text("again "))


def test_what_a_lost_node_has_left_is_found_by_its_sender() -> None:
    def said(id_: str, sender: str, **more: Any) -> Any:
        return {"message": {"id": id_, "sender": {"user_id": sender}, **more}}

    pushes = [
        said("m1", "ann"),
        said("m2", "bot", state="completed"),
        said("m3", "bot", state="growing"),
        said("m4", "other", state="growing"),
        {"type": "answer_ended"},
    ]
    assert growing_in(pushes, "bot") == ["m3"]
