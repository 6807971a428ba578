"""``FollowedAnswers``: the growing answers that have watchers on this node, and their text."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Sequence

from wsserver.clock import Clock, rfc3339
from wsserver.cluster.broker import AnswerGrown, Publication
from wsserver.cluster.control import Control, Request
from wsserver.errors import WsServerError
from wsserver.identity.claims import Claims
from wsserver.protocol.answers import AnswerPush, growing_message
from wsserver.protocol.contents import GROWING
from wsserver.protocol.pushes import position_of, positioned, push
from wsserver.realtime.answers.followed_text import FollowedText, Piece, Whole
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter
from wsserver.realtime.messages.audience import Audience, read_audience
from wsserver.realtime.streams.retention_policy import SESSION, readers_of
from wsserver.storage.messages.answers import AnswerStore, GrowingPlace, StoredAnswer
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

ANSWER_S = 1.0
"""Time for the owner of an answer to tell its text."""
WAITING_LIMIT = 200
"""Texts of one answer that wait until what is missing before them is read; the rest is read too."""


class ReadAnswerText(Request[Whole | None], frozen=True):
    """The whole text of a growing answer; None: the node does not own it."""

    message_id: str


class FollowedAnswer:
    """A growing answer: its message, and its text as the watchers of this node have it."""

    __slots__ = (
        "_encoded",
        "_encoded_for",
        "_push",
        "loading",
        "message_id",
        "node",
        "offset",
        "readers",
        "session_id",
        "text",
        "waiting",
        "watches",
    )

    def __init__(
        self,
        message_id: str,
        session_id: str,
        offset: int,
        push: bytes,
        readers: Audience | None,
        text: FollowedText,
        node: str,
    ) -> None:
        self.message_id = message_id
        self.session_id = session_id
        self.offset = offset
        self.readers = readers
        self.text = text
        self.node = node
        """The node that owns it, as last heard; empty: not known."""
        self.waiting: list[AnswerGrown] = []
        """Texts that came while missing ones were read."""
        self.loading: asyncio.Task[None] | None = None
        """Reads missing text."""
        self.watches: dict[str, float] = {}
        """Users of this node who watch it, with the begin, in seconds since the epoch."""
        self._push = AnswerPush(push)
        self._encoded = b""
        self._encoded_for: tuple[int, int] | None = None

    def encode(self) -> bytes:
        """The push with the text of this moment; many readers share it."""
        version = self.text.generation, self.text.length
        if version != self._encoded_for:
            self._encoded = self._push.encode(self.text.content, self.text.seq)
            self._encoded_for = version
        return self._encoded

    def admits(self, claims: Claims) -> bool:
        """Whether it is for a user."""
        return self.readers is None or self.readers.admits(claims)


class _Settling:
    """An answer that is being read in order to be followed."""

    __slots__ = ("error", "is_outdated", "place", "task")

    def __init__(self, place: GrowingPlace) -> None:
        self.place = place
        self.task: asyncio.Task[None] | None = None
        self.is_outdated = False
        """Whether an answer of the session has ended since the reading began."""
        self.error: WsServerError | None = None


class FollowedAnswers:
    """Puts together the text of growing answers, and pushes ``answer_appended`` to their watchers.

    An answer is followed from its ``new_message`` to its ``answer_ended`` while its session has
    connections on this node, or while this node owns it. Texts that pub/sub has lost are read from
    the owner. What a joining client gets has exactly the text that the other watchers of this node
    have by then, so that the next ``answer_appended`` continues it.
    """

    def __init__(
        self,
        hub: Hub,
        writer: ConnectionWriter,
        control: Control,
        store: AnswerStore,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._hub = hub
        self._writer = writer
        self._control = control
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._answers: dict[str, FollowedAnswer] = {}
        self._by_stream: dict[str, dict[int, FollowedAnswer]] = {}
        self._own: set[str] = set()
        """Ids of the answers that this node owns."""
        self._settling: dict[str, _Settling] = {}
        """Answers that are being read in order to be followed, by id."""
        self._listeners: list[Callable[[FollowedAnswer], None]] = []
        self._end_listeners: list[Callable[[str, str], None]] = []

    def __len__(self) -> int:
        return len(self._answers)

    def in_session(self, session_id: str) -> Iterable[FollowedAnswer]:
        """The growing answers of a session."""
        return self._by_stream.get(SESSION + session_id, {}).values()

    def get(self, message_id: str) -> FollowedAnswer | None:
        """A growing answer that is followed."""
        return self._answers.get(message_id)

    def add_listener(self, listener: Callable[[FollowedAnswer], None]) -> None:
        """Call ``listener`` with each answer that is followed from now on, or has a new owner."""
        self._listeners.append(listener)

    def add_end_listener(self, listener: Callable[[str, str], None]) -> None:
        """Call ``listener`` with each answer that was followed to its end.

        By its id and that of its ``answer_ended``.
        """
        self._end_listeners.append(listener)

    # From its owner on this node

    def own(self, message_id: str) -> None:
        """This node owns an answer, whose ``new_message`` it is about to publish."""
        self._own.add(message_id)

    def adopt(self, stored: StoredAnswer, whole: Whole) -> None:
        """This node has taken an answer over."""
        self._own.add(stored.row.message_id)
        if stored.row.message_id not in self._answers:
            self._follow(stored, whole)

    def disown(self, message_id: str) -> None:
        """This node owns an answer no longer: it has ended, or another node has taken it over."""
        self._own.discard(message_id)
        answer = self._answers.get(message_id)
        if answer is not None and not self._hub.session_connections.count(answer.session_id):
            self._drop(answer)

    # From the broker

    def delivered(self, publication: Publication) -> None:
        """A kept message was written to the connections of this node."""
        if publication.changes:
            if publication.type != "message_updated":
                for settling in self._settling.values():
                    if settling.place.session_id == publication.target.id:
                        settling.is_outdated = True
                answer = self._by_stream.get(publication.stream, {}).get(publication.changes)
                if answer is not None:
                    self._drop(answer)
                    if publication.type == "answer_ended":
                        for listener in self._end_listeners:
                            listener(answer.message_id, publication.message_id)
            return
        if publication.type != "new_message" or not publication.stream.startswith(SESSION):
            return
        message = growing_message(publication.payload)
        if message is None:
            return
        answer = self._answers.get(message.message_id)
        if answer is not None:  # its text came first
            length, text = len(message.content), answer.text
            self._push(answer, Piece(length, text.seq, text.content[length:]))
        else:
            self._enter(
                FollowedAnswer(
                    message.message_id,
                    message.session_id,
                    publication.offset,
                    publication.payload,
                    readers_of(publication),
                    FollowedText(Whole(1, 0, message.content)),
                    "",
                )
            )

    def grown(self, signal: AnswerGrown) -> None:
        """More text of an answer."""
        answer = self._answers.get(signal.message_id)
        if answer is None:
            self._find(signal)
            return
        answer.node = signal.node
        if answer.loading is not None:
            if len(answer.waiting) < WAITING_LIMIT:
                answer.waiting.append(signal)
            return
        self._apply(answer, signal)

    def _apply(self, answer: FollowedAnswer, signal: AnswerGrown) -> None:
        generation = answer.text.generation
        piece = Piece(signal.at, signal.seq, signal.text)
        try:
            new = answer.text.received(signal.generation, signal.since, piece)
        except LookupError:
            answer.waiting.append(signal)
            self._load_missing(answer)
            return
        self._push(answer, new)
        if answer.text.generation != generation:
            self._notify(answer)

    def _find(self, signal: AnswerGrown) -> None:
        """Follow an answer whose text came before its message, unless it has ended meanwhile."""
        id_, session_id = signal.message_id, signal.session_id
        is_wanted = id_ in self._own or self._hub.session_connections.count(session_id)
        if is_wanted and id_ not in self._settling:
            place = GrowingPlace(id_, session_id, signal.node)
            self._tasks.spawn(self._settle(place), name=f"find {id_}")

    def refresh(self) -> None:
        """Texts may have been lost: read those of other nodes from there."""
        for answer in self._answers.values():
            if answer.message_id not in self._own and answer.loading is None:
                self._load_missing(answer)

    def stream_dropped(self, name: str) -> None:
        """This node has no connection in a session any more, and gets no texts."""
        for answer in list(self._by_stream.get(name, {}).values()):
            if answer.message_id not in self._own:
                self._drop(answer)

    def _push(self, answer: FollowedAnswer, piece: Piece | None) -> None:
        if piece is None:
            return
        connections = self._watching(answer)
        if not connections:
            return
        text = push(
            "answer_appended",
            rfc3339(self._clock.wall()),
            session_id=answer.session_id,
            message_id=answer.message_id,
            seq=piece.seq,
            at=piece.at,
            text=piece.text,
        )
        self._writer.write([connection.websocket for connection in connections], text)

    def _watching(self, answer: FollowedAnswer) -> list[ConnectionInfo]:
        connections = self._hub.of_session(answer.session_id)
        if answer.readers is None:
            return connections
        return [each for each in connections if answer.readers.admits(each.claims)]

    # Missing text

    def _load_missing(self, answer: FollowedAnswer) -> None:
        answer.loading = self._tasks.spawn(self._load(answer), name=f"text {answer.message_id}")

    async def _load(self, answer: FollowedAnswer) -> None:
        """Read the whole text, then go on with what came meanwhile."""
        whole: Whole | None = None
        try:
            whole = await self._read_whole(answer.message_id, answer.node)
        except WsServerError as error:  # the next text tries again
            log.info("text not read message_id=%s error=%s", answer.message_id, error)
        finally:
            answer.loading = None
            waiting, answer.waiting = answer.waiting, []
        if self._answers.get(answer.message_id) is not answer or whole is None:
            return
        generation = answer.text.generation
        self._push(answer, answer.text.caught_up(whole))
        if answer.text.generation != generation:
            self._notify(answer)
        for signal in waiting:
            if answer.loading is None:
                self._apply(answer, signal)

    async def _read_whole(self, message_id: str, node: str) -> Whole | None:
        """The text of a growing answer from its owner, or as far as it is stored.

        None: it has ended. Raises ``StorageUnavailable``.
        """
        if node:
            answers = await self._control.ask(node, ReadAnswerText(message_id), ANSWER_S)
            whole = answers.by_node.get(node)
            if whole is not None:
                return whole
        row = await self._store.find(message_id)
        if row is None or row.state != GROWING:
            return None
        if row.node != node:
            answers = await self._control.ask(row.node, ReadAnswerText(message_id), ANSWER_S)
            whole = answers.by_node.get(row.node)
            if whole is not None:
                return whole
        for stored in await self._store.read([message_id]):
            if stored.row.state == GROWING:
                return whole_of(stored)
        return None

    # Readers

    def newest(
        self,
        stream: str,
        since: int | None,
        claims: Claims,
        messages: list[bytes],
        budget: int,
    ) -> list[bytes]:
        """The messages of a recovery with the text of this moment, and those that still grow.

        Those at or before ``since`` come first (None: all), as the client may not have their text.
        ``budget``: bytes of all messages; a text that exceeds it is left as it was stored, or out.
        """
        growing = self._by_stream.get(stream)
        if not growing:
            return messages
        budget -= sum([len(message) + 1 for message in messages])
        earlier: list[bytes] = []
        for offset in sorted(growing):
            if since is None or offset <= since:
                text = growing[offset].encode() if growing[offset].admits(claims) else b""
                if text and len(text) < budget:
                    budget -= len(text) + 1
                    earlier.append(text)
        later: list[bytes] = []
        for message in messages:
            answer = growing.get(_offset_in(message))
            text = message if answer is None else answer.encode()
            if len(text) - len(message) > budget:
                text = message
            budget -= len(text) - len(message)
            later.append(text)
        return [*earlier, *later]

    async def with_text(self, messages: list[bytes], budget: int) -> list[bytes]:
        """A page of stored messages, those that grow with their text. Raises the store's errors.

        ``budget``: bytes of the page. A text that exceeds it is left as it was stored, unless it is
        the only message.
        """
        found = [(index, growing_message(message)) for index, message in enumerate(messages)]
        growing = {index: message.message_id for index, message in found if message is not None}
        if not growing:
            return messages
        unknown = [id_ for id_ in growing.values() if id_ not in self._answers]
        reads = [self._read_whole(id_, "") for id_ in unknown]
        elsewhere = dict(zip(unknown, await asyncio.gather(*reads), strict=True))
        # In one go from here on: what is pushed next continues these texts.
        page = list(messages)
        left = sys.maxsize if len(page) == 1 else budget - sum([len(each) + 1 for each in page])
        for index, id_ in growing.items():
            text = self._text_of(id_, page[index], elsewhere.get(id_))
            if len(text) - len(page[index]) <= left:
                left -= len(text) - len(page[index])
                page[index] = text
        return page

    def _text_of(self, message_id: str, stored: bytes, whole: Whole | None) -> bytes:
        """The push of a growing answer with its text, as far as that is known."""
        answer = self._answers.get(message_id)
        if answer is not None:
            return answer.encode()
        return stored if whole is None else AnswerPush(stored).encode(whole.content, whole.seq)

    async def settle(self, places: Sequence[GrowingPlace]) -> None:
        """Follow growing answers whose sessions get their first connection here.

        Their streams are subscribed by now, so what follows the text that is read arrives. Raises
        the store's errors.
        """
        for place in places:
            if place.message_id not in self._answers:
                await self._settle(place)

    async def _settle(self, place: GrowingPlace) -> None:
        """Follow an answer; several callers share one reading."""
        settling = self._settling.get(place.message_id)
        if settling is None:
            settling = self._settling[place.message_id] = _Settling(place)
            settling.task = self._tasks.spawn(
                self._read_and_follow(settling), name=f"follow {place.message_id}"
            )
        if settling.task is not None:
            await asyncio.wait([settling.task])
        if settling.error is not None:
            raise settling.error

    async def _read_and_follow(self, settling: _Settling) -> None:
        message_id = settling.place.message_id
        try:
            while True:
                settling.is_outdated = False
                whole = await self._read_whole(message_id, settling.place.node)
                stored = await self._store.read([message_id]) if whole is not None else []
                if not settling.is_outdated:
                    break
            for each in stored:
                is_growing = each.row.state == GROWING and message_id not in self._answers
                if whole is not None and is_growing:
                    self._follow(each, whole)
        except WsServerError as error:
            settling.error = error
        finally:
            del self._settling[message_id]

    def _follow(self, stored: StoredAnswer, whole: Whole) -> None:
        row = stored.row
        stream = SESSION + row.session_id
        self._enter(
            FollowedAnswer(
                row.message_id,
                row.session_id,
                stored.offset,
                positioned(stored.push, stream, stored.epoch, stored.offset),
                read_audience(stored.audience),
                FollowedText(whole),
                row.node,
            )
        )

    def _enter(self, answer: FollowedAnswer) -> None:
        self._answers[answer.message_id] = answer
        self._by_stream.setdefault(SESSION + answer.session_id, {})[answer.offset] = answer
        self._notify(answer)

    def _drop(self, answer: FollowedAnswer) -> None:
        self._answers.pop(answer.message_id, None)
        stream = SESSION + answer.session_id
        of_stream = self._by_stream.get(stream, {})
        of_stream.pop(answer.offset, None)
        if not of_stream:
            self._by_stream.pop(stream, None)

    def _notify(self, answer: FollowedAnswer) -> None:
        for listener in self._listeners:
            listener(answer)


def whole_of(stored: StoredAnswer) -> Whole:
    """The text of a growing answer as far as it is stored."""
    message = growing_message(stored.push)
    first = "" if message is None else message.content
    return Whole(stored.row.generation, stored.row.seq, first + stored.text)


def _offset_in(push: bytes) -> int:
    position = position_of(push)
    return 0 if position is None else position[2]
