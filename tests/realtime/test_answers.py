"""Answers that grow: what watchers get, whoever joins late, and how producers are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from tests.support.answers import Page, Producer, begun
from tests.support.live_server import Live, MakeLive
from tests.support.waiting import until
from wsserver.errors import (
    AnswerEnded,
    AnswerTooLong,
    Forbidden,
    NotFound,
    OutOfOrder,
    StorageUnavailable,
    TermChanged,
)
from wsserver.protocol.requests import Sender
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.answers.owned_answers import AnswerSettings
from wsserver.storage.messages.answers import StoredAnswer, end_deleted
from wsserver.storage.messages.conversations import Holder, HolderWish

EAGER = AnswerSettings(roll_up_s=0.0)
"""Each append is pushed at once: what is rolled up depends on the time."""


@contextmanager
def away(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The database refuses writes."""

    async def refuse(*_: Any) -> None:
        raise StorageUnavailable("the database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(live.database, "run", refuse)
        yield


def types(pushes: list[dict[str, Any]]) -> list[str]:
    return [push["type"] for push in pushes]


@pytest.fixture
def eager(make_live: MakeLive) -> Callable[[], Any]:
    return lambda **fields: make_live(answers=EAGER, **fields)


@pytest.mark.gen_test
async def test_an_answer_grows_from_its_message_to_its_end(eager: MakeLive) -> None:
    live = await eager()
    events = live.watch("answer_ended")
    client = await live.in_session("u1")
    producer = Producer(live)
    started = await producer.start(sender=Sender("bot", "Bot", "ai"), metadata={"model": "m1"})
    assert started == {
        "message_id": producer.id,
        "stream": "session:s1",
        "epoch": started["epoch"],
        "offset": 1,
        "seq": 0,
        "term": 0,
    }
    assert await producer.append("It ") == {"seq": 1, "length": 3}
    assert await producer.append("should fit 🙂") == {"seq": 2, "length": 15}
    ended = await producer.finish(usage={"total_tokens": 9})
    assert ended == {"state": "completed", "length": 15, "offset": 2}

    new, first, second, end = await client.rest()
    assert new["message"] == {
        "id": producer.id,
        "session_id": "s1",
        "sender": {"user_id": "bot", "username": "Bot", "role": "ai"},
        "content": "",
        "content_type": "text",
        "created_at": new["timestamp"],
        "state": "growing",
        "seq": 0,
        "metadata": {"model": "m1"},
    }
    del first["timestamp"], second["timestamp"]
    ours = {"session_id": "s1", "message_id": producer.id}
    assert first == {"type": "answer_appended", **ours, "seq": 1, "at": 0, "text": "It "}
    assert second["text"] == "should fit 🙂"
    assert (second["seq"], second["at"]) == (2, 3)
    final = new["message"] | {"content": "It should fit 🙂", "state": "completed", "seq": 2}
    assert end["message"] == final
    assert (end["type"], end["state"], end["length"], end["offset"]) == (
        "answer_ended",
        "completed",
        15,
        2,
    )
    assert end["message_id"] == producer.id
    assert "reason" not in end
    assert [event["state"] for event in events] == ["completed"]
    assert events[0]["usage"] == {"total_tokens": 9}
    assert events[0]["by"] == "backend"
    page = await client.call("history", session_id="s1")
    assert [push["message"] for push in page["messages"]] == [final]


@pytest.mark.gen_test
async def test_appends_of_a_moment_are_pushed_together(make_live: MakeLive) -> None:
    live = await make_live(answers=AnswerSettings(roll_up_s=0.02))
    client = await live.in_session("u1")
    producer = await begun(live)
    for text in "abcd":
        await producer.append(text)
    assert [push.get("text") for push in await client.rest()] == [None, "a"]
    rolled = await client.receive("answer_appended")
    assert (rolled["at"], rolled["seq"], rolled["text"]) == (1, 4, "bcd")


@pytest.mark.gen_test
async def test_what_waits_is_pushed_before_the_end(make_live: MakeLive) -> None:
    live = await make_live(answers=AnswerSettings(roll_up_s=3600.0))
    client = await live.in_session("u1")
    producer = await begun(live)
    for text in "abc":
        await producer.append(text)
    await producer.finish()
    pushes = await client.rest()
    assert [push.get("text") for push in pushes] == [None, "a", "bc", None]


@pytest.mark.gen_test
async def test_who_joins_in_the_middle_gets_the_text_once(eager: MakeLive) -> None:
    live = await eager()
    producer = await begun(live, content="so ")
    await producer.append("far ")
    client = await live.connect("u1", sessions=["s1"])
    joined = await client.call("join_session", session_id="s1")
    (grown,) = joined["messages"]
    assert (grown["message"]["content"], grown["message"]["seq"]) == ("so far ", 1)
    assert (grown["message"]["state"], grown["offset"]) == ("growing", 1)
    assert joined["recovered"] is False
    await producer.append("so good")
    (appended,) = await client.rest()
    assert (appended["at"], appended["text"]) == (7, "so good")
    bound = await live.connect("u2", session_id="s1", sessions=["s1"])
    assert bound.joined["messages"][0]["message"]["content"] == "so far so good"


@pytest.mark.gen_test
async def test_history_and_the_last_message_have_the_text_of_the_moment(eager: MakeLive) -> None:
    live = await eager()
    client = await live.in_session("u1")
    producer = await begun(live)
    await producer.append("now")
    page = await client.call("history", session_id="s1")
    assert page["messages"][0]["message"]["content"] == "now"
    seen = await live.admin_queries.history(live.actor(), "s1", None, None, 10)
    assert b'"content":"now"' in bytes(seen["messages"][0])
    last = await live.streams.last_message("session:s1", None)
    assert last is not None
    assert b'"content":"now"' in bytes(last)
    listed = await client.call("conversations")
    assert listed["conversations"][0]["last_message"]["content"] == "now"
    refused = await client.call("send_message", session_id="s1", content="x", seen_offset=0)
    (missed,) = refused["error"]["missed"]
    assert (missed["message"]["content"], missed["offset"]) == ("now", 1)


@pytest.mark.gen_test
@pytest.mark.parametrize("is_cold", [False, True])
async def test_resume_gives_an_answer_that_grows_whatever_the_position(
    eager: MakeLive, is_cold: bool
) -> None:
    live = await eager()
    producer = await begun(live)
    started = (await live.store.head("session:s1")).epoch
    await producer.append("one ")
    if is_cold:
        live.forget_streams()
    client = await live.connect("u1", sessions=["s1"])
    for offset in (0, 1):
        streams = {"session:s1": {"epoch": started, "offset": offset}}
        resumed = (await client.call("resume", streams=streams))["streams"]["session:s1"]
        assert resumed["recovered"] is True
        assert [push["message"]["content"] for push in resumed["messages"]] == ["one "]
    await producer.append("two")
    await producer.finish()
    streams = {"session:s1": {"epoch": started, "offset": 0}}
    resumed = (await client.call("resume", streams=streams))["streams"]["session:s1"]
    assert types(resumed["messages"]) == ["new_message", "answer_ended"]
    assert [push["message"]["content"] for push in resumed["messages"]] == ["one two"] * 2


@pytest.mark.gen_test
async def test_a_text_beyond_the_budget_is_left_out(make_live: MakeLive) -> None:
    live = await make_live(answers=EAGER, queue_limit_bytes=8000)
    producer = await begun(live)
    await producer.append("x" * 8000)
    client = await live.connect("u1", sessions=["s1"])
    joined = await client.call("join_session", session_id="s1")
    assert joined["messages"] == []
    page = await live.streams.history("session:s1", None, budget=8000)
    assert len(page.messages[0]) > 8000  # one message at least


@pytest.mark.gen_test
async def test_an_append_is_taken_once(live: Live) -> None:
    producer = await begun(live)
    await producer.append("one")
    assert await producer.append("one", 1) == {"seq": 1, "length": 3}
    for seq, text in ((1, "other"), (3, "skipped"), (0, "zero")):
        with pytest.raises(OutOfOrder) as refused:
            await producer.append(text, seq)
        assert refused.value.details == {"expected": 2}
    await producer.append(" two", 2)
    await producer.finish()
    # The latest one again has the same answer after the end, too.
    assert await producer.append(" two", 2) == {"seq": 2, "length": 7}
    for seq, text in ((2, "other"), (3, "late"), (1, "one")):
        with pytest.raises(AnswerEnded) as ended:
            await producer.append(text, seq)
        assert ended.value.details == {"state": "completed", "reason": None}


@pytest.mark.gen_test
async def test_the_length_of_the_latest_append_stays_after_a_replaced_text(live: Live) -> None:
    producer = await begun(live)
    await producer.append("one two")
    assert (await producer.finish(content="3"))["length"] == 1
    assert await producer.append("one two", 1) == {"seq": 1, "length": 7}
    assert (await producer.get())["content"] == "3"


@pytest.mark.gen_test
async def test_only_the_same_end_is_answered_again(live: Live) -> None:
    producer = await begun(live)
    await producer.append("text")
    first = await producer.finish(content="better", reason="why", usage={"n": 1})
    assert await producer.finish(content="better", reason="why", usage={"n": 1}) == first
    for other in (
        {},
        {"content": "other", "reason": "why", "usage": {"n": 1}},
        {"content": "better", "usage": {"n": 1}},
        {"content": "better", "reason": "why", "usage": {"n": 2}},
        {"state": "failed", "content": "better", "reason": "why", "usage": {"n": 1}},
    ):
        with pytest.raises(AnswerEnded):
            await producer.finish(**other)
    with pytest.raises(AnswerEnded):
        await producer.cancel()


@pytest.mark.gen_test
async def test_cancelling_twice_is_answered_twice(live: Live) -> None:
    producer = await begun(live)
    first = await producer.cancel("enough")
    assert first["state"] == "cancelled"
    assert await producer.cancel() == first
    with pytest.raises(AnswerEnded) as ended:
        await producer.finish()
    assert ended.value.details == {"state": "cancelled", "reason": "enough"}


@pytest.mark.gen_test
async def test_usage_that_is_reported_after_a_cancel_counts_once(live: Live) -> None:
    producer = await begun(live)
    await producer.cancel("enough")
    for tokens in 7, 8:
        with pytest.raises(AnswerEnded):
            await producer.finish(usage={"tokens": tokens})
    assert msgspec.json.decode(msgspec.json.encode(await producer.get()))["usage"] == {"tokens": 7}


@pytest.mark.gen_test
async def test_a_member_cancels_and_the_producer_is_told(eager: MakeLive) -> None:
    live = await eager()
    events = live.watch("answer_ended")
    client = await live.in_session("u1")
    producer = await begun(live)
    await producer.append("too much")
    reply = await client.call("cancel_answer", message_id=producer.id, reason="enough")
    assert reply["type"] == "ack"
    with pytest.raises(AnswerEnded) as ended:
        await producer.append(" more")
    assert ended.value.details == {"state": "cancelled", "reason": "enough"}
    end = (await client.rest())[-1]
    assert (end["state"], end["reason"], end["message"]["content"]) == (
        "cancelled",
        "enough",
        "too much",
    )
    assert [(event["by"], event["reason"]) for event in events] == [("u1", "enough")]
    assert (await client.call("cancel_answer", message_id=producer.id))["type"] == "ack"


@pytest.mark.gen_test
async def test_a_stranger_is_told_the_same_of_every_answer(live: Live) -> None:
    producer = await begun(live)
    stranger = await live.in_session("u2", "s2")
    for id_ in (producer.id, "msg_unknown"):
        assert await stranger.error("cancel_answer", message_id=id_) == "not_found"
    bound = await live.connect("u1", session_id="s2", sessions="*")
    assert await bound.error("cancel_answer", message_id=producer.id) == "not_found"
    assert (await producer.get())["state"] == "growing"


@pytest.mark.gen_test
async def test_text_is_limited(make_live: MakeLive) -> None:
    live = await make_live(answers=AnswerSettings(max_bytes=6))
    producer = Producer(live)
    with pytest.raises(AnswerTooLong):
        await producer.start(content="1234567")
    await producer.start(content="你")
    with pytest.raises(AnswerTooLong):
        await producer.append("你好")
    await producer.append("好")
    with pytest.raises(AnswerTooLong):
        await producer.finish(content="1234567")
    with pytest.raises(AnswerTooLong):
        await producer.start(content='"\n"\n')  # what is sent is twice as long
    assert (await producer.finish())["length"] == 2


@pytest.mark.gen_test
async def test_a_silent_producer_is_not_waited_for(live: Live, clock: Any) -> None:
    producer = await begun(live)
    clock.advance(59.9)
    await live.owned_answers.advance()
    await producer.append("")  # it goes on
    clock.advance(59.9)
    await live.owned_answers.advance()
    await live.owned_answers.advance()
    assert (await producer.get())["state"] == "growing"
    clock.advance(0.2)
    await live.owned_answers.advance()
    await until(lambda: not len(live.owned_answers))
    with pytest.raises(AnswerEnded) as ended:
        await producer.append("late")
    assert ended.value.details == {"state": "interrupted", "reason": "timeout"}


@pytest.mark.gen_test
async def test_a_new_holder_ends_what_was_begun_for_the_former_one(eager: MakeLive) -> None:
    live = await eager()
    client = await live.in_session("sales", role="manager", organization_id="o1")
    producer = Producer(live)
    assert (await producer.start())["term"] == 0
    await producer.append("I think")
    taken = await client.call("take", session_id="s1")
    assert taken["type"] == "taken", taken
    with pytest.raises(AnswerEnded) as ended:
        await producer.append(" so")
    assert ended.value.details == {"state": "interrupted", "reason": "taken"}
    with pytest.raises(TermChanged) as changed:
        await producer.start(term=0)
    assert changed.value.details == {"term": 1}
    assert (await producer.start(term=1))["term"] == 1
    await producer.append("as you wish")
    assert (await producer.finish())["state"] == "completed"


@pytest.mark.gen_test
async def test_an_end_of_a_former_term_is_a_take_over(live: Live) -> None:
    """As where the notice of the new holder was lost on its way to this node."""
    producer = await begun(live)
    live.conversations._listeners.clear()
    wish = HolderWish(Holder("user", "sales"))
    await live.conversations.hold("s1", wish, "sales")
    with pytest.raises(AnswerEnded) as ended:
        await producer.finish()
    assert ended.value.details == {"state": "interrupted", "reason": "taken"}
    assert (await producer.get())["state"] == "interrupted"


@pytest.mark.gen_test
async def test_an_answer_that_begins_while_its_session_is_taken_takes_no_text(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = live.answers._store.read

    async def read_and_take(message_ids: list[str]) -> list[StoredAnswer]:
        stored = await read(message_ids)
        await live.conversations.hold("s1", HolderWish(Holder("user", "sales")), "sales")
        return stored

    producer = Producer(live)
    with monkeypatch.context() as patch:
        patch.setattr(live.answers._store, "read", read_and_take)
        assert (await producer.start())["term"] == 0
    with pytest.raises(AnswerEnded) as ended:
        await producer.append("It should fit")
    assert ended.value.details == {"state": "interrupted", "reason": "taken"}


@pytest.mark.gen_test
async def test_an_answer_of_a_former_term_ends_even_if_nothing_was_heard_of_the_new_one(
    live: Live,
) -> None:
    producer = await begun(live)
    live.conversations._listeners.clear()
    await live.conversations.hold("s1", HolderWish(Holder("user", "sales")), "sales")
    assert (await producer.append("It should"))["seq"] == 1
    await live.owned_answers.advance()
    with pytest.raises(AnswerEnded) as ended:
        await producer.append(" fit")
    assert ended.value.details == {"state": "interrupted", "reason": "taken"}


@pytest.mark.gen_test
async def test_a_reply_is_to_a_message_of_the_session(live: Live) -> None:
    client = await live.in_session("u1")
    question = (await client.call("send_message", session_id="s1", content="?"))["message_id"]
    producer = Producer(live)
    with pytest.raises(NotFound):
        await producer.start(reply_to="msg_unknown")
    with pytest.raises(NotFound):
        await producer.start("s2", reply_to=question)
    await producer.start(reply_to=question)
    assert (await client.rest())[-1]["message"]["reply_to"] == question


@pytest.mark.gen_test
async def test_a_deleted_answer_ends(eager: MakeLive) -> None:
    live = await eager()
    client = await live.in_session("u1", role="admin")
    producer = await begun(live)
    await producer.append("rubbish")
    await client.call("delete_message", message_id=producer.id)
    with pytest.raises(AnswerEnded) as ended:
        await producer.append(" more")
    assert ended.value.details == {"state": "cancelled", "reason": "deleted"}
    joined = await (await live.connect("u2", sessions=["s1"])).call("join_session", session_id="s1")
    assert joined["messages"] == []
    seen = await producer.get()
    assert (seen["content"], seen["state"]) == ("", "cancelled")


@pytest.mark.gen_test
async def test_an_answer_goes_on_after_a_restart(make_live: MakeLive, clock: Any) -> None:
    live = await make_live(answers=EAGER)
    page, client = Page(), await live.in_session("u1")
    producer = await begun(live, content="so ")
    await producer.append("far ")
    await live.owned_answers.write_behind()
    await producer.append("unwritten")
    await page.catch_up(client)
    assert page.texts[producer.id] == "so far unwritten"
    live.owned_answers._answers.clear()  # as a process that is killed
    await live.stop()

    clock.advance(1.0)
    live = await make_live(answers=EAGER)
    producer.live = live
    client = await live.connect("u1", sessions=["s1"])
    joined = await client.call("join_session", session_id="s1")
    page.join(joined)
    assert page.texts[producer.id] == "so far "
    with pytest.raises(OutOfOrder) as refused:
        await producer.append("next", 3)
    assert refused.value.details == {"expected": 2}
    await producer.append("new ", 2)
    await producer.append("text")
    await producer.finish()
    await page.catch_up(client)
    assert page.texts[producer.id] == "so far new text"
    view = await producer.get()
    assert view["content"] == "so far new text"
    first, second = view["watchers"]  # before and after the restart
    assert first["until"] == second["from"]
    assert "until" not in second


@pytest.mark.gen_test
async def test_an_end_says_which_text_it_is_about(make_live: MakeLive) -> None:
    live = await make_live()
    producer = await begun(live)
    await producer.append("It should ")
    await live.owned_answers.write_behind()
    await producer.append("not fit")
    live.owned_answers._answers.clear()  # as a process that is killed
    await live.stop()
    producer.live = await make_live()
    for seq in (2, 0):
        with pytest.raises(OutOfOrder) as refused:
            await producer.finish(seq=seq)
        assert refused.value.details == {"expected": 2}
    await producer.append("not fit", 2)
    ended = await producer.finish(seq=2)
    assert ended["length"] == len("It should not fit")
    assert await producer.finish(seq=2) == ended
    other = await begun(producer.live)
    assert (await other.finish(content="whole", seq=9))["length"] == 5


@pytest.mark.gen_test
async def test_the_latest_append_is_known_after_a_restart(make_live: MakeLive) -> None:
    live = await make_live()
    producer = await begun(live)
    await producer.append("one")
    await live.stop()
    producer.live = await make_live()
    assert await producer.append("one", 1) == {"seq": 1, "length": 3}
    with pytest.raises(OutOfOrder):
        await producer.append("two", 1)


@pytest.mark.gen_test
async def test_while_storage_is_away_appends_go_on_and_the_end_is_refused(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await begun(live)
    await producer.append("kept ")
    with away(live, monkeypatch):
        with pytest.raises(StorageUnavailable):
            await live.owned_answers.advance()
        await producer.append("in memory")
        with pytest.raises(StorageUnavailable):
            await producer.finish()
    await live.owned_answers.advance()
    assert (await producer.finish())["length"] == 14
    assert (await producer.get())["content"] == "kept in memory"


@pytest.mark.gen_test
async def test_what_could_not_be_written_is_written_by_the_next_tick(
    make_live: MakeLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await make_live()
    producer = await begun(live)
    await producer.append("kept")
    with away(live, monkeypatch), pytest.raises(StorageUnavailable):
        await live.owned_answers.advance()
    await live.owned_answers.advance()
    live.owned_answers._answers.clear()  # as a process that is killed
    await live.stop()
    producer.live = await make_live()
    assert (await producer.get())["content"] == "kept"


@pytest.mark.gen_test
async def test_a_user_watches_until_the_last_device_leaves(live: Live) -> None:
    devices = [await live.in_session("u1") for _ in range(2)]
    producer = await begun(live)
    for device, has_left in zip(devices, (False, True), strict=True):
        await device.call("leave_session", session_id="s1")
        (watcher,) = (await producer.get())["watchers"]
        assert ("until" in watcher) == has_left


@pytest.mark.gen_test
async def test_how_an_answer_came_about(live: Live, clock: Any) -> None:
    await live.in_session("early")
    producer = await begun(live)
    clock.advance(1.5)
    await producer.append("a" * 50)
    leaver = await live.in_session("late")
    clock.advance(2.5)
    await producer.append("b" * 50)
    await leaver.call("leave_session", session_id="s1")
    clock.advance(3)
    growing = await producer.get()
    assert growing["stalls"][-1]["ms"] == 3000
    assert growing["rate"] == 40.0
    await producer.finish(state="failed", reason="the model broke", usage={"tokens": 5})
    view = await producer.get()
    start = view["started_at"]
    assert view == {
        "message_id": producer.id,
        "session_id": "s1",
        "state": "failed",
        "reason": "the model broke",
        "seq": 2,
        "term": 0,
        "length": 100,
        "content": "a" * 50 + "b" * 50,
        "started_at": start,
        "first_text_at": view["first_text_at"],
        "ended_at": view["ended_at"],
        "ended_by": "backend",
        "usage": view["usage"],
        "stalls": [{"at": view["first_text_at"], "ms": 2500}],
        "rate": 40.0,
        "watchers": [
            {"user_id": "early", "from": start},
            {
                "user_id": "late",
                "from": view["first_text_at"],
                "until": view["watchers"][1]["until"],
            },
        ],
    }
    assert (view["first_text_at"], view["ended_at"]) == (
        "2023-11-14T22:13:21.500Z",
        "2023-11-14T22:13:27.000Z",
    )


@pytest.mark.gen_test
async def test_managers_see_the_answers_of_their_organization(live: Live) -> None:
    await live.in_session("u1", "s1", organization_id="o1")
    await live.in_session("u2", "s2", organization_id="o2")
    mine = live.actor("manager", "m1", organization_id="o1")
    theirs = await begun(live)
    theirs.id, own = theirs.id, theirs
    other = Producer(live)
    await other.start("s2")
    own.actor = other.actor = mine
    await own.append("fine")
    for call in (other.get, other.cancel, other.finish):
        with pytest.raises(NotFound, match=other.id):
            await call()
    with pytest.raises(NotFound, match=other.id):
        await other.append("no")
    with pytest.raises(NotFound, match="session s2"):
        await Producer(live, mine).start("s2")
    with pytest.raises(Forbidden):
        await Producer(live, mine).start("s1", sender=Sender("u2"))
    assert (await own.finish())["state"] == "completed"


@pytest.mark.gen_test
async def test_an_answer_for_one_organization_is_not_pushed_to_others(eager: MakeLive) -> None:
    live = await eager()
    customer = await live.in_session("customer")
    colleague = await live.in_session("colleague", organization_id="o1")
    guest = await live.in_session("guest", organization_id="o2")
    producer = Producer(live, live.actor("manager", "m1", organization_id="o1"))
    await live.tenancy.owners_of(["s1"])
    await producer.start()
    await producer.append("for us")
    for client in (customer, colleague):
        assert types(await client.rest())[-2:] == ["new_message", "answer_appended"]
    assert "new_message" not in types(await guest.rest())
    late = await live.connect("late", sessions=["s1"], organization_id="o2")
    assert (await late.call("join_session", session_id="s1"))["messages"] == []
    assert [w["user_id"] for w in (await producer.get())["watchers"]] == [
        "colleague",
        "customer",
    ]


@pytest.mark.gen_test
async def test_no_word_is_audited(live: Live) -> None:
    service, admin = Producer(live), Producer(live, live.actor("admin", "boss"))
    for producer in (service, admin):
        await producer.start()
        await producer.append("word")
        await producer.finish()
    await admin.start()
    await admin.cancel()
    audited = await live.audited()
    assert [(entry.actor, entry.action) for entry in reversed(audited)] == [
        ("boss", "answer"),
        ("boss", "answer"),
        ("boss", "answer_cancel"),
    ]


@pytest.mark.gen_test
async def test_the_same_request_begins_one_answer(live: Live) -> None:
    actor = live.actor("service", "backend")
    once = Actor(actor.claims, once=("backend POST", "key-1"))
    first, second = Producer(live, once), Producer(live, once)
    started = await first.start(content="so ")
    await first.append("far")
    assert await second.start(content="so ") == started
    assert (await second.get())["content"] == "so far"


@pytest.mark.gen_test
async def test_answers_are_counted(live: Live) -> None:
    producer = await begun(live)
    await producer.append("x")
    await begun(live)
    await producer.finish()
    stats = live.manager.stats()["answers"]
    assert stats == {
        "growing": 1,
        "begun": 2,
        "appends": 1,
        "completed": 1,
        "failed": 0,
        "cancelled": 0,
        "interrupted": 0,
    }


@pytest.mark.gen_test
async def test_an_answer_that_another_node_has_deleted_is_dropped(live: Live) -> None:
    producers = [await begun(live, content="secret") for _ in range(2)]
    await live.database.run(lambda db: end_deleted(db, [producers[0].id]))  # its notice got lost
    await live.owned_answers.adopt()
    assert len(live.owned_answers) == 1
    with pytest.raises(AnswerEnded):
        await producers[0].append("more")
    await producers[1].append("more")
