"""Byte limits of reading, replaying and caching streams, on a real database."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.support.fake_stream_store import draft, offsets
from tests.support.inbox_messages import notes, pass_time, received, send_to_user
from tests.support.live_server import Live
from wsserver.identity.claims import Claims
from wsserver.protocol.types import Position
from wsserver.realtime.inbox import redelivery
from wsserver.realtime.messages.audience import Audience
from wsserver.realtime.streams import append_queue, history, stream
from wsserver.realtime.streams.cached_message import CachedMessage
from wsserver.realtime.streams.stream import Recovery, Stream
from wsserver.storage.messages.streams import StreamStore, Wanted

ME = Claims("me", 2e9)
ADMIN = Claims("boss", 2e9, role="admin")
FOR_ADMINS = Audience(role="admin")
S1 = "session:s1"


async def keep(live: Live, *sizes: int, name: str = S1, audience: Audience | None = None) -> None:
    """Messages of about so many bytes each."""
    for size in sizes:
        now = live.clock.wall()
        sent = draft(name, "x" * size, readers=audience, at=now, expires_at=now + 1000)
        await live.streams.append([sent])


async def recover(
    live: Live, *names: str, claims: Claims = ME, budget: int, offset: int = 0
) -> dict[str, Recovery]:
    epoch = (await live.streams.open(names[0])).epoch
    wanted: dict[str, Position | None] = dict.fromkeys(names, Position(epoch, offset))
    return await live.streams.recover(wanted, claims, budget)


@pytest.fixture
def reads(live: Live, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each read of streams."""
    seen: list[int] = []
    for name in ("read", "read_back"):
        method = getattr(StreamStore, name)

        async def watched(store: StreamStore, wanted: Wanted, method: Any = method) -> Any:
            part = await method(store, wanted)
            seen.append(sum(len(each.payload) for each in part.messages))
            return part

        monkeypatch.setattr(StreamStore, name, watched)
    return seen


def restart(live: Live) -> None:
    """Empty the cache of streams."""
    live.streams._cache.clear()


# Pages


@pytest.mark.gen_test
@pytest.mark.parametrize("direction", ["forward", "back"])
@pytest.mark.parametrize("claims", [None, ME], ids=["all", "mine"])
async def test_pages_of_a_budget_together_are_the_whole_stream(
    live: Live,
    reads: list[int],
    direction: str,
    claims: Claims | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "READ_BYTES", 3000)
    chance = random.Random(5)
    mine = []
    for number in range(1, 61):
        is_mine = chance.random() < 0.7
        size = chance.choice([50, 400, 2500, 9000])
        await keep(live, size, audience=None if is_mine else FOR_ADMINS)
        if is_mine or claims is None:
            mine.append(number)
    seen: list[int] = []
    place: dict[str, Any] = {"after": 0} if direction == "forward" else {}
    while True:
        page = await live.streams.history(S1, claims, **place, limit=7, budget=10_000)
        size = sum(len(each) + 1 for each in page.messages)
        assert size <= 10_000 or len(page.messages) == 1
        assert 1 <= len(page.messages) <= 7
        found = offsets(page.messages)
        if direction == "forward":
            seen += found
            place = {"after": found[-1]}
        else:
            seen[:0] = found
            place = {"before": found[0]}
        if not page.has_more:
            break
    assert seen == mine
    assert max(reads) <= 10_000


@pytest.mark.gen_test
async def test_a_page_that_ends_with_its_last_byte_has_more_only_if_there_is_more(
    live: Live,
) -> None:
    await keep(live, 500, 500, 500)
    whole = await live.streams.history(S1, None, after=0)
    sizes = [len(each) + 1 for each in whole.messages]
    page = await live.streams.history(S1, None, after=0, budget=sum(sizes))
    assert (len(page.messages), page.has_more) == (3, False)
    page = await live.streams.history(S1, None, after=0, budget=sum(sizes[:2]))
    assert (len(page.messages), page.has_more) == (2, True)
    await keep(live, 500, audience=FOR_ADMINS)  # for another user
    page = await live.streams.history(S1, ME, after=0, budget=sum(sizes))
    assert (len(page.messages), page.has_more) == (3, False)
    page = await live.streams.history(S1, ME, after=0, budget=-5)
    assert (len(page.messages), page.has_more) == (1, True)


