"""Web push: a browser's subscription that decrypts pushes (RFC 8291), and VAPID (RFC 8292)."""

from __future__ import annotations

import base64
import json
import os
import re
from typing import Any

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.http_provider import ReceivedRequest
from wsserver.protocol.notifications import PushKeys, PushSubscription


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class PushSubscriber:
    """Holds the private half of a subscription."""

    def __init__(self, endpoint: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = PushSubscription(
            endpoint, PushKeys(p256dh=base64url(point), auth=base64url(self.auth))
        )

    def read(self, request: ReceivedRequest) -> dict[str, Any]:
        """Decrypt a push (RFC 8291)."""
        assert request.headers["Content-Encoding"] == "aes128gcm"
        clear = http_ece.decrypt(
            request.body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"
        )
        message: dict[str, Any] = json.loads(clear)
        return message


def vapid_claims(request: ReceivedRequest, audience: str) -> tuple[dict[str, Any], str]:
    """Verify who has sent a push (RFC 8292 §3); the claims, and the key it is signed with."""
    found = re.fullmatch(
        r"vapid t=(?P<token>[^,\s]+),\s*k=(?P<key>\S+)", request.headers["Authorization"]
    )
    assert found is not None, request.headers["Authorization"]
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(found["key"]))
    options: Any = {"verify_exp": False}
    claims = jwt.decode(found["token"], key, ["ES256"], audience=audience, options=options)
    return claims, found["key"]
