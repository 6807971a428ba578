"""Looks a host up, once, and lets through only what may be reached."""

from __future__ import annotations

import asyncio
import socket

from wsserver.addresses.reach import Place, Reach, allowed

Found = tuple[int, tuple[str, int]]
"""An address family, and what ``connect`` takes."""


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
