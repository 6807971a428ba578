"""Tokens, signed by a library that is not the server's own code."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt

SECRET = "an acceptance secret of 32+ bytes"


def token(
    sub: Any = "u1",
    *,
    exp_in: float | None = 3600,
    key: Any = SECRET,
    algorithm: str = "HS256",
    kid: str | None = None,
    **claims: Any,
) -> str:
    """A signed token; ``exp_in`` are seconds from now, None leaves ``exp`` out."""
    payload = {"sub": sub, **claims}
    if exp_in is not None:
        payload.setdefault("exp", time.time() + exp_in)
    if sub is None:
        del payload["sub"]
    headers = {"kid": kid} if kid is not None else None
    # PyJWT refuses to sign a sub that is no string; the server has to be asked about those too.
    signer = jwt.PyJWS()
    return signer.encode(_json(payload), key, algorithm=algorithm, headers=headers)


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload).encode()
