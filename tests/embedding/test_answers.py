"""``Server.start_answer``: a program streams an answer into a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.embedded_server import Client, Make, client_of
from tests.support.rst_blocks import block
from wsserver import ValidationFailed, WsServerError
from wsserver.protocol.answers import AnswerCancelRequest
from wsserver.server import ACTOR

pytestmark = pytest.mark.gen_test


async def shown(client: Client, type_: str) -> Any:
    """The next push but ``unread_changed``, which comes at any time; it must be of this type."""
    while (push := await client.any_push())["type"] == "unread_changed":
        continue
    assert push["type"] == type_, push
    return push


async def test_an_answer_grows_and_is_finished(make: Make) -> None:
    async with make() as server:
        ended: list[dict[str, Any]] = []
        server.on("answer_ended", ended.append)
        async with client_of(server, "u1", "/ws/chat/session/s1", sessions=["s1"]) as client:
            await client.push("session_joined")
            sender = {"user_id": "assistant", "role": "ai"}
            answer = await server.start_answer("s1", sender=sender, metadata={"model": "m1"})
            message = (await client.push("new_message"))["message"]
            assert (message["id"], message["state"]) == (answer.message_id, "growing")
            assert message["sender"]["user_id"] == "assistant"
            assert await answer.append("The sofa ") == 9
            assert (await shown(client, "answer_appended"))["text"] == "The sofa "
            assert await answer.append("fits.") == 14
            assert answer.seq == 2
            done = await answer.finish(usage={"total_tokens": 3})
            assert (done["state"], done["length"]) == ("completed", 14)
            assert (await shown(client, "answer_appended"))["text"] == "fits."
            assert (await shown(client, "answer_ended"))["message"]["content"] == "The sofa fits."
        view = await answer.view()
        assert (view["content"], view["usage"]) == ("The sofa fits.", {"total_tokens": 3})
        assert view["ended_by"] == "(server)"
        (event,) = ended
        assert (event["message_id"], event["by"]) == (answer.message_id, "(server)")
        (only,) = (await server.history("session:s1"))["messages"]
        assert only["message"]["content"] == "The sofa fits."
        assert only["offset"] == answer.offset


async def test_an_answer_is_stopped(make: Make) -> None:
    async with make() as server:
        answer = await server.start_answer("s1", content="Well")
        assert (await answer.cancel("not needed"))["state"] == "cancelled"
        with pytest.raises(WsServerError) as caught:
            await answer.append(" then")
        assert caught.value.code == "answer_ended"
        assert answer.seq == 0
        assert (await answer.view())["reason"] == "not needed"


async def test_wrong_fields_are_all_named(make: Make) -> None:
    async with make() as server:
        with pytest.raises(ValidationFailed) as caught:
            await server.start_answer("s1", content_type="", metadata=5)
        fields = {fault["field"] for fault in caught.value.details["errors"]}
        assert fields == {"content_type", "metadata"}
        with pytest.raises(ValidationFailed):
            await server.start_answer("no session")
        answer = await server.start_answer("s1")
        with pytest.raises(ValidationFailed):
            await answer.finish(state="growing")
        with pytest.raises(ValidationFailed):
            await answer.append(5)  # type: ignore[arg-type]


async def test_the_example_stops_when_somebody_stops_it(make: Make) -> None:
    names: dict[str, Any] = {}
    exec(block("docs/embedding.rst", "stream_answer.py").text, names)
    async with make() as server:

        async def words() -> AsyncIterator[str]:
            yield "It "
            yield "fits."

        assert await names["answer"](server, "s1", words())
        (message,) = (await server.history("session:s1"))["messages"]
        assert message["message"]["content"] == "It fits."

        async def stopped() -> AsyncIterator[str]:
            yield "It "
            (latest,) = (await server.history("session:s2"))["messages"]
            request = AnswerCancelRequest(reason="enough")
            await server._context.answers.cancel(ACTOR, latest["message"]["id"], request)
            yield "fits."

        assert not await names["answer"](server, "s2", stopped())
