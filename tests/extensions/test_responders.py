"""AI responders on a whole server: who is answered, what interrupts an answer, what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.ai_provider import AiProvider
from tests.support.lifecycle import run
from tests.support.waiting import until
from tests.support.web_server import API, Server, Socket, StartServer, token
from wsserver.extensions.responders import provider as provider_module
from wsserver.extensions.responders import service
from wsserver.extensions.responders.store import TurnStore
from wsserver.realtime.operations.answers import Answers

KEY = "sk-secret-of-the-provider"


@pytest.fixture
def provider(io_loop: IOLoop) -> Iterator[AiProvider]:
    provider = AiProvider()
    run(io_loop, provider.start)
    yield provider
    io_loop.run_sync(provider.stop)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BACKOFF_S", 0.001)


@pytest.fixture
def settings(provider: AiProvider) -> dict[str, Any]:
    bot = {
        "kind": "openai", "url": provider.url, "api_key": KEY, "model": "m", "system": "Be kind",
        "variables": {"n": 1, "tool": {"token": "t-9"}, "labels": ["inside-label"], "mode": "fast"},
    }  # fmt: skip
    return {
        "extension_settings": {"responders": {"bot": bot}},
        "allow_loopback_urls": True,
        "default_holder": "bot",
    }


@pytest.fixture
def server(io_loop: IOLoop, start_server: StartServer, settings: dict[str, Any]) -> Server:
    started: Server = io_loop.run_sync(lambda: start_server(**settings))
    return started


async def do(socket: Socket, **command: Any) -> None:
    """Send a command without waiting for its reply."""
    socket.send(**command)


async def customer(server: Server, sub: str = "ann") -> Socket:
    socket = await server.connect(sub, sessions=["s1"])
    await do(socket, type="join_session", session_id="s1")
    return socket


async def say(socket: Socket, content: str) -> None:
    await do(socket, type="send_message", session_id="s1", content=content)


async def ended(socket: Socket) -> dict[str, Any]:
    return await socket.push("answer_ended")


async def statuses(socket: Socket, last: str) -> list[str]:
    seen: list[str] = []
    while last not in seen:
        seen.append((await socket.push("ai_processing_status"))["status"])
    return seen


@pytest.mark.gen_test
async def test_a_message_is_answered_word_by_word(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "does it fit?")
    asked = await provider.request()
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["stream"] is True
    assert asked.body["messages"] == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "does it fit?"},
    ]
    asked.head()
    asked.text("It ")
    begun = await ann.push("new_message")
    while begun["message"]["content"] == "does it fit?":
        begun = await ann.push("new_message")
    assert begun["message"]["state"] == "growing"
    assert begun["message"]["sender"]["user_id"] == "bot"
    word = "fits 你好".encode()
    for at in range(len(word)):  # breaks off within characters, too
        asked.send(
            (b'data: {"choices":[{"delta":{"content":"' if at == 0 else b"") + word[at : at + 1]
        )
    asked.send(b'"}}]}\n\n')
    asked.done(total_tokens=12)
    end = await ended(ann)
    assert (end["state"], end["message"]["content"]) == ("completed", "It fits 你好")
    answer = (await server.get(f"/answers/{end['message_id']}")).json()
    assert answer["usage"] == {
        "total_tokens": 12, "amount": 12, "unit": "tokens", "source": "bot",
    }  # fmt: skip
    await say(ann, "thanks")
    again = await provider.request(2)
    assert [each["role"] for each in again.body["messages"]] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip


@pytest.mark.gen_test
async def test_it_does_not_answer_itself_or_where_somebody_else_holds(
    server: Server, provider: AiProvider
) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("hi")
    asked.done()
    await ended(ann)
    await server.post("/sessions/s1/holder", holder={"type": "user", "id": "bob"})
    await say(ann, "are you there?")
    await server.post("/sessions/s1/holder", holder={"type": "ai", "id": "another"})
    await say(ann, "and now?")
    await server.post("/sessions/s1/holder", holder={"type": "ai", "id": "bot"})
    await say(ann, "last")
    await provider.request(2)
    assert len(provider.asked) == 2


@pytest.mark.gen_test
async def test_a_take_over_stops_the_request_at_once(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("well")
    await until(lambda: bool(server.context.extensions["responders"]._runs["s1"].message_id))
    await server.post("/sessions/s1/holder", holder={"type": "user", "id": "bob"})
    end = await ended(ann)
    assert (end["state"], end["reason"], end["message"]["content"]) == (
        "interrupted", "taken", "well",
    )  # fmt: skip
    await until(lambda: asked.is_left)
    await until(lambda: not server.context.extensions["responders"]._runs)


@pytest.mark.gen_test
async def test_a_member_who_cancels_stops_the_request(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("well")
    begun = await ann.push("new_message")
    while begun["message"].get("state") != "growing":
        begun = await ann.push("new_message")
    await do(ann, type="cancel_answer", message_id=begun["message"]["id"])
    await until(lambda: asked.is_left)
    assert (await ended(ann))["state"] == "cancelled"


@pytest.mark.gen_test
async def test_a_new_message_begins_the_answer_anew(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "one")
    first = await provider.request()
    first.head()
    first.text("about one")
    await until(lambda: bool(server.context.extensions["responders"]._runs["s1"].message_id))
    await say(ann, "two")
    second = await provider.request(2)
    await until(lambda: first.is_left)
    assert (await ended(ann))["state"] == "cancelled"
    assert [each["content"] for each in second.body["messages"]][-2:] == ["one", "two"]
    second.head()
    second.text("about both")
    second.done()
    assert (await ended(ann))["message"]["content"] == "about both"


@pytest.mark.gen_test
async def test_or_waits_until_the_answer_has_ended(
    start_server: StartServer, settings: dict[str, Any], provider: AiProvider
) -> None:
    settings["extension_settings"]["responders"]["bot"]["on_interrupt"] = "queue"
    ann = await customer(await start_server(**settings))
    await say(ann, "one")
    first = await provider.request()
    first.head()
    first.text("about one")
    await say(ann, "two")
    first.done()
    assert (await ended(ann))["state"] == "completed"
    second = await provider.request(2)
    assert second.body["messages"][-1]["content"] == "two"
    assert not any(each.is_left for each in provider.asked if each is second)


@pytest.mark.gen_test
async def test_a_failure_that_may_pass_is_tried_again(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    for number in 1, 2:
        asked = await provider.request(number)
        asked.head(429 if number == 1 else 503, "application/json", Retry_After="0")
        asked.send(b'{"error":{"message":"slow down"}}')
        asked.close()
    third = await provider.request(3)
    third.head()
    third.text("now")
    third.done()
    assert (await ended(ann))["message"]["content"] == "now"


@pytest.mark.gen_test
async def test_an_answer_that_breaks_off_has_failed(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("half of")
    asked.close()
    end = await ended(ann)
    assert (end["state"], end["reason"]) == ("failed", "the answer broke off")
    assert end["message"]["content"] == "half of"


@pytest.mark.gen_test
@pytest.mark.parametrize("by", ["member", "newer message", "failure"])
async def test_reported_usage_counts_however_an_answer_ends(
    server: Server, provider: AiProvider, by: str
) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("half of")
    asked.event({"choices": [], "usage": {"total_tokens": 7}})
    asked.text(" it")  # it is shown once the usage was read
    message_id = (await ann.push("answer_appended"))["message_id"]
    if by == "member":
        await do(ann, type="cancel_answer", message_id=message_id)
    elif by == "failure":
        asked.close()
    else:
        await say(ann, "and now?")
    assert (await ended(ann))["state"] in ("cancelled", "failed")

    async def usage() -> Any:
        return (await server.get(f"/answers/{message_id}")).json().get("usage")

    while (found := await usage()) is None:
        await asyncio.sleep(0.01)
    assert (found["total_tokens"], found["amount"], found["source"]) == (7, 7, "bot")


@pytest.mark.gen_test
async def test_after_three_failures_a_human_is_wanted(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    for number in 1, 2, 3:
        await say(ann, f"hello {number}")
        asked = await provider.request(number)
        asked.head(401, "application/json")
        reason = f"wrong key {KEY} t-9 inside-label fast"
        asked.send(json.dumps({"error": {"message": reason}}).encode())
        asked.close()
        await statuses(ann, "failed")

    async def state() -> str:
        return str((await server.get("/sessions/s1")).json()["state"])

    await until(lambda: not server.context.extensions["responders"]._runs)
    assert await state() == "pending"
    listed = (await server.get("/notifications?template=human_takeover")).json()
    (notification,) = listed["notifications"]
    assert KEY not in str(notification)
    assert "wrong key [redacted] [redacted] [redacted] fast" in str(notification)
    shown = (await server.get("/responders/bot")).json()
    assert [each["session_id"] for each in shown["failures"]] == ["s1"] * 3
    assert "wrong key [redacted] [redacted] [redacted] fast" in shown["failures"][0]["reason"]
    assert (shown["due"], shown["queue"]) == (0, [])


@pytest.mark.gen_test
async def test_operators_see_what_waits(server: Server, provider: AiProvider) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    await provider.request()
    (listed,) = (await server.get("/responders")).json()["responders"]
    assert (listed["responder"], listed["kind"], listed["model"]) == ("bot", "openai", "m")
    assert (listed["due"], listed["failing"], listed["unit"]) == (1, 0, "tokens")
    shown = (await server.get("/responders/bot")).json()
    (turn,) = shown["queue"]
    assert (turn["session_id"], turn["is_answering"], turn["failures"]) == ("s1", True, 0)
    assert listed["waiting_since"] == turn["since"]
    assert KEY not in str(shown)
    assert (await server.get("/responders/none")).code == "not_found"


@pytest.mark.gen_test
async def test_the_latest_failures_are_kept(server: Server) -> None:
    store = server.context.extensions["responders"]._store
    for number in range(25):
        await store.note_failure("bot", f"s{number}", "why", float(number))
        await store.note_failure("other", "s", "why", 0.0)
    kept = await store.failures("bot")
    assert [each.session_id for each in kept] == [f"s{number}" for number in range(24, 4, -1)]
    assert len(await store.failures("other")) == 20


@pytest.mark.gen_test
async def test_what_was_not_answered_is_answered_after_a_restart(
    start_server: StartServer, settings: dict[str, Any], provider: AiProvider
) -> None:
    server = await start_server(**settings)
    ann = await customer(server)
    await say(ann, "hello")
    first = await provider.request()
    first.head()
    first.text("half")
    await until(lambda: bool(server.context.extensions["responders"]._runs["s1"].message_id))
    folder = server.context.settings.data_dir
    await server.system.service.stop()
    database = folder / "wsserver.sqlite3"
    again = await start_server(**settings, database=database)
    second = await provider.request(2)
    second.head()
    second.text("whole")
    second.done()
    history = "/sessions/s1/history"

    async def contents() -> list[Any]:
        page = (await again.get(history)).json()["messages"]
        return [(each["message"]["content"], each["message"].get("state")) for each in page]

    while (await contents())[-1] != ("whole", "completed"):
        pass
    assert ("half", "cancelled") in await contents()


@pytest.mark.gen_test
async def test_providers_hang_without_delaying_others(
    start_server: StartServer, settings: dict[str, Any], provider: AiProvider
) -> None:
    bot = settings["extension_settings"]["responders"]["bot"]
    bot["concurrency"] = 1
    server = await start_server(**settings)
    ann = await customer(server)
    bob = await server.connect("bob", sessions=["s2"])
    await do(bob, type="join_session", session_id="s2")
    await say(ann, "hello")
    first = await provider.request()
    await do(bob, type="send_message", session_id="s2", content="me too")
    assert (await bob.push("ai_processing_status"))["status"] == "queued"
    first.head()
    first.text("yes")
    first.done()
    second = await provider.request(2)
    second.head()
    second.text("you too")
    second.done()
    assert (await ended(bob))["message"]["content"] == "you too"


@pytest.mark.gen_test
async def test_fastgpt_gets_one_message_and_keeps_the_history(
    start_server: StartServer, settings: dict[str, Any], provider: AiProvider
) -> None:
    bot = settings["extension_settings"]["responders"]["bot"]
    bot |= {"kind": "fastgpt", "variables": {"shop": "7"}}
    del bot["model"], bot["system"]
    server = await start_server(**settings)
    ann = await customer(server)
    await say(ann, "colours?")
    first = await provider.request()
    assert first.path == "/v1/api/v1/chat/completions"
    assert first.body["chatId"] == "s1"
    assert first.body["variables"] == {"shop": "7"}
    assert first.body["messages"] == [{"role": "user", "content": "colours?"}]
    first.head()
    options = [{"key": "o1", "value": "red"}, {"key": "o2", "value": "blue"}]
    question = {
        "type": "userSelect",
        "params": {"description": "Which?", "userSelectOptions": options},
    }
    first.event({"interactive": question}, "interactive")
    first.event([{"totalPoints": 1.5}], "flowResponses")
    first.close()
    end = await ended(ann)
    assert end["message"]["content"] == "Which?\n1. red\n2. blue"
    await say(ann, "2")
    second = await provider.request(2)
    assert second.body["messages"] == [{"role": "user", "content": "blue"}]
    assert token()  # the API answers as before


TRACE = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "vendor=1",
}


@pytest.mark.gen_test
@pytest.mark.parametrize("is_traced", [True, False])
async def test_its_request_belongs_to_the_trace_of_the_message(
    start_server: StartServer, settings: dict[str, Any], provider: AiProvider, is_traced: bool
) -> None:
    settings["extension_settings"]["responders"]["bot"]["trace"] = is_traced
    server = await start_server(**settings)
    sender = {"user_id": "ann", "role": "customer"}
    message = {"type": "new_message", "content": "hello", "sender": sender}
    await server.post("/sessions/s1/messages", headers=TRACE, **message)
    asked = await provider.request()
    sent = {name: asked.headers.get(name) for name in TRACE}
    assert sent == (TRACE if is_traced else dict.fromkeys(TRACE))


@pytest.mark.gen_test
async def test_what_was_answered_right_before_a_crash_is_not_answered_again(
    start_server: StartServer,
    settings: dict[str, Any],
    provider: AiProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if the process had been killed after the end of the answer was stored."""

    async def lost(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(TurnStore, "end", lost)
        patched.setattr(TurnStore, "release", nothing)
        server = await start_server(**settings)
        ann = await customer(server)
        await say(ann, "hello")
        asked = await provider.request()
        asked.head()
        asked.text("hi")
        asked.done()
        await ended(ann)
        database = server.context.settings.data_dir / "wsserver.sqlite3"
        await server.system.service.stop()
    again = await start_server(**settings, database=database)
    await again.system.service.database.run(
        lambda db: db.execute("UPDATE responder_turns SET lease_until = 0").rowcount
    )
    ann = await customer(again)
    await say(ann, "and?")
    asked = await provider.request(2)
    said = [each["content"] for each in asked.body["messages"]]
    assert said == ["Be kind", "hello", "hi", "and?"]


async def nothing(*_: Any) -> None:
    """In place of what a killed process does not do."""


async def asked_once(server: Server, provider: AiProvider) -> None:
    """The session is at rest: nothing is asked again."""
    runs = server.context.extensions["responders"]._runs
    await until(lambda: not runs)
    assert len(provider.asked) == 1


@pytest.mark.gen_test
async def test_a_completed_answer_is_reported_as_completed(
    server: Server, provider: AiProvider
) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("hi")
    asked.done()
    assert await statuses(ann, "completed") == ["processing", "streaming", "completed"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "data", ["[" * 5000, {"choices": []}, {"choices": [{"finish_reason": "stop"}]}]
)
async def test_an_answer_without_any_text_has_failed(
    server: Server, provider: AiProvider, data: Any
) -> None:
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.event(data)
    asked.event("[DONE]")
    asked.close()
    await statuses(ann, "failed")
    await asked_once(server, provider)
    (failure,) = (await server.get("/responders/bot")).json()["failures"]
    assert failure["reason"] == "the answer is empty"


@pytest.mark.gen_test
async def test_an_answer_that_is_too_long_ends_and_is_not_asked_for_again(
    start_server: StartServer, settings: dict[str, Any], provider: AiProvider
) -> None:
    server = await start_server(**settings, answer_max_bytes=4096)
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    for _ in range(10):
        asked.text("x" * 1000)
    end = await ended(ann)
    assert (end["state"], end["reason"]) == ("failed", "answer_too_long")
    assert end["message"]["content"].startswith("xxx")
    await until(lambda: asked.is_left)
    await asked_once(server, provider)


@pytest.mark.gen_test
async def test_an_unexpected_error_ends_the_answer(
    server: Server, provider: AiProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise TypeError("a fault of the server")

    ann = await customer(server)
    monkeypatch.setattr(Answers, "finish", broken)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("hi")
    asked.done()
    assert (await ended(ann))["reason"] == "error"
    await statuses(ann, "failed")
    await asked_once(server, provider)


@pytest.mark.gen_test
async def test_with_nothing_left_of_a_quota_the_provider_is_not_asked(
    server: Server, provider: AiProvider
) -> None:
    ann = await customer(server)
    quota: dict[str, Any] = {"limit": 1, "unit": "tokens", "period": "day", "at_limit": "stop"}
    path = f"{API}/quotas/user:bot"
    assert (await server.request("PUT", path, bearer=token(), **quota)).status == 200
    assert (await server.post("/usage", scope="user:bot", amount=1)).status == 200
    await say(ann, "hello")
    await statuses(ann, "failed")
    await until(lambda: not server.context.extensions["responders"]._runs)
    assert not provider.asked
    (failure,) = (await server.get("/responders/bot")).json()["failures"]
    assert failure["reason"] == "quota_exhausted"


@pytest.mark.gen_test
async def test_an_answer_that_never_ends_is_left(
    server: Server, provider: AiProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "LONGEST_ANSWER_S", 0.05)
    ann = await customer(server)
    await say(ann, "hello")
    asked = await provider.request()
    asked.head()
    asked.text("well")
    assert (await ended(ann))["reason"] == "no end within 0.05 s"
    await until(lambda: asked.is_left)
    await asked_once(server, provider)
