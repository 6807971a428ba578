"""The hook before publishing, against a real receiver: its decisions, its faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.support.http_provider import Answer, HttpProvider
from wsserver.addresses.reach import Reach
from wsserver.clock import Clock
from wsserver.errors import HookFailed, Rejected
from wsserver.http_client import HttpClient
from wsserver.identity.claims import Claims
from wsserver.notifications import publish_hook
from wsserver.notifications.publish_hook import ANSWER_LIMIT, UNWELL, PublishHook
from wsserver.realtime.commands.message_check import Unchecked

SECRET = "hook-secret"
SENDER = Claims("u1", 2e9, username="Ann", organization_id="o1")
MESSAGE = Unchecked(sender=SENDER, session_id="s1", content="hello", content_type="text")


def hook(
    provider: HttpProvider,
    *,
    is_open: bool = False,
    timeout_s: float = 30.0,
    reach: Reach | None = None,
) -> PublishHook:
    http = HttpClient(
        reach or Reach(loopback=True), timeout_s=timeout_s, kept_bytes=ANSWER_LIMIT + 1
    )
    return PublishHook(
        provider.url("/hook"),
        SECRET,
        http,
        Clock(),
        timeout_s=timeout_s,
        is_open=is_open,
        content_limit=1000,
    )


def answering(provider: HttpProvider, document: Any, status: int = 200) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    provider.answer = lambda request: Answer(status, body)


@pytest.mark.gen_test
async def test_the_hook_is_asked_and_signed(provider: HttpProvider) -> None:
    answering(provider, {"allow": True})
    assert await hook(provider).check(MESSAGE) == "hello"
    (asked,) = provider.requests
    assert (asked.method, asked.headers["X-Wsserver-Hook"]) == ("POST", "publish")
    given = dict(part.split("=", 1) for part in asked.headers["X-Wsserver-Signature"].split(","))
    signed = given["t"].encode() + b"." + asked.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(given["v1"], expected)
    assert json.loads(asked.body) == {
        "session_id": "s1",
        "sender": {
            "user_id": "u1",
            "username": "Ann",
            "role": "user",
            "organization_id": "o1",
        },
        "content": "hello",
        "content_type": "text",
    }


@pytest.mark.gen_test
async def test_what_a_hook_decides(provider: HttpProvider) -> None:
    asked = hook(provider)
    answering(provider, {"allow": False, "code": "spam", "message": "No advertising."})
    with pytest.raises(Rejected) as refused:
        await asked.check(MESSAGE)
    assert (str(refused.value), refused.value.details) == ("No advertising.", {"reason": "spam"})
    answering(provider, {"allow": False})
    with pytest.raises(Rejected) as refused:
        await asked.check(MESSAGE)
    assert refused.value.details == {"reason": "rejected"}
    for odd in ({"code": None, "message": None}, {"code": 7, "content": 7}):
        answering(provider, {"allow": False, **odd})
        with pytest.raises(Rejected) as refused:
            await asked.check(MESSAGE)
        assert refused.value.details == {"reason": "rejected"}
    answering(provider, {"allow": True, "content": None})
    assert await asked.check(MESSAGE) == "hello"
    answering(provider, {"allow": True, "content": {"text": "h***o"}, "more": 1})
    assert await asked.check(MESSAGE) == {"text": "h***o"}
    answering(provider, {"allow": False, "code": "x\r\ny" * 99, "message": "a\nb" * 999})
    with pytest.raises(Rejected) as refused:
        await asked.check(MESSAGE)
    assert len(refused.value.details["reason"]) <= 64
    assert "\n" not in str(refused.value) + refused.value.details["reason"]
    assert vars(asked.metrics) == {"asked": 7, "rejected": 5, "changed": 1, "failed": 0}


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"allow": True}, 500),
        ({"allow": True}, 204),
        ({"allow": True}, 302),
        (b"", 200),
        (b"yes", 200),
        (b'{"allow": true', 200),
        (b'{"allow": true, "allow": false}', 200),
        (b'{"allow": true, "content": "\\ud800"}', 200),
        (b"[" * 99 + b"]" * 99, 200),
        ([True], 200),
        ({}, 200),
        ({"allow": "true"}, 200),
        ({"allow": None}, 200),
        ({"allow": True, "content": 7}, 200),
        ({"allow": True, "content": "x" * 1001}, 200),
        (b'{"allow": true, "x": "' + b"y" * ANSWER_LIMIT + b'"}', 200),
    ],
)
async def test_what_is_no_decision(provider: HttpProvider, document: Any, status: int) -> None:
    answering(provider, document, status)
    with pytest.raises(HookFailed):
        await hook(provider).check(MESSAGE)
    assert await hook(provider, is_open=True).check(MESSAGE) == "hello"


@pytest.mark.gen_test
async def test_a_hook_that_hangs_costs_its_time_and_no_more(provider: HttpProvider) -> None:
    provider.hang()
    asked = hook(provider, timeout_s=0.05)
    with pytest.raises(HookFailed):
        await asked.check(MESSAGE)
    assert await hook(provider, timeout_s=0.05, is_open=True).check(MESSAGE) == "hello"


@pytest.mark.gen_test
async def test_waiting_for_a_turn_counts(
    provider: HttpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_hook, "CONCURRENCY", 2)
    provider.hang()
    asked = hook(provider, timeout_s=0.1, is_open=True)
    answers = await asyncio.gather(*[asked.check(MESSAGE) for _ in range(10)])
    assert answers == ["hello"] * 10
    assert len(provider.requests) <= 2  # fewer where the machine is busy for as long


@pytest.mark.gen_test
async def test_an_answer_of_a_gigabyte_is_not_read(provider: HttpProvider) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        try:
            while sent < 1 << 30:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        provider.port = port
        with pytest.raises(HookFailed):
            await hook(provider).check(MESSAGE)
    assert sent < 64 << 20


@pytest.mark.gen_test
async def test_a_url_that_may_not_be_reached_is_a_failure(provider: HttpProvider) -> None:
    with pytest.raises(HookFailed):
        await hook(provider, reach=Reach()).check(MESSAGE)
    assert provider.requests == []


@pytest.mark.gen_test
async def test_failures_in_a_row_are_seen(
    provider: HttpProvider, caplog: pytest.LogCaptureFixture
) -> None:
    asked = hook(provider, is_open=True)
    answering(provider, {}, 500)
    for _ in range(UNWELL):
        assert asked.health()["ok"]
        await asked.check(MESSAGE)
    assert not asked.health()["ok"]
    assert asked.health()["failed"] == UNWELL
    logged = [each.message for each in caplog.records if "no decision" in each.message]
    assert len(logged) == 3
    assert "127.0.0.1" not in "".join(logged)
    answering(provider, {"allow": True})
    await asked.check(MESSAGE)
    assert asked.health()["ok"]
