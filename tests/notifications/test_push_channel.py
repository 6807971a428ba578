"""Web Push, against an endpoint that decrypts what arrives."""

from __future__ import annotations

from typing import Any

import http_ece
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.channel_jobs import CANARY, CREATED_AT, REDACT, job
from tests.support.fake_clock import FakeClock
from tests.support.http_provider import Answer, HttpProvider
from tests.support.push_service import PushSubscriber, base64url, vapid_claims
from wsserver.addresses.reach import Reach
from wsserver.config.vapid import public_half
from wsserver.errors import StorageUnavailable
from wsserver.http_client import HttpClient
from wsserver.notifications.channels.push import PushChannel
from wsserver.notifications.channels.push_payload import PAYLOAD_LIMIT_BYTES, payload_of, ttl_s
from wsserver.notifications.channels.web_push import WebPush
from wsserver.protocol.notifications import Contact, Device, PushKeys, PushSubscription

KEY = ec.generate_private_key(ec.SECP256R1())
DEVELOPMENT = Reach(loopback=True)


class Forgetting:
    """Stands for the storage of contacts."""

    def __init__(self, *, is_down: bool = False) -> None:
        self.forgotten: list[tuple[str, str]] = []
        self._is_down = is_down

    async def forget_subscription(self, user_id: str, endpoint: str) -> bool:
        if self._is_down:
            raise StorageUnavailable
        self.forgotten.append((user_id, endpoint))
        return True

    async def forget_device(self, user_id: str, device: Device) -> bool:
        return await self.forget_subscription(user_id, device.token)


def channel(
    clock: FakeClock,
    forgetting: Forgetting | None = None,
    *,
    reach: Reach = DEVELOPMENT,
    timeout_s: float = 5,
) -> PushChannel:
    web = WebPush(
        KEY,
        "mailto:ops@example.com",
        HttpClient(reach, timeout_s=timeout_s),
        clock,
        reach=reach,
        redact=REDACT,
    )
    return PushChannel(web, forgetting or Forgetting())


def contact(*browsers: PushSubscriber) -> Contact:
    return Contact(user_id="u1", push=tuple(each.subscription for each in browsers))


@pytest.mark.gen_test
async def test_the_browser_can_read_it_and_knows_who_sent_it(
    provider: HttpProvider, clock: FakeClock
) -> None:
    provider.answer_with(201, b"")
    browser = PushSubscriber(provider.url(f"/push/{CANARY}"))
    push = channel(clock)
    assert await push.send(job(contact(browser))) == ("sent", "1 of 1 browsers", None)
    (asked,) = provider.requests
    assert asked.path == f"/push/{CANARY}"
    assert browser.read(asked) == {
        "id": "notify_01",
        "title": "设备状态变化",
        "message": "设备 张三的微信 状态从 在线 变更为 离线",
        "type": "warning",
        "action_url": "/devices/7",
        "auto_close": False,
        "timestamp": "2023-11-14T22:13:20.000Z",
    }
    claims, key = vapid_claims(asked, f"http://127.0.0.1:{provider.port}")
    assert claims["sub"] == "mailto:ops@example.com"
    assert claims["exp"] == clock.wall() + 12 * 3600
    assert key == public_half(KEY)
    assert asked.headers["TTL"] == "3600"
    assert asked.headers["Urgency"] == "normal"
    assert asked.headers["Topic"] == "notify_01"


@pytest.mark.gen_test
async def test_only_the_subscriber_can_decrypt_a_push(
    provider: HttpProvider, clock: FakeClock
) -> None:
    browser = PushSubscriber(provider.url())
    await channel(clock).send(job(contact(browser)))
    with pytest.raises(http_ece.ECEException):
        PushSubscriber(provider.url()).read(provider.requests[0])
    assert "张三".encode() not in provider.requests[0].body


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_is_gone_is_forgotten(
    provider: HttpProvider, clock: FakeClock, status: int
) -> None:
    provider.answer_with(status, b"")
    forgetting = Forgetting()
    browser = PushSubscriber(provider.url("/gone"))
    outcome = await channel(clock, forgetting).send(job(contact(browser)))
    assert outcome == ("failed", f"0 of 1 browsers; {status}: gone, subscription deleted", None)
    assert forgetting.forgotten == [("u1", provider.url("/gone"))]


@pytest.mark.gen_test
async def test_a_database_that_is_down_does_not_hide_the_outcome(
    provider: HttpProvider, clock: FakeClock
) -> None:
    provider.answer_with(410, b"")
    outcome = await channel(clock, Forgetting(is_down=True)).send(
        job(contact(PushSubscriber(provider.url())))
    )
    assert outcome == ("failed", "0 of 1 browsers; 410: gone, not deleted yet", None)


