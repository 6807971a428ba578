from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.inbox_messages import (
    fill_send_queue,
    notes,
    pass_time,
    received,
    send_batch_to_user,
    send_to_user,
)
from tests.support.live_server import Live
from wsserver.errors import StorageUnavailable
from wsserver.realtime.inbox.unacked import TICK_S
from wsserver.storage.messages.receipts import ReceiptStore


@pytest.mark.gen_test
async def test_an_unacknowledged_message_comes_again_three_times(live: Live) -> None:
    client = await live.connect("u1")
    sent = await send_to_user(live, "a")
    first = await client.receive("note")
    assert "redelivered" not in first
    for _ in range(3):
        await pass_time(live, 9.75)
        assert await client.rest() == []
        await pass_time(live, 0.25)
        again = await client.receive("note")
        assert again == {**first, "redelivered": True}
    await pass_time(live, 60)
    assert await client.rest() == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 1
    assert sent.offset == first["offset"] == 1


@pytest.mark.gen_test
async def test_what_came_with_the_greeting_comes_again_too(live: Live) -> None:
    await send_to_user(live, "a")
    client = await live.connect("u1")
    await received(client, 1)
    await pass_time(live, 10)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_an_acknowledged_message_does_not_come_again_anywhere(live: Live) -> None:
    first, second = await live.connect("u1"), await live.connect("u1")
    for text in "ab":
        await send_to_user(live, text)
    messages = [await first.receive("note") for _ in range(2)]
    await received(second, 2)
    await pass_time(live, 5)
    assert (await second.call("ack", ids=[messages[0]["id"]]))["acknowledged"] == 1
    await pass_time(live, 5)
    assert notes(await first.rest()) == notes(await second.rest()) == ["b"]


@pytest.mark.gen_test
async def test_an_acknowledgement_while_it_is_read_again_stops_it(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await live.connect("u1")
    await send_to_user(live, "a")
    message = await client.receive("note")
    find = live.store.find

    async def acknowledged_meanwhile(ids: Sequence[str], now: float, budget: int) -> Any:
        found = await find(ids, now, budget)
        monkeypatch.undo()
        await client.call("ack", ids=[message["id"]])
        return found

    monkeypatch.setattr(live.store, "find", acknowledged_meanwhile)
    await pass_time(live, 30)
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_nothing_comes_again_after_it_has_expired(live: Live) -> None:
    client = await live.connect("u1")
    await send_to_user(live, "a", ttl_s=15.0)
    await received(client, 1)
    await pass_time(live, 10)
    assert await received(client, 1) == ["a"]
    await pass_time(live, 60)
    assert await client.rest() == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_nothing_comes_again_while_the_client_has_not_taken_the_first(live: Live) -> None:
    client = await live.connect("u1")
    filler = fill_send_queue(client)
    await send_to_user(live, "a")
    await pass_time(live, 60)
    while (push := await client.message())["type"] == "filler":
        filler -= 1
    assert (filler, push["data"], "redelivered" in push) == (0, "a", False)
    assert await client.rest() == []
    await pass_time(live, 10)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_what_is_held_back_for_a_moment_puts_nothing_off(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await live.connect("u1")
    await send_batch_to_user(live, "a", "b")
    await received(client, 2)
    live.clock.advance(10 - TICK_S)
    find = live.store.find

    async def find_during_another_write(message_ids: Sequence[str], now: float, budget: int) -> Any:
        found = await find(message_ids, now, budget)
        live.poller.cork()
        return found

    monkeypatch.setattr(live.store, "find", find_during_another_write)
    await pass_time(live, TICK_S)
    assert notes(await client.rest()) == ["a", "b"]


@pytest.mark.gen_test
async def test_storage_that_fails_puts_it_off(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await live.connect("u1")
    await send_to_user(live, "a")
    await received(client, 1)

    async def raise_storage_unavailable(ids: Sequence[str], now: float, budget: int) -> Any:
        raise StorageUnavailable("broken")

    with monkeypatch.context() as patched:
        patched.setattr(live.store, "find", raise_storage_unavailable)
        with pytest.raises(StorageUnavailable):
            await pass_time(live, 10)
    await pass_time(live, 9.75)
    assert await client.rest() == []
    await pass_time(live, 0.25)
    assert (await client.receive("note"))["redelivered"] is True


@pytest.mark.gen_test
async def test_what_another_process_has_settled_or_deleted_does_not_come_again(live: Live) -> None:
    client = await live.connect("u1")
    sent = await send_batch_to_user(live, "a", "b", "c")
    await received(client, 3)
    elsewhere = ReceiptStore(live.database)  # no signal of it comes
    await elsewhere.record("u1", [sent[0].message_id], read=False, at=live.clock.wall())
    await pass_time(live, 10)
    assert notes(await client.rest()) == ["b", "c"]
    await elsewhere.advance("u1", "user:u1", 2, live.clock.wall())
    await pass_time(live, 10)
    assert notes(await client.rest()) == ["c"]
    assert await live.store.expire(live.clock.wall() + 10**9)
    await pass_time(live, 10)
    assert await client.rest() == []
