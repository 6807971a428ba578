"""``ReadPositions``: how far each user of a session has read; moves positions in group commits."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import Broker, Push
from wsserver.errors import StorageUnavailable, WsServerError
from wsserver.promise import Promise
from wsserver.protocol.pushes import push
from wsserver.protocol.targets import session
from wsserver.realtime.streams.concurrency import SingleFlight
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.message_rows import SESSION, Appended
from wsserver.storage.messages.participant_store import ParticipantStore
from wsserver.storage.messages.participants import NEW_MESSAGE, Move, Moved
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

BATCH = 2000
"""Positions that one transaction moves."""
SETTLE_S = 1.0
"""How long a list of conversations waits for a join that is being stored."""
WAITING_LIMIT = 20_000
"""Positions that may wait to be moved; one more is refused."""
SESSIONS_LIMIT = 10_000
"""Sessions whose positions are in memory."""
POSITIONS_LIMIT = 500_000
"""Positions of all of them together."""
ENTERED_LIMIT = 100_000
"""Users in sessions that are known to be entered."""

Positions = Mapping[str, int]
"""By user id."""
MoveListener = Callable[[str, str], None]
"""Called with session and user."""


class _Reading:
    """What was stored while the positions of a session are being read: user and offset."""

    __slots__ = ("entered", "moved")

    def __init__(self) -> None:
        self.entered: list[tuple[str, int]] = []
        """Who has joined, and may have had a position before."""
        self.moved: list[tuple[str, int]] = []


class ReadPositions:
    """Reads and moves the positions of users in sessions.

    A move is pushed to the session as ``read_position``; not that by a user's own message, which
    everybody in the session gets anyway. ``is_alone``: no other process writes, so that positions
    in memory are exact.
    """

    def __init__(
        self,
        store: ParticipantStore,
        broker: Broker,
        clock: Clock,
        tasks: Tasks,
        *,
        is_alone: bool,
    ) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._tasks = tasks
        self._is_alone = is_alone
        self._waiting: list[tuple[Move, Promise[int | None]]] = []
        self._joins: dict[tuple[str, str], Move] = {}
        self._joining: dict[str, dict[str, int]] = {}
        """The same by session and user: where they begin, unless they have a position already."""
        self._entered: OrderedDict[tuple[str, str], None] = OrderedDict()
        """User and session: stored as having joined by a claim."""
        self._runner: asyncio.Task[Any] | None = None
        self._cache: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._count = 0
        self._reading: dict[str, _Reading] = {}
        """By session whose positions are being read."""
        self._reads: SingleFlight[Positions] = SingleFlight(tasks)
        self._listeners: list[MoveListener] = []
        self._is_finished = False

    def add_listener(self, listener: MoveListener) -> None:
        """Call ``listener`` for each position that was moved by ``mark``."""
        self._listeners.append(listener)

    # Reading

    def known(self, session_id: str) -> Positions | None:
        """The positions in a session as they are now; None: call ``read``."""
        if session_id in self._cache:
            self._cache.move_to_end(session_id)
        return self._cache.get(session_id)

    async def read(self, session_id: str) -> Positions:
        """The positions in a session. Raises ``StorageUnavailable``.

        Of several processes, another one may have moved some meanwhile: see ``confirm``.
        """
        known = self.known(session_id)
        if known is not None:
            return known
        return await self._reads.do(session_id, lambda: self._read(session_id))

    async def _read(self, session_id: str) -> Positions:
        reading = self._reading[session_id] = _Reading()
        try:
            positions = await self._store.positions(session_id)
        finally:
            is_whole = self._reading.pop(session_id, None) is reading
        for user_id, offset in (*reading.entered, *self._joining.get(session_id, {}).items()):
            positions.setdefault(user_id, offset)
        for user_id, offset in reading.moved:
            positions[user_id] = max(offset, positions.get(user_id, 0))
        if self._is_alone and is_whole:
            self._keep(session_id, positions)
        return positions

    def _keep(self, session_id: str, positions: dict[str, int]) -> None:
        self.forget(session_id)
        self._cache[session_id] = positions
        self._count += len(positions)
        while len(self._cache) > SESSIONS_LIMIT or self._count > POSITIONS_LIMIT:
            self._count -= len(self._cache.popitem(last=False)[1])

    def confirm(
        self, session_id: str, sent: Iterable[dict[str, Any]], push: Callable[..., None]
    ) -> None:
        """Read positions again that a client was sent, and ``push`` what other nodes have moved.

        ``sent``: the users, as by ``with_positions``.
        """
        if not self._is_alone:
            self._tasks.spawn(self._confirm(session_id, sent, push), name="read positions")

    async def _confirm(
        self, session_id: str, sent: Iterable[dict[str, Any]], push: Callable[..., None]
    ) -> None:
        try:
            positions = await self._store.positions(session_id)
        except WsServerError:
            return  # the next move is pushed
        for user in sent:
            user_id, offset = user["user_id"], user["read_offset"]
            now = positions.get(user_id)
            if now is not None and (offset is None or now > offset):
                push(session_id=session_id, user_id=user_id, offset=now)

    def forget(self, session_id: str) -> None:
        """The positions in a session were changed otherwise: read them anew."""
        self._count -= len(self._cache.pop(session_id, ()))
        self._reading.pop(session_id, None)

    def forget_user(self, user_id: str) -> None:
        """The positions of a user were changed otherwise."""
        for session_id in [each for each, known in self._cache.items() if user_id in known]:
            self.forget(session_id)
        self._reading.clear()
        for key in [each for each in self._entered if each[0] == user_id]:
            del self._entered[key]

    def forget_all(self) -> None:
        """Positions in many sessions were changed otherwise."""
        self._cache.clear()
        self._reading.clear()
        self._entered.clear()
        self._count = 0

    # Moving

    def wrote(self, drafts: Sequence[Draft], places: Sequence[Appended]) -> None:
        """Messages were stored: of their senders, everything up to them is read."""
        last: dict[tuple[str, str], int] = {}
        for draft, place in zip(drafts, places, strict=True):
            if draft.type == NEW_MESSAGE and draft.sender is not None:
                last[draft.stream, draft.sender] = place.offset
        for (stream, sender), offset in last.items():
            if stream.startswith(SESSION):
                self._moved(stream[len(SESSION) :], sender, offset)

    def joined(self, user_id: str, session_id: str, offset: int) -> None:
        """A user has joined a session by a claim; one who is new in it begins at ``offset``."""
        pair = user_id, session_id
        if pair in self._entered or pair in self._joins or self._is_finished:
            return
        if len(self._joins) < WAITING_LIMIT:  # else the next join tries again
            self._joins[pair] = Move(user_id, session_id, offset, self._clock.wall())
            self._joining.setdefault(session_id, {})[user_id] = offset
            positions = self._cache.get(session_id)
            if positions is not None and user_id not in positions:
                positions[user_id] = offset
                self._count += 1
            self._run_soon()

    def mark(self, user_id: str, session_id: str, offset: int) -> Promise[int | None]:
        """Move a user's position forward, at most to the end of the stream.

        The promise resolves to the new position once it is stored, or to None: it was there
        already. Raises ``StorageUnavailable`` if too many wait; so it is rejected, or with
        ``StorageFull``.
        """
        if self._is_finished or len(self._waiting) >= WAITING_LIMIT:
            raise StorageUnavailable("too many positions are waiting to be stored")
        promise: Promise[int | None] = Promise()
        self._waiting.append((Move(user_id, session_id, offset, self._clock.wall()), promise))
        self._run_soon()
        return promise

    async def settle(self, user_id: str) -> None:
        """Wait until the joins of a user are stored, or have failed; ``SETTLE_S`` at most."""
        if self._runner is not None and any(each == user_id for each, _ in self._joins):
            await asyncio.wait([self._runner], timeout=SETTLE_S)

    async def finish(self) -> None:
        """Refuse further moves; wait until all accepted ones are stored, or have failed."""
        self._is_finished = True
        while self._runner is not None:
            await asyncio.wait([self._runner])

    def _run_soon(self) -> None:
        if self._runner is None:
            self._runner = self._tasks.spawn(self._run(), name="read positions")

    async def _run(self) -> None:
        marks: list[tuple[Move, Promise[int | None]]] = []
        try:
            while self._waiting or self._joins:
                marks, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                pairs = list(self._joins)[:BATCH]
                await self._store_all(pairs, marks)
        except asyncio.CancelledError:
            self._is_finished = True
            error = StorageUnavailable("the server was stopped")
            for _, promise in (*marks, *self._waiting):
                if not promise.done():
                    promise.reject(error)
            raise
        finally:
            self._runner = None

    async def _store_all(
        self, pairs: list[tuple[str, str]], marks: list[tuple[Move, Promise[int | None]]]
    ) -> None:
        joins = [self._joins[pair] for pair in pairs]
        try:
            moves = [move for move, _ in marks]
            moved = await self._store.move(joins, moves, partial(self._found_out, joins + moves))
        except Exception as error:
            if not isinstance(error, WsServerError):
                log.exception("positions not stored count=%d", len(joins) + len(marks))
            for pair in pairs:
                self.forget(self._take(pair).session_id)
            for move, promise in marks:
                self.forget(move.session_id)  # it may be stored all the same
                promise.reject(error)
            return
        for pair in pairs:
            join = self._take(pair)
            self._entered[pair] = None
            reading = self._reading.get(join.session_id)
            if reading is not None:
                reading.entered.append((join.user_id, join.offset))
        while len(self._entered) > ENTERED_LIMIT:
            self._entered.popitem(last=False)
        offsets = {(each.user_id, each.session_id): each.offset for each in moved}
        self._announce(moved)
        for move, promise in marks:
            promise.resolve(offsets.get((move.user_id, move.session_id)))

    def _found_out(self, moves: Sequence[Move], moved: Sequence[Moved] | None) -> None:
        """It is known whether positions were stored that callers were refused."""
        for move in moves:
            self.forget(move.session_id)  # they may have been read before the commit
        self._announce(moved or ())

    def _announce(self, moved: Sequence[Moved]) -> None:
        """Positions were moved by ``mark``."""
        for user_id, session_id, offset in moved:
            self._moved(session_id, user_id, offset)
            self._push(session_id, user_id, offset)
            for listener in self._listeners:
                listener(session_id, user_id)

    def _take(self, pair: tuple[str, str]) -> Move:
        """Remove what was to be stored of a user who has joined."""
        join = self._joins.pop(pair)
        joining = self._joining[join.session_id]
        del joining[join.user_id]
        if not joining:
            del self._joining[join.session_id]
        return join

    def _moved(self, session_id: str, user_id: str, offset: int) -> None:
        reading = self._reading.get(session_id)
        if reading is not None:
            reading.moved.append((user_id, offset))
        positions = self._cache.get(session_id)
        if positions is not None:
            before = positions.get(user_id)
            if before is None:
                self._count += 1
            if before is None or offset > before:
                positions[user_id] = offset

    def _push(self, session_id: str, user_id: str, offset: int) -> None:
        text = push(
            "read_position",
            rfc3339(self._clock.wall()),
            session_id=session_id,
            user_id=user_id,
            offset=offset,
        )
        self._broker.signal(Push((session(session_id),), text))


def with_positions(users: Iterable[dict[str, Any]], positions: Positions) -> list[dict[str, Any]]:
    """Users of a session, each with the ``read_offset``; null for those who have none."""
    return [{**user, "read_offset": positions.get(user["user_id"])} for user in users]
