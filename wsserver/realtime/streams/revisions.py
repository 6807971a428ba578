"""``Revisions``: changes of kept messages in place, with or without a change record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.control import Control, Notice
from wsserver.protocol.ids import new_id
from wsserver.protocol.origin import Origin, write_origin
from wsserver.protocol.pushes import push
from wsserver.realtime.messages.audience import EVERYBODY, read_audience
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.append_queue import Outcomes
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.retention_policy import target_of_kept
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.messages.message_rows import Revise
from wsserver.storage.messages.streams import (
    Revision,
    RevisionOutcome,
    TransactionHook,
)


class MessagesRevised(Notice, frozen=True):
    """Messages that were changed without change records.

    May get lost: the change that follows with a record repairs it.
    """

    changes: Sequence[tuple[str, str, int, int]]
    """Stream, epoch, offset and revision of each."""


class Changeable(Protocol):
    """A message that can be changed: where it is, and for how long and for whom it is kept."""

    @property
    def stream(self) -> str:
        """The stream that keeps it."""
        ...

    @property
    def message_id(self) -> str:
        """Its id."""
        ...

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch."""
        ...

    @property
    def audience(self) -> str | None:
        """JSON: a filter of its readers; None: all."""
        ...


class Revisions:
    """Changes of kept messages: each keeps its offset, and its newest version is what is read.

    ``record`` is for changes that readers get, ``rewrite`` for text that grows: it is
    stored often, and clients get it by other means until the last version is stored by ``record``.
    The new version is made in the writing transaction from what is stored then, so two changes at
    the same time follow each other. ``on_recorded`` is called with each change record and its
    outcome.
    """

    def __init__(
        self,
        streams: Streams,
        control: Control,
        clock: Clock,
        on_recorded: Callable[[Sequence[Message], Outcomes], object],
    ) -> None:
        self._streams = streams
        self._control = control
        self._clock = clock
        self._on_recorded = on_recorded
        control.add_listener(MessagesRevised, self._outdate)

    def record(
        self,
        subject: Changeable,
        type_: str,
        members: dict[str, Any],
        revise: Revise,
        origin: Origin | None = None,
        hook: TransactionHook | None = None,
        record_id: str = "",
    ) -> Outcomes:
        """Change a message, and append a change record of a type in ``CHANGE_TYPES``.

        Both are stored in one transaction; then the record is published as all kept messages are,
        to the readers of the message. ``members``: of the push, besides ``message``, which is added
        in its newest version whenever the record is sent or read. ``record_id``: a new one if it is
        empty. The promise has one outcome, the record's; it is rejected with what ``revise`` or
        ``hook`` raise, with ``NotFound`` if the message is gone, and as by ``Streams.append``.
        """
        wall = self._clock.wall()
        record_id = record_id or new_id("msg", wall)
        payload = push(type_, rfc3339(wall), id=record_id, **members)
        readers = read_audience(subject.audience)
        filters = readers or EVERYBODY
        message = Message(
            type=type_,
            members=members,
            target=target_of_kept(subject.stream, readers),
            message_id=record_id,
            organization_id=filters.organization_id,
            with_unaffiliated=filters.with_unaffiliated,
            role=filters.role,
            exclude_users=filters.exclude_users,
            keep=True,
            origin=origin,
            size_bytes=len(payload),
        )
        draft = Draft(
            stream=subject.stream,
            message_id=record_id,
            type=type_,
            payload=payload,
            at=wall,
            # It goes with the message, and leaves no gap that a resuming client would notice.
            expires_at=subject.expires_at,
            has_ttl=True,
            origin=write_origin(origin),
            audience=subject.audience,
            revision=Revision(subject.stream, subject.message_id, revise),
            hook=hook,
            message=message,
            readers=readers,
        )
        outcomes = self._streams.append([draft])
        self._on_recorded([message], outcomes)
        return outcomes

    async def rewrite(self, revisions: Sequence[Revision]) -> list[RevisionOutcome]:
        """Change messages without change records, in one transaction.

        What is in memory is replaced, on this node before this returns. One outcome for each: the
        message in its new version with the change, or why it was refused. Raises
        ``StorageUnavailable`` or ``StorageFull``.
        """
        outcomes = await self._streams.revise(revisions)
        changes = [
            (subject.stream, subject.epoch, change.offset, change.revision)
            for subject, change in (each for each in outcomes if isinstance(each, tuple))
        ]
        if changes:
            self._control.notify(MessagesRevised(changes))
        return outcomes

    def _outdate(self, notice: MessagesRevised) -> None:
        for stream, epoch, offset, revision in notice.changes:
            self._streams.outdate(stream, epoch, offset, revision)
