"""Push platforms of phones, against HTTP/2 servers that check what arrives."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from tornado.ioloop import IOLoop

from tests.support.certificates import Authority
from tests.support.channel_jobs import job
from tests.support.fake_clock import FakeClock
from tests.support.http2_server import Http2Answer, Http2Server
from tests.support.waiting import until
from tests.support.web_server import API, StartServer, token
from wsserver.config import ConfigFaults, Settings, secret_texts
from wsserver.errors import StorageUnavailable
from wsserver.extension_registry import load_extensions
from wsserver.extensions.mobile_push import platform_client
from wsserver.extensions.mobile_push.apns import ApnsProvider
from wsserver.extensions.mobile_push.fcm import FcmProvider
from wsserver.extensions.mobile_push.jpush import JPushProvider
from wsserver.extensions.mobile_push.options import PushApp
from wsserver.notifications.channels.base import Notice, PushProvider, sent
from wsserver.notifications.channels.push import PushChannel
from wsserver.protocol.notifications import Contact, Device

TOKEN = "a1" * 32
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> bytes:
    found: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return found


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def platform(io_loop: IOLoop, authority: Authority) -> Iterator[Http2Server]:
    server = Http2Server(authority)
    io_loop.run_sync(server.start)
    yield server
    io_loop.run_sync(server.stop)


class Apps:
    """Apps of a platform's server, with their files."""

    def __init__(self, folder: Path, url: str, ca_file: Path) -> None:
        self._folder, self._common = folder, {"url": url, "ca_file": str(ca_file)}
        self._url = url

    def of(self, kind: str) -> dict[str, Any]:
        """The table of an app in the configuration."""
        if kind == "apns":
            (self._folder / "key.p8").write_bytes(pem(EC_KEY))
            return {**self._common, "kind": kind, "key_file": str(self._folder / "key.p8"),
                    "key_id": "KEY1", "team_id": "TEAM1", "topic": "com.example.chat"}  # fmt: skip
        if kind == "jpush":
            return {**self._common, "kind": kind, "app_key": "app1", "master_secret": "secret-one"}
        account = {
            "project_id": "shop-1",
            "client_email": "push@shop-1.example",
            "token_uri": f"{self._url}/token",
            "private_key": pem(RSA_KEY).decode(),
        }
        (self._folder / "account.json").write_text(json.dumps(account))
        file = str(self._folder / "account.json")
        return {**self._common, "kind": kind, "service_account_file": file}


@pytest.fixture
def apps(tmp_path: Path, platform: Http2Server, authority: Authority) -> Apps:
    return Apps(tmp_path, platform.url, authority.file)


PROVIDERS: dict[str, type[Any]] = {
    "apns": ApnsProvider,
    "fcm": FcmProvider,
    "jpush": JPushProvider,
}


def provider_of(kind: str, apps: Apps, clock: FakeClock) -> Any:
    return PROVIDERS[kind]("shop", PushApp(**apps.of(kind)), clock)


def notice(badge: int | None = 3, **changes: Any) -> Notice:
    return Notice(job(**changes), badge)


def with_access_tokens(platform: Http2Server, answer: Http2Answer, lifetime_s: int = 3600) -> None:
    """Let the platform issue access tokens, and answer all else so."""

    def answers(request: Any) -> Http2Answer:
        if request.path != "/token":
            return answer
        number = sum(each.path == "/token" for each in platform.requests)
        document = {"access_token": f"access-{number}", "expires_in": lifetime_s}
        return Http2Answer(200, json.dumps(document).encode())

    platform.answer = answers


# What is sent


