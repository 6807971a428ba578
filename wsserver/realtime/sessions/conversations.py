"""``Conversations``: changes the state and holder of sessions; pushes and events about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Raw

from wsserver.clock import Clock, rfc3339, rfc3339_or_none
from wsserver.cluster.broker import Broker, Push
from wsserver.cluster.control import Control, Notice
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import session, user
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.observability import events
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.monitors import Monitors
from wsserver.storage.messages.conversations import (
    Conversation,
    ConversationChange,
    ConversationStore,
    Holder,
    HolderWish,
    SessionFilter,
)
from wsserver.storage.tables.access_lists import number_members

log = logging.getLogger(__name__)


class HolderChanged(Notice, frozen=True):
    """A session has another holder; what was under way for a former term ends.

    May get lost, as every notice: what is stored for a session compares its term there.
    """

    session_id: str
    term: int
    """The new one."""
    by: str
    """User id of who has changed it."""


HolderListener = Callable[[HolderChanged], None]
"""Called on every node, on the one that made the change before the requester is answered."""


class Conversations:
    """Changes sessions for requesters whose permission was checked.

    A change is stored first. Then ``session_updated`` goes to the session, to its members' other
    connections and to monitors; the events ``holder_changed`` and ``session_state_changed`` are
    emitted. So it is if the requester was refused as the outcome of the commit was not known, once
    that is known.
    """

    def __init__(
        self,
        store: ConversationStore,
        broker: Broker,
        control: Control,
        members: Members,
        monitors: Monitors,
        event_bus: EventBus,
        clock: Clock,
    ) -> None:
        self._store = store
        self._broker = broker
        self._control = control
        self._members = members
        self._monitors = monitors
        self._events = event_bus
        self._clock = clock
        self._listeners: list[HolderListener] = []
        control.add_listener(HolderChanged, self._holder_changed)

    def add_holder_listener(self, listener: HolderListener) -> None:
        """Call ``listener`` for each change of a holder, whichever node makes it."""
        self._listeners.append(listener)

    async def find(self, session_id: str) -> Conversation | None:
        """A session; None: it has had no message, no member and no change yet."""
        return (await self._store.find([session_id])).get(session_id)

    async def find_all(self, session_ids: Sequence[str]) -> dict[str, Conversation]:
        """Sessions by id; those that were never changed or written in are left out."""
        return await self._store.find(session_ids)

    async def matching(self, wanted: SessionFilter) -> list[str]:
        """Ids of sessions by state and holder; see ``ConversationStore.matching``."""
        return await self._store.matching(wanted)

    async def change(
        self, session_id: str, values: Mapping[str, str | None], by: str
    ) -> ConversationChange:
        """Replace fields; see ``ConversationStore.change``."""
        changed = await self._store.change(
            session_id,
            values,
            by,
            self._clock.wall(),
            partial(number_members, session_id=session_id),
            partial(self._changed, by),
        )
        self._changed(by, changed)
        return changed

    def _changed(self, by: str, changed: ConversationChange | None) -> None:
        """Fields were replaced; None: they were not."""
        if changed is None:
            return
        self._announce(changed, by)
        if "state" in changed.fields:
            self._events.emit(
                events.SESSION_STATE_CHANGED,
                session_id=changed.after.session_id,
                state=changed.after.state,
                former=changed.before.state,
                by=by,
            )

    async def hold(self, session_id: str, wish: HolderWish, by: str) -> ConversationChange:
        """Change the holder; see ``ConversationStore.hold``."""
        held = partial(self._held, by)
        changed = await self._store.hold(session_id, wish, by, self._clock.wall(), held)
        self._held(by, changed)
        return changed

    def _held(self, by: str, changed: ConversationChange | None) -> None:
        """The holder was changed; None: it was not."""
        if changed is None:
            return
        if changed.fields:
            session_id = changed.after.session_id
            self._control.notify(HolderChanged(session_id, changed.after.term, by))
            self._events.emit(
                events.HOLDER_CHANGED,
                session_id=session_id,
                holder=holder_view(changed.after.holder),
                former=holder_view(changed.before.holder),
                term=changed.after.term,
                by=by,
            )
        self._announce(changed, by)

    async def require_term(self, session_id: str, term: int) -> None:
        """Raise ``TermChanged`` for a session in another term."""
        await self._store.require_term(session_id, term)

    def _announce(self, changed: ConversationChange, by: str) -> None:
        if not changed.fields:
            return
        session_id = changed.after.session_id
        members: dict[str, Any] = {
            "session": conversation_view(changed.after),
            "changed": list(changed.fields),
            "by": by,
        }
        users = map(user, self._members.of_session(session_id))
        text = push("session_updated", rfc3339(self._clock.wall()), **members)
        self._broker.signal(Push((session(session_id), *users), text))
        self._monitors.notify("session_updated", **members)

    def _holder_changed(self, notice: HolderChanged) -> None:
        for listener in self._listeners:
            try:
                listener(notice)
            except Exception:  # the change is stored, and has to be announced
                log.exception(
                    "listener failed session_id=%s term=%d", notice.session_id, notice.term
                )


def holder_view(holder: Holder | None) -> dict[str, str] | None:
    """A holder as clients see it."""
    return None if holder is None else holder.view()


def conversation_view(conversation: Conversation) -> dict[str, Any]:
    """A session's own state as clients see it; times are null before it is created."""
    return {
        "session_id": conversation.session_id,
        "title": conversation.title,
        "state": conversation.state,
        "holder": holder_view(conversation.holder),
        "term": conversation.term,
        "organization_id": conversation.organization_id,
        "metadata": Raw(conversation.metadata.encode()),
        "created_at": rfc3339_or_none(conversation.created_at),
        "updated_at": rfc3339_or_none(conversation.updated_at),
    }
