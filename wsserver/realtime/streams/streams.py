"""``Streams``: stores kept messages, publishes them in the order of their offsets, replays them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from msgspec import Raw
from msgspec.structs import replace

from wsserver.clock import Clock
from wsserver.cluster.broker import Outcome, Publication, PublishResult
from wsserver.errors import WsServerError
from wsserver.identity.claims import Claims
from wsserver.paging import PAGE_BYTES
from wsserver.promise import Promise
from wsserver.protocol.pushes import positioned
from wsserver.protocol.revisions import message_in, with_message
from wsserver.protocol.types import Position
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.streams import history
from wsserver.realtime.streams.append_queue import AppendQueue, Outcomes
from wsserver.realtime.streams.cached_message import CachedMessage
from wsserver.realtime.streams.concurrency import FairSemaphore, Readings, SingleFlight
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.growing_texts import GrowingTexts
from wsserver.realtime.streams.history import History
from wsserver.realtime.streams.holds import Hold
from wsserver.realtime.streams.recovery import StreamRecovery
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES, Recovery, Stream
from wsserver.realtime.streams.stream_cache import NAMES_LIMIT, StreamCache, StreamIndex
from wsserver.storage.engine.fair_queue import caller
from wsserver.storage.messages.streams import Appended, Revision, RevisionOutcome, StreamStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

PAGES_AT_ONCE = 4
"""Pages of history that are read at the same time: each may be megabytes until it is sent. One
user's pages are read one at a time, so that other users are served in between."""
HISTORY_ATTEMPTS = 10
"""How often a page is read again because a message of the stream was changed meanwhile."""


Publish = Callable[[Sequence[Publication], float, Collection[str]], list[Outcome]]
"""``Broker.begin_all``."""
StoredListener = Callable[[Sequence[Draft], Sequence[Appended]], None]


