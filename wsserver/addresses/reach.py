"""SSRF protection: which addresses requests to URLs chosen by others may reach.

A URL is checked as it is written, then its host is looked up once, and the connection goes to the
address found, so that a changed DNS answer (rebinding) has no effect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import urlsplit

from wsserver.errors import UrlForbidden

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_SPECIAL: tuple[Network, ...] = (
    # In IANA's registries, and not in those of every Python.
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("3fff::/20"),
)


class Reach(NamedTuple):
    """The reachable addresses: the public internet by https, ``networks`` also by http."""

    loopback: bool = False
    """This machine, too: in development."""
    networks: tuple[Network, ...] = ()
    """These networks, too."""

    def allows(self, address: Address, *, is_secure: bool) -> bool:
        """Whether a request may go to this address; ``is_secure``: by https."""
        return self._is_near(address) or (is_secure and is_public(address))

    def _is_near(self, address: Address) -> bool:
        real = _unmapped(address)
        if self.loopback and real.is_loopback:
            return True
        return any(real.version == each.version and real in each for each in self.networks)

    @property
    def has_near(self) -> bool:
        """Whether any address may be reached by http."""
        return self.loopback or bool(self.networks)


class Place(NamedTuple):
    """Host, port and scheme of a URL."""

    host: str
    """In lower case; IPv6 without brackets."""
    port: int
    is_secure: bool
    """By https."""


def check_url(url: str, reach: Reach) -> Place:
    """Check a URL as far as it can be without looking its host up.

    Raises ``UrlForbidden``, whose message does not quote the URL.
    """
    if len(url) > LONGEST_URL or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise UrlForbidden(
            "the URL is too long, or has blanks, backslashes or non-ASCII characters"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UrlForbidden("the URL is malformed") from None
    is_secure = parts.scheme == "https"
    if not is_secure and (parts.scheme != "http" or not reach.has_near):
        raise UrlForbidden("the URL must start with https://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UrlForbidden("the URL must have neither credentials nor a fragment")
    if port == 0:
        raise UrlForbidden("the URL's port must not be 0")
    _check_host(host, reach, is_secure=is_secure)
    return Place(host, port or (443 if is_secure else 80), is_secure)


def _check_host(host: str, reach: Reach, *, is_secure: bool) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        _check_name(host, reach)
        return
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise UrlForbidden("the URL's host is an address with a zone")
    _require([address], reach, is_secure=is_secure)


def _check_name(host: str, reach: Reach) -> None:
    if _NAME.fullmatch(host) is None or ".." in host:
        raise UrlForbidden("the URL's host is malformed")
    try:
        socket.inet_aton(host)  # 127.1, 0x7f.1, 2130706433: what the resolver takes for IPv4
    except OSError:
        pass
    else:
        raise UrlForbidden("the URL's host is an address written in an unusual way")
    is_local = host == "localhost" or host.endswith(".localhost")
    if is_local and not reach.loopback:
        raise UrlForbidden("the URL leads to this machine")


def allowed(addresses: Iterable[str], place: Place, reach: Reach) -> list[Address]:
    """Parse the addresses of a host.

    Raises ``UrlForbidden`` if one of them may not be reached: a connection might use it.
    """
    parsed = [ipaddress.ip_address(each) for each in addresses]
    _require(parsed, reach, is_secure=place.is_secure)
    return parsed


def _require(addresses: Iterable[Address], reach: Reach, *, is_secure: bool) -> None:
    for address in addresses:
        if not reach.allows(address, is_secure=is_secure):
            if is_public(address):
                raise UrlForbidden("the URL must start with https://")
            raise UrlForbidden("the URL leads to an address that is not public")


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet, also the IPv4 address inside an IPv6 one."""
    real = _unmapped(address)
    if any(real.version == each.version and real in each for each in _SPECIAL):
        return False
    if isinstance(real, IPv4Address):
        return real.is_global and not real.is_multicast
    inner = real.sixtofour
    if inner is not None and not is_public(inner):
        return False
    return real in _UNICAST and real.is_global


def _unmapped(address: Address) -> Address:
    """The IPv4 address inside a mapped or NAT64 IPv6 one; any other as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


Found = tuple[int, tuple[str, int]]
"""An address family and the address for ``connect``."""


async def look_up(place: Place, reach: Reach) -> list[Found]:
    """Every address of a place's host, in the order of the system's preference.

    Raises ``UrlForbidden`` if one of them may not be reached, ``OSError`` (``gaierror``) for a name
    that is not known or cannot be asked for now.
    """
    answers = await asyncio.get_running_loop().getaddrinfo(
        place.host, place.port, type=socket.SOCK_STREAM
    )
    addresses = [str(sockaddr[0]) for _, _, _, _, sockaddr in answers]
    allowed(addresses, place, reach)
    families = [int(family) for family, *_ in answers]
    return [
        (family, (address, place.port)) for family, address in zip(families, addresses, strict=True)
    ]
