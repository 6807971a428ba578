"""How names and addresses in the settings have to be spelled."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from wsserver.config.faults import Faulty
from wsserver.identity.loopback import is_loopback
from wsserver.identity.origins import OPAQUE_ORIGINS, parse_authority, parse_origin

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
            f"must hold host names or addresses like app.example.com, 10.0.0.5:8765 "
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
            "must hold exact origins like https://app.example.com (scheme, host, port if unusual,"
            f" nothing after it), or file:// or null, not {text[:80]!r}"
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
            f"must hold addresses or networks like 10.0.0.0/8, not {text[:80]!r}{hint}"
        ) from None


def jwks_url(text: str) -> str:
    """Check where keys come from: https, or http on loopback. The URL is never quoted."""
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
