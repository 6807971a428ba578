"""What is stored about a user, besides the audit trail: exporting all of it, and erasing it."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from functools import partial
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from wsserver.clock import Clock, rfc3339, rfc3339_or_none
from wsserver.cluster.control import Control, Notice
from wsserver.errors import NotFound
from wsserver.identity.permissions import Permissions
from wsserver.protocol.types import JsonObject
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder
from wsserver.realtime.operations.message_changes import (
    AlreadyDeleted,
    MessagesDeleted,
    RemoveContents,
    deleted_form,
)
from wsserver.realtime.streams.concurrency import SingleFlight
from wsserver.realtime.streams.retention_policy import INBOX, SESSION, Retention
from wsserver.realtime.streams.revisions import Revisions
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.engine.connection import Connection
from wsserver.storage.maintenance.erasure import UserErasure
from wsserver.storage.maintenance.user_data import UserData
from wsserver.storage.messages.message_rows import Revision
from wsserver.storage.messages.streams import Expired
from wsserver.storage.messages.user_messages import (
    BATCH_ROWS,
    SentMessage,
    UserMessageRow,
    UserMessages,
)
from wsserver.tasks import Tasks

PERMISSION = "users:erase"


class UserErased(Notice, frozen=True):
    """A user is being erased: they are to be removed from what is in memory.

    Sent before the rows about the user are deleted, and with ``version`` after it; a node that may
    have missed it has it once more, from storage.
    """

    user_id: str
    version: int = 0
    """The number of the erasure among the changes of access lists; 0: it is not done yet."""


class MessagesRemoved(Notice, frozen=True):
    """Messages of streams were deleted before their time."""

    streams: Sequence[str]


EraseUser = Callable[[str], Awaitable[Mapping[str, int]]]
"""Removes what is stored about a user besides rows; returns how much, by kind. Repeatable."""


class UserRecords:
    """Exports and erases users.

    Messages that a user has sent in sessions get their deleted form; clients get a push as of
    any deletion, as long as they could resume from before the message. All other messages of the
    user, and those to them, are deleted. ``removals`` remove other stored copies of contents. An
    erasure goes on when its request is cut off; a second one of the same user waits for it.
    """

    def __init__(
        self,
        data: UserData,
        erasure: UserErasure,
        messages: UserMessages,
        streams: Streams,
        revisions: Revisions,
        receipts: ReceiptRecorder,
        traces: TraceBuffer,
        hub: Hub,
        permissions: Permissions,
        tenancy: Tenancy,
        audit: Audit,
        control: Control,
        clock: Clock,
        tasks: Tasks,
        *,
        retention: Retention,
        removals: Sequence[RemoveContents],
    ) -> None:
        self._data = data
        self._erasure = erasure
        self._messages = messages
        self._streams = streams
        self._revisions = revisions
        self._receipts = receipts
        self._traces = traces
        self._hub = hub
        self._permissions = permissions
        self._tenancy = tenancy
        self._audit = AuditRecorder(audit, clock)
        self._control = control
        self._clock = clock
        self._retention = retention
        self._removals = removals
        self._erasers: list[EraseUser] = []
        self._running: SingleFlight[dict[str, int]] = SingleFlight(tasks)
        control.add_listener(UserErased, self._forget)
        control.add_listener(MessagesRemoved, self._drop)

    def add_eraser(self, erase: EraseUser) -> None:
        """Add what removes more than rows, during the start."""
        self._erasers.append(erase)

    async def export(self, actor: Actor, user_id: str) -> AsyncGenerator[bytes, None]:
        """All that is stored about a user, as lines of JSON, some at a time.

        Raises ``NotFound`` for a user out of reach; iterating raises ``StorageUnavailable``.
        """
        await self._begin(actor, "export_user_data", user_id)
        return self._lines(user_id)

    async def erase(self, actor: Actor, user_id: str) -> JsonObject:
        """Remove what is stored about a user; the numbers of rows by table.

        Raises ``NotFound`` for a user out of reach, ``StorageUnavailable``, ``StorageFull``; what
        was not erased then is erased by the next call.
        """
        await self._begin(actor, "erase", user_id)
        erased = await self._running.do(user_id, partial(self._erase, user_id, actor.claims.sub))
        return {"erased": erased}

    async def _begin(self, actor: Actor, action: str, user_id: str) -> None:
        self._permissions.require(actor.claims, PERMISSION)
        scope = self._tenancy.scope(self._permissions.confined_to(actor.claims))
        await scope.find_user(user_id)
        self._audit.record(actor, action, f"user:{user_id}")

    # Exporting

    async def _lines(self, user_id: str) -> AsyncGenerator[bytes, None]:
        async for table, rows in self._data.rows(user_id):
            yield _lines(table, rows)
        position: int | None = 0
        while position is not None:
            found, position = await self._messages.sent(user_id, position)
            async for rows in self._rows([each.key for each in found if each.sender == user_id]):
                yield _lines("messages", rows)
        last = 0
        while keys := await self._messages.inbox(user_id, last, BATCH_ROWS):
            async for rows in self._rows(keys):
                yield _lines("messages", rows)
            last = keys[-1]

    async def _rows(self, keys: Sequence[int]) -> AsyncIterator[list[dict[str, Any]]]:
        while keys:
            rows, keys = await self._messages.rows(keys)
            yield [_message_view(row) for row in rows]

    # Erasing

    async def _erase(self, user_id: str, by: str) -> dict[str, int]:
        messages = 0
        position: int | None = 0
        while position is not None:
            found, position = await self._messages.sent(user_id, position)
            for first in range(0, len(found), BATCH_ROWS):
                messages += await self._erase_sent(user_id, by, found[first : first + BATCH_ROWS])
        while keys := await self._messages.inbox(user_id, 0, BATCH_ROWS):
            messages += len(keys)
            await self._delete(keys)
        self._control.notify(UserErased(user_id))
        more: dict[str, int] = {}
        for erase in self._erasers:  # first, as they may look at the rows
            more.update(await erase(user_id))
        erased = await self._erasure.erase(user_id, self._clock.wall())
        self._control.notify(UserErased(user_id, await self._erasure.note(user_id)))
        erased.update(more)
        erased["messages"] = messages
        return dict(sorted(erased.items()))

    async def _erase_sent(self, user_id: str, by: str, batch: Sequence[SentMessage]) -> int:
        """Erase some messages; returns how many of them were the user's."""
        own = [each for each in batch if each.sender == user_id]
        said = [
            each for each in own if each.type == "new_message" and each.stream.startswith(SESSION)
        ]
        others = set(own) - set(said)
        await self._replace([each for each in said if each.deleted_at is None], by)
        if others:
            await self._delete([each.key for each in others])
        ids = [each.message_id for each in own]
        keys = [each.key for each in batch if each not in others]
        await self._messages.unlink(user_id, keys, partial(self._remove, message_ids=ids))
        if ids:
            self._control.notify(MessagesDeleted(ids))
        return len(own)

    async def _replace(self, messages: Sequence[SentMessage], by: str) -> None:
        """Replace messages by their deleted form, with change records where it matters."""
        wall = self._clock.wall()
        revise = partial(deleted_form, at=wall)
        oldest = wall - self._retention.stream_s
        pushed: list[SentMessage] = []
        quiet: list[SentMessage] = []
        for each in messages:
            (pushed if each.at > oldest and each.expires_at > wall else quiet).append(each)
        recorded = [
            self._revisions.record(
                each,
                "message_deleted",
                {
                    "session_id": each.stream.removeprefix(SESSION),
                    "message_id": each.message_id,
                    "deleted_at": rfc3339(wall),
                    "deleted_by": by,
                },
                revise,
            )
            for each in pushed
        ]
        if quiet:
            revisions = [Revision(each.stream, each.message_id, revise) for each in quiet]
            await self._revisions.rewrite(revisions)
        for outcomes in recorded:
            try:
                await outcomes
            except (AlreadyDeleted, NotFound):
                pass  # meanwhile

    async def _delete(self, keys: Sequence[int]) -> None:
        gone = await self._messages.delete(keys)
        self._control.notify(MessagesRemoved(sorted({each.stream for each in gone})))
        for user_id, message_ids in _pending(gone).items():
            self._receipts.settled(user_id, message_ids)

    def _remove(self, db: Connection, message_ids: Sequence[str]) -> None:
        for remove in self._removals:
            remove(db, message_ids)

    # Notices

    def _forget(self, notice: UserErased) -> None:
        self._traces.forget_user(notice.user_id, self._hub.of_user(notice.user_id))

    def _drop(self, notice: MessagesRemoved) -> None:
        for name in notice.streams:
            self._streams.removed(name)


def _pending(gone: Sequence[Expired]) -> dict[str, list[str]]:
    """The ids of deleted messages that waited in inboxes, by user."""
    found: dict[str, list[str]] = {}
    for each in gone:
        if each.is_pending:
            found.setdefault(each.stream.removeprefix(INBOX), []).append(each.message_id)
    return found


def _lines(table: str, rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join([encode({"table": table, "row": row}) + b"\n" for row in rows])


def _message_view(row: UserMessageRow) -> dict[str, Any]:
    """A message as it is exported."""
    return {
        "message_id": row.message_id,
        "stream": row.stream,
        "offset": row.offset,
        "type": row.type,
        "at": rfc3339(row.at),
        "expires_at": rfc3339(row.expires_at),
        "deleted_at": rfc3339_or_none(row.deleted_at),
        "push": Raw(row.push),
    }
