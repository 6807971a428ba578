"""Operations on the feed of a user: listing and marking, by the user or by staff."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from wsserver.clock import Clock, rfc3339, rfc3339_or_none
from wsserver.errors import ValidationFailed
from wsserver.notifications.contacts import TenantContacts
from wsserver.notifications.feed_pushes import FeedMarks, FeedPushes
from wsserver.notifications.notification_api import text_of
from wsserver.notifications.own_or_staff import OwnOrStaff
from wsserver.notifications.templates import Renderer
from wsserver.protocol.notifications import Locale, MarkNotificationsRequest
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder
from wsserver.storage.notifications.feed import FeedEntry, FeedStore, Marked, Marking, cursor_after
from wsserver.tasks import Tasks

READ = "notifications:read"
SEND = "notifications:send"


@dataclass(frozen=True, kw_only=True)
class WantedFeed:
    """A page of a feed."""

    limit: int
    cursor: str | None = None
    archived: bool = False
    """Those that are archived, instead of all others."""
    unread: bool = False
    """Only those that are unread."""
    budget: int | None = None
    """Bytes of the entries at most; one is given in any case."""


@dataclass(eq=False, repr=False, kw_only=True)
class FeedApi:
    """Operations of ``/users/{user_id}/notifications`` and of the commands."""

    store: FeedStore
    pushes: FeedPushes
    receipts: ReceiptRecorder
    contact_book: TenantContacts
    renderer: Renderer
    access: OwnOrStaff
    clock: Clock
    tasks: Tasks

    async def listing(self, actor: Actor, user_id: str, wanted: WantedFeed) -> dict[str, Any]:
        """A page of a user's feed, newest first, in the user's language.

        Raises ``Forbidden``, ``NotFound``, ``BadRequest`` for a bad cursor.
        """
        await self.access.require(actor, user_id, READ)
        part = await self.store.page(
            user_id,
            wanted.limit,
            wanted.cursor,
            is_archived=wanted.archived,
            is_unread=wanted.unread,
        )
        locale = (await self.contact_book.get(user_id)).locale
        shown: list[dict[str, Any]] = []
        size = 0
        for each in part.entries:
            view = entry_view(self.renderer, each, locale)
            size += len(msgspec.json.encode(view))
            if shown and wanted.budget is not None and size > wanted.budget:
                break
            shown.append(view)
        has_more = part.has_more or len(shown) < len(part.entries)
        return {
            "user_id": user_id,
            "notifications": shown,
            "unread": part.unread,
            "total": part.total,
            "next_cursor": cursor_after(part.entries[len(shown) - 1]) if has_more else None,
        }

    async def mark(
        self, actor: Actor, user_id: str, request: MarkNotificationsRequest
    ) -> dict[str, Any]:
        """Mark entries of a feed, with a push to all devices of the user.

        Raises ``Forbidden``, ``NotFound``, ``ValidationFailed``.
        """
        await self.access.require(actor, user_id, SEND)
        faults = mark_faults(request)
        if faults:
            raise ValidationFailed(faults)
        marking = Marking(request.ids, request.up_to, request.read, request.archived)

        def late(marked: Marked) -> None:
            self.tasks.spawn(self._marked(user_id, request, marked), name="marked notifications")

        marked = await self.store.mark(user_id, marking, self.clock.wall(), late)
        await self._marked(user_id, request, marked)
        return {"changed": len(marked.notification_ids), "unread": marked.unread}

    async def _marked(
        self, user_id: str, request: MarkNotificationsRequest, marked: Marked
    ) -> None:
        """Settle the inbox, and push to all devices of the user."""
        if marked.message_ids:
            await self.receipts.read_elsewhere(user_id, marked.message_ids)
        if marked.notification_ids:
            ids = tuple(marked.notification_ids)
            self.pushes.marked(user_id, FeedMarks(ids, request.read, request.archived))


def mark_faults(request: MarkNotificationsRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults of a request; of the members in ``bad``, only the presence is known."""
    given = {
        name
        for name in request.__struct_fields__
        if name in bad or getattr(request, name) is not None
    }
    faults: list[Fault] = []
    if {"ids", "up_to"} <= given:
        faults.append({"field": "up_to", "message": "not together with ids"})
    if not {"ids", "up_to"} & given:
        faults.append({"field": "ids", "message": "required, or up_to"})
    if not {"read", "archived"} & given:
        faults.append({"field": "read", "message": "required, or archived"})
    return faults


def entry_view(renderer: Renderer, entry: FeedEntry, locale: Locale | None) -> dict[str, Any]:
    """A notification as in its push, with what was read and archived."""
    return {
        "id": entry.notification_id,
        **text_of(renderer, entry, locale),
        "timestamp": rfc3339(entry.at),
        "template": entry.template,
        "read_at": rfc3339_or_none(entry.read_at),
        "archived_at": rfc3339_or_none(entry.archived_at),
    }
