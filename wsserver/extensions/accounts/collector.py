"""``Collector``: finds new messages for contacts in their sessions, and queues them."""

from __future__ import annotations

from typing import Any

from msgspec.json import encode

from wsserver.extending.context import ExtensionContext
from wsserver.extensions.accounts.options import AccountOptions
from wsserver.extensions.accounts.outgoing import AccountQueue
from wsserver.extensions.accounts.store import AccountStore, ContactSession, Outgoing

PAGE = 100
OUTGOING_TYPES = frozenset({"new_message", "message_updated"})
"""Of pushes of a session, besides ``answer_ended``."""
ANSWER_STATES = frozenset({"growing", "completed", "failed", "cancelled", "interrupted"})


def outgoing_in(pushes: list[Any]) -> list[Outgoing]:
    """Messages of a session that are for its contact, from a page with change records.

    An answer that grew is taken when it is completed, whatever it was before. An edit replaces what
    waits in the outbox.
    """
    found = []
    for push in pushes:
        message = push.get("message") or {}
        if message.get("deleted") or "content" not in message:
            continue
        if push.get("type") == "answer_ended":
            if message.get("state") != "completed":
                continue
        elif push.get("type") not in OUTGOING_TYPES or message.get("state") in ANSWER_STATES:
            continue
        content = {
            "content": message["content"],
            "content_type": message.get("content_type", "text/plain"),
        }
        sender = (message.get("sender") or {}).get("user_id")
        is_edit = push["type"] == "message_updated"
        found.append(Outgoing(message["id"], sender, encode(content), is_edit))
    return found


class Collector:
    """Finds messages for contacts and queues them; a session's offset says how far it has come."""

    def __init__(
        self,
        context: ExtensionContext[dict[str, AccountOptions]],
        store: AccountStore,
        queue: AccountQueue,
    ) -> None:
        self._context = context
        self._store = store
        self._queue = queue
        self._running: set[str] = set()
        self._again: set[str] = set()

    async def collect(self, session_id: str) -> None:
        """Queue what is new in a session; one call at a time does it, and then once more."""
        if session_id in self._running:
            self._again.add(session_id)
            return
        self._running.add(session_id)
        try:
            while True:
                self._again.discard(session_id)
                await self._collect(session_id)
                if session_id not in self._again:
                    break
        finally:
            self._running.discard(session_id)

    def kick(self, account: str) -> None:
        """Something in the outbox of an account may be due."""
        self._queue.kick(account)

    async def collect_recent(self) -> None:
        """Queue what was written shortly before an earlier run ended."""
        for session_id in await self._store.recent(self._context.clock.wall()):
            await self.collect(session_id)

    async def _collect(self, session_id: str) -> None:
        session = await self._store.session(session_id)
        while session is not None and session.account in self._context.options:
            pushes = await self._context.chat.records_after(session_id, session.sent_offset, PAGE)
            if not pushes:
                return
            until = pushes[-1]["offset"]
            now = self._context.clock.wall()
            if await self._store.add(session, until, outgoing_in(pushes), now):
                self._queue.kick(session.account)
            session = ContactSession(*session[:3], until)
