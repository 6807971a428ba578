"""Browser origins and Host headers: which ones a server accepts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple


def is_loopback(host: str) -> bool:
    """Whether a host (name or address, IPv6 with or without brackets) is this machine.

    An IPv4 address mapped into IPv6, as a socket of both kinds shows its peers, is the IPv4 one.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_AUTHORITY = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::([0-9]{1,5}))?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
OPAQUE_ORIGINS = ("file://", "null")
"""Origins without a host: pages from files, as in apps with a web view, and sandboxed frames."""
_ALL_ADDRESSES = frozenset({"", "0.0.0.0", "[::]", "*"})  # noqa: S104 - compared, not bound


class Authority(NamedTuple):
    """Host in lower case (IPv6 in brackets, shortened) and port, None where it is not written."""

    host: str
    port: int | None


class Origin(NamedTuple):
    """Scheme, host and port of a page; the port is filled in for http and https."""

    scheme: str
    host: str
    port: int | None


@lru_cache(maxsize=256)
def parse_authority(text: str) -> Authority | None:
    """Parse ``host[:port]``; None if malformed. Cached, as requests repeat the same few.

    User info, a trailing dot, blanks, zone ids and odd ports are malformed: none of them is in a
    browser's Host header, and each can defeat a comparison.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host = match[1].lower()
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    if match[2] is None:
        return Authority(host, None)
    port = int(match[2])
    return Authority(host, port) if 0 < port < 65536 else None


def parse_origin(text: str) -> Origin | None:
    """Parse ``scheme://host[:port]``; None if malformed, also for ``null``."""
    match = _ORIGIN.fullmatch(text)
    authority = parse_authority(match[2]) if match is not None else None
    if match is None or authority is None:
        return None
    scheme = match[1].lower()
    return Origin(scheme, authority.host, authority.port or _DEFAULT_PORTS.get(scheme))


class Origins:
    """The origins whose pages may connect: the server's own, and those listed.

    Own is the origin of the address that the request came to, so that the server's own console
    works under every name that the server has. Entries look like ``https://app.example.com``;
    ``file://`` and ``null`` can be listed too. Raises ``ValueError`` that lists every
    malformed entry.

    With a list, and every Host accepted (``hosts.takes_any``), own are only addresses, not names:
    the Host check, which otherwise stops DNS rebinding, then accepts any name.
    """

    def __init__(self, allowed: Sequence[str] | None, hosts: Hosts) -> None:
        self._is_listed = allowed is not None
        entries = allowed or ()
        self._opaque = frozenset(entry for entry in entries if entry in OPAQUE_ORIGINS)
        parsed = {entry: parse_origin(entry) for entry in entries if entry not in self._opaque}
        _refuse_malformed("origin", [entry for entry in parsed if parsed[entry] is None])
        self._allowed = frozenset(origin for origin in parsed.values() if origin is not None)
        self._hosts = hosts

    def allows(self, origin: str | None, host: str, scheme: str) -> bool:
        """Whether a page of this origin may connect to this Host, over ``http`` or ``https``.

        A request without an Origin header (None) is not a browser's and is allowed.
        """
        if origin is None or origin in self._opaque:
            return True
        page = parse_origin(origin)
        if page is None:
            return False
        if page in self._allowed:
            return True
        return _is_same_origin(page, host, scheme) and (
            not self._is_listed or self._hosts.names_certainly(host)
        )

    def is_own(self, origin: str, host: str, scheme: str) -> bool:
        """Whether a page of this origin is the server's own, not just one that is allowed."""
        page = parse_origin(origin)
        return page is not None and _is_same_origin(page, host, scheme)


class Hosts:
    """Accepted Host headers: those listed, or with None those that follow from the bound address.

    An entry without port matches any port, one with a port that port. By default it is the bound
    host and, on loopback, ``localhost``, ``127.0.0.1`` and ``[::1]``, at any port (a forwarded port
    or a proxy may change it, and rebinding needs a foreign name); bound to all addresses, any
    well-formed Host. Raises ``ValueError`` that lists every malformed entry.
    """

    def __init__(self, allowed: Sequence[str] | None, bound_host: str) -> None:
        self._allowed: frozenset[Authority] | None
        if allowed is None:
            self._allowed = _default_hosts(bound_host)
            return
        parsed = {entry: parse_authority(entry) for entry in allowed}
        _refuse_malformed("host", [entry for entry in parsed if parsed[entry] is None])
        self._allowed = frozenset(entry for entry in parsed.values() if entry is not None)

    @property
    def takes_any(self) -> bool:
        """Whether every Host is accepted, of which the start warns."""
        return self._allowed is None

    def allows(self, host_header: str | None) -> bool:
        """Whether a Host header names this server; missing and malformed ones do not."""
        host = parse_authority(host_header) if host_header is not None else None
        if host is None:
            return False
        if self._allowed is None:
            return True
        return host in self._allowed or Authority(host.host, None) in self._allowed

    def names_certainly(self, host_header: str) -> bool:
        """Whether a Host header names this server, and not only because any name is accepted."""
        if self._allowed is None:
            host = parse_authority(host_header)
            return host is not None and (is_loopback(host.host) or _is_address(host.host))
        return self.allows(host_header) or is_loopback_host(host_header)


def is_loopback_host(host_header: str | None) -> bool:
    """Whether a Host header is ``localhost``, ``127.0.0.1`` or ``[::1]``, with any port."""
    host = parse_authority(host_header) if host_header is not None else None
    return host is not None and host.host in _LOOPBACK_NAMES


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _default_hosts(bound_host: str) -> frozenset[Authority] | None:
    bare = bound_host.strip("[]")
    written = f"[{bare}]" if ":" in bare else bare
    host = parse_authority(written)
    name = host.host if host is not None else written
    if name in _ALL_ADDRESSES:
        return None
    names = {name, *_LOOPBACK_NAMES} if is_loopback(name) else {name}
    return frozenset(Authority(name, None) for name in names)


def _is_same_origin(page: Origin, host: str, scheme: str) -> bool:
    ours = parse_authority(host)
    if ours is None or page.scheme not in _DEFAULT_PORTS:
        return False
    if page.scheme != scheme:
        # A proxy that ends TLS and does not say so makes an https page's request look like http.
        # Not the other way round, and not where the client plainly talks to us directly.
        is_direct = ours.port is not None and is_loopback(ours.host)
        if scheme != "http" or is_direct:
            return False
    port = ours.port or _DEFAULT_PORTS[page.scheme]
    return (page.host, page.port) == (ours.host, port)


def _refuse_malformed(kind: str, entries: Sequence[str]) -> None:
    if entries:
        raise ValueError("; ".join(f"malformed {kind} {entry!r}" for entry in entries))
