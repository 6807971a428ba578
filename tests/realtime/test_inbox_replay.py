from __future__ import annotations

from typing import Any

import pytest

from tests.support.inbox_messages import notes, pass_time, received, send_to_user
from tests.support.live_server import Live, MakeLive
from wsserver.realtime.inbox.inbox_replay import PAGE


@pytest.mark.gen_test
async def test_an_inbox_of_many_pages_comes_in_order_with_what_comes_live(live: Live) -> None:
    count = 3 * PAGE + 7
    for number in range(count):
        await send_to_user(live, number)
    client = await live.connect("u1", greeted=False)
    greeting = await client.receive("connection_established")
    assert greeting["inbox"]["pending"] == count
    await send_to_user(live, count)
    await send_to_user(live, count + 1)
    assert await received(client, count + 2) == list(range(count + 2))
    await pass_time(live, 1)
    await send_to_user(live, count + 2)
    assert await received(client, 1) == [count + 2]
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_an_inbox_too_large_for_the_queue_comes_as_the_client_takes_it(
    make_live: MakeLive,
) -> None:
    live = await make_live(queue_limit_bytes=256 * 1024)
    count = 120
    for number in range(count):
        await send_to_user(live, [number, "x" * 20_000])
    client = await live.connect("u1", greeted=False)
    await pass_time(live, 2)
    assert client.info.is_alive
    assert client.info.websocket.queued_bytes <= 256 * 1024 // 8 * 7 + 21_000
    live_one = await send_to_user(live, [count])
    assert live_one.receipt.matched == live_one.receipt.sent == 1
    await client.receive("connection_established")
    seen: list[Any] = []
    while len(seen) < count + 1:
        await live.inboxes.advance()
        seen += [data[0] for data in notes(await client.rest())]
    assert seen == list(range(count + 1))
    await client.call("ack", stream="user:u1", offset=count + 1)
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_a_message_that_comes_while_the_last_page_is_read_is_not_missed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(PAGE + 1):
        await send_to_user(live, number)
    pending = live.receipt_store.pending

    async def meanwhile(*args: Any, **options: Any) -> Any:
        page = await pending(*args, **options)
        if len(page.messages) == 1:
            monkeypatch.undo()
            await send_to_user(live, PAGE + 1)
        return page

    monkeypatch.setattr(live.receipt_store, "pending", meanwhile)
    client = await live.connect("u1")
    assert await received(client, PAGE + 2) == list(range(PAGE + 2))
    await pass_time(live, 1)
    assert len(live.inboxes._replay) == 0
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_what_is_settled_while_its_page_is_read_is_left_out(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [await send_to_user(live, number) for number in range(PAGE + 2)]
    pending = live.receipt_store.pending

    async def meanwhile(*args: Any, **options: Any) -> Any:
        page = await pending(*args, **options)
        if len(page.messages) == 2:
            monkeypatch.undo()
            live.receipts.settled("u1", [sent[PAGE].message_id])
        return page

    monkeypatch.setattr(live.receipt_store, "pending", meanwhile)
    client = await live.connect("u1")
    assert await received(client, PAGE + 1) == [*range(PAGE), PAGE + 1]
    await pass_time(live, 1)
    assert await client.rest() == []
