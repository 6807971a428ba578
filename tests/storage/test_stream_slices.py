"""Reads of streams are limited in bytes, and payloads beyond the limit are not read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.message_rows import NOW, wanted
from wsserver.protocol.pushes import positioned
from wsserver.storage.engine.database import Database
from wsserver.storage.messages import stream_reads
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import Append, Kept, Slice, StreamStore

S1 = "session:s1"
SIZES = [100, 2000, 300, 5000, 100, 700]


@pytest.fixture
def streams(database: Database) -> StreamStore:
    return StreamStore(database)


async def keep(
    streams: StreamStore, sizes: Sequence[int], stream: str = S1, audience: str | None = None
) -> None:
    await streams.append(
        [
            Append(
                stream,
                f"{stream}-{audience}-{number}",
                "note",
                b'{"data":"%s"}' % (b"x" * (size - 11)),
                NOW,
                NOW + 60,
                audience=audience,
            )
            for number, size in enumerate(sizes)
        ]
    )


def offsets(part: Slice) -> list[int]:
    return [each.offset for each in part.messages]


def sent_bytes(messages: Sequence[Kept], epoch: str) -> int:
    """Bytes of the messages in an answer, each with a comma."""
    return sum(len(positioned(each.payload, S1, epoch, each.offset)) + 1 for each in messages)


@pytest.mark.gen_test
async def test_every_budget_gives_exactly_what_fits_into_it(streams: StreamStore) -> None:
    await keep(streams, SIZES)
    epoch = (await streams.head(S1)).epoch
    everything = (await streams.read(wanted(S1))).messages
    sizes = [sent_bytes([each], epoch) for each in everything]
    for first in range(6):
        for last in range(first + 1, 7):
            exact = sum(sizes[first:last])
            part = await streams.read(wanted(S1, after=first, budget=exact))
            assert offsets(part) == list(range(first + 1, last + 1))
            assert part.rest == (last if last < 6 else None)
            assert part.is_over == (last < 6)
            back = await streams.read_back(wanted(S1, until=last, budget=exact))
            assert offsets(back) == list(range(first + 1, last + 1))
            assert back.rest == (first + 1 if first else None)
            fewer = await streams.read(wanted(S1, after=first, budget=exact - 1))
            assert offsets(fewer) == list(range(first + 1, max(last, first + 2)))


@pytest.mark.gen_test
async def test_one_larger_than_the_budget_is_read_but_not_when_there_is_none(
    streams: StreamStore,
) -> None:
    await keep(streams, SIZES)
    part = await streams.read(wanted(S1, after=1, budget=1))
    assert (offsets(part), part.rest, part.is_over) == ([2], 2, True)
    part = await streams.read(wanted(S1, after=1, budget=0))
    assert (offsets(part), part.rest, part.is_over) == ([], 1, True)
    part = await streams.read_back(wanted(S1, until=3, budget=0))
    assert (offsets(part), part.rest, part.is_over) == ([], 4, True)
    assert await streams.read(wanted(S1, after=6, budget=0)) == Slice([], None)


@pytest.mark.gen_test
async def test_all_or_nothing(streams: StreamStore) -> None:
    await keep(streams, SIZES)
    part = await streams.read(wanted(S1, budget=5000, is_whole=True))
    assert (part.messages, part.rest, part.is_over) == ([], 3, True)
    part = await streams.read(wanted(S1, limit=5, is_whole=True))
    assert (part.messages, part.rest, part.is_over) == ([], 5, False)
    assert offsets(await streams.read(wanted(S1, is_whole=True))) == [1, 2, 3, 4, 5, 6]


@pytest.mark.gen_test
async def test_messages_for_others_cost_neither_bytes_nor_messages(
    streams: StreamStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(streams, [100_000] * 30, audience='{"role":"admin"}')
    await keep(streams, [100] * 3)
    await keep(streams, [100_000] * 30, audience='{"role":"service"}')

    def for_all(audience: str | None) -> bool:
        return audience is None

    part = await streams.read(wanted(S1, budget=1000, limit=4, admits=for_all))
    assert (offsets(part), part.rest, part.is_for_all) == ([31, 32, 33], None, False)
    monkeypatch.setattr(stream_reads, "SCAN_ROWS", 10)
    part = await streams.read(wanted(S1, budget=1000, admits=for_all))
    assert (part.messages, part.rest, part.is_over) == ([], 10, False)
    part = await streams.read_back(wanted(S1, budget=1000, admits=for_all))
    assert (part.messages, part.rest, part.is_over) == ([], 54, False)
    part = await streams.read(wanted(S1, after=30, budget=1000, admits=for_all))
    assert (offsets(part), part.rest) == ([31, 32, 33], 43)


@pytest.mark.gen_test
async def test_an_inbox_is_given_in_parts(streams: StreamStore, database: Database) -> None:
    receipts = ReceiptStore(database)
    await keep(streams, SIZES, "user:u1")
    await receipts.record("u1", ["user:u1-None-2"], read=False, at=NOW)
    part = await receipts.pending("u1", NOW, 3000)
    assert (offsets(part), part.rest, part.is_over) == ([1, 2], 2, True)
    part = await receipts.pending("u1", NOW, 3000, after=2)
    assert (offsets(part), part.rest) == ([4], 4)
    part = await receipts.pending("u1", NOW, 0, after=3)  # one in any case, so that it gets on
    assert (offsets(part), part.rest) == ([4], 4)
    part = await receipts.pending("u1", NOW, 3000, after=4)
    assert (offsets(part), part.rest) == ([5, 6], None)


@pytest.mark.gen_test
async def test_finding_by_ids_goes_on_where_the_bytes_ended(streams: StreamStore) -> None:
    await keep(streams, SIZES)
    await keep(streams, [100], "user:u1")
    ids = [f"{S1}-None-{number}" for number in range(6)]
    ids += ["unknown", "user:u1-None-0"]
    seen: list[str] = []
    rounds = 0
    left = ids
    while left:
        found, left = await streams.find(left, NOW, 2500)
        assert len(found) == 1 or sum(len(each.payload) for each in found) <= 2500
        seen += [each.message_id for each in found]
        rounds += 1
    assert sorted(seen) == sorted(set(ids) - {"unknown"})
    assert rounds == 3


@pytest.mark.gen_test
async def test_locating_names_the_session_of_what_is_in_an_inbox(streams: StreamStore) -> None:
    push = b'{"type":"new_message","session_id":"s9","message":{}}'
    await streams.append(
        [
            Append("user:u1", "a", "new_message", push, NOW, NOW + 60),
            Append("user:u1", "b", "note", b'{"type":"note"}', NOW, NOW + 60),
            Append(S1, "c", "new_message", push, NOW, NOW + 60),
        ]
    )
    found = {each.message_id: each for each in await streams.locate(["a", "b", "c", "d"], NOW)}
    assert {name: each.session_id for name, each in found.items()} == {
        "a": "s9",
        "b": None,
        "c": None,  # its stream says that
    }
    assert (found["c"].stream, found["c"].offset) == (S1, 1)
