"""Queue of messages to be stored: in order, many in one transaction (group commit)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from wsserver.clock import Clock
from wsserver.cluster.broker import NO_RECIPIENTS, Outcome, PublishResult
from wsserver.errors import OutcomeUnknown, StorageUnavailable, WsServerError
from wsserver.promise import Promise
from wsserver.realtime.messages.message import Sent
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.streams import Append, Appended, StreamStore
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

BATCH = 2000
BATCH_BYTES = 8 * 1024 * 1024
"""Limits of one transaction: messages and bytes. A single group may be larger."""
WAITING_LIMIT = 20_000
WAITING_LIMIT_BYTES = 64 * 1024 * 1024
"""Limits of the queue, beyond which ``append`` raises ``StorageUnavailable``."""
RETRY_DELAYS_S = (0.05, 0.25, 1.0)
"""Delays between attempts to write to a locked database."""
RETRY_WITHIN_S = 3.0
"""No attempt begins later: each may itself wait for a lock, and publishers have timeouts."""
OPEN_LIMIT = 20_000
"""Announced messages whose results are not known yet; announcing waits at that number."""
SLICE_S = 0.002
"""Time after which announcing yields to the event loop."""
ANNOUNCED_AT_ONCE = 64
"""What is prepared of those that have to wait for the next slice is prepared again."""


Outcomes = Promise[list[Sent]]
"""One outcome for each draft, in their order."""


Announce = Callable[[Sequence[Draft], Sequence[Appended], float], Sequence[Outcome]]
"""Publishes stored messages in their order; none is begun after a time (monotonic seconds) but the
first. Returns the results of those that were begun."""


class AppendQueue:
    """Stores drafts in groups, then announces them in their order.

    Across streams there is no order: the drafts for one stream are stored and announced one after
    the other, those of a group and those that are stored together. So each connection gets them in
    one write, and each node in one datagram.

    ``announce`` publishes stored messages. Results of other nodes are awaited concurrently. Drafts
    that arrive while a transaction runs go into the next one. ``cork`` is called before several are
    announced or answered: writes to the same connection are then merged until the next iteration of
    the event loop.

    ``on_uncertain``: called with the streams of drafts that are refused and may be stored all the
    same. Those that are found stored later are announced then, before any that is stored later;
    None: others find and announce them.
    """

    def __init__(
        self,
        store: StreamStore,
        announce: Announce,
        clock: Clock,
        tasks: Tasks,
        cork: Callable[[], None],
        on_uncertain: Callable[[Iterable[str]], None] | None = None,
    ) -> None:
        self._on_uncertain = on_uncertain
        self._uncertain: list[list[_Group]] = []
        """Refused groups of which it is not known whether they are stored."""
        self._known_early: list[_Group] | None = None
        """Groups whose outcome is known before their refusal has arrived here."""
        self._found: deque[_Stored] = deque()
        """Refused groups that are stored; to be announced."""
        self._store = store
        self._announce = announce
        self._clock = clock
        self._tasks = tasks
        self._cork = cork
        self._waiting: deque[_Group] = deque()
        self._waiting_count = 0
        self._waiting_bytes = 0
        self._in_flight: dict[str, int] = {}
        """By stream: messages that are accepted but not announced yet."""
        self._runner: asyncio.Task[Any] | None = None
        self._round: asyncio.Future[None] | None = None
        self._open: set[_OpenGroup] = set()
        self._open_count = 0
        self._is_finished = False

    def __len__(self) -> int:
        return self._waiting_count

    def has(self, stream: str) -> bool:
        """Whether a message of the stream is accepted but not announced yet."""
        return stream in self._in_flight

    def may_have(self, stream: str) -> bool:
        """Whether a message of the stream was refused and may be stored all the same."""
        return any(
            draft.stream == stream
            for groups in self._uncertain
            for drafts, *_ in groups
            for draft in drafts
        )

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        """Store drafts together, those of a stream in their order, then announce them.

        The promise resolves to one outcome each. It is rejected with ``StorageFull`` or
        ``StorageUnavailable`` if none of them was stored; a full queue, or one that is finished,
        raises ``StorageUnavailable`` here. A single draft that is refused, by its change or its
        hook or as a reply to no message, rejects it with that error; of several, it is the
        outcome's ``refusal``.
        """
        if self._is_finished:
            raise StorageUnavailable("the server is stopping")
        size = sum([len(draft.payload) for draft in drafts])
        if (
            self._waiting_count + len(drafts) > WAITING_LIMIT
            or self._waiting_bytes + size > WAITING_LIMIT_BYTES
        ):
            raise StorageUnavailable("too many messages are waiting to be stored")
        outcomes: Outcomes = Promise()
        order = _order_by_stream([draft.stream for draft in drafts])
        if order is not None:
            drafts = [drafts[index] for index in order]
        self._waiting.append((drafts, outcomes, size))
        self._waiting_count += len(drafts)
        self._waiting_bytes += size
        self._begin(drafts)
        return outcomes if order is None else outcomes.then(partial(_put_back, order))

    def _begin(self, drafts: Sequence[Draft]) -> None:
        """Note that drafts are to be announced, and work on it."""
        in_flight = self._in_flight
        for stream, count in _counts(drafts):
            in_flight[stream] = in_flight.get(stream, 0) + count
        if self._runner is None:
            self._runner = self._tasks.spawn(self._run(), name="append")

    async def finish(self) -> None:
        """Refuse further drafts; wait until all accepted ones are announced, or have failed.

        Otherwise a program that goes on sending would keep the server from ever stopping.
        """
        self._is_finished = True
        while self._runner is not None:
            await asyncio.wait([self._runner])
        while self._open:
            await self.progress()

    async def _run(self) -> None:
        """Store group after group; while one is being stored, announce the one before it."""
        groups: list[_Group] = []
        stored: _Stored | None = None
        storing: asyncio.Task[_Stored | None] | None = None
        try:
            while self._waiting or self._found or stored is not None:
                groups = self._take()
                storing = asyncio.create_task(self._store_groups(groups)) if groups else None
                while self._found:
                    await self._announce_groups(*self._found.popleft())
                if stored is not None:
                    await self._announce_groups(*stored)
                    stored = None
                if storing is not None:
                    stored = await storing
        except asyncio.CancelledError:  # the promises have to end, or publishers wait forever
            self._is_finished = True
            if storing is not None:
                storing.cancel()
            self._abandon([*(stored[0] if stored is not None else ()), *groups])
            raise
        finally:
            self._runner = None

    def _abandon(self, groups: list[_Group]) -> None:
        """Reject what is not answered of ``groups``, and all that waits."""
        while self._waiting:
            groups += self._take()
        self._found.clear()
        error = StorageUnavailable("the server was stopped")
        for group in groups:
            if not group[1].done() and not any(each.outcomes is group[1] for each in self._open):
                self._fail([group], error)
        for each in list(self._open):
            each.outcomes.reject(error)
        self._open.clear()

    def _take(self) -> list[_Group]:
        groups: list[_Group] = []
        count = size = 0
        while self._waiting and (
            not groups or (count + len(self._waiting[0][0]) <= BATCH and size < BATCH_BYTES)
        ):
            group = self._waiting.popleft()
            groups.append(group)
            count += len(group[0])
            size += group[2]
        self._waiting_bytes -= size
        self._waiting_count -= count
        if 1 < len(groups) == count:  # a larger group has drafts of several streams
            order = _order_by_stream([drafts[0].stream for drafts, *_ in groups])
            if order is not None:
                return [groups[index] for index in order]
        return groups

    async def _store_groups(self, groups: list[_Group]) -> _Stored | None:
        """Store all; what was stored. None: nothing. The promises of the others are rejected."""
        batch = [draft for group in groups for draft in group[0]]
        give_up_at = self._clock.monotonic() + RETRY_WITHIN_S
        for delay_s in (*RETRY_DELAYS_S, None):
            try:
                return groups, _own(batch, await self._append(batch, groups))
            except OutcomeUnknown as error:
                if self._on_uncertain is not None:
                    if self._known_early is not groups:
                        self._uncertain.append(groups)
                    self._known_early = None
                    self._on_uncertain({draft.stream for draft in batch})
                self._fail(groups, error)
                return None
            except StorageUnavailable as error:
                if delay_s is None or self._clock.monotonic() > give_up_at:
                    self._fail(groups, error)
                    return None
            except Exception as error:
                if not isinstance(error, WsServerError):
                    log.exception("messages not stored count=%d", len(batch))
                    if len(groups) > 1:  # it is the fault of one of them
                        return await self._store_one_by_one(groups)
                self._fail(groups, error)
                return None
            await asyncio.sleep(delay_s)
        return None

    async def _append(self, batch: Sequence[Draft], groups: list[_Group]) -> list[Appended]:
        if self._on_uncertain is None:
            return await self._store.append(batch)
        return await self._store.append(batch, partial(self._known, groups))

    def _known(self, groups: list[_Group], places: list[Appended]) -> None:
        """It is known whether groups that were refused are stored; ``places``: where, or empty."""
        if groups in self._uncertain:
            self._uncertain.remove(groups)
        else:
            self._known_early = groups
        if not places or self._is_finished:
            return
        batch = [draft for drafts, *_ in groups for draft in drafts]
        late: list[_Group] = [(drafts, Promise(), size) for drafts, _, size in groups]
        self._found.append((late, _own(batch, places)))
        self._begin(batch)

    async def _store_one_by_one(self, groups: list[_Group]) -> _Stored | None:
        kept: list[_Group] = []
        places: list[Appended] = []
        for group in groups:
            stored = await self._store_groups([group])
            if stored is not None:
                kept.append(group)
                places += stored[1]
        return (kept, places) if kept else None

    def _fail(self, groups: list[_Group], error: Exception) -> None:
        for drafts, outcomes, _ in groups:
            self._landed(drafts)
            outcomes.reject(error)

    async def _announce_groups(self, groups: list[_Group], appended: list[Appended]) -> None:
        drafts: Sequence[Draft] = [draft for group in groups for draft in group[0]]
        places: Sequence[Appended] = appended
        new = [index for index, place in enumerate(appended) if place.is_new]
        if len(new) < len(appended):
            drafts, places = [drafts[index] for index in new], [appended[index] for index in new]
        if len(appended) > 1:
            self._cork()
        slice_ends = self._clock.monotonic() + SLICE_S
        results: list[Outcome] = []
        """Of the first ``places``."""
        answered = claimed = 0
        for group in groups:
            of_group = appended[answered : answered + len(group[0])]
            answered += len(of_group)
            count = sum([place.is_new for place in of_group])
            while len(results) < claimed + count:
                begun = len(results)
                end = begun + ANNOUNCED_AT_ONCE
                results += self._announce_some(drafts[begun:end], places[begun:end], slice_ends)
                if self._clock.monotonic() > slice_ends:
                    await asyncio.sleep(0)
                    self._cork()
                    slice_ends = self._clock.monotonic() + SLICE_S
            self._answer(group, of_group, results[claimed : claimed + count])
            claimed += count
            while self._open_count > OPEN_LIMIT:
                await self.progress()

    def _announce_some(
        self, drafts: Sequence[Draft], places: Sequence[Appended], until: float
    ) -> Sequence[Outcome]:
        try:
            return self._announce(drafts, places, until)
        except Exception:  # publishers wait for an answer, and all later messages for these
            log.exception("stored but not announced count=%d", len(drafts))
            return [NO_RECIPIENTS] * len(drafts)

    def _answer(
        self, group: _Group, places: Sequence[Appended], results: Sequence[Outcome]
    ) -> None:
        """Answer a group that is announced, now or when all results are known.

        ``results``: of its new messages.
        """
        drafts, outcomes, _ = group
        sent: list[Sent] = []
        later: _OpenGroup | None = None
        refusal: WsServerError | None = None
        each = iter(results)
        for place in places:
            if place.refusal is not None:
                refusal = place.refusal
                sent.append(Sent(place.message_id, is_new=False, refusal=refusal))
                continue
            result = next(each) if place.is_new else NO_RECIPIENTS
            if isinstance(result, PublishResult):
                sent.append(_sent(place, result))
                continue
            if later is None:
                later = _OpenGroup(sent, outcomes)
            sent.append(_sent(place, NO_RECIPIENTS))
            # It may be known by now: the event loop had turns while the others were announced.
            later.add(len(sent) - 1, place, result, self._arrived)
        if later is not None:
            self._open.add(later)
            self._open_count += len(sent)
            later.is_whole = True
        self._landed(drafts)
        if refusal is not None and len(drafts) == 1:
            outcomes.reject(refusal)
        elif later is None:
            outcomes.resolve(sent)
        else:
            self._arrived(later)

    def _arrived(self, group: _OpenGroup) -> None:
        """Answer a group if the results of all its messages are known."""
        if group.left or not group.is_whole or group not in self._open:
            return
        if len(self._open) > 1:
            self._cork()
        self._open.discard(group)
        self._open_count -= len(group.results)
        group.outcomes.resolve(group.results)
        self._wake()

    def _landed(self, drafts: Sequence[Draft]) -> None:
        """Note that drafts are announced or have failed; wakes the callers of ``progress``."""
        for stream, count in _counts(drafts):
            left = self._in_flight[stream] - count
            if left:
                self._in_flight[stream] = left
            else:
                del self._in_flight[stream]
        self._wake()

    def _wake(self) -> None:
        if self._round is not None:
            self._round.set_result(None)
            self._round = None

    async def progress(self) -> None:
        """Wait until an accepted group is announced, is answered or has failed."""
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._round)


_Group = tuple[Sequence[Draft], Outcomes, int]
"""With the bytes of the payloads."""
_Stored = tuple[list[_Group], list[Appended]]
"""Groups and the places of all their drafts."""


class _OpenGroup:
    """An announced group, some of whose results are still to come."""

    __slots__ = ("__weakref__", "is_whole", "left", "outcomes", "results")

    def __init__(self, results: list[Sent], outcomes: Outcomes) -> None:
        self.results = results
        self.outcomes = outcomes
        self.left = 0
        self.is_whole = False
        """Whether all of it is announced."""

    def add(
        self,
        index: int,
        place: Appended,
        result: Promise[PublishResult],
        arrived: Callable[[_OpenGroup], None],
    ) -> None:
        """Await one result; calls ``arrived`` then."""
        self.left += 1

        def done(settled: Promise[PublishResult]) -> None:
            self.results[index] = _sent(place, settled.result())
            self.left -= 1
            arrived(self)

        result.when_done(done)


def _counts(drafts: Sequence[Draft]) -> Iterable[tuple[str, int]]:
    """Numbers of drafts by stream."""
    if len(drafts) == 1:
        return ((drafts[0].stream, 1),)
    return Counter([draft.stream for draft in drafts]).items()


def _order_by_stream(streams: Sequence[str]) -> Sequence[int] | None:
    """Indexes of messages, those for one stream next to each other in their order, the streams in
    the order of their first messages; None: they are so already."""
    places: dict[str, list[int]] = {}
    for index, stream in enumerate(streams):
        places.setdefault(stream, []).append(index)
    if len(places) in (1, len(streams)):
        return None
    return [index for of_stream in places.values() for index in of_stream]


def _put_back(order: Sequence[int], outcomes: Sequence[Sent]) -> list[Sent]:
    """The outcomes of messages in ``order``, in the order in which these were given."""
    by_index = dict(zip(order, outcomes, strict=True))
    return [by_index[index] for index in range(len(by_index))]


def _own(batch: Sequence[Append], appended: Iterable[Appended]) -> list[Appended]:
    """Mark as new every message with the id that was assigned here, whichever attempt stored it;
    none that was refused.

    A transaction that was reported as failed may be committed: the next attempt finds its rows.
    """
    return [
        place
        if place.is_new or place.refusal is not None or place.message_id != item.message_id
        else place._replace(is_new=True)
        for item, place in zip(batch, appended, strict=True)
    ]


def _sent(place: Appended, result: PublishResult) -> Sent:
    return Sent(
        place.message_id,
        result,
        place.stream,
        place.epoch,
        place.offset,
        place.is_new,
        place.checked,
    )
