"""Who is really asking, when there are proxies in front."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal, Protocol

from wsserver.identity.origins import is_loopback

Proxy = Literal["none", "trusted", "untrusted"]
"""Whether a request has come through a proxy, and whether its word counts."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FORWARDING_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""Each shows that a request came through a proxy, whoever wrote it."""


class Headers(Protocol):
    """Tells which headers a request has, by names in any case."""

    def __contains__(self, name: str, /) -> bool: ...


class Proxies:
    """The proxies whose word counts, as networks in CIDR form (``trusted_proxies``)."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = tuple(map(ipaddress.ip_network, trusted))

    def trusts(self, peer: str) -> bool:
        """Is this address one of the trusted proxies'?"""
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)

    def proxy_of(self, peer: str, forwarding: Sequence[str]) -> Proxy:
        """What stands in front; ``forwarding``: which of ``FORWARDING_HEADERS`` came along."""
        if not forwarding:
            return "none"
        return "trusted" if self.trusts(peer) else "untrusted"

    def client_address(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client's address: the rightmost one in ``X-Forwarded-For`` that is no proxy of ours.

        ``peer`` is the address of the socket's other end, ``forwarded_for`` the values of the
        header in their order. Whatever stands further left, the client may have written itself.
        An entry that is no address ends the search at the proxy that vouched for it.
        """
        client = peer
        entries = [entry for value in forwarded_for for entry in value.split(",")]
        while entries and self.trusts(client):
            address = parse_address(entries.pop().strip())
            if address is None:
                break
            client = str(address)
        return client

    def scheme(self, peer: str, protocol: str, forwarded_proto: Sequence[str]) -> str:
        """``http`` or ``https``, as the client sees it; ``X-Forwarded-Proto`` of trusted peers."""
        if len(forwarded_proto) == 1 and self.trusts(peer):
            told = forwarded_proto[0].split(",")[-1].strip().lower()
            if told in ("http", "https"):
                return told
        return protocol


def is_local(peer: str, headers: Headers) -> bool:
    """Does a request come from this machine itself, and not through a proxy on it?"""
    return is_loopback(peer) and not any(name in headers for name in FORWARDING_HEADERS)


def parse_address(text: str) -> Address | None:
    """An IP address, with or without port and brackets; IPv4 mapped into IPv6 becomes IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
