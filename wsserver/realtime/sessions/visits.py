"""``SessionVisits``: stores who was in which session when, for looking back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Literal

from wsserver.clock import Clock
from wsserver.storage.engine.database import Database
from wsserver.storage.messages.conversations import log_visits
from wsserver.storage.messages.session_past import STARTED

GATHER_S = 0.2
"""Time for which visits are gathered, to be stored together."""
WAITING_LIMIT = 50_000
"""Visits that may wait to be stored; of more, the oldest are dropped and counted as lost."""
BATCH = 2000


class SessionVisits:
    """Adds to the logs of sessions when a user's first connection joins and the last one leaves.

    In the background: a crash loses the last ones. ``is_alone``: nobody is in any session when this
    process starts.
    """

    def __init__(self, database: Database, clock: Clock, *, is_alone: bool) -> None:
        self._database = database
        self._clock = clock
        self._is_alone = is_alone
        self._waiting: list[tuple[str, float, str, str]] = []
        self._is_due = False

    def begin(self) -> None:
        """Note the start of the server, after which all have left; before the first connection."""
        if self._is_alone:
            self._waiting.append(("", self._clock.wall(), "", STARTED))
            self.flush()

    def note(self, session_id: str, user_id: str, what: Literal["joined", "left"]) -> None:
        """A user has come to a session, or has gone."""
        self._waiting.append((session_id, self._clock.wall(), user_id, what))
        if len(self._waiting) > WAITING_LIMIT:
            surplus = len(self._waiting) - WAITING_LIMIT
            del self._waiting[:surplus]
            self._database.refuse("too many visits of sessions are waiting to be stored", surplus)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Hand over what waits to the database."""
        self._is_due = False
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), BATCH):
            visits = waiting[start : start + BATCH]
            self._database.submit(partial(log_visits, visits=visits), len(visits))