@pytest.mark.gen_test
async def test_what_is_for_others_is_never_read(live: Live, reads: list[int]) -> None:
    await keep(live, *[200_000] * 20, audience=FOR_ADMINS)
    await keep(live, 100)
    await keep(live, *[200_000] * 20, audience=FOR_ADMINS)
    restart(live)
    page = await live.streams.history(S1, ME)
    assert (offsets(page.messages), page.has_more) == ([21], False)
    found = await recover(live, S1, budget=100_000)
    assert offsets(found[S1].messages) == [21]
    assert max(reads) < 1000


# Catching up


@pytest.mark.gen_test
async def test_too_far_behind_is_said_without_reading(live: Live, reads: list[int]) -> None:
    await keep(live, *[100_000] * 30)
    restart(live)
    found = await recover(live, S1, budget=900_000)
    assert found[S1].reason == "too_far_behind"
    assert reads == [0]
    found = await recover(live, S1, budget=900_000, offset=22)
    assert offsets(found[S1].messages) == list(range(23, 31))


@pytest.mark.gen_test
async def test_many_streams_together_read_no_more_than_one_budget(
    live: Live, reads: list[int]
) -> None:
    names = [f"session:s{number}" for number in range(30)]
    for name in names:
        await keep(live, *[100_000] * 4, name=name)
    restart(live)
    found = await recover(live, *names, budget=900_000)
    reasons = [found[name].reason for name in names]
    assert reasons == [None, None] + ["too_far_behind"] * 28
    assert sum(reads) <= 900_000


@pytest.mark.gen_test
async def test_one_who_may_be_sent_less_refuses_nothing_to_another(
    live: Live, reads: list[int]
) -> None:
    await keep(live, *[100_000] * 5)
    restart(live)
    poor, rich = await asyncio.gather(
        recover(live, S1, budget=200_000), recover(live, S1, budget=900_000)
    )
    assert poor[S1].reason == "too_far_behind"
    assert offsets(rich[S1].messages) == [1, 2, 3, 4, 5]


@pytest.mark.gen_test
async def test_large_messages_for_others_do_not_keep_anybody_behind(
    live: Live, reads: list[int]
) -> None:
    """Also where memory has no room for all that lies between."""
    for _ in range(10):
        await keep(live, *[190_000] * 3, audience=FOR_ADMINS)
        await keep(live, 1000)
    restart(live)
    mine = list(range(4, 41, 4))
    found = await recover(live, S1, budget=100_000)
    assert (offsets(found[S1].messages), found[S1].offset) == (mine, 40)
    assert (await recover(live, S1, claims=ADMIN, budget=900_000))[S1].reason == "too_far_behind"
    await keep(live, 1000)  # published from now on: in memory, behind what was read for me alone
    found = await recover(live, S1, budget=100_000)
    assert offsets(found[S1].messages) == [*mine, 41]
    assert max(reads) < 20_000


@pytest.mark.gen_test
async def test_what_arrives_while_it_is_read_for_one_alone_is_not_missed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(live, *[190_000] * 30, audience=FOR_ADMINS)
    await keep(live, 1000)
    restart(live)
    method = StreamStore.read

    async def meanwhile(store: StreamStore, wanted: Wanted) -> Any:
        part = await method(store, wanted)
        if wanted.admits is not None:
            monkeypatch.undo()
            await keep(live, 500)
        return part

    monkeypatch.setattr(StreamStore, "read", meanwhile)
    found = await recover(live, S1, budget=100_000)
    assert (offsets(found[S1].messages), found[S1].offset) == ([31, 32], 32)


