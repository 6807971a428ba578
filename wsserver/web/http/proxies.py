"""Client address and scheme behind reverse proxies (``X-Forwarded-For``, ``X-Forwarded-Proto``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal

from wsserver.identity.origins import is_loopback
from wsserver.web.http.headers import Headers

Proxy = Literal["none", "trusted", "untrusted"]
"""Whether a request came through a proxy, and whether its forwarding headers count."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FORWARDING_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""Any of them shows that a request came through a proxy."""


class Proxies:
    """The proxies whose headers count, as networks in CIDR form (``trusted_proxies``)."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = tuple(map(ipaddress.ip_network, trusted))

    def trusts(self, peer: str) -> bool:
        """Whether this address is one of a trusted proxy."""
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)

    def proxy_of(self, peer: str, forwarding: Sequence[str]) -> Proxy:
        """The kind of proxy in front; ``forwarding``: the ``FORWARDING_HEADERS`` of the request."""
        if not forwarding:
            return "none"
        return "trusted" if self.trusts(peer) else "untrusted"

    def client_address(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client's address: the rightmost in ``X-Forwarded-For`` that is not a trusted proxy.

        ``peer`` is the address of the socket's other end, ``forwarded_for`` the values of the
        header in their order. Addresses further left may be forged by the client. An entry that
        is not an address ends the search at the proxy that sent it.
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
            scheme = forwarded_proto[0].split(",")[-1].strip().lower()
            if scheme in ("http", "https"):
                return scheme
        return protocol


def is_local(peer: str, headers: Headers) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
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
