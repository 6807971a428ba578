"""Names and addresses: their spelling, and which of them mean this machine alone."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from wsserver.config.faults import Faulty
from wsserver.config.settings import Settings

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]/?#@\s]+)(:(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>[^/?#@\s]+)")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


def is_loopback(host: str) -> bool:
    """Does the host (name or address, no brackets) mean this machine alone?"""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def accepted_hosts(settings: Settings) -> frozenset[str] | None:
    """The Host values to accept, each ``name`` (any port) or ``name:port``; None: any.

    None only when bound to all addresses without ``allowed_hosts``: that deserves a warning.
    """
    if settings.allowed_hosts:
        return frozenset(settings.allowed_hosts)
    if is_loopback(settings.host):
        return frozenset((*LOOPBACK_HOSTS, _in_url(settings.host)))
    try:
        if ipaddress.ip_address(settings.host).is_unspecified:
            return None
    except ValueError:
        pass
    return frozenset((_in_url(settings.host),))


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
    """Check an entry of ``allowed_hosts``; returns it in lower case."""
    checked = _host_port(text.lower())
    if checked is None:
        raise Faulty(
            f"must hold host names or addresses like app.example.com, 10.0.0.5:8765 "
            f"or [::1], not {text[:80]!r}"
        )
    return checked


def origin(text: str) -> str:
    """Check an origin; returns it as browsers write it: lower case, no default port."""
    match = _ORIGIN.fullmatch(text.lower())
    checked = _host_port(match["rest"]) if match else None
    if match is None or checked is None or match["scheme"] == "file":
        raise Faulty(
            "must hold exact origins like https://app.example.com "
            f"(scheme, host, port if unusual, nothing after it), not {text[:80]!r}"
        )
    return f"{match['scheme']}://" + checked.removesuffix(
        ":" + _DEFAULT_PORTS.get(match["scheme"], "-")
    )


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


def _host_port(text: str) -> str | None:
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        return None
    name = match["host"]
    if name.startswith("["):
        try:
            name = f"[{ipaddress.IPv6Address(name[1:-1])}]"
        except ValueError:
            return None
    elif not _is_name(name):
        return None
    return f"{name}:{int(match['port'])}" if match["port"] else name


def _is_name(text: str) -> bool:
    if not _NAME.fullmatch(text):
        return False
    if text.rpartition(".")[2].isdigit():  # 127.1, 256.0.0.1: an address, and a wrong one
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
    return True


def _in_url(name: str) -> str:
    return f"[{name}]" if ":" in name else name
