"""Contacts of users, without those that another organization's manager has entered."""

from __future__ import annotations

from collections.abc import Sequence

from wsserver.protocol.notifications import Contact
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.storage.notifications.contacts import ContactStore


class ContactBook:
    """Contacts as they may be shown and used.

    What a manager has entered counts only for users of the manager's organization: one who was
    taken for its own, and has turned out to belong elsewhere, is not reached by it.
    """

    def __init__(self, store: ContactStore, tenancy: Tenancy) -> None:
        self._store = store
        self._tenancy = tenancy

    async def find(self, user_ids: Sequence[str]) -> dict[str, Contact]:
        """The contacts of these users; those without any are left out.

        Raises ``StorageUnavailable``.
        """
        found = await self._store.find(user_ids)
        owned = [id_ for id_, each in found.items() if each.organization_id is not None]
        belongs_to = await self._tenancy.organizations_of(owned)
        return {
            user_id: each.contact
            for user_id, each in found.items()
            if each.organization_id in (None, belongs_to.get(user_id))
        }

    async def get(self, user_id: str) -> Contact:
        """A user's contact; empty where there is none. Raises ``StorageUnavailable``."""
        found = await self.find([user_id])
        return found.get(user_id) or Contact(user_id=user_id)

    async def put(self, contact: Contact, organization_id: str | None, at: float) -> None:
        """Enter a contact in the place of what there was; ``at``: seconds since the epoch.

        ``organization_id``: that of the manager who enters it; None: it counts wherever the user
        belongs. Raises ``StorageUnavailable``, ``StorageFull``.
        """
        await self._store.put(contact, organization_id, at)
