"""``TokenExpiry``: connections whose token is about to expire, by the wall clock."""

from __future__ import annotations

from wsserver.realtime.connections.connection import ConnectionInfo

WARNING_S = 60.0
_BUCKET_S = 60.0


class TokenExpiry:
    """Finds connections whose token is about to expire or has expired.

    Buckets of a minute keyed by ``exp``: a call looks at the near minutes only, closed connections
    leave no timer, and a jump of the wall clock takes effect with the next call.

    A token expires ``leeway_s`` seconds after its ``exp``, as in the verifier; the warning does
    not take that into account.
    """

    def __init__(self, leeway_s: float = 0.0) -> None:
        self._leeway_s = leeway_s
        self._buckets: dict[int, dict[ConnectionInfo, None]] = {}
        """By minute. The keys of a dictionary: a set of as many is up to four times as large."""

    def add(self, connection: ConnectionInfo) -> None:
        """Add a connection with its present claims."""
        connection.is_warned_of_expiry = False
        self._buckets.setdefault(_bucket(connection), {})[connection] = None

    def discard(self, connection: ConnectionInfo) -> None:
        """Remove a connection; to be called before its claims change."""
        key = _bucket(connection)
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.pop(connection, None)
            if not bucket:
                del self._buckets[key]

    def due(self, wall: float) -> tuple[list[ConnectionInfo], list[ConnectionInfo]]:
        """The connections to warn now (each once per token), and the expired ones."""
        warn, expired = [], []
        horizon = (wall + WARNING_S) // _BUCKET_S
        for key in [key for key in self._buckets if key <= horizon]:
            for connection in self._buckets[key]:
                if connection.claims.exp + self._leeway_s <= wall:
                    expired.append(connection)
                elif self.is_to_be_warned(connection, wall):
                    warn.append(connection)
        return warn, expired

    @staticmethod
    def is_to_be_warned(connection: ConnectionInfo, wall: float) -> bool:
        """Whether the token is about to expire; True once per token."""
        if connection.is_warned_of_expiry or connection.claims.exp - wall > WARNING_S:
            return False
        connection.is_warned_of_expiry = True
        return True


def _bucket(connection: ConnectionInfo) -> int:
    return int(connection.claims.exp // _BUCKET_S)
