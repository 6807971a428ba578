"""Settings of the channels: e-mail, SMS, push, webhooks; and their secrets."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wsserver.channel_factory import channels_of, push_channel_of
from wsserver.clock import Clock
from wsserver.config import (
    ConfigFaults,
    Settings,
    load_settings,
    masked,
    read_settings,
    secret_texts,
)
from wsserver.config import channels as channels_module
from wsserver.config.channels import split_webhook
from wsserver.config.gateway import Gateway
from wsserver.config.vapid import vapid_key

CANARY = "canary-7d1f0c"
KEY = ec.generate_private_key(ec.SECP256R1())
RAW_KEY = (
    base64.urlsafe_b64encode(KEY.private_numbers().private_value.to_bytes(32, "big"))
    .rstrip(b"=")
    .decode()
)


def load(env: Mapping[str, str], *, dev: bool = False) -> Settings:
    environ = {"WSSERVER_JWT_SECRET": "s" * 32}
    return load_settings(
        None, environ | {f"WSSERVER_{key.upper()}": text for key, text in env.items()}, {}, dev
    )


def faults(env: Mapping[str, str], *, dev: bool = False) -> dict[str, str]:
    """Key → message."""
    with pytest.raises(ConfigFaults) as caught:
        load(env, dev=dev)
    assert CANARY not in str(caught.value)
    found = {fault.key: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    return found


MAIL = {"smtp_url": f"smtp+starttls://shop:{CANARY}@mail.example.com", "mail_from": "a@b.example"}
SMS = {"sms_url": "https://sms.example.com/{to}", "sms_body": '{"t": "{text}"}'}
PUSH = {"vapid_private_key": RAW_KEY, "vapid_subject": "mailto:ops@example.com"}
HOOK = {"webhook_urls": "https://hooks.example.com/x", "webhook_secret": "s"}


def test_everything_that_is_well() -> None:
    settings = load(MAIL | SMS | PUSH | HOOK | {"apprise_urls": "json://h.example/{to}"})
    assert settings.sms_method == "POST"
    assert (settings.delivery_backoff_s, settings.delivery_attempts) == (2, 8)
    assert not settings.allow_loopback_urls


def test_every_fault_is_reported() -> None:
    found = faults(
        {
            "smtp_url": f"https://shop:{CANARY}@mail.example.com",
            "mail_from": "a@b, c@d",
            "frontend_url": "app.example.com",
            "sms_url": f"https://{CANARY}@sms.example.com",
            "sms_method": "DELETE",
            "sms_success": "(",
            "apprise_urls": CANARY,
            "vapid_private_key": CANARY,
            "vapid_subject": "ops",
            "webhook_urls": f"https://h.example/{CANARY}#,",
            "webhook_networks": "10.0.0.1/8",
            "delivery_backoff_s": "0",
            "delivery_attempts": "0",
            "sms_headers": json.dumps({"a b": CANARY}),
        }
    )
    assert set(found) == {
        "smtp_url",
        "mail_from",
        "frontend_url",
        "sms_url",
        "sms_method",
        "sms_headers",
        "sms_success",
        "apprise_urls",
        "vapid_private_key",
        "vapid_subject",
        "webhook_urls",
        "webhook_networks",
        "delivery_backoff_s",
        "delivery_attempts",
    }


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"smtp_url": "smtp://h"}, "mail_from"),
        ({"vapid_private_key": RAW_KEY}, "vapid_subject"),
        ({"webhook_urls": "https://h.example"}, "webhook_secret"),
        ({"sms_body": "{to}{text}"}, "sms_url"),
        ({"sms_headers": '{"A": "b"}'}, "sms_url"),
    ],
)
def test_what_needs_another_key(given: dict[str, str], missing: str) -> None:
    found = faults(given)
    assert found == {missing: f"is missing: {next(iter(given))} needs it"}


@pytest.mark.parametrize(
    ("given", "key", "extra"),
    [
        (MAIL, "smtp_url", "email"),
        (PUSH, "vapid_private_key", "push"),
        ({"apprise_urls": "json://h.example"}, "apprise_urls", "apprise"),
    ],
)
def test_an_extra_that_is_not_installed(
    given: dict[str, str], key: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_module, "find_spec", lambda name: None)
    found = faults(given)
    assert found[key] == (
        f"needs the extra {extra}, which is not installed: pip install 'wsserver[{extra}]'"
    )


# SMS


@pytest.mark.parametrize(
    ("url", "body", "message"),
    [
        ("https://h.example/", "{text}", "must have {to}, here or"),
        ("https://h.example/{to}", "", "must have {text}, here or"),
        ("https://{to}.example/{text}", "", "only after the host"),
        ("https://h.example/{to}/{text}#x", "", "must be a URL"),
        ("ftp://h.example/{to}/{text}", "", "must be a URL"),
        ("https://h.example/{to}", '{"t": {text}}', "not valid JSON"),
        ("https://h.example/{to}", '{"t": "{text}"', "not valid JSON"),
    ],
)
def test_templates_that_cannot_work(url: str, body: str, message: str) -> None:
    given = {"sms_url": url} | ({"sms_body": body} if body else {})
    assert message in faults(given)["sms_url"]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"a b": CANARY}, "not a valid header name"),
        ({"Host": CANARY}, "must not set Host"),
        ({"X": "{text}"}, "headers cannot hold"),
        ({"X": "é"}, "printable ASCII"),
        ({"X": f"{CANARY}\r\nY: z"}, "printable ASCII"),
        ({"X": [CANARY]}, "a table of strings"),
    ],
)
def test_headers_that_cannot_be_sent(headers: dict[str, Any], message: str) -> None:
    assert message in faults(SMS | {"sms_headers": json.dumps(headers)})["sms_headers"]


def test_one_header_in_the_environment() -> None:
    settings = load(
        SMS | {"sms_headers": '{"A": "b"}', "sms_headers__x_api_key": "k, l"},
    )
    assert settings.sms_headers == {"A": "b", "X-API-KEY": "k, l"}


NASTY = 'a"b\\c\n{to}&<d> + é 中文 %'


@pytest.mark.parametrize(
    ("headers", "body", "expected", "content_type"),
    [
        (
            {},
            '{"to": "{to}", "text": "{text}", "id": "{id}"}',
            json.dumps({"to": "+861380013", "text": NASTY, "id": "d1"}, ensure_ascii=False),
            "application/json",
        ),
        (
            {},
            "to={to}&text={text}",
            "to=%2B861380013&text=a%22b%5Cc%0A%7Bto%7D%26%3Cd%3E+%2B+%C3%A9+%E4%B8%AD%E6%96%87+%25",
            "application/x-www-form-urlencoded",
        ),
        (
            {"content-type": "text/xml"},
            "<t>{text}</t>",
            "<t>a&quot;b\\c\n{to}&amp;&lt;d&gt; + é 中文 %</t>",
            "text/xml",
        ),
        ({"Content-Type": "text/plain"}, "{to} {text}", f"+861380013 {NASTY}", "text/plain"),
        ({}, "{text}", NASTY, "text/plain; charset=utf-8"),
    ],
)
def test_values_are_escaped_for_their_place(
    headers: dict[str, str], body: str, expected: str, content_type: str
) -> None:
    gateway = Gateway("POST", "https://h.example/a/{id}?t={text}", headers, body)
    request = gateway.render(to="+861380013", text=NASTY, id="d1")
    assert request.url == (
        "https://h.example/a/d1?t="
        "a%22b%5Cc%0A%7Bto%7D%26%3Cd%3E%20%2B%20%C3%A9%20%E4%B8%AD%E6%96%87%20%25"
    )
    assert (request.body or b"").decode() == expected
    assert {name.lower(): value for name, value in request.headers.items()} == {
        "content-type": content_type
    }


def test_a_header_may_have_the_id() -> None:
    gateway = Gateway("GET", "https://h/{to}/{text}", {"Idempotency-Key": "{id}"}, None)
    assert gateway.render(to="+1", text="t", id="d1") == (
        "GET",
        "https://h/%2B1/t",
        {"Idempotency-Key": "d1"},
        None,
    )


# Push


def pem(key: Any) -> bytes:
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return content


def test_forms_of_the_key() -> None:
    Path("key.pem").write_bytes(pem(KEY))
    Path("key.txt").write_text(RAW_KEY + "\n")
    der = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for text in (RAW_KEY, "key.pem", "key.txt", base64.urlsafe_b64encode(der).decode()):
        assert vapid_key(text).private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pem(ed25519.Ed25519PrivateKey.generate()), "P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n", "no private key"),
        (b"", "without a private key"),
        (b"\xff\xfe", "UTF-16"),
    ],
)
def test_files_without_a_key_that_fits(content: bytes, message: str) -> None:
    Path("key.pem").write_bytes(content)
    found = faults(PUSH | {"vapid_private_key": "key.pem"})
    assert message in found["vapid_private_key"]


def test_a_key_of_zeros_is_invalid() -> None:
    found = faults(PUSH | {"vapid_private_key": "A" * 43})
    assert "no private key" in found["vapid_private_key"]


# Webhooks


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://127.0.0.1:9000/",
        "https://127.1/",
        "https://169.254.169.254/",
        "file:///etc/passwd",
        "https://10.1.2.3/",
    ],
)
def test_webhooks_that_are_not_allowed(url: str) -> None:
    assert (
        "not allowed, number 2"
        in faults(HOOK | {"webhook_urls": f"https://hooks.example.com,{url}"})["webhook_urls"]
    )


def test_webhooks_nearby() -> None:
    url = "http://127.0.0.1:9000/hook"
    assert load(HOOK | {"webhook_urls": url}, dev=True).webhook_urls == (url,)
    load(HOOK | {"webhook_urls": url, "allow_loopback_urls": "yes"})
    load(HOOK | {"webhook_urls": "http://10.1.2.3/", "webhook_networks": "10.1.0.0/16"})
    assert faults(HOOK | {"webhook_urls": url, "allow_loopback_urls": "no"}, dev=True)


@pytest.mark.parametrize("url", ["http://hooks.example.com/", "https://169.254.169.254/"])
def test_a_publish_hook_that_is_not_allowed(url: str) -> None:
    assert "is not allowed" in faults(HOOK | {"publish_hook_url": url})["publish_hook_url"]


def test_a_publish_hook_nearby_and_its_secret() -> None:
    url = "http://127.0.0.1:9000/hook"
    found = load(HOOK | {"publish_hook_url": url}, dev=True)
    assert (found.publish_hook_url, found.publish_hook_fail) == (url, "open")
    assert (
        "publish_hook_url needs it" in faults({"publish_hook_url": url}, dev=True)["webhook_secret"]
    )
    assert faults({"publish_hook_fail": "ajar"})["publish_hook_fail"]


@pytest.mark.parametrize(
    "url",
    [
        "http://turn.example.com",
        "turn:",
        "turn:host:70000",
        "turn:host?transport=tls",
        "stun:host?transport=udp",
        "turn://host",
        "turn:user@host",
    ],
)
def test_turn_servers_that_no_browser_takes(url: str) -> None:
    assert "must list servers" in faults({"turn_url": url, "turn_secret": "s"})["turn_url"]


def test_turn_servers_and_their_secret() -> None:
    urls = ("stun:[2001:db8::1]:3478", "turns:turn.example.com:443?transport=tcp")
    assert load({"turn_url": ",".join(urls), "turn_secret": "s"}).turn_url == urls
    assert load({"turn_url": urls[0]}).turn_url == urls[:1]  # STUN has no credentials
    assert "needs turn_secret" in faults({"turn_url": urls[1]})["turn_url"]
    assert "turn_secret needs it" in faults({"turn_secret": "s"})["turn_url"]


def test_development_mode_says_where_it_comes_from() -> None:
    _, sources = read_settings(None, {}, {}, True)
    assert sources["allow_loopback_urls"] == "dev"


def test_events_of_a_webhook() -> None:
    assert split_webhook("https://h/x") == ("https://h/x", ("*",))
    assert split_webhook("https://h/x#user_*|shop.sold") == ("https://h/x", ("user_*", "shop.sold"))


# Secrets


def test_secrets_are_shown_nowhere() -> None:
    settings = Settings(
        smtp_url=f"smtps://{CANARY}:{CANARY}@mail.example.com",
        sms_url=f"https://sms.example.com/send?key={CANARY}&to={{to}}",
        sms_headers={"Authorization": f"Bearer {CANARY}"},
        sms_body=f'{{"key": "{CANARY}"}}',
        apprise_urls=(f"dingtalk://{CANARY}/{{to}}",),
        publish_hook_url=f"https://hooks.example.com/{CANARY}?key={CANARY}",
        vapid_private_key=CANARY,
        webhook_urls=(f"https://hooks.example.com/{CANARY}?k={CANARY}",),
        webhook_secret=CANARY,
        turn_secret=CANARY,
    )
    assert CANARY not in repr(settings)
    shown = masked(settings)
    assert CANARY not in msgspec.json.encode(shown).decode()
    assert shown["smtp_url"]["value"] == "smtps://********@mail.example.com"
    assert shown["sms_url"]["value"] == "https://sms.example.com/send?********"
    assert shown["sms_headers"]["value"] == {"Authorization": "********"}
    assert shown["apprise_urls"]["value"] == ["dingtalk://********"]
    assert shown["webhook_urls"]["value"] == ["https://hooks.example.com/********?********"]
    assert shown["vapid_private_key"]["value"] == "********"


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        (Settings(jwt_secret="j" * 32), "j" * 32),
        (Settings(smtp_url="smtp://u:p%2Fw0@h"), "p/w0"),
        (Settings(smtp_url="smtp://u:p%2Fw0@h"), "p%2Fw0"),
        (Settings(sms_url=f"https://h/?key={CANARY}"), CANARY),
        (Settings(sms_headers={"X": f"Bearer {CANARY}"}), CANARY),
        (Settings(sms_body=f'{{"key": "{CANARY}", "to": "{{to}}"}}'), CANARY),
        (Settings(sms_body=f"key={CANARY}&to={{to}}"), CANARY),
        (Settings(apprise_urls=(f"dingtalk://{CANARY}@x/{{to}}",)), CANARY),
        (Settings(webhook_urls=(f"https://h/services/{CANARY}",)), CANARY),
        (Settings(webhook_secret="s3cr"), "s3cr"),
        (Settings(turn_secret="n0rth"), "n0rth"),
    ],
)
def test_what_logs_and_answers_must_not_show(settings: Settings, secret: str) -> None:
    found = secret_texts(settings)
    assert secret in found
    assert not {"", "{to}", "json"} & set(found)


def test_the_channels_go_at_the_pace_of_the_settings() -> None:
    settings = Settings(
        email_concurrency=1, email_rate=0.5, sms_concurrency=2, push_concurrency=3, push_rate=7
    )
    nothing: Any = None
    channels = [
        *channels_of(settings, Clock()).values(),
        push_channel_of(settings, nothing, nothing, Clock()),
    ]
    paces = {channel.name: channel.limits[:2] for channel in channels}
    assert paces == {"email": (1, 0.5), "sms": (2, 5.0), "push": (3, 7.0)}