@pytest.mark.gen_test
async def test_apns_gets_a_signed_request_on_one_connection(
    platform: Http2Server, apps: Apps, clock: FakeClock
) -> None:
    provider = provider_of("apns", apps, clock)
    outcomes = await asyncio.gather(*[provider.send(notice(), TOKEN) for _ in range(20)])
    assert set(outcomes) == {(sent(), False)}
    assert platform.connections == 1
    asked = platform.requests[0]
    assert (asked.path, asked.headers[":method"]) == (f"/3/device/{TOKEN}", "POST")
    assert asked.json == {
        "aps": {
            "alert": {
                "title": "设备状态变化",
                "body": "设备 张三的微信 状态从 在线 变更为 离线",
            },
            "badge": 3,
            "sound": "default",
        },
        "id": "notify_01",
        "type": "warning",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "action_url": "/devices/7",
    }
    headers = asked.headers
    assert (headers["apns-topic"], headers["apns-push-type"]) == ("com.example.chat", "alert")
    assert (headers["apns-collapse-id"], headers["apns-priority"]) == ("notify_01", "10")
    assert headers["apns-expiration"] == str(int(clock.wall()) + 3600)
    assert len({each.headers["apns-id"] for each in platform.requests}) == 1
    bearer = headers["authorization"].removeprefix("bearer ")
    options: Any = {"verify_iat": False}
    claims = jwt.decode(bearer, EC_KEY.public_key(), ["ES256"], options=options)
    assert claims == {"iss": "TEAM1", "iat": int(clock.wall())}
    assert jwt.get_unverified_header(bearer)["kid"] == "KEY1"
    clock.advance(39 * 60)
    await provider.send(notice(), TOKEN)
    clock.advance(2 * 60)
    await provider.send(notice(badge=None, type="info"), TOKEN)
    tokens = [each.headers["authorization"] for each in platform.requests]
    assert len(set(tokens[:-1])) == 1
    assert tokens[-1] != tokens[0]
    assert "badge" not in platform.requests[-1].json["aps"]
    assert platform.requests[-1].headers["apns-priority"] == "5"
    await provider.close()


