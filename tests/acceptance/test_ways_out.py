"""Channels of a running server: mail, SMS, push and webhooks, to real servers."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Connect
from tests.support.http_provider import HttpProvider
from tests.support.provider_thread import ProviderThread
from tests.support.push_service import PushSubscriber, base64url
from tests.support.running_server import ADMIN, RunningServer, Start
from tests.support.waiting import poll
from wsserver.config.vapid import vapid_key

CANARY = "canary-7d1f0c"
VAPID = base64url(bytes(range(1, 33)))
HOOK_SECRET = f"hook-{CANARY}"


@pytest.fixture
def providers() -> Iterator[ProviderThread[HttpProvider]]:
    providers = ProviderThread(HttpProvider)
    yield providers
    providers.close()


def settings(providers: ProviderThread[HttpProvider]) -> dict[str, Any]:
    url = providers.provider.url
    return {
        "smtp_url": f"smtp://127.0.0.1:{providers.mail.port}",
        "mail_from": "客服 <notify@shop.example>",
        "frontend_url": "https://app.example.com",
        "sms_url": url("/sms"),
        "sms_headers": {"Authorization": f"Bearer {CANARY}"},
        "sms_body": '{"to": "{to}", "content": "{text}"}',
        "vapid_private_key": VAPID,
        "vapid_subject": "mailto:ops@example.com",
        "webhook_urls": url(f"/hooks/{CANARY}#notification_*|user_connected"),
        "webhook_secret": HOOK_SECRET,
        "allow_loopback_urls": True,
        "delivery_backoff_s": 0.05,
        "log_level": "debug",
    }


def notify(server: RunningServer, **body: Any) -> str:
    answer = server.post(
        "/notify", {"user_ids": ["u1"], "title": "着火了", "message": "快跑", **body}
    )
    assert answer.status == 202, answer
    return str(answer.json()["notification_id"])


def until(server: RunningServer, name: str, **states: int) -> Any:
    return poll(
        lambda: server.get(f"/notifications/{name}").ok, lambda shown: shown["states"] == states
    )


def test_an_urgent_notification_goes_every_way(
    start: Start, providers: ProviderThread[HttpProvider], connect: Connect
) -> None:
    providers.run(providers.mail.start())
    server = start(**settings(providers))
    browser = PushSubscriber(providers.provider.url("/push"))
    contact = {
        "email": "li@example.com",
        "phone": "+8613800138000",
        "push": [
            {
                "endpoint": browser.subscription.endpoint,
                "keys": {
                    "p256dh": browser.subscription.keys.p256dh,
                    "auth": browser.subscription.keys.auth,
                },
            }
        ],
    }
    assert server.put("/users/u1/contacts", contact).ok
    name = notify(server, type="urgent", action_url="/fire")
    until(server, name, sent=4)
    assert providers.sink.mails[0]["Subject"] == "着火了"
    asked = {each.path: each for each in providers.provider.requests}
    assert json.loads(asked["/sms"].body) == {
        "to": "+8613800138000",
        "content": "着火了\n快跑\nhttps://app.example.com/fire",
    }
    assert browser.read(asked["/push"])["id"] == name
    connect("u2", to=server)
    hooks = f"/hooks/{CANARY}"
    providers.until(lambda: sum(each.path == hooks for each in providers.provider.requests) == 5)
    for hook in (each for each in providers.provider.requests if each.path == hooks):
        given = dict(part.split("=", 1) for part in hook.headers["X-Wsserver-Signature"].split(","))
        signed = given["t"].encode() + b"." + hook.body
        assert given["v1"] == hmac.new(HOOK_SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert json.loads(hook.body)["name"] == hook.headers["X-Wsserver-Event"]
    checks = server.health()["checks"]
    assert checks["webhooks"]["ok"] is True
    shown = json.dumps(server.get(f"/notifications/{name}").ok) + json.dumps(checks)
    assert CANARY not in shown
    assert [line for line in server.lines if CANARY in line or VAPID in line] == []


def test_the_mail_server_is_down_and_the_server_is_killed(
    start: Start, providers: ProviderThread[HttpProvider]
) -> None:
    providers.run(providers.mail.start())
    chosen = settings(providers)
    providers.run(providers.mail.stop())
    first = start(**chosen)
    assert first.put("/users/u1/contacts", {"email": "li@example.com"}).ok
    name = notify(first, channels=["email"])
    poll(
        lambda: first.get(f"/notifications/{name}").ok["deliveries"][0]["attempts"],
        lambda attempts: len(attempts) >= 2,
    )
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(folder=first.folder, **chosen)
    providers.run(providers.mail.start())
    shown = until(second, name, sent=1)
    assert len(providers.sink.mails) == 1
    attempts = shown["deliveries"][0]["attempts"]
    assert "Error connecting" in attempts[0]["detail"]
    assert attempts[-1]["outcome"] == "sent"
    assert "queued as 4711" in attempts[-1]["detail"]


def test_without_settings_nothing_is_ever_called_sent(start: Start) -> None:
    server = start()
    assert server.put("/users/u1/contacts", {"email": "li@example.com"}).ok
    name = notify(server, channels=["email", "sms", "push"])
    until(server, name, not_configured=3)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.1/x",
        "https://0x7f.1/x",
        "https://2130706433/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://169.254.169.254/x",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
    ],
)
def test_endpoints_of_pushes_lead_nowhere_inside(start: Start, servers: Any, endpoint: str) -> None:
    server = servers[-1] if servers and servers[-1].process.poll() is None else start()
    keys = PushSubscriber(endpoint).subscription.keys
    body = {"push": [{"endpoint": endpoint, "keys": {"p256dh": keys.p256dh, "auth": keys.auth}}]}
    answer = server.put("/users/u1/contacts", body, bearer=ADMIN)
    assert answer.problem == (422, "url_forbidden")


def test_the_vapid_key_of_these_tests_is_one() -> None:
    assert vapid_key(VAPID).key_size == 256
