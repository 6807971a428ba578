from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from tests.support.fake_connections import fake_connection
from tests.support.frames import PING, PONG
from tests.support.lifecycle import run
from tests.support.live_server import Client, Live, MakeLive, settle
from wsserver.clock import Clock
from wsserver.realtime.connections import connection
from wsserver.realtime.connections.rate_limit import MessageRate
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.observability.statistics import Statistics
from wsserver.tasks import Tasks


class Gate:
    """A slow command: put in place of ``presence``, it answers when it is let."""

    def __init__(self, live: Live) -> None:
        self.opened: list[asyncio.Event] = []
        live.dispatcher.add_handlers({"presence": self})

    async def __call__(self, connection: Any, command: Any) -> Any:
        gate = asyncio.Event()
        self.opened.append(gate)
        await gate.wait()
        return "presence", {"session_id": command.session_id, "users": []}

    async def open(self) -> None:
        self.opened.pop(0).set()
        await settle()


@pytest.fixture
def gate(live: Live) -> Gate:
    return Gate(live)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("raw", "code", "ref"),
    [
        (b"{", "bad_json", None),
        (b"", "bad_json", None),
        (b'{"type":"ping","ref":"c7","x":NaN}', "bad_json", "c7"),
        (b'{"type":"ping","a":1,"a":1}', "bad_json", None),
        (rb'{"type":"ping","data":"\ud800"}', "bad_unicode", None),
        (b"[" * 33, "too_deep", None),
        (b"[]", "bad_request", None),
        (b'{"ref":"c7"}', "bad_request", "c7"),
        (b'{"type":"ping","ref":true}', "bad_request", None),
        (b'{"type":"nonsense","ref":0}', "unknown_type", 0),
        (b'{"type":"get_stats","ref":"c7"}', "unknown_type", "c7"),
        (b'{"type":"ping","ref":"c7","x":1}', "unknown_field", "c7"),
        (b'{"type":"join_session","ref":"c7"}', "bad_request", "c7"),
        (b'{"type":"join_session","session_id":"s1","ref":""}', "forbidden", ""),
    ],
)
async def test_a_bad_command_is_answered_once_and_the_connection_stays(
    live: Live, raw: bytes, code: str, ref: Any
) -> None:
    client = await live.connect()
    client.send(raw)
    answer = await client.message()
    assert answer["type"] == "error"
    assert answer["error"]["code"] == code
    assert answer["error"]["temporary"] is False
    assert answer.get("ref") == ref
    assert ("ref" in answer) is (ref is not None)
    assert await client.rest() == []
    assert live.statistics.refused_commands == 1
    assert live.statistics.messages_received == 2


@given(st.lists(st.binary(max_size=60) | st.text(max_size=30), max_size=5))
@settings(max_examples=40, deadline=None)
def test_arbitrary_text_is_answered_with_one_error_each(texts: list[bytes | str]) -> None:
    clock = Clock()
    dispatcher = Dispatcher(MessageRate(1e6, 1e6), Statistics(clock, "n"), clock, Tasks())
    connection = fake_connection()  # without an owner: closing it would fail
    replies: list[bytes | None] = []
    for text in texts:
        raw = text if isinstance(text, bytes) else text.encode()
        dispatcher.receive(connection, raw, replies.append)
    assert None not in replies
    assert len(replies) == len(texts)


@pytest.mark.gen_test
async def test_every_command_gets_exactly_one_reply_with_its_ref(live: Live) -> None:
    client = await live.connect(sessions="*")
    commands: list[tuple[str, dict[str, Any]]] = [
        ("ping", {}),
        ("join_session", {"session_id": "s1"}),
        ("send_message", {"session_id": "s1", "content": "x"}),
        ("typing", {"session_id": "s1", "is_typing": False}),
        ("presence", {"session_id": "s1"}),
        ("refresh_token", {"token": live.token(sessions="*")}),
        ("leave_session", {"session_id": "s1"}),
        ("nonsense", {}),
    ]
    for n, (type_, fields) in enumerate(commands):
        client.send(type_, ref=f"r{n}", **fields)
    client.send("ping", ref="last")
    replies: list[dict[str, Any]] = []
    while len(replies) < 9:
        message = await client.message()
        if "ref" in message:
            replies.append(message)
    assert sorted(reply["ref"] for reply in replies) == ["last", *(f"r{n}" for n in range(8))]
    # The acknowledgement of a message comes once that is stored, and holds nothing up.
    stored = next(reply for reply in replies if reply["ref"] == "r2")
    assert stored["type"] == "ack"
    assert stored["offset"] == 1
    assert [reply["type"] for reply in replies if reply is not stored] == [
        *("pong", "session_joined", "ack", "presence", "token_refreshed", "session_left"),
        *("error", "pong"),
    ]