@pytest.mark.gen_test
async def test_one_browser_that_takes_it_is_enough(
    provider: HttpProvider, clock: FakeClock
) -> None:
    statuses = {"/a": 201, "/b": 410, "/c": 500}
    provider.answer = lambda request: Answer(statuses[request.path], b"")
    forgetting = Forgetting()
    browsers = [PushSubscriber(provider.url(path)) for path in statuses]
    outcome = await channel(clock, forgetting).send(job(contact(*browsers)))
    assert outcome == (
        "sent",
        "1 of 3 browsers; 410: gone, subscription deleted; 500",
        None,
    )
    assert len(forgetting.forgotten) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("status", "headers", "result", "wait_s"),
    [
        (429, {"Retry-After": "30"}, "retry", 30),
        (500, {}, "retry", None),
        (503, {"Retry-After": "7"}, "retry", 7),
        (400, {}, "failed", None),
        (403, {}, "failed", None),
        (413, {}, "failed", None),
    ],
)
async def test_refusals(
    provider: HttpProvider,
    clock: FakeClock,
    status: int,
    headers: dict[str, str],
    result: str,
    wait_s: float | None,
) -> None:
    provider.answer = lambda request: Answer(status, f"no {CANARY}".encode(), headers)
    outcome = await channel(clock).send(job(contact(PushSubscriber(provider.url()))))
    assert outcome == (result, f"0 of 1 browsers; {status}: no [redacted]", wait_s)


@pytest.mark.gen_test
async def test_a_redirect_is_not_followed(provider: HttpProvider, clock: FakeClock) -> None:
    provider.answer_with(307, Location=provider.url("/inside"))
    outcome = await channel(clock).send(job(contact(PushSubscriber(provider.url()))))
    assert outcome.result == "failed"
    assert "redirects are not followed" in outcome.detail
    assert len(provider.requests) == 1


@pytest.mark.gen_test
async def test_a_push_service_that_hangs_or_is_down(
    provider: HttpProvider, clock: FakeClock
) -> None:
    provider.hang()
    push = channel(clock, timeout_s=0.2)
    to = contact(PushSubscriber(provider.url()))
    assert (await push.send(job(to))).detail == "0 of 1 browsers; no answer within 0.2 s"
    await provider.stop()
    assert (await push.send(job(to))).result == "retry"


@pytest.mark.gen_test
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_outside_of_development_this_machine_is_out_of_reach(
    provider: HttpProvider, clock: FakeClock, scheme: str, host: str
) -> None:
    browser = PushSubscriber(f"{scheme}://{host}:{provider.port}/")
    outcome = await channel(clock, reach=Reach()).send(job(contact(browser)))
    assert outcome.result == "failed"
    assert provider.requests == []


@pytest.mark.gen_test
async def test_keys_that_nothing_can_be_encrypted_with(
    provider: HttpProvider, clock: FakeClock
) -> None:
    good = PushSubscriber(provider.url()).subscription.keys
    for keys in (
        PushKeys(p256dh="x", auth=good.auth),
        PushKeys(p256dh=good.p256dh, auth=base64url(b"short")),
        PushKeys(p256dh=base64url(b"\x04" + b"\x01" * 64), auth=good.auth),
    ):
        to = Contact(user_id="u1", push=(PushSubscription(provider.url(), keys),))
        outcome = await channel(clock).send(job(to))
        assert outcome.result == "failed"
        assert "must be base64url" in outcome.detail
    assert provider.requests == []


def test_without_settings_it_says_so(clock: FakeClock) -> None:
    push = PushChannel(None, Forgetting())
    browser = contact(PushSubscriber("https://push.example.com/x"))
    assert not push.is_configured
    assert not push.has_address(browser)
    assert channel(clock).has_address(browser)
    assert not channel(clock).has_address(Contact(user_id="u1"))


@pytest.mark.parametrize(
    "changes",
    [
        {"message": "好" * 10_000},
        {"message": '"' * 10_000},
        {"action_url": "/" + "x" * 5000},
        {"title": "好" * 5000, "message": "x" * 5000},
    ],
)
def test_what_is_too_long_is_cut(changes: dict[str, Any]) -> None:
    encoded = payload_of(job(**changes))
    assert len(encoded) <= PAYLOAD_LIMIT_BYTES
    shown = msgspec.json.decode(encoded)
    assert shown["id"] == "notify_01"
    assert shown["title"]
    if "action_url" not in changes:
        assert len(encoded) > PAYLOAD_LIMIT_BYTES - 60


def test_how_long_push_services_keep_it() -> None:
    assert ttl_s(job(), CREATED_AT + 0.5) == 3599
    assert ttl_s(job(), CREATED_AT + 5000) == 0
    assert ttl_s(job(expires_at=CREATED_AT + 1e9), CREATED_AT) == 28 * 86_400