@pytest.mark.gen_test
async def test_fcm_gets_an_access_token_once_and_messages(
    platform: Http2Server, apps: Apps, clock: FakeClock
) -> None:
    with_access_tokens(platform, Http2Answer(200, b'{"name": "projects/shop-1/messages/1"}'))
    provider = provider_of("fcm", apps, clock)
    outcomes = await asyncio.gather(*[provider.send(notice(), "token:1") for _ in range(5)])
    assert set(outcomes) == {(sent(), False)}
    issued, *messages = platform.requests
    form = parse_qs(issued.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(
        form["assertion"][0], RSA_KEY.public_key(), ["RS256"], audience=f"{platform.url}/token",
        options=options,
    )  # fmt: skip
    assert claims["iss"] == "push@shop-1.example"
    assert claims["scope"].endswith("/firebase.messaging")
    assert len(messages) == 5
    asked = messages[0]
    assert asked.path == "/v1/projects/shop-1/messages:send"
    assert asked.headers["authorization"] == "Bearer access-1"
    message = asked.json["message"]
    assert (message["token"], message["notification"]["title"]) == ("token:1", "设备状态变化")
    assert message["data"]["action_url"] == "/devices/7"
    assert all(isinstance(value, str) for value in message["data"].values())
    assert message["android"] == {
        "priority": "high",
        "ttl": "3600s",
        "collapse_key": "notify_01",
        "notification": {"tag": "notify_01", "notification_count": 3},
    }
    assert message["apns"]["payload"]["aps"]["badge"] == 3
    clock.advance(3600 - 299)
    await provider.send(notice(), "token:1")
    assert platform.requests[-1].headers["authorization"] == "Bearer access-2"
    await provider.close()


@pytest.mark.gen_test
async def test_jpush_gets_the_registration_id_and_the_secret(
    platform: Http2Server, apps: Apps, clock: FakeClock
) -> None:
    platform.answer_with(200, {"sendno": "0", "msg_id": "1"})
    provider = provider_of("jpush", apps, clock)
    assert await provider.send(notice(), "reg1") == (sent(), False)
    (asked,) = platform.requests
    assert asked.path == "/v3/push"
    pair = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
    assert pair == "app1:secret-one"
    body = asked.json
    assert body["audience"] == {"registration_id": ["reg1"]}
    assert body["notification"]["ios"]["badge"] == 3
    assert body["notification"]["android"]["alert"].startswith("设备")
    assert body["options"] == {
        "time_to_live": 3600, "apns_production": True, "apns_collapse_id": "notify_01",
    }  # fmt: skip
    await provider.close()


@pytest.mark.parametrize(("kind", "limit"), [("apns", 4096), ("fcm", 4096), ("jpush", 10_500)])
@pytest.mark.parametrize(
    "changes",
    [
        {"message": "好" * 10_000},
        {"message": '"' * 10_000},
        {"action_url": "/" + "x" * 9000},
        {"title": "好" * 5000, "message": "x" * 5000},
    ],
)
@pytest.mark.gen_test
async def test_what_is_too_long_is_cut(
    platform: Http2Server,
    apps: Apps,
    clock: FakeClock,
    kind: str,
    limit: int,
    changes: dict[str, Any],
) -> None:
    with_access_tokens(platform, Http2Answer())
    provider = provider_of(kind, apps, clock)
    assert (await provider.send(notice(**changes), TOKEN))[0].result == "sent"
    asked = platform.requests[-1]
    assert len(asked.body) <= limit
    if "message" in changes:
        assert "…" in asked.body.decode()
    else:
        assert b"xxxx" not in asked.body
    await provider.close()


# What the platforms answer

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_FIELD = {
    "@type": "type.googleapis.com/google.rpc.BadRequest",
    "fieldViolations": [{"field": "x"}],
}
BAD_TOKEN = {**BAD_FIELD, "fieldViolations": [{"field": "message.token"}]}


def fcm_error(status: str, code: str, *more: Any) -> dict[str, Any]:
    details = [{"@type": FCM_ERROR, "errorCode": code}, *more]
    return {"error": {"status": status, "message": f"about {TOKEN}", "details": details}}


@pytest.mark.parametrize(
    ("kind", "status", "document", "result", "is_dead"),
    [
        ("apns", 400, {"reason": "BadDeviceToken"}, "failed", True),
        ("apns", 400, {"reason": "DeviceTokenNotForTopic"}, "failed", True),
        ("apns", 410, {"reason": "Unregistered", "timestamp": 1}, "failed", True),
        ("apns", 410, {"reason": "ExpiredToken"}, "failed", True),
        ("apns", 400, {"reason": "PayloadTooLarge"}, "failed", False),
        ("apns", 403, {"reason": "InvalidProviderToken"}, "retry", False),
        ("apns", 429, {"reason": "TooManyRequests"}, "retry", False),
        ("apns", 503, {"reason": "ServiceUnavailable"}, "retry", False),
        ("apns", 500, None, "retry", False),
        ("apns", 404, {"reason": TOKEN}, "failed", False),
        ("apns", 400, [1], "failed", False),
        ("fcm", 404, fcm_error("NOT_FOUND", "UNREGISTERED"), "failed", True),
        ("fcm", 403, fcm_error("PERMISSION_DENIED", "SENDER_ID_MISMATCH"), "failed", True),
        ("fcm", 400, fcm_error("INVALID_ARGUMENT", "INVALID_ARGUMENT"), "failed", True),
        ("fcm", 400, fcm_error("INVALID_ARGUMENT", "INVALID_ARGUMENT", BAD_FIELD), "failed", False),
        ("fcm", 400, fcm_error("INVALID_ARGUMENT", "INVALID_ARGUMENT", BAD_TOKEN), "failed", True),
        ("fcm", 429, fcm_error("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "retry", False),
        ("fcm", 503, fcm_error("UNAVAILABLE", "UNAVAILABLE"), "retry", False),
        ("fcm", 401, fcm_error("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), "failed", False),
        ("fcm", 401, {"error": {"status": "UNAUTHENTICATED"}}, "retry", False),
        ("fcm", 404, {"error": {"status": "NOT_FOUND", "message": TOKEN}}, "failed", False),
        ("fcm", 400, "x", "failed", False),
        ("jpush", 400, {"error": {"code": 1011, "message": "x"}}, "failed", True),
        ("jpush", 401, {"error": {"code": 1004, "message": "secret-one"}}, "failed", False),
        ("jpush", 400, {"error": {"code": 2002, "message": "x"}}, "retry", False),
        ("jpush", 429, {"error": {"code": 2002, "message": "x"}}, "retry", False),
        ("jpush", 502, None, "retry", False),
        ("jpush", 400, {"error": "x"}, "failed", False),
    ],
)  # fmt: skip
@pytest.mark.gen_test
async def test_what_an_answer_means(
    platform: Http2Server,
    apps: Apps,
    clock: FakeClock,
    kind: str,
    status: int,
    document: Any,
    result: str,
    is_dead: bool,
) -> None:
    body = b"" if document is None else json.dumps(document).encode()
    with_access_tokens(platform, Http2Answer(status, body, {"retry-after": "7"}))
    provider = provider_of(kind, apps, clock)
    outcome, dead = await provider.send(notice(), TOKEN)
    assert (outcome.result, dead) == (result, is_dead)
    assert str(status) in outcome.detail
    assert TOKEN not in outcome.detail
    assert "secret-one" not in outcome.detail
    passing = result == "retry" and status not in (401, 403)
    assert outcome.retry_after_s == (7 if passing else None)
    await provider.close()


@pytest.mark.gen_test
async def test_a_token_that_the_platform_refuses_is_renewed(
    platform: Http2Server, apps: Apps, clock: FakeClock
) -> None:
    provider = provider_of("apns", apps, clock)
    platform.answer_with(403, {"reason": "ExpiredProviderToken"})
    await provider.send(notice(), TOKEN)
    clock.advance(1)
    platform.answer_with(200)
    await provider.send(notice(), TOKEN)
    first, second = [each.headers["authorization"] for each in platform.requests]
    assert first != second
    fcm = provider_of("fcm", apps, clock)
    with_access_tokens(platform, Http2Answer(401))
    await fcm.send(notice(), TOKEN)
    await fcm.send(notice(), TOKEN)
    assert platform.requests[-1].headers["authorization"] == "Bearer access-2"
    for each in (provider, fcm):
        await each.close()


@pytest.mark.parametrize(
    "document", [{"error": "invalid_grant"}, [1], {"access_token": 7, "expires_in": 9}]
)
@pytest.mark.gen_test
async def test_without_an_access_token_it_is_tried_again(
    platform: Http2Server, apps: Apps, clock: FakeClock, document: Any
) -> None:
    platform.answer_with(400, document)
    provider = provider_of("fcm", apps, clock)
    outcome, _ = await provider.send(notice(), TOKEN)
    assert (outcome.result, outcome.detail) == ("retry", "fcm: no access token (400)")
    await provider.close()


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
@pytest.mark.gen_test
async def test_a_platform_that_is_away_silent_or_breaks_off_is_tried_again(
    platform: Http2Server,
    apps: Apps,
    clock: FakeClock,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = provider_of(kind, apps, clock)
    with_access_tokens(platform, Http2Answer(cut=True))
    assert (await provider.send(notice(), TOKEN))[0].result == "retry"
    with_access_tokens(platform, Http2Answer())
    assert (await provider.send(notice(), TOKEN))[0].result == "sent"
    monkeypatch.setattr(platform_client, "TIMEOUT_S", 0.2)
    with_access_tokens(platform, Http2Answer(hang=True))
    outcome, _ = await provider.send(notice(), TOKEN)
    assert (outcome.result, "no answer within" in outcome.detail) == ("retry", True)
    monkeypatch.undo()
    await platform.stop()
    outcome, _ = await provider.send(notice(), TOKEN)
    assert outcome.result == "retry"
    assert str(platform.port) not in outcome.detail
    await provider.close()


@pytest.mark.gen_test
async def test_a_platform_that_is_not_trusted_gets_nothing(
    platform: Http2Server, apps: Apps, clock: FakeClock
) -> None:
    app = PushApp(**{**apps.of("apns"), "ca_file": ""})
    provider = ApnsProvider("shop", app, clock)
    outcome, _ = await provider.send(notice(), TOKEN)
    assert (outcome.result, "TLS" in outcome.detail) == ("retry", True)
    assert platform.requests == []
    await provider.close()


@pytest.mark.gen_test
async def test_tokens_of_devices_reach_no_log(
    platform: Http2Server, apps: Apps, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in PROVIDERS:
        with_access_tokens(platform, Http2Answer())
        provider = provider_of(kind, apps, clock)
        await provider.send(notice(), TOKEN)
        await provider.close()
    assert TOKEN not in caplog.text
    assert "access-1" not in caplog.text


@pytest.mark.gen_test
async def test_what_is_no_token_of_apple_s_is_not_put_into_a_path(
    platform: Http2Server, apps: Apps, clock: FakeClock
) -> None:
    provider = provider_of("apns", apps, clock)
    for token_ in ("../x", "a/b", "a?b", "é"):
        assert (await provider.send(notice(), token_))[1] is True
    assert platform.requests == []
    await provider.close()


# The channel

SENT = sent()


class Fake:
    """A platform that answers as told."""

    def __init__(self, platform: str, app: str, outcome: Any = (SENT, False)) -> None:
        self.platform, self.app, self.outcome = platform, app, outcome
        self.sent: list[tuple[str, int | None]] = []

    async def send(self, notice: Notice, token: str) -> Any:
        self.sent.append((token, notice.badge))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def close(self) -> None:
        pass


class Store:
    def __init__(self) -> None:
        self.forgotten: list[Device] = []

    async def forget_subscription(self, user_id: str, endpoint: str) -> bool:
        return False

    async def forget_device(self, user_id: str, device: Device) -> bool:
        self.forgotten.append(device)
        return True


async def five(_: str) -> int:
    return 5


def channel_of(*providers: PushProvider, badge: Any = five) -> tuple[PushChannel, Store]:
    store = Store()
    channel = PushChannel(None, store, badge=badge)
    for provider in providers:
        channel.add_provider(provider)
    return channel, store


@pytest.mark.gen_test
async def test_a_device_is_reached_by_its_platform_and_app() -> None:
    shop, crm, other = Fake("apns", "shop"), Fake("apns", "crm"), Fake("fcm", "shop")
    channel, _ = channel_of(shop, crm, other)
    contact = Contact(
        user_id="u1",
        devices=(
            Device("apns", "t1", "shop"),
            Device("apns", "t2", "crm"),
            Device("apns", "t3"),  # of two apps
            Device("fcm", "t4"),
            Device("jpush", "t5"),
        ),
    )
    assert channel.has_address(contact)
    assert not channel.has_address(Contact(user_id="u1", devices=contact.devices[4:]))
    outcome = await channel.send(job(contact))
    assert outcome == ("sent", "3 of 3 devices", None)
    assert (shop.sent, crm.sent, other.sent) == ([("t1", 5)], [("t2", 5)], [("t4", 5)])


@pytest.mark.gen_test
async def test_a_dead_token_is_deleted_and_a_broken_platform_is_tried_again() -> None:
    from wsserver.notifications.channels.base import failed

    dead = Fake("apns", "shop", (failed("apns 410: Unregistered"), True))
    broken = Fake("fcm", "shop", RuntimeError("bug"))
    channel, store = channel_of(dead, broken)
    devices = (Device("apns", "t1"), Device("fcm", "t2"))
    outcome = await channel.send(job(Contact(user_id="u1", devices=devices)))
    assert outcome.result == "retry"
    assert "gone, token deleted" in outcome.detail
    assert store.forgotten == [devices[0]]


@pytest.mark.gen_test
async def test_without_a_count_the_badge_stays_as_it_is() -> None:
    async def unavailable(_: str) -> int:
        raise StorageUnavailable

    shop = Fake("apns", "shop")
    channel, _ = channel_of(shop, badge=unavailable)
    contact = Contact(user_id="u1", devices=(Device("apns", "t1"),))
    assert (await channel.send(job(contact))).result == "sent"
    assert shop.sent == [("t1", None)]


# Options


def faults_of(tables: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigFaults) as caught:
        load_extensions(Settings(extension_settings={"mobile_push": tables}))
    return {fault.key.removeprefix("mobile_push."): fault.message for fault in caught.value.faults}


def test_every_fault_of_an_app_is_named(tmp_path: Path) -> None:
    (tmp_path / "rsa.pem").write_bytes(pem(RSA_KEY))
    (tmp_path / "no.json").write_text('{"project_id": 1}')
    found = faults_of(
        {
            "a": {"kind": "apns", "key_file": str(tmp_path / "rsa.pem"), "app_key": "x"},
            "b": {"kind": "fcm", "service_account_file": str(tmp_path / "no.json"),
                  "url": "ftp://x", "ca_file": "/none"},
            "c": {"kind": "jpush", "app_key": "k", "master_secret": "s",
                  "master_secret_file": "/none"},
            "d": {"kind": "jpush"},
            "e f": {"kind": "fcm", "service_account_file": "/none"},
        }
    )  # fmt: skip
    assert set(found) == {
        *("a.key_id", "a.team_id", "a.topic", "a.key_file", "a.app_key"),
        *("b.service_account_file", "b.url", "b.ca_file"),
        *("c.master_secret", "d.app_key", "d.master_secret"),
        *("e f", "e f.service_account_file"),
    }
    assert faults_of({"x": {"kind": "gcm"}}).keys() == {"x.kind"}


def test_secrets_of_apps_are_known_to_the_log(apps: Apps) -> None:
    table = {"app": apps.of("jpush")}
    found = secret_texts(Settings(extension_settings={"mobile_push": table}))
    assert "secret-one" in found


def test_without_the_extra_it_names_the_command(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsserver.extensions.mobile_push import options

    monkeypatch.setattr(options, "find_spec", lambda name: None)
    found = faults_of({"app": apps.of("jpush")})
    assert "pip install 'wsserver[mobile]'" in found["mobile_push"]


# The whole server


@pytest.mark.gen_test
async def test_a_notification_reaches_a_phone_with_the_unread_messages_as_its_badge(
    start_server: StartServer, platform: Http2Server, apps: Apps
) -> None:
    server = await start_server(
        extension_settings={"mobile_push": {"shop": apps.of("apns")}}, delivery_backoff_s=0.05
    )
    path = f"{API}/users/alice/contacts"
    devices = [{"platform": "apns", "token": TOKEN}, {"platform": "apns", "token": "dead"}]
    answer = await server.request("PUT", path, bearer=token(), devices=devices)
    assert answer.json()["devices"] == [{**each, "app": None} for each in devices]
    await server.request("PUT", f"{API}/sessions/s1/members", bearer=token(), user_ids=["alice"])
    for text in ("hello", "are you there?"):
        await server.post("/sessions/s1/messages", type="new_message", content=text)

    def answers(request: Any) -> Http2Answer:
        is_dead = request.path.endswith("/dead")
        return Http2Answer(410, b'{"reason": "Unregistered"}') if is_dead else Http2Answer()

    platform.answer = answers
    sent_ = await server.post(
        "/notify", user_ids=["alice"], title="T", message="M", channels=["push"]
    )
    assert sent_.json()["deliveries"][0]["state"] == "pending"
    await until(lambda: len(platform.requests) == 2)
    (asked,) = [each for each in platform.requests if each.path.endswith(TOKEN)]
    assert asked.json["aps"]["badge"] == 2
    left: list[Any] = []

    async def look() -> None:
        found = (await server.request("GET", path, bearer=token())).json()["devices"]
        left[:] = found

    while len(left) != 1:
        await look()
    assert left[0]["token"] == TOKEN


@pytest.mark.gen_test
async def test_devices_are_exported_and_erased_with_the_contacts(
    start_server: StartServer, platform: Http2Server, apps: Apps
) -> None:
    server = await start_server(extension_settings={"mobile_push": {"shop": apps.of("apns")}})
    path = f"{API}/users/alice"
    devices = [{"platform": "apns", "token": TOKEN}]
    await server.request("PUT", f"{path}/contacts", bearer=token(), devices=devices)
    data = await server.request("GET", f"{path}/data", bearer=token())
    assert TOKEN.encode() in data.body
    erased = await server.request("DELETE", f"{path}/data", bearer=token())
    assert erased.json()["erased"]["contacts"] == 1
    assert TOKEN.encode() not in (await server.request("GET", f"{path}/data", bearer=token())).body
    text = {"title": "T", "message": "M", "channels": ["push"]}
    await server.post("/notify", user_ids=["alice"], **text)
    notified = (await server.get("/notifications?user_id=alice")).json()["notifications"]
    assert [each["state"] for each in notified[0]["deliveries"]] == ["no_address"]
    assert platform.requests == []
