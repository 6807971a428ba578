"""Tokens for the server that is measured."""

from __future__ import annotations

import time

import jwt

SECRET = "of-a-benchmark-only-of-a-benchmark-only"  # noqa: S105 - guards nothing


def make_token(user_id: str, role: str = "user") -> str:
    """Sign a token that is good for a day."""
    now = int(time.time())
    claims = {"sub": user_id, "role": role, "sessions": "*", "iat": now, "exp": now + 86400}
    return jwt.encode(claims, SECRET, "HS256")
