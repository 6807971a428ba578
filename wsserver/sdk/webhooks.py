"""Webhooks: checks the signature of a request, and gives its event."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsserver.sdk.errors import ApiError

TOLERANCE_S = 300.0


class WebhookRefused(ApiError):
    """A request that is not from the server, or too old: answer it with 400."""


@dataclass(frozen=True)
class WebhookEvent:
    """An event that the server has posted."""

    name: str
    timestamp: str
    fields: Mapping[str, Any]
    """All of the event, its name and time included."""
    delivery_id: str
    """The same each time the event is posted: by it duplicates can be dropped."""


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> WebhookEvent:
    """The event of a genuine and fresh request; raises ``WebhookRefused``.

    ``headers`` in any case of letters, ``body`` as it came, not decoded and encoded again;
    ``secret`` is ``webhook_secret`` of the server.
    """
    given = {name.lower(): value for name, value in headers.items()}
    parts = [part.partition("=")[::2] for part in given.get("x-wsserver-signature", "").split(",")]
    at = next((value for name, value in parts if name.strip() == "t"), "")
    if not (at.isascii() and at.isdecimal() and len(at) < 16):
        raise WebhookRefused("no signature")
    if abs((time.time() if now is None else now) - int(at)) > tolerance_s:
        raise WebhookRefused("the request is too old, or the clocks differ")
    key = secret.encode() if isinstance(secret, str) else secret
    expected = hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    signatures = [value.strip() for name, value in parts if name.strip() == "v1"]
    if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures):
        raise WebhookRefused("the signature does not match")
    try:
        event = json.loads(body)
        name, timestamp = str(event["name"]), str(event["timestamp"])
    except (ValueError, KeyError, TypeError):
        raise WebhookRefused("the body is no event") from None
    return WebhookEvent(name, timestamp, event, given.get("x-wsserver-delivery", ""))
