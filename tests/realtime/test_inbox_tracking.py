from __future__ import annotations

import contextlib
import os

import pytest

from tests.support.inbox_messages import (
    fill_send_queue,
    pass_time,
    pending_count,
    received,
    send_batch_to_user,
    send_to_user,
)
from tests.support.live_server import Live, settle


@pytest.mark.gen_test
async def test_a_plain_client_has_it_once_it_is_written(live: Live) -> None:
    await send_to_user(live, "a")
    plain = await live.connect("u1", protocol="plain")
    await send_to_user(live, "b")
    assert await received(plain, 2) == ["a", "b"]
    await live.receipts.settle()
    await pass_time(live, 60)
    assert await plain.rest() == []
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_what_never_left_for_a_plain_client_stays_pending(live: Live) -> None:
    plain = await live.connect("u1", protocol="plain")
    fill_send_queue(plain)
    await send_to_user(live, "a")
    await pass_time(live, 1)
    plain.socket.close()
    await settle()
    await pass_time(live, 1)
    await live.receipts.settle()
    assert (await live.connect("u1")).established["inbox"]["pending"] == 1


@pytest.mark.gen_test
async def test_what_left_late_for_a_plain_client_is_delivered_then(live: Live) -> None:
    plain = await live.connect("u1", protocol="plain")
    filler = fill_send_queue(plain)
    await send_to_user(live, "a")
    await pass_time(live, 1)
    assert (await live.receipt_store.inbox("u1", live.clock.wall())).pending == 1
    while (push := await plain.message())["type"] == "filler":
        filler -= 1
    assert (filler, push["data"]) == (0, "a")
    await pass_time(live, 1)
    await live.receipts.settle()
    assert (await live.receipt_store.inbox("u1", live.clock.wall())).pending == 0


@pytest.mark.gen_test
async def test_messages_delivered_before_a_disconnect_are_not_delivered_again(live: Live) -> None:
    plain = await live.connect("u1", protocol="plain")
    await send_batch_to_user(live, "a", "b", "c")
    assert await received(plain, 3) == ["a", "b", "c"]
    plain.socket.close()
    await settle()
    await live.receipts.settle()
    assert (await live.connect("u1")).established["inbox"]["pending"] == 0


@pytest.mark.gen_test
async def test_what_was_held_back_and_does_not_leave_stays_pending(live: Live) -> None:
    plain = await live.connect("u1", protocol="plain")
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(plain.info.websocket.fd, bytes(50_000))
    await send_batch_to_user(live, "a", "b")
    await pass_time(live, 1)
    plain.socket.close()
    await settle()
    await pass_time(live, 1)
    await live.receipts.settle()
    assert await pending_count(live) == 2
