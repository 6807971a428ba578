"""When tokens of live connections run out, by the wall clock."""

from __future__ import annotations

from wsserver.realtime.connection import ConnectionInfo

WARNING_S = 60.0
_BUCKET_S = 60.0


class TokenExpiry:
    """Finds connections whose token is about to expire or has.

    Buckets of a minute keyed by ``exp``: a look costs only the minutes that are near, a closed
    connection leaves nothing behind, and a wall clock that jumps is noticed at the next look.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, set[ConnectionInfo]] = {}

    def add(self, connection: ConnectionInfo) -> None:
        """Watch a connection's current claims."""
        connection.is_warned_of_expiry = False
        self._buckets.setdefault(_bucket(connection), set()).add(connection)

    def discard(self, connection: ConnectionInfo) -> None:
        """Stop watching; to be called before its claims change."""
        key = _bucket(connection)
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.discard(connection)
            if not bucket:
                del self._buckets[key]

    def due(self, wall: float) -> tuple[list[ConnectionInfo], list[ConnectionInfo]]:
        """Return those to warn now (each once per token), and those that have expired."""
        warn, expired = [], []
        horizon = (wall + WARNING_S) // _BUCKET_S
        for key in [key for key in self._buckets if key <= horizon]:
            for connection in self._buckets[key]:
                left = connection.claims.exp - wall
                if left <= 0:
                    expired.append(connection)
                elif left <= WARNING_S and not connection.is_warned_of_expiry:
                    connection.is_warned_of_expiry = True
                    warn.append(connection)
        return warn, expired


def _bucket(connection: ConnectionInfo) -> int:
    return int(connection.claims.exp // _BUCKET_S)
