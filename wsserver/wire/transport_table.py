"""Table of the open transports, by their descriptors."""

from __future__ import annotations

from collections.abc import Iterator

from wsserver.wire.transport import Transport


class TransportTable:
    """The transports of a poller by descriptor.

    The system gives each new socket the lowest free number, so a list has a place for each: at
    5,000 connections a dictionary takes up to six times as much. It is as long as the highest
    descriptor so far.
    """

    __slots__ = ("_count", "_places")

    def __init__(self) -> None:
        self._places: list[Transport | None] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Transport]:
        return iter([each for each in self._places if each is not None])

    def get(self, fd: int) -> Transport | None:
        """The transport of a descriptor."""
        return self._places[fd] if fd < len(self._places) else None

    def add(self, transport: Transport) -> None:
        """Enter a transport, whose descriptor has none."""
        fd, places = transport.fd, self._places
        while len(places) <= fd:
            places.append(None)
        places[fd] = transport
        self._count += 1

    def remove(self, transport: Transport) -> None:
        """Remove a transport."""
        self._places[transport.fd] = None
        self._count -= 1
