"""The signature of a webhook: who posts it, and that it is not an old one sent again."""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE_HEADER = "X-Wsserver-Signature"
EVENT_HEADER = "X-Wsserver-Event"
DELIVERY_HEADER = "X-Wsserver-Delivery"
"""The same at every attempt: who has seen it may ignore it."""


def sign(body: bytes, secret: str, at: int) -> str:
    """``t=<at>,v1=<hex>``: HMAC-SHA256 under the secret, of ``at``, a dot and the body.

    ``at``: seconds since the epoch.
    """
    signed = b"%d.%b" % (at, body)
    return f"t={at},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
