"""The line in which messages wait to be stored: group after group, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from wsserver.brokers.base import NOBODY, Publication, Receipt
from wsserver.clock import Clock
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.realtime.messages.audience import Audience, write_audience
from wsserver.realtime.messages.message import Sent
from wsserver.realtime.messages.promise import Promise
from wsserver.storage.messages.streams import Append, Appended
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

BATCH = 2000
BATCH_BYTES = 8 * 1024 * 1024
"""Messages stored in one transaction at most, and their bytes, but for one group that is larger by
itself."""
WAITING_LIMIT = 20_000
WAITING_LIMIT_BYTES = 64 * 1024 * 1024
"""Messages that may wait to be stored; one more is refused aloud."""
RETRY_DELAYS_S = (0.05, 0.25, 1.0)
"""Waiting before trying again to store what a locked database refused."""
RETRY_WITHIN_S = 3.0
"""Each try may itself wait for a lock; whoever publishes has to be told before they give up."""
SLICE_S = 0.002
"""Announcing goes on for so long before the loop gets its turn."""


class Draft(Struct, gc=False):
    """A message to be kept: how it will be published, and what storage wants to know of it.

    ``publication.payload`` is the push without its position, which only storage can tell.
    """

    publication: Publication
    stream: str
    expires_at: float
    has_ttl: bool = False
    sender: str | None = None
    origin: str = "{}"
    dedup: tuple[str, str] | None = None
    at: float = 0.0
    audience: Audience | None = None
    """None: everybody."""


Outcomes = Promise[list[Sent]]
"""One outcome for each draft."""


class Store(Protocol):
    """What is needed of the storage."""

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Store in one transaction, all or none, giving each its offset."""
        ...


Announce = Callable[[Draft, Appended], Awaitable[Receipt]]


