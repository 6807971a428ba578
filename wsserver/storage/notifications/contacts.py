"""Contacts of users: addresses, push subscriptions, quiet hours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlite_utils

from wsserver.protocol.notifications import Contact
from wsserver.storage.engine.database import Database


class OwnedContact(NamedTuple):
    """A contact, and the organization whose manager entered it.

    None: entered by a service or an administrator, for users of any organization.
    """

    contact: Contact
    organization_id: str | None


class ContactStore:
    """The table ``contacts``. All methods raise ``StorageUnavailable``, writes ``StorageFull``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_ids: Sequence[str]) -> dict[str, OwnedContact]:
        """The stored contacts of these users."""
        ids = msgspec.json.encode(user_ids).decode()
        rows = await self._database.read(
            lambda db: db.conn.execute(
                "SELECT user_id, contact, organization_id FROM contacts"
                " WHERE user_id IN (SELECT value FROM json_each(?))",
                [ids],
            ).fetchall()
        )
        return {
            user_id: OwnedContact(contact_of(user_id, stored), owner)
            for user_id, stored, owner in rows
        }

    async def put(self, contact: Contact, organization_id: str | None, at: float) -> None:
        """Replace a contact; ``at``: seconds since the epoch.

        ``organization_id``: of the manager who enters it, as in ``OwnedContact``.
        """
        values = [contact.user_id, organization_id, _written(contact), at]

        def store(db: sqlite_utils.Database) -> None:
            db.conn.execute(
                "INSERT OR REPLACE INTO contacts (user_id, organization_id, contact, changed_at)"
                " VALUES (?, ?, ?, ?)",
                values,
            )

        await self._database.run(store)

    async def forget_subscription(self, user_id: str, endpoint: str) -> bool:
        """Delete one of a user's push subscriptions; False: not found."""

        def forget(db: sqlite_utils.Database) -> bool:
            found = _get(db, user_id)
            if found is None:
                return False
            left = tuple(each for each in found.contact.push if each.endpoint != endpoint)
            if len(left) == len(found.contact.push):
                return False
            changed = msgspec.structs.replace(found.contact, push=left)
            db.conn.execute(
                "UPDATE contacts SET contact = ? WHERE user_id = ?", [_written(changed), user_id]
            )
            return True

        return await self._database.run(forget)


def contact_of(user_id: str, stored: str | None) -> Contact:
    """Decode a stored contact; None: an empty one."""
    if stored is None:
        return Contact(user_id=user_id)
    return msgspec.json.decode(stored, type=Contact)


def _get(db: sqlite_utils.Database, user_id: str) -> OwnedContact | None:
    row = db.conn.execute(
        "SELECT contact, organization_id FROM contacts WHERE user_id = ?", [user_id]
    ).fetchone()
    return None if row is None else OwnedContact(contact_of(user_id, row[0]), row[1])


def _written(contact: Contact) -> str:
    return msgspec.json.encode(contact).decode()
