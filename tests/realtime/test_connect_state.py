from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.support.inbox_messages import notes, received, send_to_user
from tests.support.live_server import LIMITS, Live, MakeLive
from wsserver.errors import ConnectionLimit
from wsserver.promise import Promise


@pytest.mark.gen_test
async def test_a_message_that_comes_while_the_inbox_is_read_is_not_missed(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send_to_user(live, "a")
    inbox = live.receipt_store.inbox

    async def meanwhile(user_id: str, now: float) -> Any:
        found = await inbox(user_id, now)
        pending = await live.receipt_store.pending(user_id, now, 100_000)

        async def as_it_was(*args: Any, **options: Any) -> Any:
            monkeypatch.undo()
            return pending

        monkeypatch.setattr(live.receipt_store, "pending", as_it_was)
        await send_to_user(live, "b")
        return found

    monkeypatch.setattr(live.receipt_store, "inbox", meanwhile)
    client = await live.connect("u1")
    assert await received(client, 2) == ["a", "b"]
    await send_to_user(live, "c")
    assert await received(client, 1) == ["c"]
    assert await client.rest() == []


@pytest.mark.gen_test
async def test_a_message_read_before_it_is_published_comes_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send_to_user(live, "a")
    publish = live.broker.publish
    clients = []

    async def connected_before(publication: Any, outcome: Promise[Any]) -> None:
        monkeypatch.undo()
        clients.append(await live.connect("u1"))
        outcome.resolve(await publish(publication))

    def begin_all(publications: Any, *_: object) -> list[Promise[Any]]:
        (publication,) = publications
        outcome: Promise[Any] = Promise()
        tasks.append(asyncio.ensure_future(connected_before(publication, outcome)))
        return [outcome]

    tasks: list[asyncio.Future[None]] = []
    monkeypatch.setattr(live.streams, "_publish", begin_all)
    await send_to_user(live, "b")
    (client,) = clients
    assert notes([await client.receive("note"), *await client.rest()]) == ["a", "b"]


@pytest.mark.gen_test
async def test_a_refused_newcomer_leaves_nothing_behind(make_live: MakeLive) -> None:
    live = await make_live(limits=replace(LIMITS, per_user=1))
    await send_to_user(live, "a")
    await live.connect("u1")
    with pytest.raises(ConnectionLimit):
        await live.connect("u1")
    assert live.inboxes._opening == {}
