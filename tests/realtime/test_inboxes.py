from __future__ import annotations

from typing import Any

import pytest

from tests.support.inbox_messages import notes, pass_time, received, send_to_user
from tests.support.live_server import Live, MakeLive


@pytest.mark.gen_test
async def test_what_came_meanwhile_follows_the_greeting_oldest_first(live: Live) -> None:
    for number in range(3):
        await send_to_user(live, number)
    client = await live.connect("u1")
    assert client.established["inbox"]["pending"] == 3
    assert client.established["inbox"]["offset"] == 3
    pushes = [await client.receive("note") for _ in range(3)]
    assert [push["data"] for push in pushes] == [0, 1, 2]
    assert [push["offset"] for push in pushes] == [1, 2, 3]
    assert {push["stream"] for push in pushes} == {"user:u1"}
    assert {push["epoch"] for push in pushes} == {client.established["inbox"]["epoch"]}
    assert not any("redelivered" in push for push in pushes)
    await send_to_user(live, 3)
    assert await received(client, 1) == [3]


@pytest.mark.gen_test
async def test_what_is_not_for_its_user_is_not_pending(live: Live) -> None:
    await send_to_user(live, "for others", exclude_users=frozenset({"u1"}))
    await send_to_user(live, "for u1")
    client = await live.connect("u1")
    inbox = client.established["inbox"]
    assert (inbox["offset"], inbox["pending"]) == (2, 1)
    assert notes(await client.rest()) == ["for u1"]


@pytest.mark.gen_test
async def test_an_empty_inbox_has_nothing_pending(live: Live) -> None:
    client = await live.connect("u1")
    inbox = client.established["inbox"]
    assert (inbox["offset"], inbox["pending"]) == (0, 0)
    assert inbox["epoch"]
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_what_is_not_acknowledged_comes_to_every_new_connection(
    make_live: MakeLive, live: Live
) -> None:
    await send_to_user(live, "a")
    first = await live.connect("u1")
    second = await live.connect("u1")
    assert await received(first, 1) == await received(second, 1) == ["a"]
    await live.stop()
    again = await make_live()
    client = await again.connect("u1")
    assert client.established["inbox"]["pending"] == 1
    message = await client.receive("note")
    await client.call("ack", ids=[message["id"]])
    last = await again.connect("u1")
    assert last.established["inbox"]["pending"] == 0
    assert last.established["inbox"]["offset"] == 1
    assert await last.rest() == []


@pytest.mark.gen_test
async def test_nothing_is_held_of_a_connection_that_has_gone(make_live: MakeLive) -> None:
    live = await make_live(queue_limit_bytes=256 * 1024)
    for _ in range(60):
        await send_to_user(live, "x" * 20_000)
    clients = [
        await live.connect("u1", greeted=False, protocol=protocol)
        for protocol in ("wsserver.v1", "plain")
    ]
    await pass_time(live, 1)
    inboxes = live.inboxes
    assert len(inboxes._unacked) > 0
    assert len(inboxes._replay) == 2
    assert inboxes._tracking._unwritten
    for client in clients:
        live.manager.close(client.info, 4502, "enough")
        client.socket.close()
    await pass_time(live, 1)
    assert len(inboxes._unacked) == len(inboxes._replay) == 0
    assert not inboxes._tracking._unwritten


@pytest.mark.gen_test
async def test_a_message_for_others_in_an_inbox_is_passed_over(live: Live) -> None:
    await send_to_user(live, "a", organization_id="o1")
    await send_to_user(live, "b")
    stranger = await live.connect("u1")
    assert notes([await stranger.receive("note"), *await stranger.rest()]) == ["b"]
    insider = await live.connect("u1", organization_id="o1")
    assert await received(insider, 2) == ["a", "b"]


@pytest.mark.gen_test
async def test_what_is_settled_while_the_inbox_is_read_is_not_pending(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await live.connect("u1")
    for text in "abc":
        await send_to_user(live, text)
    ids = [(await first.receive("note"))["id"] for _ in range(3)]
    pending = live.receipt_store.pending

    async def settled_meanwhile(*args: Any, **options: Any) -> Any:
        page = await pending(*args, **options)
        monkeypatch.undo()
        await first.call("ack", ids=[ids[1]])
        await first.call("ack", stream="user:u1", offset=1)
        return page

    monkeypatch.setattr(live.receipt_store, "pending", settled_meanwhile)
    second = await live.connect("u1")
    assert second.established["inbox"]["pending"] == 1
    await pass_time(live, 10)
    assert notes(await second.rest()) == ["c", "c"]
