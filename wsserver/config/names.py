"""Values that are names: algorithms, roles, permissions, plugins, the node."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from wsserver.config.faults import Faulty

FAMILIES: dict[str, tuple[str, ...]] = {
    "HS": ("HS256", "HS384", "HS512"),
    "RS": ("RS256", "RS384", "RS512"),
    "PS": ("PS256", "PS384", "PS512"),
    "ES": ("ES256", "ES384", "ES512"),
    "EdDSA": ("EdDSA",),
}
"""Algorithms by family: the kind of key and what is done with it."""

FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}

ROLES = ("user", "manager", "admin", "service")

PERMISSIONS = (
    "monitor",
    "stats:read",
    "connections:read",
    "connections:disconnect",
    "sessions:manage",
    "sessions:any",
    "messages:read",
    "messages:publish",
    "notifications:send",
    "notifications:read",
    "tokens:revoke",
    "audit:read",
)

_NODE = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_NAME = r"[^\W\d]\w*"
_PLUGIN = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")


def algorithm(text: str) -> str:
    """Check the name of a signature algorithm; case counts, as in a token's header."""
    if text not in FAMILY_OF:
        raise Faulty(
            f"must hold names out of {', '.join(FAMILY_OF)}, not {text[:40]!r}"
            + did_you_mean(text, FAMILY_OF)
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
            + did_you_mean(permission, PERMISSIONS)
            for permission in permissions
            if permission not in PERMISSIONS
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
    if not _NODE.fullmatch(text):
        raise Faulty("must be 1 to 128 characters out of A-Z a-z 0-9 . _ : @ -")
    return text


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``; did you mean "port"?``, the name after ``prefix``; "" if nothing comes near."""
    by_folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f'; did you mean "{prefix}{by_folded[near[0]]}"?' if near else ""
