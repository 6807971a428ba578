"""SMS, against a real HTTP gateway and real apprise."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.channel_jobs import CANARY, REDACT, job
from tests.support.fake_clock import FakeClock
from tests.support.http_provider import Answer, HttpProvider
from wsserver.config.gateway import Gateway
from wsserver.http_client import HttpClient
from wsserver.notifications.channels.apprise_provider import (
    THREADS,
    AppriseProvider,
    AppriseThreads,
)
from wsserver.notifications.channels.sms import SmsChannel, SmsProvider
from wsserver.notifications.channels.sms_gateway import SmsGateway
from wsserver.protocol.notifications import Contact

TO = Contact(user_id="u1", phone="+8613800138000")
NOBODY = Contact(user_id="u1")
TEXT = "设备状态变化\n设备 张三的微信 状态从 在线 变更为 离线\nhttps://app.example.com/devices/7"


def channel(*providers: SmsProvider) -> SmsChannel:
    return SmsChannel(providers, frontend_url="https://app.example.com")


def gateway(
    provider: HttpProvider, clock: FakeClock, *, timeout_s: float = 5, **options: Any
) -> SmsGateway:
    template = Gateway(
        "POST",
        provider.url("/send?id={id}"),
        {"Authorization": f"Bearer {CANARY}", "Idempotency-Key": "{id}"},
        '{"to": "{to}", "content": "{text}"}',
    )
    return SmsGateway(
        template, HttpClient(None, timeout_s=timeout_s), clock, redact=REDACT, **options
    )


@pytest.mark.gen_test
async def test_the_gateway_gets_what_the_templates_say(
    provider: HttpProvider, clock: FakeClock
) -> None:
    provider.answer_with(202, b'{"sid": "4711"}')
    nasty = job(TO, title='a"\n{to}', message="b\\ \x1b\x00c")
    sms = channel(gateway(provider, clock))
    assert await sms.send(job(TO)) == ("sent", '202: {"sid": "4711"}', None)
    assert (await sms.send(nasty)).result == "sent"
    first, second = provider.requests
    assert first.path == "/send?id=delivery_01"
    assert first.headers["Authorization"] == f"Bearer {CANARY}"
    assert first.headers["Idempotency-Key"] == "delivery_01"
    assert first.headers["Content-Type"] == "application/json"
    assert json.loads(first.body) == {"to": "+8613800138000", "content": TEXT}
    assert json.loads(second.body)["content"].startswith('a" {to}\nb\\  c\n')


@pytest.mark.gen_test
async def test_429_says_when(provider: HttpProvider, clock: FakeClock) -> None:
    provider.answer_with(429, b"slow down", Retry_After="17")
    outcome = await channel(gateway(provider, clock)).send(job(TO))
    assert outcome == ("retry", "429: slow down", 17)


@pytest.mark.gen_test
@pytest.mark.parametrize(("status", "result"), [(500, "retry"), (400, "failed"), (302, "failed")])
async def test_other_refusals(
    provider: HttpProvider, clock: FakeClock, status: int, result: str
) -> None:
    provider.answer_with(status, f"your key {CANARY}".encode(), Location=provider.url("/other"))
    outcome = await channel(gateway(provider, clock)).send(job(TO))
    assert outcome.result == result
    assert CANARY not in outcome.detail
    assert len(provider.requests) == 1


@pytest.mark.gen_test
async def test_a_gateway_that_hangs_or_is_down(provider: HttpProvider, clock: FakeClock) -> None:
    provider.hang()
    sms = channel(gateway(provider, clock, timeout_s=0.1))
    assert await sms.send(job(TO)) == ("retry", "no answer within 0.1 s", None)
    await provider.stop()
    outcome = await sms.send(job(TO))
    assert outcome.result == "retry"
    assert "refused" in outcome.detail


@pytest.mark.gen_test
async def test_200_is_not_enough_where_the_answer_says_more(
    provider: HttpProvider, clock: FakeClock
) -> None:
    sms = channel(gateway(provider, clock, success='"code": ?0'))
    provider.answer_with(200, b'{"code": 15, "msg": "limit"}')
    outcome = await sms.send(job(TO))
    assert outcome == ("retry", 'not taken: 200: {"code": 15, "msg": "limit"}', None)
    provider.answer_with(200, b'{"code":0}')
    assert (await sms.send(job(TO))).result == "sent"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json; charset=gbk", '{"msg": "发送成功"}'.encode("gbk")),
        ("text/plain", "发送成功".encode("gbk")),
        ("text/plain; charset=utf-16", "发送成功".encode("utf-16")),
        ("application/json", rb'{"msg": "\u53d1\u9001\u6210\u529f"}'),
    ],
)
async def test_success_is_understood_in_the_gateway_s_charset(
    provider: HttpProvider, clock: FakeClock, content_type: str, body: bytes
) -> None:
    sms = channel(gateway(provider, clock, success='成功$|成功"'))
    provider.answer_with(200, body, Content_Type=content_type)
    outcome = await sms.send(job(TO))
    assert outcome.result == "sent"
    if b"u6210" not in body:
        assert "发送成功" in outcome.detail


@pytest.mark.gen_test
@pytest.mark.parametrize("phone", ["13800138000", "+86 138", "+8613800138000\n", "x"])
async def test_a_number_that_is_none(provider: HttpProvider, clock: FakeClock, phone: str) -> None:
    sms = channel(gateway(provider, clock))
    outcome = await sms.send(job(Contact(user_id="u1", phone=phone)))
    assert outcome.result == "failed"
    assert provider.requests == []


def test_addresses(clock: FakeClock) -> None:
    nobody = channel()
    assert not nobody.is_configured
    http = HttpClient(None)
    template = Gateway("GET", "https://h/{to}/{text}", {}, None)
    sms = channel(SmsGateway(template, http, clock, redact=REDACT))
    assert sms.is_configured
    assert sms.has_address(TO)
    assert not sms.has_address(NOBODY)


# Apprise


@pytest.fixture
def threads() -> Iterator[AppriseThreads]:
    made = AppriseThreads()
    yield made
    made.close()


def apprise(threads: AppriseThreads, provider: HttpProvider, path: str) -> AppriseProvider:
    url = provider.url(path).replace("http://", "json://")
    return AppriseProvider(url, threads, redact=REDACT)


@pytest.mark.gen_test
async def test_apprise_with_a_number(provider: HttpProvider, threads: AppriseThreads) -> None:
    sms = channel(apprise(threads, provider, f"/{CANARY}/{{to}}"))
    assert sms.has_address(TO)
    assert not sms.has_address(NOBODY)
    assert await sms.send(job(TO, type="urgent")) == ("sent", "json: taken", None)
    (asked,) = provider.requests
    assert asked.path in (f"/{CANARY}/+8613800138000", f"/{CANARY}/%2B8613800138000")
    shown = json.loads(asked.body)
    assert shown["title"] == "设备状态变化"
    assert shown["type"] == "failure"
    assert "https://app.example.com/devices/7" in shown["message"]


@pytest.mark.gen_test
async def test_apprise_to_a_group(provider: HttpProvider, threads: AppriseThreads) -> None:
    sms = channel(apprise(threads, provider, "/group"))
    assert sms.has_address(NOBODY)
    assert (await sms.send(job(NOBODY))).result == "sent"
    assert provider.requests[0].path == "/group"


@pytest.mark.gen_test
async def test_apprise_says_why_not(provider: HttpProvider, threads: AppriseThreads) -> None:
    provider.answer_with(503, CANARY.encode())
    outcome = await channel(apprise(threads, provider, f"/{CANARY}/{{to}}")).send(job(TO))
    assert outcome.result == "retry"
    assert "503" in outcome.detail
    assert CANARY not in outcome.detail
    assert not logging.getLogger("apprise").propagate, "its URLs would get into our log"


@pytest.mark.gen_test
async def test_several_messages_do_not_hold_each_other_up(
    provider: HttpProvider, threads: AppriseThreads, io_loop: Any
) -> None:
    sms = channel(apprise(threads, provider, "/{to}"))
    for _ in range(THREADS + 2):  # one instance would wait 5.5 s between them
        assert (await sms.send(job(TO))).result == "sent"


# One after the other


@pytest.mark.gen_test
async def test_the_next_provider_steps_in(
    provider: HttpProvider, clock: FakeClock, threads: AppriseThreads
) -> None:
    sms = channel(gateway(provider, clock), apprise(threads, provider, "/second/{to}"))
    provider.answer = lambda request: (
        Answer(500) if request.path.startswith("/send") else Answer(200)
    )
    assert await sms.send(job(TO)) == ("sent", "500: {}; json: taken", None)
    provider.answer_with(429, Retry_After="9")
    outcome = await sms.send(job(TO))
    assert outcome.result == "retry"
    assert outcome.retry_after_s is None, "the second one did not ask to wait"
    provider.answer_with(400)
    first_alone = channel(gateway(provider, clock), gateway(provider, clock))
    assert await first_alone.send(job(TO)) == ("failed", "400: {}; 400: {}", None)


@pytest.mark.gen_test
async def test_who_has_taken_it_ends_the_attempt(provider: HttpProvider, clock: FakeClock) -> None:
    await channel(gateway(provider, clock), gateway(provider, clock)).send(job(TO))
    assert len(provider.requests) == 1
