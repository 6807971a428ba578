"""``ConversationList``: the conversations of a user, newest activity first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from wsserver.clock import rfc3339
from wsserver.cluster.directory import USERS_LISTED
from wsserver.identity.claims import Claims
from wsserver.paging import PAGE_BYTES, Window, decode_cursor, encode_cursor, json_bytes
from wsserver.realtime.access.memberships import Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.sessions.conversations import conversation_view
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.messages.conversations import Conversation, ConversationStore
from wsserver.storage.messages.participant_store import ParticipantStore
from wsserver.storage.messages.participants import UserSession

Show = Callable[[list[str]], Awaitable[list[str]]]
"""Those of the users in a session whom the requester may see."""


class ListPosition(NamedTuple):
    """Where a list continues: after a conversation."""

    active_at: float
    session_id: str


class ConversationQuery(NamedTuple):
    """A page of the conversations of a user."""

    user_id: str
    limit: int
    cursor: str | None = None
    state: str | None = None
    budget: int = PAGE_BYTES
    """Bytes at most; one conversation in any case."""


class ConversationPage(NamedTuple):
    """The conversations of a user that a requester may see, and the page of them."""

    conversations: list[dict[str, Any]]
    total: int
    """With the state that is wanted, on all pages."""
    unread_total: int
    """In all of them, whatever their state."""
    next_cursor: str | None


class UnreadPage(NamedTuple):
    """The sessions of a user with unread messages, and the first of these in each."""

    sessions: list[dict[str, Any]]
    total: int
    """Sessions, on all pages."""
    unread_total: int
    """Messages, on all pages."""
    next_cursor: str | None


class ConversationList:
    """Lists conversations: sessions that a user is a member of, has joined or has written in."""

    def __init__(
        self,
        participants: ParticipantStore,
        conversations: ConversationStore,
        streams: Streams,
        sessions: Sessions,
        members: Members,
        access: SessionAccess,
        hub: Hub,
    ) -> None:
        self._participants = participants
        self._conversations = conversations
        self._streams = streams
        self._sessions = sessions
        self._members = members
        self._access = access
        self._hub = hub

    async def of_caller(self, claims: Claims, wanted: ConversationQuery) -> ConversationPage:
        """The conversations of the user with these claims, who asks.

        Those by claim only while the claim is there. The last message is left out of those that
        the user has written in, but may not enter now.
        """
        await self._sessions.positions.settle(wanted.user_id)  # what was joined just now is listed
        listed = [
            each
            for each in await self._sessions_of(wanted)
            if each.is_member
            or each.has_written
            or (each.has_joined and claims.opens(each.session_id))
        ]
        may_read = partial(self._access.allows, claims)
        return await self._page(listed, wanted, claims, may_read, _show_all)

    async def of_user(
        self,
        wanted: ConversationQuery,
        scope: Scope,
        reader: Claims | None,
    ) -> ConversationPage:
        """The conversations of another user, as far as they are in the requester's scope.

        ``reader``: last messages as this user may read them; None: all.
        """
        listed = [
            each
            for each in await self._sessions_of(wanted)
            if each.is_member or each.has_joined or each.has_written
        ]
        seen = set(await scope.sessions([each.session_id for each in listed]))
        listed = [each for each in listed if each.session_id in seen]

        async def show(user_ids: list[str]) -> list[str]:
            await scope.learn(user_ids)
            return list(filter(scope.is_shown_in_session, user_ids))

        return await self._page(listed, wanted, reader, lambda _: True, show)

    async def explain_unread(
        self, user_id: str, scope: Scope, window: Window, messages: int
    ) -> UnreadPage:
        """The sessions with unread messages of a user, newest activity first, and why.

        Each with its first ``messages``.
        """
        listed = [each for each in await self._participants.sessions_of(user_id) if each.unread]
        seen = set(await scope.sessions([each.session_id for each in listed]))
        listed = [each for each in listed if each.session_id in seen]
        rest = _newest_after(listed, window.cursor)
        page = rest[: window.limit]
        shown = [await self._explained(user_id, each, messages) for each in page]
        cursor = None
        if len(page) < len(rest):
            cursor = _cursor_after(page[-1])
        return UnreadPage(shown, len(listed), sum([each.unread for each in listed]), cursor)

    async def _explained(self, user_id: str, each: UserSession, messages: int) -> dict[str, Any]:
        reason = await self._participants.unread_messages(user_id, each.session_id, messages)
        return {
            "session_id": each.session_id,
            "unread": each.unread,
            "read_offset": each.read_offset,
            "read_at": None if reason is None else rfc3339(reason.read_at),
            "messages": [
                {**message._asdict(), "at": rfc3339(message.at)}
                for message in (reason.messages if reason is not None else ())
            ],
        }

    async def _sessions_of(self, wanted: ConversationQuery) -> list[UserSession]:
        with_state = wanted.state is not None
        return await self._participants.sessions_of(wanted.user_id, with_state=with_state)

    async def _page(
        self,
        listed: list[UserSession],
        wanted: ConversationQuery,
        reader: Claims | None,
        may_read: Callable[[str], bool],
        show: Show,
    ) -> ConversationPage:
        unread_total = sum([each.unread for each in listed])
        if wanted.state is not None:
            listed = [each for each in listed if each.state == wanted.state]
        rest = _newest_after(listed, wanted.cursor)
        chosen = rest[: wanted.limit]
        views = await self._views(chosen, reader, may_read, show)
        budget = wanted.budget
        shown: list[dict[str, Any]] = []
        for view in views:
            budget -= json_bytes(view)
            if budget < 0 and shown:
                break
            shown.append(view)
        cursor = None
        if len(shown) < len(rest):
            cursor = _cursor_after(chosen[len(shown) - 1])
        return ConversationPage(shown, len(listed), unread_total, cursor)

    async def _views(
        self,
        chosen: list[UserSession],
        reader: Claims | None,
        may_read: Callable[[str], bool],
        show: Show,
    ) -> list[dict[str, Any]]:
        if not chosen:
            return []
        keys = {
            SESSION + each.session_id: each.message_key
            for each in chosen
            if each.message_key and may_read(each.session_id)
        }
        found = await self._conversations.find([each.session_id for each in chosen])
        messages = await self._streams.latest_messages(keys, reader) if keys else {}
        active = await asyncio.gather(*(self._active(each.session_id) for each in chosen))
        return [
            {
                **conversation_view(found.get(each.session_id) or Conversation(each.session_id)),
                "last_message": messages.get(SESSION + each.session_id),
                "offset": each.offset,
                "members": await show(self._members.of_session(each.session_id)[:USERS_LISTED]),
                "active": await show(users),
                "unread": each.unread,
                "read_offset": each.read_offset,
            }
            for each, users in zip(chosen, active, strict=True)
        ]

    async def _active(self, session_id: str) -> list[str]:
        reading = self._sessions.users_of_all_nodes(session_id)
        users = self._hub.presence(session_id) if reading is None else await reading
        return [user["user_id"] for user in users]


async def _show_all(user_ids: list[str]) -> list[str]:
    return user_ids


def _newest_after(listed: list[UserSession], cursor: str | None) -> list[UserSession]:
    """The sessions after a cursor, newest activity first; raises ``BadRequest``."""
    if cursor is not None:
        place = decode_cursor(cursor, ListPosition)
        after = (-place.active_at, place.session_id)
        listed = [each for each in listed if _newest_first(each) > after]
    return sorted(listed, key=_newest_first)


def _cursor_after(last: UserSession) -> str:
    return encode_cursor(ListPosition(last.active_at, last.session_id))


def _newest_first(each: UserSession) -> tuple[float, str]:
    return -each.active_at, each.session_id
