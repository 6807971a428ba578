"""``OwnedAnswers``: the growing answers that this node owns: takes appends, writes behind, ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.json import decode

from wsserver.clock import Clock
from wsserver.cluster.broker import AnswerGrown, Broker
from wsserver.cluster.control import Control
from wsserver.errors import AnswerEnded, NotFound, OutcomeUnknown, TermChanged, WsServerError
from wsserver.protocol.answers import AnswerPush, growing_message
from wsserver.protocol.contents import GROWING
from wsserver.protocol.ids import new_id
from wsserver.protocol.types import JsonObject
from wsserver.realtime.answers.followed_answers import (
    FollowedAnswers,
    ReadAnswerText,
    whole_of,
)
from wsserver.realtime.answers.followed_text import Whole
from wsserver.realtime.answers.growing_text import Accepted, GrowingText
from wsserver.realtime.answers.owned_answer import (
    Ending,
    OwnedAnswer,
    Watch,
    ended_view,
    restored_text,
)
from wsserver.realtime.answers.watchers import AnswerWatched
from wsserver.realtime.observability.events import ANSWER_ENDED, EventBus
from wsserver.realtime.streams.retention_policy import SESSION
from wsserver.realtime.streams.revisions import Revisions
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.answers import (
    AnswerMoved,
    AnswerRow,
    AnswerStore,
    StoredAnswer,
    require_same_holder,
)
from wsserver.storage.messages.streams import Revised, Subject
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

TICK_S = 0.5
"""Time between two writings of text, and between two looks for silent producers."""
ADOPT_TICKS = 20
"""After so many of these, answers without an owner are looked for, too."""
SILENT = "timeout"
"""Reason of an end: no append for ``timeout_s``."""
TAKEN = "taken"
"""Reason of an end: the session has another holder."""
END_STATES = ("completed", "failed", "cancelled", "interrupted")


class AnswerSettings(NamedTuple):
    """Limits of answers."""

    max_bytes: int = 1024 * 1024
    """Of the text, as JSON."""
    timeout_s: float = 60.0
    """Without an append for so long an answer is interrupted."""
    roll_up_s: float = 0.04
    """Appends within this time are pushed together."""


class Expected(Struct):
    """An answer that is being stored."""

    session_id: str
    watches: list[Watch] = []
    """Who watches it already."""
    term: int = 0
    """The latest of its session that was heard of meanwhile."""


class OwnedAnswers:
    """The growing answers of this node: one place decides about each, until it has ended.

    Text is in memory first. It is pushed to the nodes by the roll-up, and written behind: what was
    appended within the last ``TICK_S`` may be lost with this process, and ``expected`` tells the
    producer where to go on. The end is stored before it is answered.
    """

    def __init__(
        self,
        followed: FollowedAnswers,
        store: AnswerStore,
        revisions: Revisions,
        broker: Broker,
        control: Control,
        events: EventBus,
        clock: Clock,
        tasks: Tasks,
        settings: AnswerSettings,
    ) -> None:
        self._followed = followed
        self._store = store
        self._revisions = revisions
        self._broker = broker
        self._control = control
        self._events = events
        self._clock = clock
        self._tasks = tasks
        self.settings = settings
        self._answers: dict[str, OwnedAnswer] = {}
        self._expected: dict[str, Expected] = {}
        """By id."""
        self._changed: list[OwnedAnswer] = []
        """Those with something to be written behind."""
        self._ticks = 0
        self._is_stopping = False
        self.begun = 0
        self.appends = 0
        """Appends taken since the start."""
        self.ended: Counter[str] = Counter()
        """Answers ended by this node since the start, by state."""
        control.add_handler(ReadAnswerText, self._read_text)
        control.add_listener(AnswerWatched, self._note_watches)
        followed.add_end_listener(self._ended_late)

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, message_id: str) -> OwnedAnswer | None:
        """A growing answer that this node owns."""
        return self._answers.get(message_id)

    def all(self) -> list[OwnedAnswer]:
        """Those that are growing now."""
        return list(self._answers.values())

    def in_session(self, session_id: str) -> list[OwnedAnswer]:
        """Those of a session."""
        return [each for each in self._answers.values() if each.session_id == session_id]

    # Begin

    def expect(self, message_id: str, session_id: str) -> None:
        """An answer is about to be stored and published here; ``begin`` or ``forget`` follows."""
        self._expected[message_id] = Expected(session_id)
        self._followed.own(message_id)

    def begin(self, stored: StoredAnswer) -> None:
        """An answer was begun here."""
        row = stored.row
        expected = self._expected.pop(row.message_id, Expected(row.session_id))
        answer = self._answers.get(row.message_id) or self._enter(stored)
        self.begun += 1
        self._note_watches(AnswerWatched(row.message_id, expected.watches))
        if row.term < expected.term:
            self.interrupt(answer, TAKEN)

    def forget(self, message_id: str) -> None:
        """An expected answer was not stored, or it is not certain that it was."""
        if self._expected.pop(message_id, None) is not None and message_id not in self._answers:
            self._followed.disown(message_id)

    async def take_over(self, message_id: str | None = None) -> None:
        """Go on with answers whose owner is gone: with all of them, or one.

        Raises ``StorageUnavailable``.
        """
        while not self._is_stopping and (claimed := await self._store.claim(message_id)):
            for stored in claimed:
                answer = self._enter(stored)
                answer.left_by_all(self._clock.wall())
                log.info(
                    "answer taken over message_id=%s seq=%d generation=%d",
                    answer.message_id,
                    answer.text.seq,
                    answer.generation,
                )
                self._signal(answer, answer.since, answer.text.seq, "")
            await self._end_superseded()
            if message_id is not None:
                return

    async def adopt(self) -> None:
        """Take over what has no owner, and compare with what is stored as own.

        Answers whose begin was not noticed here are found, and those dropped whose deletion on
        another node was not, or that another node has taken over.
        """
        await self.take_over()
        known = list(self._answers.values())
        own = await self._store.own()
        for answer in known:
            if answer.message_id not in own and answer.ending is None:
                log.info("answer owned no longer message_id=%s", answer.message_id)
                self._drop(answer)
        missing = [id_ for id_ in own if id_ not in self._answers]
        if missing:
            for stored in await self._store.read(missing):
                self.find(stored)

    def find(self, stored: StoredAnswer) -> None:
        """Go on with an own answer that is not known here: its begin was cut short."""
        is_growing = stored.row.state == GROWING
        if is_growing and stored.row.message_id not in self._answers:
            self._enter(stored)

    def _enter(self, stored: StoredAnswer) -> OwnedAnswer:
        message = growing_message(stored.push)
        first = "" if message is None else message.content
        text = GrowingText.restored(
            restored_text(stored, first),
            self.settings.max_bytes,
            wall=self._clock.wall(),
            now=self._clock.monotonic(),
        )
        answer = OwnedAnswer(
            stored.row,
            SESSION + stored.row.session_id,
            stored.audience,
            stored.expires_at,
            text,
            self.settings.roll_up_s,
            None if message is None else message.sender,
        )
        former = self._answers.get(answer.message_id)
        if former is not None and former.timer is not None:
            former.timer.cancel()
        self._answers[answer.message_id] = answer
        self._followed.adopt(stored, whole_of(stored))
        return answer

    # Text

    def append(self, answer: OwnedAnswer, seq: int, text: str) -> Accepted:
        """Take an append of an answer that is not ending; raises as ``GrowingText.append``."""
        now = self._clock.monotonic()
        accepted = answer.text.append(seq, text, wall=self._clock.wall(), now=now)
        if not accepted.is_new:
            return accepted
        self.appends += 1
        if answer.note_change():
            self._changed.append(answer)
        if text:
            wait_s = answer.roll_up.add(seq, text, now)
            if wait_s == 0.0:
                self._push(answer)
            elif wait_s > 0:
                loop = asyncio.get_running_loop()
                answer.timer = loop.call_later(wait_s, self._push, answer)
        return accepted

    def _push(self, answer: OwnedAnswer) -> None:
        if answer.timer is not None:
            answer.timer.cancel()
            answer.timer = None
        rolled = answer.roll_up.take(self._clock.monotonic())
        if rolled is not None:
            self._signal(answer, *rolled)

    def _signal(self, answer: OwnedAnswer, at: int, seq: int, text: str) -> None:
        self._broker.signal(
            AnswerGrown(
                answer.session_id,
                answer.message_id,
                self._control.node,
                answer.generation,
                answer.since,
                at,
                seq,
                text,
            )
        )

    def _read_text(self, request: ReadAnswerText) -> Whole | None:
        answer = self._answers.get(request.message_id)
        if answer is None:
            return None
        return Whole(answer.generation, answer.text.seq, answer.text.content)

    def _note_watches(self, notice: AnswerWatched) -> None:
        answer = self._answers.get(notice.message_id)
        if answer is not None:
            answer.watched(notice.watches)
            if answer.note_change():
                self._changed.append(answer)
        elif notice.message_id in self._expected:  # its message was published, and it is not known
            self._expected[notice.message_id].watches += notice.watches

    # End

    async def end(self, answer: OwnedAnswer, ending: Ending) -> JsonObject:
        """End an answer that is not ending: its text and the closing record are stored, published.

        Raises ``AnswerEnded`` if it has ended otherwise, ``AnswerMoved`` if another node owns it,
        ``AnswerTooLong``, ``OutOfOrder``; ``StorageUnavailable`` and ``StorageFull`` leave it
        growing.
        """
        if ending.content is not None:
            answer.text.require_fitting(ending.content)
        elif ending.seq is not None:
            answer.text.require_latest(ending.seq)
        answer.ending = asyncio.get_running_loop().create_future()
        try:
            return await self._end(answer, ending)
        finally:
            answer.end_tried()

    async def _end(self, answer: OwnedAnswer, ending: Ending) -> JsonObject:
        self._push(answer)
        content = answer.text.content if ending.content is None else ending.content
        wall = self._clock.wall()
        closing = answer.closing(ending, wall)
        record_id = new_id("msg", wall)
        seq = answer.text.seq

        def finish(subject: Subject) -> Revised:
            if subject.deleted_at is not None:
                raise AnswerEnded("cancelled", "deleted")
            return Revised(AnswerPush(subject.payload).encode(content, seq, ending.state))

        members: dict[str, Any] = {
            "session_id": answer.session_id,
            "message_id": answer.message_id,
            "state": ending.state,
            **({"reason": ending.reason} if ending.reason else {}),
            "length": closing.length,
        }
        fields = {**members, "seq": seq}
        if ending.by is not None:
            fields["by"] = ending.by
        if ending.usage is not None:
            fields["usage"] = decode(ending.usage)
        hook = self._store.ending(closing, _unless_superseded(ending))
        try:
            (sent,) = await self._revisions.record(
                answer, "answer_ended", members, finish, hook=hook, record_id=record_id
            )
        except OutcomeUnknown:
            answer.refused_end = record_id, fields
            raise
        except TermChanged:
            await self._end(answer, Ending("interrupted", TAKEN, usage=ending.usage))
            raise AnswerEnded("interrupted", TAKEN) from None
        except (AnswerEnded, AnswerMoved, NotFound) as error:
            self._drop(answer)
            log.info("answer not ended here message_id=%s error=%s", answer.message_id, error)
            raise
        self._ended(answer, fields)
        return ended_view(ending.state, closing.length, sent.offset)

    def _ended(self, answer: OwnedAnswer, fields: JsonObject) -> None:
        if self._answers.get(answer.message_id) is not answer:
            return  # an earlier attempt had been stored, and that was found out meanwhile
        self._drop(answer)
        self.ended[fields["state"]] += 1
        self._events.emit(ANSWER_ENDED, **fields)

    def _ended_late(self, message_id: str, record_id: str) -> None:
        """End an answer whose end was stored although its caller was refused."""
        answer = self._answers.get(message_id)
        if answer is None or answer.refused_end is None:
            return
        refused_id, fields = answer.refused_end
        if record_id == refused_id:  # else that one was not stored, and another end is
            self._ended(answer, fields)

    def _drop(self, answer: OwnedAnswer) -> None:
        """Forget an answer: it has ended, or another node owns it."""
        if self._answers.get(answer.message_id) is answer:
            del self._answers[answer.message_id]
            self._followed.disown(answer.message_id)
        if answer.timer is not None:
            answer.timer.cancel()
            answer.timer = None

    def deleted(self, message_ids: Iterable[str]) -> None:
        """Messages were deleted; answers among them have ended in storage."""
        for message_id in message_ids:
            answer = self._answers.get(message_id)
            if answer is not None:
                self._drop(answer)

    # Periodic work

    async def advance(self) -> None:
        """End silent and superseded answers, write behind; to be called every ``TICK_S``.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        self._ticks += 1
        now = self._clock.monotonic()
        for answer in self._answers.values():
            is_silent = now - answer.text.heard_at >= self.settings.timeout_s
            if is_silent:
                self.interrupt(answer, SILENT)
        await self.write_behind()
        if self._answers:
            await self._end_superseded()
        if self._ticks % ADOPT_TICKS == 0:
            await self.adopt()

    def interrupt(self, answer: OwnedAnswer, reason: str) -> None:
        """End an answer for a reason of the server's, soon; it takes no append from now on."""
        if answer.ending is None:
            answer.ending = asyncio.get_running_loop().create_future()
            ending = self._end_soon(answer, Ending("interrupted", reason))
            task = self._tasks.spawn(ending, name="end answer")
            task.add_done_callback(lambda _: answer.end_tried())

    async def _end_soon(self, answer: OwnedAnswer, ending: Ending) -> None:
        """End an answer for the server's own reasons; the next tick tries again."""
        try:
            if self._answers.get(answer.message_id) is answer:
                await self._end(answer, ending)
        except WsServerError as error:
            log.info("answer not ended message_id=%s error=%s", answer.message_id, error)

    def end_former(self, session_id: str, term: int) -> None:
        """End the answers of a session that began before a term.

        One that is ending already is refused by its term, and ends for that reason.
        """
        for expected in self._expected.values():
            if expected.session_id == session_id:
                expected.term = max(expected.term, term)
        for answer in self.in_session(session_id):
            if answer.term < term:
                self.interrupt(answer, TAKEN)

    async def _end_superseded(self) -> None:
        """End answers of former terms that ``end_former`` has missed, or could not end.

        Raises ``StorageUnavailable``.
        """
        for message_id in await self._store.superseded():
            answer = self._answers.get(message_id)
            if answer is not None:
                self.interrupt(answer, TAKEN)

    async def write_behind(self) -> None:
        """Write the text since the last time. Raises ``StorageUnavailable``, ``StorageFull``."""
        changed, self._changed = self._changed, []
        answers = [each for each in changed if self._answers.get(each.message_id) is each]
        if not answers:
            return
        unsaved = [answer.text.unsaved() for answer in answers]
        writes = [answer.write(text.text) for answer, text in zip(answers, unsaved, strict=True)]
        try:
            lost = await self._store.save(writes)
        except WsServerError:
            self._changed += [answer for answer in answers if answer.note_change()]
            raise
        for answer, text in zip(answers, unsaved, strict=True):
            if answer.message_id not in lost:
                answer.text.saved(text)
            elif answer.ending is None:
                log.info("answer owned no longer message_id=%s", answer.message_id)
                self._drop(answer)

    async def stop(self) -> None:
        """Write all text and let other nodes go on; nothing is taken over any more."""
        self._is_stopping = True
        await self.write_behind()
        if self._answers:
            await self._store.release(list(self._answers))
        for answer in list(self._answers.values()):
            self._drop(answer)

    def figures(self) -> dict[str, int]:
        """Numbers for the statistics."""
        return {
            "growing": len(self._answers),
            "begun": self.begun,
            "appends": self.appends,
            **{state: self.ended[state] for state in END_STATES},
        }


def _unless_superseded(ending: Ending) -> Callable[[Connection, AnswerRow], None]:
    """Refuse an end if the holder of the session has changed, which ends an answer itself."""

    def check(db: Connection, row: AnswerRow) -> None:
        if ending.reason != TAKEN:
            require_same_holder(db, row.session_id, row.term)

    return check
