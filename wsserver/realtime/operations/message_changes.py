"""Editing and deleting messages: by their senders, and by moderators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Raw
from msgspec.json import decode, encode

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control, Notice
from wsserver.errors import EditWindowOver, Forbidden, NotFound, WsServerError
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import UNCONFINED_ROLES, Permissions
from wsserver.protocol.contents import GROWING
from wsserver.protocol.origin import read_origin
from wsserver.protocol.revisions import deleted_message, message_in, replace_message
from wsserver.protocol.types import FILE_TYPE, Content
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.messages.audience import read_audience
from wsserver.realtime.messages.message import Sent
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.revisions import Revisions
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.message_rows import Revise, Revised, Subject, TransactionHook
from wsserver.storage.messages.streams import Appended, Found, StreamStore

MODERATE = "messages:moderate"
PUBLISH = "messages:publish"
EDIT, DELETE = "edit_message", "delete_message"
_DELETED = "message_deleted"


RemoveContents = Callable[[Connection, Sequence[str]], None]
"""Removes what is stored of the contents of deleted messages besides the messages themselves; runs
in the writing thread. Arguments: the connection and the ids of the messages."""


NoteDeletion = Callable[[Connection, Found], None]
"""Stores what follows from the deletion of a message, in its transaction; runs in the writing
thread. Gets the message as it was before."""


class MessagesDeleted(Notice, frozen=True):
    """Messages were deleted: what is in memory of their contents is to be removed."""

    message_ids: Sequence[str]


class AlreadyDeleted(WsServerError):
    """The message was deleted before; not an error to a client that deletes it again."""


class MessageChanges:
    """Edits and deletes messages of sessions.

    A user may change what they have sent for ``edit_window_s``, while they have access to the
    session; over REST a backend may also change what it has published. Others need the permission
    ``messages:moderate``, roles confined to an organization for sessions of it only. Changes by
    moderators are audited. ``removals`` remove other stored copies of deleted contents, in the same
    transaction, and ``notes`` store what else follows; the notice ``MessagesDeleted`` is for copies
    in memory.
    """

    def __init__(
        self,
        store: StreamStore,
        revisions: Revisions,
        permissions: Permissions,
        tenancy: Tenancy,
        access: SessionAccess,
        audit: Audit,
        control: Control,
        clock: Clock,
        *,
        edit_window_s: float,
        removals: Sequence[RemoveContents] = (),
        notes: Sequence[NoteDeletion] = (),
    ) -> None:
        self._store = store
        self._revisions = revisions
        self._permissions = permissions
        self._tenancy = tenancy
        self._access = access
        self._audit = AuditRecorder(audit, clock)
        self._clock = clock
        self._control = control
        self._edit_window_s = edit_window_s
        self._removals = removals
        self._notes = notes

    async def edit(self, actor: Actor, message_id: str, content: Content) -> Sent:
        """Replace the content of a message; returns the outcome of ``message_updated``.

        Raises ``NotFound`` for a message that is unknown, deleted or out of reach, ``Forbidden``
        for one of somebody else, ``EditWindowOver``; ``StorageUnavailable``, ``StorageFull``.
        """
        found = await self._permitted(actor, EDIT, message_id)
        stamp = {"edited_at": rfc3339(self._clock.wall()), "edited_by": actor.claims.sub}
        revise = partial(_edited, content=content, stamp=stamp)
        members = {"session_id": _session_of(found)}
        return await self._record(found, "message_updated", members, revise, actor)

    async def session_of(self, actor: Actor, message_id: str) -> str:
        """The session of a message that the actor may edit; raises as ``edit`` does."""
        return _session_of(await self._permitted(actor, EDIT, message_id, is_asked=True))

    async def delete(self, actor: Actor, message_id: str) -> Sent:
        """Replace a message by its deleted form; returns the outcome of ``message_deleted``.

        A message that is deleted already has the same answer again. Raises as ``edit`` does.
        """
        found = await self._permitted(actor, DELETE, message_id)
        wall = self._clock.wall()
        members = {
            "session_id": _session_of(found),
            "message_id": message_id,
            "deleted_at": rfc3339(wall),
            "deleted_by": actor.claims.sub,
        }
        remove = TransactionHook(_nothing, partial(self._remove, found=found))
        try:
            revise = partial(deleted_form, at=wall)
            sent = await self._record(found, _DELETED, members, revise, actor, remove)
        except AlreadyDeleted:
            record = await self._store.record_of(message_id, _DELETED)
            if record is None:
                raise NotFound("message", message_id) from None
            return Sent(
                record.message_id, stream=record.stream, epoch=record.epoch, offset=record.offset
            )
        self._control.notify(MessagesDeleted([message_id]))
        return sent

    def _remove(self, db: Connection, checked: None, place: Appended, found: Found) -> None:
        for remove in self._removals:
            remove(db, [found.message_id])
        for note in self._notes:
            note(db, found)

    async def _record(
        self,
        found: Found,
        type_: str,
        members: dict[str, Any],
        revise: Revise,
        actor: Actor,
        hook: TransactionHook | None = None,
    ) -> Sent:
        outcomes = await self._revisions.record(found, type_, members, revise, actor.origin, hook)
        return outcomes[0]

    async def _permitted(
        self, actor: Actor, action: str, message_id: str, *, is_asked: bool = False
    ) -> Found:
        """The message, if the actor may change it. ``is_asked``: it is not changed yet."""
        now = self._clock.wall()
        messages, _ = await self._store.find([message_id], now, 0)
        if not messages or messages[0].type != "new_message":
            raise NotFound("message", message_id)
        (found,) = messages
        if not found.stream.startswith(SESSION):
            raise NotFound("message", message_id)
        session_id = _session_of(found)
        if actor.bound_to not in (None, session_id):
            raise NotFound("message", message_id)
        if await self._moderates(actor.claims, session_id, found):
            if not is_asked and not _is_own(actor, found):
                target = f"message:{message_id}"
                self._audit.record(actor, action, target, session_id=session_id)
            return found
        if not await self._reaches(actor, session_id, found):
            raise NotFound("message", message_id)
        with self._audit.denials(actor, action, f"message:{message_id}"):
            if not _is_own(actor, found):
                raise Forbidden(f"messages of others need the permission {MODERATE}")
        if now > found.at + self._edit_window_s:
            raise EditWindowOver(self._edit_window_s)
        return found

    async def _moderates(self, claims: Claims, session_id: str, found: Found) -> bool:
        """Whether the bearer may change messages of others in a session."""
        if not self._permissions.allows(claims, MODERATE):
            return False
        scope = self._tenancy.scope(self._permissions.confined_to(claims))
        return await scope.has_session(session_id) and _admits(claims, found)

    async def _reaches(self, actor: Actor, session_id: str, found: Found) -> bool:
        """Whether the actor may read a message: in the session, or as a backend."""
        claims = actor.claims
        await self._access.prepare(claims, session_id)
        if self._access.allows(claims, session_id):
            return _admits(claims, found)
        if actor.via == "socket" or not self._permissions.allows(claims, PUBLISH):
            return False
        scope = self._tenancy.scope(self._permissions.confined_to(claims))
        return await scope.has_session(session_id) and _admits(claims, found)


def _admits(claims: Claims, found: Found) -> bool:
    """Whether a message is for the bearer; roles that see every organization read all."""
    audience = read_audience(found.audience)
    if audience is None or found.sender == claims.sub or claims.role in UNCONFINED_ROLES:
        return True
    return audience.admits(claims)


def _is_own(actor: Actor, found: Found) -> bool:
    """Whether the actor has sent a message, or as a backend has published it."""
    me = actor.claims.sub
    return found.sender == me or (actor.via != "socket" and read_origin(found.origin).user_id == me)


def _nothing(db: Connection) -> None:
    """Nothing is to be checked."""


def _session_of(found: Found) -> str:
    return found.stream.removeprefix(SESSION)


def _edited(subject: Subject, content: Content, stamp: dict[str, str]) -> Revised:
    """The version of a message with another content."""
    if subject.deleted_at is not None:
        raise NotFound("message", subject.message_id, "it was deleted")
    message = decode(message_in(subject.payload), type=dict[str, Raw])
    if "state" in message and decode(message["state"]) == GROWING:
        raise Forbidden("this answer still grows; it can be edited once it has ended")
    if decode(message.get("content_type", Raw(b"null"))) == FILE_TYPE:
        raise Forbidden("a file cannot be edited; delete the message and send another one")
    changed = {**message, "content": content, **stamp}
    return Revised(replace_message(subject.payload, encode(changed)))


def deleted_form(subject: Subject, at: float) -> Revised:
    """The deleted form of a message: without content and sender."""
    if subject.deleted_at is not None:
        raise AlreadyDeleted
    message = deleted_message(message_in(subject.payload))
    return Revised(replace_message(subject.payload, message), deleted_at=at)
