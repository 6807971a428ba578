from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.inbox_messages import pass_time, send_to_session, send_to_user, statuses
from tests.support.live_server import Live
from tests.support.waiting import until
from wsserver.cluster.broker import Push, Signal
from wsserver.cluster.memory import MemoryBroker
from wsserver.protocol.targets import user
from wsserver.realtime.inbox import message_status
from wsserver.realtime.inbox.message_status import MessageStatuses, StatusUpdate
from wsserver.realtime.messages.message import Message


class Elsewhere(MemoryBroker):
    """A broker that tells later whether a signal has reached a node."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.questions: list[Callable[[bool], None]] = []
        self.fault: Exception | None = None

    def signal(self, signal: Signal, reached: Callable[[bool], None] | None = None) -> None:
        assert isinstance(signal, Push)
        if self.fault is not None:
            raise self.fault
        self.ids.append(signal.message_id)
        if reached is not None:
            self.questions.append(reached)

    def answer(self, is_reached: bool) -> None:
        self.questions.pop(0)(is_reached)


class Anywhere:
    """Stand-in for directory and monitors: any user may be connected, nobody monitors."""

    has_any = False

    def notify_status(self, members: dict[str, Any], progress: int) -> None:
        """Do nothing."""

    def may_be_online(self, user_id: str, besides: str = "") -> bool:
        return True


class Pushing:
    """Statuses of messages of one sender, in a cluster."""

    def __init__(self, live: Live) -> None:
        self.broker = Elsewhere()
        elsewhere: Any = Anywhere()
        self.statuses = MessageStatuses(self.broker, elsewhere, elsewhere, live.clock)

    def deliver(self, *ids: str) -> None:
        for id_ in ids:

            def push(id_: str = id_) -> None:
                update = StatusUpdate(id_, None, "delivered", "u1")
                if id_ != "nobody":
                    self.statuses.push(update, "boss", is_asking=True)

            if not self.statuses.defers("boss", push):
                push()


@pytest.mark.gen_test
async def test_while_a_sender_is_connected_nowhere_statuses_are_not_made(live: Live) -> None:
    pushing = Pushing(live)
    pushing.deliver("a", "b", "c")
    assert pushing.broker.ids == ["a"]
    pushing.broker.answer(False)
    assert pushing.broker.ids == ["a", "b"], "it came after the question: it asks anew"
    pushing.deliver("d", "e")
    pushing.broker.answer(False)
    assert pushing.broker.ids == ["a", "b", "d"], "c came before the question"
    pushing.broker.answer(False)
    assert (pushing.broker.ids[3:], pushing.broker.questions) == ([], [])
    pushing.deliver("f")
    assert (pushing.broker.ids[3:], len(pushing.broker.questions)) == (["f"], 1)


@pytest.mark.gen_test
async def test_a_connected_sender_gets_each_status_in_order(live: Live) -> None:
    pushing = Pushing(live)
    pushing.deliver("a", "b")
    pushing.broker.answer(False)
    pushing.deliver("c", "d")
    pushing.broker.answer(True)
    assert pushing.broker.ids == ["a", "b", "c", "d"]
    pushing.deliver("e")
    pushing.broker.answer(True)
    assert pushing.broker.ids == ["a", "b", "c", "d", "e"]
    pushing.broker.answer(True)
    assert not pushing.broker.questions


@pytest.mark.gen_test
async def test_a_message_without_statuses_holds_up_no_other(live: Live) -> None:
    pushing = Pushing(live)
    pushing.deliver("a", "nobody", "b")
    pushing.broker.answer(False)
    assert pushing.broker.ids == ["a", "b"]


@pytest.mark.gen_test
async def test_a_question_that_could_not_be_asked_holds_up_nothing(live: Live) -> None:
    pushing = Pushing(live)
    pushing.broker.fault = RuntimeError("a fault of the broker")
    with pytest.raises(RuntimeError):
        pushing.deliver("a")
    pushing.broker.fault = None
    pushing.deliver("b", "c")
    assert (pushing.broker.ids, len(pushing.broker.questions)) == (["b"], 1)


@pytest.mark.gen_test
async def test_statuses_that_wait_are_bounded(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_status, "WAITING_LIMIT", 2)
    pushing = Pushing(live)
    pushing.deliver("a", "b", "c", "d")
    assert pushing.broker.ids == ["a", "d"]


@pytest.mark.gen_test
async def test_who_is_gone_when_the_sender_is_found_has_got_the_message(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, plain = await live.connect("boss"), await live.in_session("u2", protocol="plain")
    questions: list[Callable[[bool], None]] = []
    signal = live.broker.signal

    def answer_later(each: Signal, reached: Callable[[bool], None] | None = None) -> None:
        signal(each)
        if reached is not None:
            questions.append(reached)

    monkeypatch.setattr(live.broker, "signal", answer_later)
    sent = [await send_to_session(live, "a"), await send_to_session(live, "b")]
    plain.socket.close()
    await until(lambda: not plain.info.websocket.is_open)
    questions.pop(0)(True)
    expected = [(each.message_id, "u2", "delivered") for each in sent]
    assert statuses(await boss.rest()) == expected


@pytest.mark.gen_test
async def test_the_sender_and_the_monitors_are_notified_of_the_status(live: Live) -> None:
    boss, watcher = await live.connect("boss"), await live.monitor("boss")
    waiting = await send_to_user(live, "a")
    first = await live.connect("u1")
    second = await live.connect("u1")
    live_one = await send_to_user(live, "b")
    plain = await live.connect("u2", protocol="plain")
    plain_one = await send_to_user(live, "c", "u2")
    await live.receipts.settle()
    expected = [
        (waiting.message_id, "u1", "queued"),
        (waiting.message_id, "u1", "sent"),
        (live_one.message_id, "u1", "sent"),
        (plain_one.message_id, "u2", "delivered"),
    ]
    assert statuses(await boss.rest()) == expected
    assert statuses(await watcher.rest()) == expected
    assert statuses([*await first.rest(), *await second.rest(), *await plain.rest()]) == []


@pytest.mark.gen_test
async def test_a_status_names_the_session_of_a_message(live: Live) -> None:
    boss = await live.connect("boss")
    message = Message(
        "new_message",
        {"session_id": "s9", "message": {}},
        user("u1"),
        keep=True,
        sender="boss",
    )
    await live.router.send(message)
    assert (await boss.receive("message_status_update"))["session_id"] == "s9"
    client = await live.connect("u1")
    assert (await boss.receive("message_status_update"))["session_id"] == "s9"
    pushed = await client.receive("new_message")
    await client.call("ack", ids=[pushed["id"]])
    update = await boss.receive("message_status_update")
    assert (update["status"], update["session_id"]) == ("delivered", "s9")
    assert "reason" not in update


@pytest.mark.gen_test
async def test_the_trace_learns_of_what_was_sent_again(live: Live) -> None:
    noted: list[tuple[str, ...]] = []
    live.statuses.add_listener(lambda *note: noted.append(note))
    waiting = await send_to_user(live, "a")
    client = await live.connect("u1")
    live_one = await send_to_user(live, "b")
    assert noted == [(waiting.message_id, "u1", client.id, "sent")]
    await pass_time(live, 10)
    assert noted[1:] == [
        (waiting.message_id, "u1", client.id, "sent"),
        (live_one.message_id, "u1", client.id, "sent"),
    ]