class AppendQueue:
    """Stores drafts in groups, and announces each after it is stored and before the next one is.

    ``announce`` lets everybody have a message; it does not fail. What arrives while one
    transaction runs goes into the next one. ``cork`` is called before several are announced: until
    the loop's next turn, what each connection is sent then may go out in one write.
    """

    def __init__(
        self,
        store: Store,
        announce: Announce,
        clock: Clock,
        tasks: Tasks,
        cork: Callable[[], None],
    ) -> None:
        self._store = store
        self._announce = announce
        self._clock = clock
        self._tasks = tasks
        self._cork = cork
        self._waiting: deque[_Group] = deque()
        self._waiting_count = 0
        self._waiting_bytes = 0
        self._in_flight: Counter[str] = Counter()
        self._runner: asyncio.Task[Any] | None = None
        self._round: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return self._waiting_count

    def has(self, stream: str) -> bool:
        """Is a message of the stream accepted, but not announced yet?"""
        return stream in self._in_flight

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        """Store drafts together, in their order, then announce them.

        What comes of it has one outcome each, or it is ``StorageFull`` or
        ``StorageUnavailable``, and nothing of them is stored then; where too many wait already,
        that is raised here, at once.
        """
        size = sum([len(draft.publication.payload) for draft in drafts])
        if (
            self._waiting_count + len(drafts) > WAITING_LIMIT
            or self._waiting_bytes + size > WAITING_LIMIT_BYTES
        ):
            raise StorageUnavailable("too many messages are waiting to be stored")
        outcomes: Outcomes = Promise()
        self._waiting.append((drafts, outcomes))
        self._waiting_count += len(drafts)
        self._waiting_bytes += size
        self._in_flight.update([draft.stream for draft in drafts])
        if self._runner is None:
            self._runner = self._tasks.spawn(self._run(), name="append")
        return outcomes

    async def finish(self) -> None:
        """Wait until everything that was accepted is stored and announced, or has failed."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        """Store group after group; while one is being stored, announce the one before it."""
        stored: tuple[list[_Group], list[Appended]] | None = None
        try:
            while self._waiting or stored is not None:
                groups = self._take()
                storing = asyncio.ensure_future(self._store_groups(groups)) if groups else None
                if stored is not None:
                    await self._announce_groups(*stored)
                    stored = None
                if storing is not None:
                    appended = await storing
                    stored = (groups, appended) if appended is not None else None
        finally:
            self._runner = None

    def _take(self) -> list[_Group]:
        groups: list[_Group] = []
        count = size = 0
        while self._waiting and (
            not groups or (count + len(self._waiting[0][0]) <= BATCH and size < BATCH_BYTES)
        ):
            drafts, outcomes = self._waiting.popleft()
            groups.append((drafts, outcomes))
            count += len(drafts)
            size += sum([len(each.publication.payload) for each in drafts])
        self._waiting_bytes -= size
        self._waiting_count -= count
        return groups

    async def _store_groups(self, groups: list[_Group]) -> list[Appended] | None:
        """Store all; None: could not be done, and everybody concerned has been told."""
        batch = [_append_of(draft) for drafts, _ in groups for draft in drafts]
        give_up_at = self._clock.monotonic() + RETRY_WITHIN_S
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                return _own(batch, await self._store.append(batch))
            except StorageUnavailable as error:
                if delay_s is None or self._clock.monotonic() > give_up_at:
                    self._fail(groups, error)
                    return None
            except Exception as error:
                if not isinstance(error, WsServerError):
                    log.exception("messages not stored count=%d", len(batch))
                self._fail(groups, error)
                return None
            await asyncio.sleep(delay_s)
        return None

    def _fail(self, groups: list[_Group], error: Exception) -> None:
        for drafts, outcomes in groups:
            self._landed(drafts)
            outcomes.reject(error)

    async def _announce_groups(self, groups: list[_Group], appended: list[Appended]) -> None:
        each = iter(appended)
        if len(appended) > 1:
            self._cork()
        slice_ends = self._clock.monotonic() + SLICE_S
        for drafts, outcomes in groups:
            results = []
            for draft in drafts:
                place = next(each)
                receipt = await self._announce(draft, place) if place.is_new else NOBODY
                results.append(_sent(place, receipt))
                if self._clock.monotonic() > slice_ends:
                    await asyncio.sleep(0)
                    self._cork()
                    slice_ends = self._clock.monotonic() + SLICE_S
            self._landed(drafts)
            outcomes.resolve(results)

    def _landed(self, drafts: Sequence[Draft]) -> None:
        """These are announced, or have failed: who waited for their streams may go on."""
        for draft in drafts:
            left = self._in_flight[draft.stream] - 1
            if left:
                self._in_flight[draft.stream] = left
            else:
                del self._in_flight[draft.stream]
        if self._round is not None:
            self._round.set_result(None)
            self._round = None

    async def progress(self) -> None:
        """Wait until something that is accepted now has been announced, or has failed."""
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._round)


_Group = tuple[Sequence[Draft], Outcomes]


def _own(batch: Sequence[Append], appended: Iterable[Appended]) -> list[Appended]:
    """What has the id that it was given here is new, whichever attempt has stored it.

    Storage may have committed what it said had failed, and finds it there when it is tried again.
    """
    return [
        place if place.is_new else place._replace(is_new=place.message_id == item.message_id)
        for item, place in zip(batch, appended, strict=True)
    ]


def _sent(place: Appended, receipt: Receipt) -> Sent:
    return Sent(place.message_id, receipt, place.stream, place.epoch, place.offset, place.is_new)


def _append_of(draft: Draft) -> Append:
    publication = draft.publication
    return Append(
        stream=draft.stream,
        message_id=publication.message_id,
        type=publication.type,
        payload=publication.payload,
        at=draft.at,
        expires_at=draft.expires_at,
        has_ttl=draft.has_ttl,
        sender=draft.sender,
        origin=draft.origin,
        audience=write_audience(draft.audience),
        dedup=draft.dedup,
    )
