"""Members of a session who have not seen a message are told of it, once until they are back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.fake_clock import FakeClock
from tests.support.lifecycle import run, starter
from tests.support.live_notifications import LiveNotifications, ScriptedChannel
from tests.support.live_server import Client, Live
from wsserver.protocol.requests import MembersRequest, PublishRequest, read_request
from wsserver.storage.messages.message_rows import Revised, Revision
from wsserver.storage.notifications.notification_rows import Filters

Json = dict[str, Any]
AFTER_S = 300.0


@pytest.fixture
def away(io_loop: IOLoop, clock: FakeClock, tmp_path: Path) -> Iterator[LiveNotifications]:
    """Told by e-mail after five minutes; ann, bob and cy are members of s1, with addresses."""
    push = ScriptedChannel("email")
    make = partial(
        LiveNotifications,
        clock,
        tmp_path / "d.sqlite3",
        channels=(push,),
        away_notify_s=AFTER_S,
        away_channels=("email",),
    )
    with starter(io_loop, make) as start:
        made: LiveNotifications = run(io_loop, start)

        async def prepare() -> None:
            members = MembersRequest(["ann", "bob", "cy"])
            await made.live.admin_actions.replace_members(made.live.actor(), "s1", members)
            await made.reach("ann", "bob", "cy")

        io_loop.run_sync(prepare)
        yield made


async def joined(live: Live, user: str, **options: Any) -> Client:
    client = await live.connect(user, **options)
    await client.call("join_session", session_id="s1")
    return client


async def say(client: Client, content: Any = "hello", session_id: str = "s1") -> str:
    answer = await client.call("send_message", session_id=session_id, content=content)
    assert answer["type"] == "ack", answer
    return str(answer["message_id"])


async def told(away: LiveNotifications) -> dict[str, str]:
    """Who was told since the last call, with the text."""
    assert away.parts.away is not None
    assert away.live.plain_receipts is not None
    await away.parts.away.flush()
    await away.live.plain_receipts.advance()
    await away.parts.away.run()
    await away.idle()
    jobs, away.played["email"].jobs = away.played["email"].jobs, []
    return {job.user_id: f"{job.title}: {job.message}" for job in jobs}


@pytest.mark.gen_test
async def test_members_who_have_not_seen_a_message_are_told(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann", username="Ann")
    bob = await joined(away.live, "bob")
    message_id = await say(ann, "  Hello,\n where are you? " + "x" * 200)
    await bob.call("ack", ids=[message_id])
    away.clock.advance(AFTER_S - 1)
    assert await told(away) == {}
    away.clock.advance(2)
    found = await told(away)
    assert list(found) == ["cy"]  # neither the sender nor who has acknowledged it
    assert found["cy"].startswith("Ann: Hello, where are you? xxx")
    assert len(found["cy"]) == len("Ann: ") + 120
    assert await told(away) == {}


@pytest.mark.gen_test
async def test_once_until_they_are_back(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    await say(ann, "one")
    await say(ann, "two")
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {"bob": "ann: one", "cy": "ann: one"}
    await say(ann, "three")
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {}
    bob = await away.live.connect("bob")  # is back, and away again
    await say(ann, "four")
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {"bob": "ann: four"}
    assert bob.info.is_alive


@pytest.mark.gen_test
async def test_reading_what_one_was_told_of_is_being_back(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    cy = await joined(away.live, "cy")
    first = await say(ann, "one")
    away.clock.advance(AFTER_S + 1)
    assert set(await told(away)) == {"bob", "cy"}
    await cy.call("read", ids=[first])
    await say(ann, "two")
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {"cy": "ann: two"}


@pytest.mark.gen_test
async def test_acknowledging_the_stream_counts(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    bob, cy = await joined(away.live, "bob"), await joined(away.live, "cy")
    await say(ann, "one")
    assert (await bob.call("ack", stream="session:s1", offset=1))["type"] == "ack"
    assert (await cy.call("mark_read", session_id="s1", offset=1))["type"] == "ack"
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {}


@pytest.mark.gen_test
async def test_for_a_plain_client_what_was_written_to_it_counts(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    bob = await joined(away.live, "bob", protocol="plain")
    await say(ann, "one")
    assert (await bob.rest())[-1]["type"] == "new_message"
    away.clock.advance(AFTER_S + 1)
    assert set(await told(away)) == {"cy"}


@pytest.mark.gen_test
async def test_a_plain_client_that_resumes_has_it_written(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    epoch = (await ann.call("send_message", session_id="s1", content="one"))["epoch"]
    bob = await away.live.connect("bob", protocol="plain")
    since = {"epoch": epoch, "offset": 0}
    await bob.call("join_session", session_id="s1", since=since)
    away.clock.advance(AFTER_S + 1)
    assert set(await told(away)) == {"cy"}


@pytest.mark.parametrize("options", [{}, {"endpoint": "session", "session_id": "s1"}])
@pytest.mark.gen_test
async def test_a_plain_client_that_joins_has_what_was_sent_before(
    away: LiveNotifications, options: Json
) -> None:
    """Without ``since``: it reads the history over REST, or with the next command."""
    ann = await joined(away.live, "ann")
    await say(ann, "one")
    bob = await away.live.connect("bob", protocol="plain", sessions="*", **options)
    if not options:
        await bob.call("join_session", session_id="s1")
    cy = await away.live.connect("cy", protocol="plain")  # is there, but not in the session
    away.clock.advance(AFTER_S + 1)
    assert set(await told(away)) == {"cy"}
    bob.socket.close()
    await say(ann, "two")  # is away again
    away.clock.advance(AFTER_S + 1)
    assert "bob" in await told(away)
    assert cy.info.is_alive


@pytest.mark.gen_test
async def test_the_session_s_title_and_what_is_no_text(away: LiveNotifications) -> None:
    await away.live.database.run(
        lambda db: (
            db.execute(
                "INSERT INTO conversations (session_id, title, created_at, updated_at)"
                " VALUES ('s1', 'Acme', 1, 1) ON CONFLICT (session_id) DO UPDATE SET title = 'Acme'"
            ).rowcount
        )
    )
    ann = await joined(away.live, "ann")
    await say(ann, {"file": {"name": "a.pdf"}, "size": 7})
    away.clock.advance(AFTER_S + 1)
    assert (await told(away))["bob"] == "Acme: a.pdf"


@pytest.mark.gen_test
async def test_who_a_message_is_not_for_is_not_told(away: LiveNotifications) -> None:
    body = {
        "target": {"type": "session", "id": "s1"},
        "type": "new_message",
        "content": "hello",
        "exclude_users": ["bob"],
        "sender": {"user_id": "ann", "username": "Ann"},
    }
    await away.live.publishing.publish(away.live.actor(), read_request(body, PublishRequest))
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {"cy": "Ann: hello"}


@pytest.mark.gen_test
async def test_edits_count_deletions_end_it(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    first, second = await say(ann, "one"), await say(ann, "two")
    await ann.call("delete_message", message_id=first)
    await ann.call("edit_message", message_id=second, content="better")
    away.clock.advance(AFTER_S + 1)
    assert set((await told(away)).values()) == {"ann: better"}


@pytest.mark.gen_test
async def test_deleting_a_message_takes_its_text_out_of_notices(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    message_id = await say(ann, "secret")
    away.clock.advance(AFTER_S + 1)
    channel = away.played["email"]
    channel.gate.clear()
    assert away.parts.away is not None
    await away.parts.away.run()
    await ann.call("delete_message", message_id=message_id)
    rows = await away.live.database.read(
        lambda db: db.execute("SELECT content FROM notifications").fetchall()
    )
    assert len(rows) == 1
    assert "secret" not in rows[0][0]
    (listed,) = (await away.store.page(10, None, Filters())).items
    assert "secret" not in repr(listed)


@pytest.mark.gen_test
async def test_an_answer_that_grows_has_to_wait(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    message_id = await say(ann, "so far")

    def to(text: str, state: str) -> Revision:
        payload = b'{"message":{"content":"%s","state":"%s"}}' % (text.encode(), state.encode())
        return Revision("session:s1", message_id, lambda _: Revised(payload))

    await away.live.store.revise([to("so far", "growing")])
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {}
    await away.live.store.revise([to("whole", "completed")])
    assert set((await told(away)).values()) == {"s1: whole"}


@pytest.mark.gen_test
async def test_a_crash_after_the_notice_tells_nobody_twice(away: LiveNotifications) -> None:
    ann = await joined(away.live, "ann")
    await say(ann, "one")
    away.clock.advance(AFTER_S + 1)
    assert away.parts.away is not None
    (message,) = (await away.parts.away._store.due(away.clock.wall() - AFTER_S)).messages
    await away.parts.away._notify(message)
    await away.live.database.run(
        lambda db: db.execute("DELETE FROM away_marks").rowcount  # as if not committed
    )
    assert set(await told(away)) == {"bob", "cy"}
    assert await told(away) == {}


@pytest.mark.gen_test
async def test_sessions_without_members_cost_nothing(away: LiveNotifications) -> None:
    dee = await away.live.in_session("dee", "s2")
    await say(dee, "anybody?", "s2")
    away.clock.advance(AFTER_S + 1)
    assert await told(away) == {}
    left = await away.live.database.read(
        lambda db: db.execute("SELECT count(*) FROM away_queue").fetchone()[0]
    )
    assert left == 0
