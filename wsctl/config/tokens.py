"""Signing of HS256 tokens with a shared secret; PyJWT is imported only for that."""

from __future__ import annotations

import codecs
import secrets
import time
from pathlib import Path
from typing import Any

from wsctl.errors import BadUsage

SHORTEST_SECRET_BYTES = 32
"""Minimum of the server (RFC 7518 §3.2)."""


def read_secret(path: Path) -> bytes:
    """The secret in a file, without the white space around it; raises ``BadUsage``."""
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8).strip()
    except OSError as error:
        raise BadUsage(f"cannot read the secret file {path}: {error.strerror}") from None


def sign(secret: bytes, claims: dict[str, Any], ttl_s: float) -> str:
    """An HS256 token of ``claims`` plus ``iat``, ``exp``, ``jti``; valid for ``ttl_s`` seconds."""
    if len(secret) < SHORTEST_SECRET_BYTES:
        raise BadUsage(
            f"the secret is {len(secret)} bytes long; the server requires {SHORTEST_SECRET_BYTES}"
        )
    import jwt

    now = int(time.time())
    times = {"iat": now, "exp": now + max(1, round(ttl_s)), "jti": secrets.token_hex(8)}
    return jwt.encode({**claims, **times}, secret, algorithm="HS256")
