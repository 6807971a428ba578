"""``TokenExpiry``: connections whose token is about to expire, by the wall clock."""

from __future__ import annotations

from wsserver.realtime.connections.connection import (
    UNWATCHED,
    WARNED,
    WATCHED,
    ConnectionInfo,
)

DISCARDED_SHARE = 8
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
        self._buckets: dict[int, _Bucket] = {}
        """By minute."""

    def add(self, connection: ConnectionInfo) -> None:
        """Add a connection with its present claims."""
        connection.expiry_watch = WATCHED
        key = _minute(connection)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(key)
        bucket.connections.append(connection)

    def discard(self, connection: ConnectionInfo) -> None:
        """Remove a connection; to be called before its claims change."""
        if connection.expiry_watch == UNWATCHED:
            return
        connection.expiry_watch = UNWATCHED
        key = _minute(connection)
        bucket = self._buckets[key]
        bucket.discarded += 1
        if bucket.discarded * DISCARDED_SHARE > len(bucket.connections):
            bucket.tidy()
            if not bucket.connections:
                del self._buckets[key]

    def due(self, wall: float) -> tuple[list[ConnectionInfo], list[ConnectionInfo]]:
        """The connections to warn now (each once per token), and the expired ones."""
        warn: list[ConnectionInfo] = []
        expired: list[ConnectionInfo] = []
        horizon = (wall + WARNING_S) // _BUCKET_S
        for key in [key for key in self._buckets if key <= horizon]:
            bucket = self._buckets[key]
            bucket.tidy()
            for connection in bucket.connections:
                if connection.claims.exp + self._leeway_s <= wall:
                    expired.append(connection)
                elif self.is_to_be_warned(connection, wall):
                    warn.append(connection)
        return warn, expired

    @staticmethod
    def is_to_be_warned(connection: ConnectionInfo, wall: float) -> bool:
        """Whether the token is about to expire; True once per token."""
        if connection.expiry_watch == WARNED or connection.claims.exp - wall > WARNING_S:
            return False
        connection.expiry_watch = WARNED
        return True


class _Bucket:
    """The connections whose token expires in one minute.

    A list: it takes 9 bytes for each, the keys of a dictionary up to 54. Discarded ones are left
    in it until they are an eighth, so that a discard costs a few steps, however many there are.
    """

    __slots__ = ("connections", "discarded", "minute")

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.connections: list[ConnectionInfo] = []
        self.discarded = 0
        """How many have been discarded since the last ``tidy``."""

    def tidy(self) -> None:
        """Remove the discarded ones, and what is in it twice, as it was added again."""
        if self.discarded:
            self.discarded = 0
            self.connections = [
                each
                for each in dict.fromkeys(self.connections)
                if each.expiry_watch != UNWATCHED and _minute(each) == self.minute
            ]


def _minute(connection: ConnectionInfo) -> int:
    return int(connection.claims.exp // _BUCKET_S)
