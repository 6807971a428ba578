"""How the database file is doing, as the threads find it that use it."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Literal

from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.storage.engine.errors import is_damage
from wsserver.storage.engine.open_files import DatabaseOverwritten

log = logging.getLogger(__name__)

Side = Literal["write", "read"]


class StorageHealth:
    """The latest failure of each side, until that side has succeeded again; damage for good.

    The threads write it and the loop reads it: single references, replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage: str | None = None
        """Why the content is not what was written: SQLite's words for a broken page, or that
        another program has changed the file."""
        self.errors: dict[Side, str | None] = {"write": None, "read": None}

    @property
    def is_well(self) -> bool:
        """Has everything tried lately succeeded?"""
        return self.last_error is None

    @property
    def last_error(self) -> str | None:
        """What stands against the file now."""
        return self.damage or self.errors["write"] or self.errors["read"]

    def refusal(self) -> StorageUnavailable:
        """What to answer to a write while the file is damaged.

        Nothing is written to such a file: it could not be relied on, and would make matters worse.
        """
        return StorageUnavailable(f"nothing is stored: {self.damage}")

    def note(self, side: Side, failure: Exception | None) -> None:
        """Take in how the latest try went; None: it succeeded.

        What is not about the file (a constraint, a caller's own refusal) counts as success.
        """
        if not isinstance(failure, StorageUnavailable | StorageFull):
            if self.errors[side] is not None:
                self.errors[side] = None
                log.info("database succeeds again side=%s", side)
            return
        cause = failure.__cause__
        if isinstance(failure, DatabaseOverwritten):
            self._note_damage(str(failure))
        elif isinstance(cause, sqlite3.Error) and is_damage(cause):
            self._note_damage(str(cause))
        elif self.errors[side] is None:
            log.error("database failed side=%s reason=%s", side, failure)
        self.errors[side] = str(failure)

    def _note_damage(self, damage: str) -> None:
        if self.damage is None:
            log.critical(
                "database is damaged and nothing is written to it any more, stop the server, move"
                " the file with its -wal and -shm away and restore the file from a backup"
                " path=%s error=%s",
                self._path,
                damage,
            )
            self.damage = f"the database is damaged: {damage}"
