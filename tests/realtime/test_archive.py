"""Recovery and the archive are two things: what cannot be resumed is still in the history."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.live_server import Client, Live, MakeLive
from wsserver.realtime.streams.retention_policy import Retention

DAY_S = 86_400.0
ARCHIVE = Retention(DAY_S, 7 * DAY_S, 365 * DAY_S)


async def say(client: Client, *texts: str) -> None:
    for text in texts:
        await client.call("send_message", session_id="s1", content=text)


def contents(pushes: list[dict[str, Any]]) -> list[str]:
    return [push["message"]["content"] for push in pushes]


async def history(client: Client, **fields: Any) -> list[str]:
    return contents((await client.call("history", session_id="s1", **fields))["messages"])


async def resumed(client: Client, epoch: str, offset: int) -> dict[str, Any]:
    since = {"epoch": epoch, "offset": offset}
    answer = await client.call("resume", streams={"session:s1": since})
    found: dict[str, Any] = answer["streams"]["session:s1"]
    return found


@pytest.mark.gen_test
@pytest.mark.parametrize("is_cold", [False, True])
async def test_after_the_window_history_has_what_resume_has_not(
    make_live: MakeLive, is_cold: bool
) -> None:
    live = await make_live(retention=ARCHIVE)
    client = await live.in_session("u1")
    epoch = (await client.call("history", session_id="s1"))["epoch"]
    await say(client, "a", "b")
    live.clock.advance(DAY_S - 1)
    await say(client, "c")
    live.clock.advance(1)
    await live.expirer.run()
    client = await live.in_session("u1")
    if is_cold:
        live.forget_streams()
    found = await resumed(client, epoch, 1)
    assert (found["recovered"], found["reason"], found["messages"]) == (False, "expired", [])
    assert contents((await resumed(client, epoch, 2))["messages"]) == ["c"]
    assert await history(client) == ["a", "b", "c"]
    live.clock.advance(364 * DAY_S)
    await live.expirer.run()
    assert await history(client, limit=2) == ["c"]


@pytest.mark.gen_test
async def test_the_limit_of_a_stream_is_one_of_resuming(make_live: MakeLive) -> None:
    live = await make_live(retention=ARCHIVE, stream_limit=3)
    client = await live.in_session("u1")
    epoch = (await client.call("history", session_id="s1"))["epoch"]
    await say(client, *"abcde")
    await live.expirer.run()
    for _ in range(2):
        assert (await resumed(client, epoch, 1))["reason"] == "too_far_behind"
        assert contents((await resumed(client, epoch, 2))["messages"]) == ["c", "d", "e"]
        assert await history(client) == [*"abcde"]
        live.forget_streams()


@pytest.mark.gen_test
async def test_a_time_to_live_longer_than_the_window_ends_in_the_archive(
    make_live: MakeLive,
) -> None:
    live = await make_live(retention=ARCHIVE)
    client = await live.in_session("u1")
    epoch = (await client.call("history", session_id="s1"))["epoch"]
    publish = {"target": {"type": "session", "id": "s1"}, "type": "new_message", "content": "a"}
    monitor = await live.monitor()
    await monitor.call("publish", args={**publish, "ttl_s": 3 * DAY_S})
    live.clock.advance(DAY_S)
    client = await live.in_session("u1")
    assert (await resumed(client, epoch, 0))["reason"] == "expired"
    assert await history(client) == ["a"]
    live.clock.advance(2 * DAY_S)
    client = await live.in_session("u1")
    assert await history(client) == []
    found = await resumed(client, epoch, 0)  # one that has run out is no gap
    assert (found["recovered"], found["messages"]) == (True, [])


@pytest.mark.gen_test
async def test_history_is_paged_within_a_time(make_live: MakeLive) -> None:
    live = await make_live(retention=ARCHIVE)
    client = await live.in_session("u1")
    start = live.clock.wall()
    for number in range(120):
        await say(client, str(number))
        live.clock.advance(3600)

    async def page(**fields: Any) -> tuple[list[int], bool]:
        since, until = fields.pop("since", None), fields.pop("until", None)
        found = await live.admin_queries.history(
            live.actor(),
            "s1",
            fields.get("before"),
            fields.get("after"),
            fields.get("limit", 100),
            False,
            None if since is None else start + since * 3600,
            None if until is None else start + until * 3600,
        )
        texts = contents([msgspec.json.decode(each) for each in found["messages"]])
        return [int(text) for text in texts], found["has_more"]

    assert await page(since=10, until=14) == ([10, 11, 12, 13], False)
    assert await page(since=10, until=14, limit=3) == ([11, 12, 13], True)
    assert await page(since=10, until=14, before=12) == ([10], False)
    assert await page(since=10, until=14, after=0, limit=2) == ([10, 11], True)
    assert await page(since=10, until=14, after=12, limit=2) == ([12, 13], False)
    assert await page(since=118) == ([118, 119], False)
    assert await page(until=1) == ([0], False)
    assert (
        await page(since=500) == await page(until=-1) == await page(since=9, until=3) == ([], False)
    )


@pytest.mark.gen_test
async def test_without_an_archive_messages_end_with_the_window(live: Live) -> None:
    client = await live.in_session("u1")
    await say(client, "a")
    live.clock.advance(DAY_S)
    await live.expirer.run()
    assert await history(await live.in_session("u1")) == []


@pytest.mark.gen_test
async def test_an_archive_that_is_switched_on_keeps_what_is_there(make_live: MakeLive) -> None:
    live = await make_live()
    await say(await live.in_session("u1"), "a")
    await live.stop()
    live = await make_live(retention=ARCHIVE)
    live.clock.advance(2 * DAY_S)
    await live.expirer.run()
    assert await history(await live.in_session("u1")) == ["a"]
    await live.stop()
    live = await make_live(retention=ARCHIVE._replace(archive_s=DAY_S))
    await live.expirer.run()
    assert await history(await live.in_session("u1")) == []
