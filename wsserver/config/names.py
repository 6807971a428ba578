"""Values that are names: algorithms, roles, permissions, plugins, the node."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from wsserver.config.faults import Faulty
from wsserver.identity.claims import ROLES
from wsserver.identity.ids import is_id
from wsserver.identity.keys import FAMILIES
from wsserver.identity.permissions import ALL_PERMISSIONS

OTHER_CLAIMS = frozenset(
    ("exp", "nbf", "iat", "iss", "aud", "jti", "role", "organization_id", "sessions", "permissions")
)
_NAME = r"[^\W\d]\w*"
_PLUGIN = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")


def algorithm(text: str) -> str:
    """Check the name of a signature algorithm; case counts, as in a token's header."""
    if text not in FAMILIES:
        raise Faulty(
            f"must hold names out of {', '.join(FAMILIES)}, not {text[:40]!r}"
            + did_you_mean(text, FAMILIES)
        )
    return text


def permission_table(table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Check the role → permissions table; names each unknown role and permission."""
    messages = []
    for role, permissions in table.items():
        if role not in ROLES:
            messages.append(f"has an unknown role {role[:40]!r}" + did_you_mean(role, ROLES))
        messages += [
            f"gives role {role[:40]!r} an unknown permission {permission[:40]!r}"
            + did_you_mean(permission, ALL_PERMISSIONS)
            for permission in permissions
            if permission not in ALL_PERMISSIONS
        ]
    if messages:
        raise Faulty(*messages)
    return table


def plugin(text: str) -> str:
    """Check the form ``module:function``; whether it exists shows when it is loaded."""
    if not _PLUGIN.fullmatch(text):
        raise Faulty(f"must hold plugins as module:function, not {text[:80]!r}")
    return text


def node(text: str) -> str:
    """Check a node's name: 1 to 128 of ``[A-Za-z0-9._:@-]``."""
    if not is_id(text):
        raise Faulty("must be 1 to 128 characters out of A-Z a-z 0-9 . _ : @ -")
    return text


def user_claim(text: str) -> str:
    """Check the name of the claim that holds the user id: any that has no other meaning."""
    if text in OTHER_CLAIMS:
        raise Faulty(f"must name a claim that holds user ids, and {text} has another meaning")
    return text


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``; did you mean "port"?``, the name after ``prefix``; "" if nothing comes near."""
    by_folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f'; did you mean "{prefix}{by_folded[near[0]]}"?' if near else ""
