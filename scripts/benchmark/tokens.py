"""Tokens for the server that is measured."""

from __future__ import annotations

import time

from wsserver.identity.tokens import sign_hs256

SECRET = "of-a-benchmark-only-of-a-benchmark-only"  # noqa: S105 - guards nothing


def make_token(user_id: str, role: str = "user") -> str:
    """Sign a token that is good for a day."""
    now = int(time.time())
    claims = {"sub": user_id, "role": role, "sessions": "*", "iat": now, "exp": now + 86400}
    return sign_hs256(SECRET.encode(), claims)
