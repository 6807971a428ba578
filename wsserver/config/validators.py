"""Checks of single values: hosts, origins, networks, algorithms, roles, permissions, plugins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from urllib.parse import urlsplit

from wsserver.config.faults import Faulty
from wsserver.identity.claims import ROLES
from wsserver.identity.ids import ID_FORM, is_id
from wsserver.identity.keys import FAMILIES
from wsserver.identity.origins import OPAQUE_ORIGINS, is_loopback, parse_authority, parse_origin

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


def host(text: str) -> str:
    """Check an address to bind to: an IP address without brackets, or a host name."""
    lower = text.lower()
    try:
        return str(ipaddress.ip_address(lower))
    except ValueError:
        if _is_name(lower):
            return lower
    raise Faulty(f"must be an IP address (without brackets) or a host name, not {text[:80]!r}")


def allowed_host(text: str) -> str:
    """Check an entry of ``allowed_hosts``; returns it in lower case, IPv6 shortened."""
    parsed = parse_authority(text)
    if parsed is None:
        raise Faulty(
            f"must list host names or addresses like app.example.com, 10.0.0.5:8765 "
            f"or [::1], not {text[:80]!r}"
        )
    return parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"


def origin(text: str) -> str:
    """Check an origin; returns it as browsers write it: lower case, no default port."""
    if text.lower() in OPAQUE_ORIGINS:
        return text.lower()
    parsed = parse_origin(text)
    if parsed is None or parsed.scheme == "file":
        raise Faulty(
            "must list exact origins like https://app.example.com (scheme, host, port if it"
            f" is not the default, no path), or file:// or null, not {text[:80]!r}"
        )
    is_usual = parsed.port in (None, {"http": 80, "https": 443}.get(parsed.scheme))
    return f"{parsed.scheme}://{parsed.host}" + ("" if is_usual else f":{parsed.port}")


def network(text: str) -> str:
    """Check an address or network of proxies; returns it in CIDR form."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        hint = ""
        if "host bits" in str(error):
            hint = f"; did you mean {ipaddress.ip_network(text, strict=False)}?"
        raise Faulty(
            f"must list addresses or networks like 10.0.0.0/8, not {text[:80]!r}{hint}"
        ) from None


def jwks_url(text: str) -> str:
    """Check the URL of a JWKS: https, or http on loopback. The URL is never quoted."""
    try:
        parts = urlsplit(text)
        name, _ = parts.hostname, parts.port
    except ValueError:
        parts, name = None, None
    if parts is None or not name or parts.scheme not in ("http", "https") or parts.fragment:
        raise Faulty("must be a URL like https://login.example.com/jwks.json")
    if re.search(r"[\x00-\x20\x7f]", text):
        raise Faulty("must be a URL without blanks or control characters")
    if parts.scheme == "http" and not is_loopback(name):
        raise Faulty("must be https:// (http:// is for loopback only)")
    return text


def _is_name(text: str) -> bool:
    if not _NAME.fullmatch(text):
        return False
    if text.rpartition(".")[2].isdigit():  # 127.1, 256.0.0.1: an address, and a wrong one
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
    return True


OTHER_CLAIMS = frozenset(
    ("exp", "nbf", "iat", "iss", "aud", "jti", "role", "organization_id", "sessions", "permissions")
)
_WORD = r"[^\W\d]\w*"
_PLUGIN = re.compile(rf"{_WORD}(\.{_WORD})*:{_WORD}(\.{_WORD})*")


def algorithm(text: str) -> str:
    """Check the name of a signature algorithm; case counts, as in a token's header."""
    if text not in FAMILIES:
        raise Faulty(
            f"must be a list out of {', '.join(FAMILIES)}, not {text[:40]!r}"
            + did_you_mean(text, FAMILIES)
        )
    return text


def permission_table(table: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Check the roles of the role → permissions table; names each unknown one."""
    messages = [
        f"has an unknown role {role[:40]!r}" + did_you_mean(role, ROLES)
        for role in table
        if role not in ROLES
    ]
    if messages:
        raise Faulty(*messages)
    return table


def unknown_permissions(table: dict[str, tuple[str, ...]], known: Collection[str]) -> list[str]:
    """What is wrong with the permissions of the role → permissions table."""
    return [
        f"gives role {role[:40]!r} an unknown permission {permission[:40]!r}"
        + did_you_mean(permission, known)
        for role, permissions in table.items()
        for permission in permissions
        if permission not in known
    ]


def plugin(text: str) -> str:
    """Check the form ``module:function``; it is imported at the start."""
    if not _PLUGIN.fullmatch(text):
        raise Faulty(f"must list plugins as module:function, not {text[:80]!r}")
    return text


def extension(text: str) -> str:
    """Check the form ``module:attribute``; it is imported at the start."""
    if not _PLUGIN.fullmatch(text):
        raise Faulty(f"must list extensions as module:attribute, not {text[:80]!r}")
    return text


def node(text: str) -> str:
    """Check a node's name: an id."""
    if not is_id(text):
        raise Faulty(f"must be {ID_FORM}")
    return text


def user_claim(text: str) -> str:
    """Check the name of the claim with the user id: any that has no other meaning."""
    if text in OTHER_CLAIMS:
        raise Faulty(f"must be the claim with the user id; {text} has another meaning")
    return text


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``; did you mean "port"?``, the name after ``prefix``; "" if none is similar."""
    by_folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f'; did you mean "{prefix}{by_folded[near[0]]}"?' if near else ""
