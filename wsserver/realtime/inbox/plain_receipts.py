"""Receipts of plain clients for messages of sessions: written to them, or of before they joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wsserver.clock import Clock
from wsserver.cluster.broker import Publication
from wsserver.protocol.targets import TargetType
from wsserver.realtime.connections.connection import PLAIN, ConnectionInfo
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.storage.messages.receipts import ReceiptStore

WAITING_LIMIT = 20_000
"""Messages that wait to be written or recorded; further ones count as not written."""
AT_ONCE = 1000
_TYPE = "new_message"


class PlainReceipts:
    """Records for members of a session what was written to their plain clients.

    Only where absent members are notified of messages: plain clients do not acknowledge, and these
    receipts are a row for each member and message. ``is_member``: of a session.
    """

    def __init__(
        self, store: ReceiptStore, is_member: Callable[[str, str], bool], clock: Clock
    ) -> None:
        self._store = store
        self._is_member = is_member
        self._clock = clock
        self._sent: list[tuple[ConnectionInfo, str]] = []
        """Message ids by connection, in the order of sending."""
        self._joined: list[tuple[ConnectionInfo, str, int]] = []
        """Streams of sessions and where they ended at the join, by connection."""

    def delivered(self, publication: Publication, connections: Iterable[ConnectionInfo]) -> None:
        """A kept message was sent to these connections of this node."""
        target = publication.target
        if target.type is not TargetType.SESSION or publication.type != _TYPE:
            return
        for connection in connections:
            if (
                connection.protocol == PLAIN
                and connection.user_id != publication.sender
                and len(self._sent) < WAITING_LIMIT
                and self._is_member(target.id, connection.user_id)
            ):
                self._sent.append((connection, publication.message_id))

    def joined(self, connection: ConnectionInfo, session_id: str, offset: int) -> None:
        """A connection has joined a session, whose stream ends at ``offset``.

        Its user is there: what was sent before counts as written, whether the join has asked for
        it, the client reads it with ``history``, or has it from a page of its backend.
        """
        if (
            connection.protocol == PLAIN
            and len(self._joined) < WAITING_LIMIT
            and self._is_member(session_id, connection.user_id)
        ):
            self._joined.append((connection, SESSION + session_id, offset))

    async def advance(self) -> None:
        """Record what was written meanwhile; to be called often.

        Raises ``StorageUnavailable``, ``StorageFull``: the next call tries again.
        """
        sent, self._sent = self._sent, []
        joined, self._joined = self._joined, []
        try:
            while joined:
                connection, stream, offset = joined[-1]
                if _is_written(connection):
                    at = self._clock.wall()
                    await self._store.advance(connection.user_id, stream, offset, at)
                elif connection.websocket.is_open:
                    self._joined.append(joined[-1])
                joined.pop()
            written: dict[str, list[str]] = {}
            for connection, message_id in sent:
                if _is_written(connection):
                    written.setdefault(connection.user_id, []).append(message_id)
            for user_id, message_ids in written.items():
                for start in range(0, len(message_ids), AT_ONCE):
                    ids = message_ids[start : start + AT_ONCE]
                    await self._store.record(user_id, ids, read=False, at=self._clock.wall())
        except BaseException:
            self._joined += joined
            self._sent += sent  # recording twice changes nothing
            raise
        self._sent += [each for each in sent if _is_queued(each[0])]


def _is_written(connection: ConnectionInfo) -> bool:
    return connection.websocket.is_open and not connection.websocket.queued_bytes


def _is_queued(connection: ConnectionInfo) -> bool:
    return connection.websocket.is_open and connection.websocket.queued_bytes > 0
