"""Webhooks: only genuine and fresh requests have an event."""

from __future__ import annotations

import pytest

from wsserver.notifications.webhooks import sign
from wsserver.sdk import WebhookRefused, verify_webhook

SECRET = "some-32-bytes-of-random-characters"
BODY = b'{"name": "user_connected", "timestamp": "2024-01-15T14:30:00Z", "user_id": "u1"}'
NOW = 1_705_329_000.0


def headers(body: bytes = BODY, at: float = NOW) -> dict[str, str]:
    return {
        "X-Wsserver-Signature": sign(body, SECRET, int(at)),
        "X-Wsserver-Event": "user_connected",
        "X-Wsserver-Delivery": "hook_1",
    }


def test_a_genuine_request() -> None:
    event = verify_webhook(headers(), BODY, SECRET, now=NOW + 299)
    assert (event.name, event.delivery_id, event.fields["user_id"]) == (
        "user_connected",
        "hook_1",
        "u1",
    )
    lower = {name.lower(): value for name, value in headers().items()}
    assert verify_webhook(lower, BODY, SECRET.encode(), now=NOW).timestamp.startswith("2024")
    rotated = {"X-Wsserver-Signature": headers()["X-Wsserver-Signature"].replace(",", ",v1=0,")}
    assert verify_webhook(rotated, BODY, SECRET, now=NOW).delivery_id == ""


@pytest.mark.parametrize(
    ("change", "body", "secret", "now"),
    [
        ({}, BODY + b" ", SECRET, NOW),
        ({}, BODY, SECRET + "x", NOW),
        ({}, BODY, SECRET, NOW + 301),
        ({}, BODY, SECRET, NOW - 301),
        ({"X-Wsserver-Signature": ""}, BODY, SECRET, NOW),
        ({"X-Wsserver-Signature": "t=now,v1=00"}, BODY, SECRET, NOW),
        ({"X-Wsserver-Signature": f"t={int(NOW)}"}, BODY, SECRET, NOW),
        ({"X-Wsserver-Signature": f"t={int(NOW)},v1=\u00e4"}, BODY, SECRET, NOW),
        ({"X-Wsserver-Signature": "t=" + "9" * 400 + ",v1=00"}, BODY, SECRET, NOW),
    ],
)
def test_others_are_refused(change: dict[str, str], body: bytes, secret: str, now: float) -> None:
    with pytest.raises(WebhookRefused):
        verify_webhook({**headers(), **change}, body, secret, now=now)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null"])
def test_a_body_that_is_no_event(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="no event"):
        verify_webhook(headers(body), body, SECRET, now=NOW)
