from __future__ import annotations

import pytest

from tests.support.inbox_messages import notes, pass_time, send_to_user, statuses
from tests.support.live_server import Live, MakeLive
from wsserver.protocol.targets import user
from wsserver.realtime.messages.message import Message


@pytest.mark.gen_test
async def test_the_sender_of_a_message_that_expires_unseen_is_notified(live: Live) -> None:
    boss, watcher = await live.connect("boss"), await live.monitor()
    gone = await send_to_user(live, "a", ttl_s=5.0)
    seen = await send_to_user(live, "b", "u2", ttl_s=5.0)
    client = await live.connect("u2")
    await client.call("ack", ids=[seen.message_id])
    await boss.rest()
    await watcher.rest()
    live.clock.advance(5)
    await live.expirer.run()
    await live.expirer.run()
    expected = [(gone.message_id, "u1", "expired")]
    assert statuses(await boss.rest()) == statuses(await watcher.rest()) == expected


@pytest.mark.gen_test
async def test_the_status_names_the_session_also_of_a_message_to_nobody(live: Live) -> None:
    boss = await live.connect("boss")
    members = {"session_id": "s9", "message": {}}
    message = Message("new_message", members, user("u1"), keep=True, sender="boss", ttl_s=5.0)
    await live.router.send(message)
    await boss.rest()
    live.clock.advance(5)
    await live.expirer.run()
    update = await boss.receive("message_status_update")
    assert (update["status"], update["session_id"]) == ("expired", "s9")


@pytest.mark.gen_test
async def test_what_has_expired_is_not_sent_again(live: Live) -> None:
    client = await live.connect("u1")
    await send_to_user(live, "a", ttl_s=5.0)
    await send_to_user(live, "b")
    assert notes(await client.rest()) == ["a", "b"]
    live.clock.advance(5)
    await live.expirer.run()
    await pass_time(live, 10)
    assert notes(await client.rest()) == ["b"]


@pytest.mark.gen_test
async def test_what_an_inbox_has_no_room_for_has_failed(make_live: MakeLive) -> None:
    live = await make_live(stream_limit=2)
    boss = await live.connect("boss")
    first = await send_to_user(live, "a")
    for text in "bc":
        await send_to_user(live, text)
    await boss.rest()
    await live.expirer.run()
    (update,) = await boss.rest()
    assert statuses([update]) == [(first.message_id, "u1", "failed")]
    assert update["reason"] == "inbox_full"
    client = await live.connect("u1")
    assert notes(await client.rest()) == ["b", "c"]


@pytest.mark.gen_test
async def test_all_there_is_to_delete_is_deleted_in_one_sweep(live: Live) -> None:
    for number in range(301):
        await send_to_user(live, number, ttl_s=1.0)
    live.clock.advance(1)
    await live.expirer.run()
    assert (await live.store.count()).messages == 0


@pytest.mark.gen_test
async def test_all_that_is_too_much_goes_in_one_sweep(make_live: MakeLive) -> None:
    live = await make_live(stream_limit=2)
    for number in range(310):
        await send_to_user(live, number)
    await live.expirer.run()
    assert (await live.store.count()).messages == 2
