"""Preferences of users about notifications: the table ``notification_preferences``."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wsserver.protocol.notifications import NO_PREFERENCES, Preferences
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database

Change = Callable[[Preferences], Preferences]

_SELECT = "SELECT preferences FROM notification_preferences WHERE user_id = ?"
_STORE = (
    "INSERT INTO notification_preferences (user_id, preferences, changed_at) VALUES (?, ?, ?)"
    " ON CONFLICT (user_id) DO UPDATE SET preferences = excluded.preferences,"
    " changed_at = excluded.changed_at"
)
_DELETE = "DELETE FROM notification_preferences WHERE user_id = ?"


class PreferenceStore:
    """Reads and changes preferences; raises ``StorageUnavailable``, writes ``StorageFull``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: str) -> Preferences:
        """The preferences of a user."""
        return await self._database.read(lambda db: _get(db, user_id))

    async def change(self, user_id: str, change: Change, at: float) -> Preferences:
        """Change what is stored by a function of it, in one transaction; returns the result.

        Two devices that change different switches at the same time do not undo each other's.
        """

        def run(db: Connection) -> Preferences:
            before = _get(db, user_id)
            after = change(before)
            if after == NO_PREFERENCES:
                db.execute(_DELETE, [user_id])
            elif after != before:
                db.execute(_STORE, [user_id, msgspec.json.encode(after).decode(), at])
            return after

        return await self._database.run(run)


def preferences_of(stored: str | None) -> Preferences:
    """Decode what is stored; None: nothing was chosen."""
    return NO_PREFERENCES if stored is None else msgspec.json.decode(stored, type=Preferences)


def _get(db: Connection, user_id: str) -> Preferences:
    row = db.execute(_SELECT, [user_id]).fetchone()
    return preferences_of(None if row is None else row[0])
