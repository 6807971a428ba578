"""Interfaces of a connection: its owner.

Generic, and in a module of their own, for the reason that is given in ``wire/interfaces.py``.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T", contravariant=True)


class ConnectionOwnerOf(Protocol[T]):
    """Receiver of a connection's events: the manager."""

    def received(self, connection: T, payload: bytes) -> None:
        """A text message was received."""

    def ponged(self, connection: T, payload: bytes) -> None:
        """An RFC 6455 pong was received."""

    def flooded(self, connection: T) -> bool:
        """An RFC 6455 ping was received; True if the connection sends too many."""
        ...

    def closed(self, connection: T, code: int, reason: str) -> None:
        """The connection has ended, for whatever reason."""

    def close(self, connection: T, code: int, reason: str) -> None:
        """Close the connection; ``reason``: 123 bytes at most."""


class AcceptingOwnerOf(ConnectionOwnerOf[T], Protocol[T]):
    """The owner of all connections, which may accept no more."""

    is_draining: bool
