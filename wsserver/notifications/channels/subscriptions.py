"""Validation of Web Push subscriptions: endpoint and keys."""

from __future__ import annotations

import base64
import re

from cryptography.hazmat.primitives.asymmetric import ec

from wsserver.addresses.reach import Reach, check_url
from wsserver.protocol.notifications import PushSubscription

_POINT_BYTES = 65
_AUTH_BYTES = 16


def check_subscription(subscription: PushSubscription, reach: Reach) -> None:
    """Raise ``UrlForbidden`` for the endpoint, ``ValueError`` for invalid keys."""
    check_url(subscription.endpoint, reach)
    public_key(subscription.keys.p256dh)
    auth_secret(subscription.keys.auth)


def public_key(text: str) -> bytes:
    """The browser's key: 65 bytes, a point on P-256 (RFC 8291 §3.1). Raises ``ValueError``."""
    point = _decoded(text)
    try:
        if len(point) != _POINT_BYTES:
            raise ValueError
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise ValueError("p256dh must be base64url of a point on the curve P-256") from None
    return point


def auth_secret(text: str) -> bytes:
    """The secret shared with the browser: 16 bytes (RFC 8291 §3.2). Raises ``ValueError``."""
    secret = _decoded(text)
    if len(secret) != _AUTH_BYTES:
        raise ValueError("auth must be base64url of 16 bytes")
    return secret


def _decoded(text: str) -> bytes:
    bare = text.rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", bare) or len(bare) % 4 == 1:
        return b""
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
