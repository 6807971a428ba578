"""Parser of a token's claims, which checks them strictly.

JWT libraries accept wrong types (``exp`` as a string, ``iss`` as a list), and code that trusts
them fails later with a TypeError. Here every claim has exactly one type or the token is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from wsserver.errors import TokenInvalid
from wsserver.identity.claims import EMPTY, LATEST_S, ROLES, Claims
from wsserver.identity.ids import ID_FORM, USER_ID_FORM, is_id, is_user_id

_INTERNED_ROLES: Final = {role: role for role in ROLES}


def parse_claims(payload: Mapping[str, Any], user_claim: str = "sub") -> Claims:
    """Check a token's payload and turn it into ``Claims``; ``user_claim`` holds the user id.

    Pure: it looks at types and shapes only, never at the time or the configured issuer.
    ``iss`` and ``aud`` are checked here for their types although ``Claims`` does not keep them.
    Raises ``TokenInvalid`` naming the claim, never its value.
    """
    _text(payload, "iss")
    audiences(payload)
    sub = _text(payload, user_claim)
    if sub is None:
        raise TokenInvalid(f'claim "{user_claim}" is missing')
    if not is_user_id(sub):
        raise TokenInvalid(f'claim "{user_claim}" is not a user id ({USER_ID_FORM})')
    exp = _seconds(payload, "exp")
    if exp is None:
        raise TokenInvalid('claim "exp" is missing')
    return Claims(
        sub=sub,
        exp=exp,
        role=_role(payload),
        username=_text(payload, "username"),
        organization_id=_id(payload, "organization_id"),
        sessions=_sessions(payload),
        permissions=_permissions(payload),
        jti=_text(payload, "jti"),
        iat=_seconds(payload, "iat"),
        nbf=_seconds(payload, "nbf"),
    )


def audiences(payload: Mapping[str, Any]) -> list[str]:
    """The ``aud`` claim as a list, empty if absent (RFC 7519 §4.1.3: a string or a list of them).

    Raises ``TokenInvalid`` for any other type.
    """
    if "aud" not in payload:
        return []
    aud = payload["aud"]
    if isinstance(aud, str):
        return [aud]
    return _strings("aud", aud)


def _text(payload: Mapping[str, Any], name: str) -> str | None:
    if name not in payload:
        return None
    value = payload[name]
    if not isinstance(value, str):
        raise TokenInvalid(f'claim "{name}" must be a string')
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate could never be sent on in JSON
        raise TokenInvalid(f'claim "{name}" is not valid Unicode') from None
    return value


def _id(payload: Mapping[str, Any], name: str) -> str | None:
    value = _text(payload, name)
    if value is not None and not is_id(value):
        raise TokenInvalid(f'claim "{name}" is not an id ({ID_FORM})')
    return value


def _seconds(payload: Mapping[str, Any], name: str) -> float | None:
    if name not in payload:
        return None
    value = payload[name]
    # bool is a subclass of int; 10**400 is an int that float() cannot hold: compare before it.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenInvalid(f'claim "{name}" must be a number')
    if not (0 <= value <= LATEST_S) or not math.isfinite(value):
        raise TokenInvalid(f'claim "{name}" is out of range')
    return float(value)


def _role(payload: Mapping[str, Any]) -> str:
    role = _text(payload, "role")
    if role is None:
        return "user"
    if role not in _INTERNED_ROLES:
        raise TokenInvalid('claim "role" is not a role')
    return _INTERNED_ROLES[role]


def _sessions(payload: Mapping[str, Any]) -> frozenset[str] | Literal["*"]:
    if "sessions" not in payload:
        return EMPTY
    value = payload["sessions"]
    if isinstance(value, str) and value == "*":
        return "*"
    ids = _strings("sessions", value)
    if not all(map(is_id, ids)):
        raise TokenInvalid(f'claim "sessions" holds what is not an id ({ID_FORM})')
    return frozenset(ids) if ids else EMPTY


def _permissions(payload: Mapping[str, Any]) -> frozenset[str] | None:
    if "permissions" not in payload:
        return None
    return frozenset(_strings("permissions", payload["permissions"])) or EMPTY


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TokenInvalid(f'claim "{name}" must be a list of strings')
    return value
