"""``ice_servers``: TURN servers with time-limited credentials, as coturn's ``use-auth-secret``."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from wsserver.clock import rfc3339


class IceServers:
    """Makes credentials that a TURN server with the same secret accepts until they expire.

    The user name is ``<expiry>:<user id>``, the password the HMAC-SHA1 of it: the TURN server needs
    to know neither users nor this server.
    """

    def __init__(self, urls: Sequence[str], secret: str | None, ttl_s: float) -> None:
        self._stun = [url for url in urls if url.startswith(("stun:", "stuns:"))]
        self._turn = [url for url in urls if url.startswith(("turn:", "turns:"))]
        self._secret = (secret or "").encode()
        self._ttl_s = ttl_s

    def view(self, user_id: str, now: float) -> dict[str, Any]:
        """``ice_servers`` as ``RTCPeerConnection`` takes them, and until when they hold."""
        servers: list[dict[str, Any]] = [{"urls": self._stun}] if self._stun else []
        expiry = int(now + self._ttl_s)
        if self._turn:
            username = f"{expiry}:{user_id}"
            credential = credential_of(username, self._secret)
            servers.append({"urls": self._turn, "username": username, "credential": credential})
        return {"ice_servers": servers, "expires_at": rfc3339(float(expiry))}


def credential_of(username: str, secret: bytes) -> str:
    """The password of a user name: base64 of its HMAC-SHA1."""
    digest = hmac.new(secret, username.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")
