"""An in-memory stream store whose calls a test can hold, fail and inspect."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

from tests.support.waiting import PATIENCE_S
from wsserver.cluster.broker import Outcome, Publication, PublishResult, begin_each
from wsserver.identity.claims import Claims
from wsserver.protocol.pushes import positioned
from wsserver.protocol.targets import EVERYONE
from wsserver.realtime.messages.audience import write_audience
from wsserver.realtime.messages.message import Message
from wsserver.realtime.streams.drafts import Draft
from wsserver.storage.messages.answers import GrowingPlace
from wsserver.storage.messages.streams import (
    Append,
    Appended,
    Ends,
    Found,
    Gap,
    Head,
    Kept,
    Slice,
    StreamStore,
    Wanted,
)

NOW = 1_700_000_000.0
DAY_S = 86_400.0
EPOCH = "epoch_1"
ME = Claims(sub="me", exp=2e9)


class Gate:
    """Holds calls until a test opens it."""

    def __init__(self) -> None:
        self.waiting = 0
        self._arrived = asyncio.Event()
        self._open = asyncio.Event()

    async def reached(self) -> None:
        """Wait until a call waits here."""
        await asyncio.wait_for(self._arrived.wait(), PATIENCE_S)

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        self._arrived.set()
        await self._open.wait()


class FakeStore(StreamStore):
    """Does what ``StreamStore`` promises; nothing is committed by a call that fails."""

    def __init__(self) -> None:
        self.messages: dict[str, list[Kept]] = {}
        self.last: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.epochs: dict[str, str] = {}
        self.keys: dict[tuple[str, str], Appended] = {}
        self.batches: list[list[Append]] = []
        """What each call of ``append`` was asked to store."""
        self.calls: list[tuple[Any, ...]] = []
        """The other calls."""
        self.failures: deque[Exception] = deque()
        """What the next calls of ``append`` raise."""
        self.poison = ""
        """Id of a message that cannot be stored, nor what is in one batch with it."""
        self.read_failures: deque[Exception] = deque()
        self.fails_after_commit = False
        self._gates: dict[str, Gate] = {}

    def hold(self, name: str) -> Gate:
        """Stop calls: ``append``, ``head``, ``read`` before they do anything, ``committed``,
        ``headed`` and ``looked`` when all is done but the answer.
        """
        gate = self._gates[name] = Gate()
        return gate

    def release(self, name: str) -> None:
        self._gates.pop(name).open()

    async def _pass(self, name: str) -> None:
        if name in self._gates:
            await self._gates[name].passed()
        else:
            await asyncio.sleep(0)

    async def append(
        self, batch: Sequence[Append], late: Callable[[list[Appended]], None] | None = None
    ) -> list[Appended]:
        self.batches.append(list(batch))
        await self._pass("append")
        if self.failures and not self.fails_after_commit:
            raise self.failures.popleft()
        if any(item.message_id == self.poison for item in batch):
            raise ZeroDivisionError("a fault in the program")
        answers = [self._append(item) for item in batch]
        await self._pass("committed")
        if self.failures:
            raise self.failures.popleft()
        return answers

    def _append(self, item: Append) -> Appended:
        first = self.keys.get(item.dedup or ("", item.message_id))
        if first is not None:
            return first
        offset = self.last[item.stream] = self.last.get(item.stream, 0) + 1
        self.messages.setdefault(item.stream, []).append(
            Kept(
                offset,
                item.message_id,
                item.type,
                item.at,
                item.expires_at,
                int(item.has_ttl),
                item.sender,
                item.audience,
                item.payload,
            )
        )
        place = Appended(item.message_id, item.stream, self.epoch(item.stream), offset, True)
        self.keys["", item.message_id] = place._replace(is_new=False)
        if item.dedup is not None:
            self.keys[item.dedup] = place._replace(is_new=False)
        return place

    def epoch(self, stream: str) -> str:
        return self.epochs.get(stream, EPOCH)

    async def head(self, stream: str) -> Head:
        self.calls.append(("head", stream))
        await self._pass("head")
        if self.read_failures:
            raise self.read_failures.popleft()
        head = Head(self.epoch(stream), self.last.get(stream, 0), self.first.get(stream, 1))
        await self._pass("headed")
        return head

    async def ends(self, streams: Sequence[str]) -> Ends:
        return Ends(await self.heads(streams), {})

    async def heads(self, streams: Sequence[str]) -> dict[str, Head]:
        self.calls.append(("heads", *streams))
        await self._pass("heads")
        if self.read_failures:
            raise self.read_failures.popleft()
        found = {
            name: Head(self.epoch(name), self.last.get(name, 0), self.first.get(name, 1))
            for name in streams
        }
        await self._pass("headed")
        return found

    async def gap(
        self, stream: str, epoch: str, after: int, now: float, limit: int, budget: int
    ) -> Gap:
        self.calls.append(("gap", stream, after))
        await self._pass("gap")
        if self.read_failures:
            raise self.read_failures.popleft()
        head = Head(self.epoch(stream), self.last.get(stream, 0), self.first.get(stream, 1))
        start = after if epoch == head.epoch else 0
        kept = [each for each in self._readable(stream, now) if each.offset > start]
        found = [Found(*each, stream, head.epoch, "{}") for each in kept[:limit]]
        return Gap(head, found, found[-1].offset if len(kept) > limit else head.offset)

    async def read(self, wanted: Wanted) -> Slice:
        self.calls.append(("read", wanted.stream, wanted.after, wanted.until))
        await self._pass("read")
        if self.read_failures:
            raise self.read_failures.popleft()
        found = self._slice(wanted, lambda offset: offset, wanted.after)
        await self._pass("looked")
        return found

    async def read_back(self, wanted: Wanted) -> Slice:
        self.calls.append(("read_back", wanted.stream, wanted.until + 1, wanted.after))
        await self._pass("read")
        return self._slice(wanted, lambda offset: -offset, wanted.until + 1)

    def _slice(self, wanted: Wanted, order: Callable[[int], int], start: int) -> Slice:
        """What a limit and a budget suffice for, as the real one counts it."""
        found: list[Kept] = []
        left, rest, is_over, is_for_all = wanted.budget, start, False, True
        readable = self._readable(wanted.stream, wanted.now)
        for kept in sorted(readable, key=lambda kept: order(kept.offset)):
            if not wanted.after < kept.offset <= wanted.until:
                continue
            if len(found) == wanted.limit:
                break
            is_for_all = is_for_all and kept.audience is None
            if wanted.admits is None or wanted.admits(kept.audience):
                left -= len(positioned(kept.payload, wanted.stream, EPOCH, kept.offset)) + 1
                is_over = left < 0 and (bool(found) or wanted.budget <= 0 or wanted.is_whole)
                if is_over:
                    break
                found.append(kept)
            rest = kept.offset
        else:
            return Slice(sorted(found), None, is_for_all=is_for_all)
        return Slice([] if wanted.is_whole else sorted(found), rest, is_over, is_for_all)

    def _readable(self, stream: str, now: float) -> list[Kept]:
        return [
            kept
            for kept in self.messages.get(stream, [])
            if not kept.has_ttl or kept.expires_at > now
        ]

    async def names(self, limit: int) -> tuple[str, list[str]]:
        return EPOCH, list(self.last)[:limit]

    def retain(self, stream: str, first: int) -> None:
        """Let retention take what is before an offset."""
        self.first[stream] = first
        kept = self.messages.get(stream, [])
        self.messages[stream] = [each for each in kept if each.offset >= first]


class NoGrowingTexts:
    """No message grows."""

    async def with_text(self, messages: list[bytes], budget: int) -> list[bytes]:
        return messages

    async def settle(self, places: Sequence[GrowingPlace]) -> None:
        raise AssertionError(places)

    def stream_dropped(self, name: str) -> None:
        """Called for each stream that is followed no longer."""


class FakeBroker:
    """Keeps what is published, by stream."""

    def __init__(self) -> None:
        self.published: list[Publication] = []
        self.failures: deque[Exception] = deque()
        self.result = PublishResult(1, 1, 0)

    def begin(self, publication: Publication) -> PublishResult:
        if self.failures:
            raise self.failures.popleft()
        self.published.append(publication)
        return self.result

    def begin_all(
        self, publications: Sequence[Publication], until: float, uncounted: Collection[str] = ()
    ) -> list[Outcome]:
        return begin_each(self.begin, publications, until)

    def of(self, stream: str) -> list[int]:
        return [each.offset for each in self.published if each.stream == stream]


_number = 0


def draft(stream: str = "session:s1", text: str = "", **fields: Any) -> Draft:
    """A message to be kept for a day, with an id of its own."""
    global _number
    _number += 1
    message_id = fields.pop("message_id", f"msg_{_number}")
    payload = json.dumps({"type": "new_message", "id": message_id, "text": text}).encode()
    readers = fields.pop("readers", None)
    return Draft(
        stream,
        message_id,
        "new_message",
        fields.pop("payload", payload),
        fields.pop("at", NOW),
        fields.pop("expires_at", NOW + DAY_S),
        audience=write_audience(readers),
        message=Message("new_message", {}, EVERYONE, sender=fields.get("sender")),
        readers=readers,
        **fields,
    )


def drafts(count: int, stream: str = "session:s1", **fields: Any) -> list[Draft]:
    return [draft(stream, **fields) for _ in range(count)]


def offsets(messages: Sequence[bytes]) -> list[int]:
    """The offsets of pushes, which must all be of one stream."""
    decoded = [json.loads(message) for message in messages]
    assert len({(each["stream"], each["epoch"]) for each in decoded}) <= 1
    return [each["offset"] for each in decoded]