class Streams:
    """Entry to all streams: append and publish, positions, recovery, history.

    ``publish`` is the broker's ``begin_all``, ``cork`` the poller's; ``on_unreached`` is called
    with every published message that is counted and matched no connection. Messages are stored in
    groups and published after the commit, one after the other: readers see a stream in the order of
    its offsets, and never a message that is not stored. This process is the only one that writes:
    ``SharedStreams`` is for several.
    """

    is_shared = False
    """Whether other nodes write, too; without, positions in memory are exact."""

    def __init__(
        self,
        store: StreamStore,
        publish: Publish,
        clock: Clock,
        tasks: Tasks,
        *,
        growing: GrowingTexts,
        on_unreached: Callable[[Publication], None],
        cork: Callable[[], None],
        retention: Retention,
        replay_limit: int = 1000,
        tail_limit_bytes: int = TAIL_LIMIT_BYTES,
    ) -> None:
        self._store = store
        self._publish = publish
        self._clock = clock
        self._cache = StreamCache(replay_limit, self._outdate, tail_limit_bytes)
        self._index = StreamIndex()
        forget = None if self.is_shared else self._forget
        self._queue = AppendQueue(store, self._announce, clock, tasks, cork, forget)
        self._heads: SingleFlight[None] = SingleFlight(tasks)
        self._readings = Readings()
        self._recovery = StreamRecovery(
            store, self._cache, self._reopen, clock, tasks, replay_limit, retention, self._readings
        )
        self._paging = FairSemaphore(PAGES_AT_ONCE)
        self._asked: dict[str, object] = {}
        """Streams whose heads are being read; removed when the cached stream changes meanwhile."""
        self._on_unreached = on_unreached
        self._stored_listeners: list[StoredListener] = []
        self._growing = growing
        self.kept = 0
        """Messages stored since the start."""

    async def load(self) -> None:
        """Read the names of existing streams; to be called before the first connection."""
        self._index.load(*await self._store.names(NAMES_LIMIT + 1))

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        """Store drafts together, in their order, then publish them; see ``AppendQueue.append``."""
        outcomes = self._queue.append(drafts)
        self._index.add([draft.stream for draft in drafts])
        return outcomes

    def add_stored_listener(self, listener: StoredListener) -> None:
        """Call ``listener`` with the messages that this process has stored and published."""
        self._stored_listeners.append(listener)

    async def finish(self) -> None:
        """Wait until all accepted drafts are stored and published, or have failed."""
        await self._queue.finish()

    def _announce(
        self, drafts: Sequence[Draft], places: Sequence[Appended], until: float
    ) -> list[Outcome]:
        """Publish messages that were stored; see ``append_queue.Announce``."""
        publications = list(map(_publication, drafts, places))
        uncounted = {each.message_id for each in drafts if not each.message.is_counted}
        outcomes = self._publish(publications, until, uncounted)
        count = len(outcomes)
        if count < len(publications):
            publications, drafts, places = publications[:count], drafts[:count], places[:count]
        # In the same turn of the event loop: nobody reads a stream in between.
        self._enter(publications, drafts)
        self.kept += count
        for listener in self._stored_listeners:
            listener(drafts, places)
        for publication, draft, outcome in zip(publications, drafts, outcomes, strict=True):
            if not isinstance(outcome, PublishResult):
                outcome.when_done(partial(self._resulted, publication))
            elif not outcome.matched and draft.message.is_counted:
                self._unreached(publication)
        return outcomes

    def _resulted(self, publication: Publication, result: Promise[PublishResult]) -> None:
        if not result.result().matched:
            self._on_unreached(publication)

    def _unreached(self, publication: Publication) -> None:
        try:
            self._on_unreached(publication)
        except Exception:  # the next messages have to be announced all the same
            log.exception("not reported as unreached message_id=%s", publication.message_id)

    def _enter(self, publications: Sequence[Publication], drafts: Sequence[Draft]) -> None:
        """Cache messages that were published."""
        self._cache_published(publications, [draft.readers for draft in drafts])

    def _cache_published(
        self, publications: Sequence[Publication], readers: Iterable[Audience | None]
    ) -> None:
        """Cache messages, those of a stream in the order of their offsets, with their readers."""
        streams: dict[tuple[str, str], list[CachedMessage]] = {}
        for publication, audience in zip(publications, readers, strict=True):
            message = CachedMessage(
                publication.offset,
                publication.payload,
                publication.accepted_at,
                publication.expires_at,
                publication.has_ttl,
                audience,
                publication.changes,
                publication.revision,
            )
            streams.setdefault((publication.stream, publication.epoch), []).append(message)
        for (name, epoch), messages in streams.items():
            self._cached(name, epoch, messages)

    def _cached(self, name: str, epoch: str, messages: Sequence[CachedMessage]) -> None:
        """Cache messages of a stream, whose offsets follow each other."""
        stream = self._cache.peek(name)
        before = messages[0].offset - 1
        if stream is None or stream.epoch != epoch or stream.head != before:
            # A gap between the cached head and this message: the cached tail would not be whole.
            stream = self._cache.remember(name, epoch, before)
        self._cache.published(stream, messages)
        for message in messages:
            if message.changes:
                self._readings.outdate(name)
                text = message_in(message.payload)
                self._cache.change(stream, message.changes, message.revision, text)

    # Changes

    async def revise(self, revisions: Sequence[Revision]) -> list[RevisionOutcome]:
        """Change stored messages in place without change records, in one transaction.

        For text that is replaced often, and whose last version is stored with a change record: what
        is in memory is replaced here, and to be replaced on other nodes (``outdate``). One outcome
        for each: the message in its new version with the change, or why it was refused. Raises
        ``StorageUnavailable`` or ``StorageFull``.
        """
        outcomes = await self._store.revise(revisions)
        for outcome in outcomes:
            if not isinstance(outcome, WsServerError):
                subject, change = outcome
                stream = self._cache.peek(subject.stream)
                if stream is not None and stream.epoch == subject.epoch:
                    self._readings.outdate(subject.stream)
                    self._cache.change(stream, change.offset, change.revision, change.message)
        return outcomes

    def outdate(self, name: str, epoch: str, offset: int, revision: int) -> None:
        """Another node has changed a message without a change record: read it again when needed."""
        stream = self._cache.peek(name)
        if stream is not None and stream.epoch == epoch:
            self._readings.outdate(name)
            self._cache.outdate(stream, offset, revision)

    def removed(self, name: str) -> None:
        """Messages of a stream were deleted before their time: what is in memory is dropped."""
        stream = self._cache.peek(name)
        self._readings.outdate(name)
        if stream is not None:
            self._cache.drop_tail(stream)

    def changes_missed(self) -> None:
        """Notices of changes may have been lost: no message in memory is used any more."""
        self._readings.outdate_all()
        self._cache.drop_tails()

    # Positions

    def peek(self, name: str) -> Stream | None:
        """A stream, if it is cached."""
        return self._cache.peek(name)

    def position_now(self, name: str) -> Recovery | None:
        """The position of a stream, without messages; None if storage has to be read."""
        if self._cache.peek(name) is None and self._index.lacks(name):
            return Recovery(self._index.epoch, 0, [], None)
        stream = self._cache.use(name)
        return None if stream is None else Recovery(stream.epoch, stream.head, [], None)

    def hold(self, names: Sequence[str]) -> Hold | None:
        """Keep the positions of streams exact; None: those in memory always are."""
        return None

    async def open(self, name: str) -> Stream:
        """A stream whose position is exact when this returns.

        Waits while messages of the stream are stored but not published yet. Raises
        ``StorageUnavailable``.
        """
        while True:
            if self._queue.may_have(name):
                await self._store.settle()
            stream = self._cache.use(name)
            if stream is not None:
                return stream
            if self._index.lacks(name):
                return self._cache.remember(name, self._index.epoch, 0)
            if self._queue.has(name):
                await self._queue.progress()
            else:
                await self._heads.do(name, partial(self._read_head, name))

    async def _reopen(self, name: str) -> Stream:
        """The same for a stream that is being recovered."""
        return await self.open(name)

    async def _read_head(self, name: str) -> None:
        """Cache the end of a stream, unless it has changed while it was read."""
        asked = self._asked[name] = object()
        try:
            head = await self._store.head(name)
        finally:
            is_current = self._asked.pop(name, None) is asked
        if is_current and not self._queue.has(name):
            self._cache.remember(name, head.epoch, head.offset)

    def _outdate(self, name: str) -> None:
        self._asked.pop(name, None)

    def _forget(self, names: Iterable[str]) -> None:
        """The database may have more of these streams than was announced."""
        for name in names:
            self._cache.forget(name)

    def forget_all(self, epoch: str) -> None:
        """Drop all cached positions: streams without messages have a new epoch in storage."""
        self._index.renew(epoch)
        self._asked.clear()
        self._cache.clear()

    # Replay

    def recover_now(
        self,
        name: str,
        since: Position | None,
        claims: Claims,
        budget: int,
        with_changes: bool = True,
    ) -> Recovery | None:
        """``recover`` for one stream from the cache; None if storage has to be read."""
        if since is None and self._cache.peek(name) is None and self._index.lacks(name):
            return Recovery(self._index.epoch, 0, [], None)
        return self._recovery.recover_now(name, since, claims, budget, with_changes)

    async def recover(
        self,
        wanted: Mapping[str, Position | None],
        claims: Claims,
        budget: int,
        with_changes: bool = True,
    ) -> dict[str, Recovery]:
        """The messages of each stream after a position; see ``StreamRecovery.recover``."""
        return await self._recovery.recover(wanted, claims, budget, with_changes)

    async def history(
        self,
        name: str,
        claims: Claims | None,
        *,
        before: int | None = None,
        after: int | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        budget: int = PAGE_BYTES,
        with_changes: bool = False,
    ) -> History:
        """A page: the last ``limit`` messages, those before an offset, or those after one.

        ``claims``: leave out messages whose audience excludes this user; None: all messages.
        ``since`` (inclusive), ``until``: only messages of that time, in seconds since the epoch.
        ``budget``: bytes of the page; it ends early at that size, but has one message at least.
        ``with_changes``: also change records.
        """
        stream = await self.open(name)
        async with self._paging.turn(caller()):
            for _ in range(HISTORY_ATTEMPTS):
                reading = self._readings.begin(name)
                try:
                    page = await history.read_page(
                        self._store,
                        stream,
                        claims,
                        self._clock.wall(),
                        before=before,
                        after=after,
                        since=since,
                        until=until,
                        limit=limit,
                        budget=budget,
                        with_changes=with_changes,
                    )
                    messages = await self._growing.with_text(page.messages, budget)
                finally:
                    self._readings.end(reading)
                if not reading.is_outdated:
                    break
        return replace(page, messages=messages)

    async def last_message(self, name: str, claims: Claims | None) -> Raw | None:
        """The ``message`` of a stream's latest ``new_message``, as JSON; None: there is none.

        ``claims``: of those that this user may read.
        """
        found = await self._store.last_of_type(
            name, "new_message", history.admits_for(claims), self._clock.wall()
        )
        if found is None:
            return None
        (payload,) = await self._growing.with_text([found.payload], PAGE_BYTES)
        return Raw(message_in(payload))

    async def latest_messages(
        self, keys: Mapping[str, int], claims: Claims | None
    ) -> dict[str, Raw]:
        """The ``message`` of the latest ``new_message`` in streams; ``keys``: in the database.

        ``claims``: of those that this user may read.
        """
        admits = history.admits_for(claims)
        found = await self._store.latest_in(keys, "new_message", admits, self._clock.wall())
        payloads = await self._growing.with_text(list(found.values()), PAGE_BYTES)
        return {
            name: Raw(message_in(payload)) for name, payload in zip(found, payloads, strict=True)
        }

    def figures(self) -> dict[str, int]:
        """Numbers for the health check and the metrics."""
        return {
            "kept": self.kept,
            "waiting": len(self._queue),
            "in_memory": len(self._cache),
            "tail_bytes": self._cache.tail_bytes,
        }


def _publication(draft: Draft, place: Appended) -> Publication:
    """A message that was stored, as it is published."""
    message, change = draft.message, place.change
    stream, epoch, offset = place.stream, place.epoch, place.offset
    push = draft.payload if change is None else with_message(draft.payload, change.message)
    return Publication(
        draft.message_id,
        draft.type,
        message.target,
        positioned(push, stream, epoch, offset),
        message.organization_id,
        message.with_unaffiliated,
        message.role,
        message.exclude_users,
        message.origin,
        draft.at,
        stream,
        epoch,
        offset,
        draft.sender,
        draft.expires_at,
        draft.has_ttl,
        0 if change is None else change.offset,
        0 if change is None else change.revision,
    )
