"""``SessionVisits``: stores who was in which session when, for looking back."""

from __future__ import annotations

from typing import Literal

from wsserver.clock import Clock
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.write_buffer import WriteBuffer
from wsserver.storage.messages.conversations import log_visits
from wsserver.storage.messages.session_past import STARTED

WAITING_LIMIT = 50_000
"""Visits that may wait to be stored; further ones are refused."""
BATCH = 2000


class SessionVisits:
    """Adds to the logs of sessions when a user's first connection joins and the last one leaves.

    In the background: a crash loses the last ones. ``is_alone``: all sessions are empty when this
    process starts.
    """

    def __init__(self, database: Database, clock: Clock, *, is_alone: bool) -> None:
        self._database = database
        self._clock = clock
        self._is_alone = is_alone
        self._buffer = WriteBuffer(
            database,
            log_visits,
            limit=WAITING_LIMIT,
            batch=BATCH,
            full="too many visits of sessions are waiting to be stored",
        )

    def begin(self) -> None:
        """Note the start of the server, after which all have left; before the first connection."""
        if self._is_alone:
            self._buffer.add(("", self._clock.wall(), "", STARTED))
            self._buffer.flush()

    def note(self, session_id: str, user_id: str, what: Literal["joined", "left"]) -> None:
        """A user has come to a session, or has gone."""
        self._buffer.add((session_id, self._clock.wall(), user_id, what))

    def flush(self) -> None:
        """Hand over what waits to the database."""
        self._buffer.flush()

    async def settle(self) -> None:
        """Wait until what was noted so far is stored, or has failed."""
        self._buffer.flush()
        await self._database.settle()
