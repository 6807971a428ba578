"""Contacts of users: addresses, push subscriptions, quiet hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from wsserver.protocol.notifications import Contact, Device
from wsserver.storage.engine.connection import Connection
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
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT user_id, contact, organization_id FROM contacts"
                " WHERE user_id IN (SELECT value FROM json_each(?))",
                [db.listed(user_ids)],
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

        def store(db: Connection) -> None:
            db.execute(
                "INSERT INTO contacts (user_id, organization_id, contact, changed_at)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET"
                " organization_id = excluded.organization_id, contact = excluded.contact,"
                " changed_at = excluded.changed_at",
                values,
            )

        await self._database.run(store)

    async def forget_subscription(self, user_id: str, endpoint: str) -> bool:
        """Delete one of a user's push subscriptions; False: not found."""

        def without(contact: Contact) -> Contact:
            left = tuple(each for each in contact.push if each.endpoint != endpoint)
            return msgspec.structs.replace(contact, push=left)

        return await self._change(user_id, without)

    async def forget_device(self, user_id: str, device: Device) -> bool:
        """Delete one of a user's devices; False: not found."""

        def without(contact: Contact) -> Contact:
            left = tuple(each for each in contact.devices if each != device)
            return msgspec.structs.replace(contact, devices=left)

        return await self._change(user_id, without)

    async def _change(self, user_id: str, change: Callable[[Contact], Contact]) -> bool:
        def forget(db: Connection) -> bool:
            found = _get(db, user_id)
            if found is None or (changed := change(found.contact)) == found.contact:
                return False
            db.execute(
                "UPDATE contacts SET contact = ? WHERE user_id = ?", [_written(changed), user_id]
            )
            return True

        return await self._database.run(forget)


def contact_of(user_id: str, stored: str | None) -> Contact:
    """Decode a stored contact; None: an empty one."""
    if stored is None:
        return Contact(user_id=user_id)
    return msgspec.json.decode(stored, type=Contact)


def _get(db: Connection, user_id: str) -> OwnedContact | None:
    row = db.execute(
        "SELECT contact, organization_id FROM contacts WHERE user_id = ?", [user_id]
    ).fetchone()
    return None if row is None else OwnedContact(contact_of(user_id, row[0]), row[1])


def _written(contact: Contact) -> str:
    return msgspec.json.encode(contact).decode()