# Memory


def entry(offset: int, size: int) -> CachedMessage:
    return CachedMessage(offset, b"x" * size, 2e9, 2e9, False, None)


def test_a_tail_lets_go_of_its_oldest_bytes() -> None:
    tail = Stream("s", "e", 0, 1000, 1000)
    for number in range(1, 6):
        tail.published(entry(number, 300))
    assert (tail.floor, tail.tail_bytes, tail.head) == (2, 900, 5)
    assert [each.offset for each in tail.after(2) or ()] == [3, 4, 5]
    assert tail.after(1) is None
    tail.published(entry(6, 5000))  # larger than all that may be there
    assert (tail.floor, tail.tail_bytes, tail.head) == (6, 0, 6)
    tail.published(entry(7, 10))
    assert [each.offset for each in tail.after(6) or ()] == [7]


def test_older_messages_are_put_before_a_tail_only_where_there_is_room() -> None:
    tail = Stream("s", "e", 5, 1000, 1000)
    tail.published(entry(6, 400))
    tail.prepend([entry(4, 400), entry(5, 400)], 3, 5)
    assert (tail.floor, tail.room_bytes) == (5, 600)
    tail.prepend([entry(5, 600)], 4, 5)
    assert (tail.floor, tail.room_bytes) == (4, 0)


@pytest.mark.gen_test
async def test_all_of_one_stream_in_memory_is_limited(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(live, *[500_000] * 20)
    assert 3_000_000 < live.streams.figures()["tail_bytes"] <= stream.TAIL_LIMIT_BYTES


@pytest.mark.gen_test
async def test_one_transaction_is_limited_in_bytes(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_queue, "BATCH_BYTES", 1000)
    stored: list[int] = []
    append = live.store.append

    async def watched(batch: Any, *more: Any) -> Any:
        stored.append(len(batch))
        return await append(batch, *more)

    monkeypatch.setattr(live.store, "append", watched)
    waiting = [keep(live, 400, name=f"session:{number}") for number in range(10)]
    await asyncio.gather(*waiting)
    assert sum(stored) == 10
    assert max(stored) <= 3


# Inboxes


@pytest.mark.gen_test
async def test_an_inbox_of_large_messages_is_given_in_order_and_in_parts(live: Live) -> None:
    texts = [f"{number}:" + "x" * 200_000 for number in range(12)]
    for text in texts:
        await send_to_user(live, text)
    read: list[int] = []
    pending = live.receipt_store.pending

    async def watched(*args: Any, **options: Any) -> Any:
        part = await pending(*args, **options)
        read.append(sum(len(each.payload) for each in part.messages))
        return part

    live.receipt_store.pending = watched  # type: ignore[method-assign]
    client = await live.connect("u1")
    assert client.established["inbox"]["pending"] == 12
    got: list[str] = []
    for _ in range(200):
        got += notes([each for each in await client.rest() if "redelivered" not in each])
        if len(got) == 12:
            break
        await pass_time(live, 0.25)
    assert [json.dumps(each) for each in got] == [json.dumps(each) for each in texts]
    assert max(read) <= 1024 * 1024


@pytest.mark.gen_test
async def test_large_messages_are_sent_again_part_by_part(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "READ_BYTES", 2500)
    client = await live.connect("u1")
    for number in range(7):
        await send_to_user(live, f"{number}" + "x" * 1000)
    await received(client, 7)
    rounds: list[int] = []
    find = live.store.find

    async def watched(*args: Any) -> Any:
        found, left = await find(*args)
        rounds.append(len(found))
        return found, left

    monkeypatch.setattr(live.store, "find", watched)
    await pass_time(live, 11)
    again = await client.rest()
    assert [each["data"][0] for each in again if each.get("redelivered")] == list("0123456")
    assert rounds == [2, 2, 2, 1]