@pytest.mark.gen_test
async def test_answers_come_in_the_order_of_the_commands_behind_a_slow_one(
    live: Live, gate: Gate
) -> None:
    client = await live.connect()
    client.send("presence", ref=0, session_id="s1")
    for n in range(1, 4):
        client.send("ping", ref=n)
    client.send("presence", ref=4, session_id="s1")
    client.send("ping", ref=5)
    await settle()
    assert len(gate.opened) == 1
    await gate.open()
    assert [(await client.message())["ref"] for _ in range(4)] == [0, 1, 2, 3]
    assert len(gate.opened) == 1
    await gate.open()
    assert [(await client.message())["ref"] for _ in range(2)] == [4, 5]
    assert client.info.backlog is None


@pytest.mark.gen_test
async def test_a_slow_command_does_not_delay_other_connections(live: Live, gate: Gate) -> None:
    slow, quick = await live.connect("slow"), await live.connect("quick")
    slow.send("presence", ref=1, session_id="s1")
    await settle()
    assert (await quick.call("ping"))["type"] == "pong"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that is reached with few messages."""
    monkeypatch.setattr(connection, "BACKLOG_LIMIT", 32)
    return 32


@pytest.mark.gen_test
async def test_a_long_backlog_pauses_reading_until_there_is_room(
    live: Live, gate: Gate, few: int
) -> None:
    client = await live.connect()
    client.send("presence", ref="slow", session_id="s1")
    total = few * 3
    for n in range(total):
        client.send("ping", ref=n)
    for _ in range(10):
        await settle()
    assert len(client.info.backlog or ()) == few
    assert live.statistics.messages_received == few + 1
    await gate.open()
    refs = [(await client.message())["ref"] for _ in range(total + 1)]
    assert refs == ["slow", *range(total)]


@pytest.mark.gen_test
async def test_one_slow_command_after_another_keeps_the_bound_and_the_order(
    live: Live, gate: Gate, few: int
) -> None:
    client = await live.connect()
    total = few * 2
    for n in range(total):
        client.send("presence", ref=n, session_id="s1")
    for n in range(total):
        for _ in range(4):
            await settle()
        assert len(client.info.backlog or ()) <= few
        await gate.open()
        assert (await client.message())["ref"] == n
    assert (await client.call("ping"))["type"] == "pong"


@pytest.mark.gen_test
async def test_a_backlog_of_many_bytes_pauses_reading_too(
    live: Live, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BACKLOG_LIMIT_BYTES", 5000)
    client = await live.connect()
    client.send("presence", ref="slow", session_id="s1")
    large = "x" * 1000
    for n in range(20):
        client.send("ping", ref=n, data=large)
    for _ in range(10):
        await settle()
    assert len(client.info.backlog or ()) == 5
    await gate.open()
    assert [(await client.message())["ref"] for _ in range(21)] == ["slow", *range(20)]


@pytest.mark.gen_test
async def test_a_pong_overtakes_what_waits(live: Live, gate: Gate) -> None:
    client = await live.connect()
    await live.tick(30.0)
    await client.rest()
    client.send("presence", ref=1, session_id="s1")
    client.send("ping", ref=2)
    client.send("pong", id=client.pings[0]["id"])
    await settle()
    assert client.info.rtt_ms is not None
    assert len(client.info.backlog or ()) == 1


@pytest.mark.gen_test
async def test_a_connection_that_closes_under_a_slow_command_is_sent_nothing(
    live: Live, gate: Gate
) -> None:
    client = await live.connect()
    client.send("presence", ref=1, session_id="s1")
    client.send("join_session", ref=2, session_id="s1")
    await settle()
    live.manager.close(client.info, 4502, "bye")
    await gate.open()
    assert await client.closing() == (4502, "bye")
    assert client.pushes == []
    assert live.statistics.refused_commands == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("slow", [False, True])
async def test_a_command_that_breaks_is_an_internal_error_without_its_story(
    live: Live, slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks_later(connection: Any, command: Any) -> Any:
        await asyncio.sleep(0)
        raise ZeroDivisionError("secret")

    def breaks(connection: Any, command: Any) -> Any:
        raise ZeroDivisionError("secret")

    live.dispatcher.add_handlers({"presence": breaks_later if slow else breaks})
    client = await live.connect()
    answer = await client.call("presence", session_id="s1")
    assert answer["error"] == {
        "code": "internal_error",
        "message": "Internal error",
        "temporary": True,
    }
    assert (await client.call("ping"))["type"] == "pong"
    assert (live.statistics.internal_errors, live.statistics.errors) == (1, 1)
    assert [r.exc_info is not None for r in caplog.records if r.levelno == logging.ERROR] == [True]


@pytest.mark.gen_test
@pytest.mark.parametrize("slow", [False, True])
async def test_an_answer_that_cannot_be_encoded_is_an_internal_error_too(
    live: Live, slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def odd_later(connection: Any, command: Any) -> Any:
        await asyncio.sleep(0)
        return "presence", {"users": object()}

    def odd(connection: Any, command: Any) -> Any:
        return "presence", {"users": object()}

    live.dispatcher.add_handlers({"presence": odd_later if slow else odd})
    client = await live.connect()
    with caplog.at_level(logging.CRITICAL):
        assert await client.error("presence", session_id="s1") == "internal_error"
    assert (await client.call("ping"))["type"] == "pong"


# Rates


@pytest.fixture
def limited(io_loop: IOLoop, make_live: MakeLive) -> Live:
    return run(io_loop, lambda: make_live(rate=MessageRate(40, 5)))


async def flood(client: Client, count: int, **members: Any) -> None:
    for n in range(count):
        client.send("ping", ref=n, **members)
    await settle()


@pytest.mark.gen_test
async def test_past_the_burst_commands_are_refused_with_their_ref_and_when_to_come_again(
    limited: Live,
) -> None:
    client = await limited.connect()
    await flood(client, 8)
    answers = [await client.message() for _ in range(8)]
    assert [a["ref"] for a in answers] == list(range(8))
    assert [a["type"] for a in answers] == ["pong"] * 5 + ["error"] * 3
    error = answers[-1]["error"]
    assert (error["code"], error["temporary"]) == ("rate_limited", True)
    assert "retry_after_ms" not in answers[-1]
    assert 0 < error["retry_after_ms"] <= 26
    assert limited.statistics.refused_commands == 3
    limited.clock.advance(error["retry_after_ms"] / 1000)
    assert (await client.call("ping"))["type"] == "pong"


@pytest.mark.gen_test
async def test_a_refused_frame_that_is_no_command_is_refused_without_ref(limited: Live) -> None:
    client = await limited.connect()
    await flood(client, 5)
    for raw in (b"{", b"[]", b'{"ref":true}', b'{"ref":"' + b"x" * 65 + b'"}', b"[" * 99):
        client.send(raw)
    await settle()
    answers = [await client.message() for _ in range(10)][5:]
    assert {a["error"]["code"] for a in answers} == {"rate_limited"}
    assert not any("ref" in a for a in answers)


@pytest.mark.gen_test
async def test_a_command_refused_for_rate_carries_its_ref_even_if_it_is_broken(
    limited: Live,
) -> None:
    client = await limited.connect()
    await flood(client, 5)
    client.send(rb'{"type":"ping","data":"\ud83d","ref":"c7"}')
    await settle()
    answer = [await client.message() for _ in range(6)][-1]
    assert (answer["error"]["code"], answer["ref"]) == ("rate_limited", "c7")


@pytest.mark.gen_test
async def test_a_pong_is_never_answered_not_even_with_a_refusal(limited: Live) -> None:
    client = await limited.connect()
    for _ in range(20):
        client.send("pong")
    await settle()
    limited.clock.advance(1.0)
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_the_hundredth_refusal_within_10_s_closes_with_4029(limited: Live) -> None:
    client = await limited.connect()
    await flood(client, 5 + 99)
    assert client.info.is_alive
    await flood(client, 1)
    code, _ = await client.closing()
    assert code == 4029
    assert len([p for p in client.pushes if p["type"] == "error"]) == 99
    assert not client.info.is_alive


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.gen_test
async def test_pings_and_unasked_pongs_of_the_protocol_are_charged_too(
    limited: Live, opcode: int
) -> None:
    client = await limited.connect()
    for _ in range(5 + 100):
        client.send_frame(opcode, b"")
    await settle()
    assert (await client.closing())[0] == 4029


@pytest.mark.gen_test
async def test_the_answer_to_a_ping_is_not_charged(limited: Live) -> None:
    client = await limited.connect()
    for _ in range(50):
        limited.manager.heartbeat._note_ping(client.info, "ping_1", limited.clock.monotonic(), 0.0)
        client.send_frame(PONG, b"ping_1")
        await settle()
        assert client.info.ping_id == ""
    assert (await client.call("ping"))["type"] == "pong"


@pytest.mark.gen_test
async def test_each_connection_has_its_own_allowance(limited: Live) -> None:
    one, other = await limited.connect(), await limited.connect()
    await flood(one, 6)
    assert (await other.call("ping"))["type"] == "pong"


@pytest.mark.gen_test
async def test_a_message_may_be_handed_in_by_the_embedding_program(live: Live) -> None:
    client = await live.connect()
    await live.manager.handle_message(client.info, json.dumps({"type": "ping", "ref": 1}))
    await live.manager.handle_message(client.info, b'{"type":"ping","ref":2}')
    assert [(await client.message())["ref"] for _ in range(2)] == [1, 2]
