"""Producers of answers that grow, and pages that put their text together."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from tests.support.live_server import Client, Live
from wsserver.protocol.answers import (
    AnswerAppendRequest,
    AnswerCancelRequest,
    AnswerFinishRequest,
    AnswerRequest,
)
from wsserver.realtime.access.actor import Actor


class Producer:
    """A backend that streams one answer."""

    def __init__(self, live: Live, actor: Actor | None = None) -> None:
        self.live = live
        self.actor = actor or live.actor("service", "backend")
        self.id = ""
        self.seq = 0

    async def start(self, session_id: str = "s1", **fields: Any) -> dict[str, Any]:
        started = await self.live.answers.start(self.actor, session_id, AnswerRequest(**fields))
        self.id, self.seq = started["message_id"], started["seq"]
        return started

    async def append(self, text: str, seq: int | None = None) -> dict[str, Any]:
        request = AnswerAppendRequest(seq=self.seq + 1 if seq is None else seq, text=text)
        outcome = self.live.answers.append(self.actor, self.id, request)
        answer = outcome if isinstance(outcome, dict) else await outcome
        self.seq = answer["seq"]
        return answer

    async def finish(self, **fields: Any) -> dict[str, Any]:
        return await self.live.answers.finish(self.actor, self.id, AnswerFinishRequest(**fields))

    async def cancel(self, reason: Any = UNSET) -> dict[str, Any]:
        request = AnswerCancelRequest(reason=reason)
        return await self.live.answers.cancel(self.actor, self.id, request)

    async def get(self) -> dict[str, Any]:
        return await self.live.answers.get(self.actor, self.id)


async def begun(live: Live, **fields: Any) -> Producer:
    producer = Producer(live)
    await producer.start(**fields)
    return producer


class Page:
    """What a page does with the pushes of a session: text by message id."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.states: dict[str, str] = {}

    def show(self, push: dict[str, Any]) -> None:
        if push["type"] == "new_message":
            message = push["message"]
            self.texts[message["id"]] = message.get("content", "")
            self.states[message["id"]] = message.get("state", "")
        elif push["type"] == "answer_appended":
            text = self.texts[push["message_id"]]
            assert push["at"] <= len(text), push
            self.texts[push["message_id"]] = text[: push["at"]] + push["text"]
        elif push["type"] == "answer_ended":
            self.texts[push["message_id"]] = push["message"]["content"]
            self.states[push["message_id"]] = push["state"]

    async def catch_up(self, client: Client) -> None:
        for push in await client.rest():
            self.show(push)

    def join(self, joined: dict[str, Any]) -> None:
        for push in joined["messages"]:
            self.show(push)
