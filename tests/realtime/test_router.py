from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.fake_connections import fake_connection
from tests.support.live_server import Live
from wsserver.cluster.broker import NO_RECIPIENTS, Publication, PublishResult
from wsserver.cluster.memory import MemoryBroker
from wsserver.errors import Forbidden
from wsserver.promise import Promise
from wsserver.protocol.pushes import addressed_push
from wsserver.protocol.targets import EVERYONE, Target, TargetType, session, user
from wsserver.realtime.access.tenancy import Scope
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import ConnectionWriter, LocalDelivery
from wsserver.realtime.delivery.published import PublishedMessages
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.messages.message import Message
from wsserver.realtime.observability.events import MESSAGE_PUBLISHED, EventBus
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.observability.top_talkers import TopTalkers
from wsserver.realtime.streams.append_queue import Outcomes
from wsserver.realtime.streams.drafts import Draft
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.tracing.dry_run import explain
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.streams import TransactionHook


class FakePoller:
    """Sends to all but those whose socket is broken."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], bytes]] = []

    unreported_ends = 0

    def cork(self) -> None:
        """Called before several are written."""

    def is_encoded(self, size: int) -> bool:
        return False

    def send_many(self, transports: list[Any], frame: bytes) -> int:
        self.calls.append((transports, frame))
        return sum(transport.send(frame) for transport in transports)


class NoticedDeliveries:
    """Notes what it hears of kept messages, of all senders but ``nobody``."""

    def __init__(self) -> None:
        self.noticed: list[tuple[str, list[str]]] = []

    def observes(self, sender: str | None) -> bool:
        return sender != "nobody"

    def delivered(self, publication: Publication, connections: Any = ()) -> None:
        self.noticed.append((publication.message_id, [each.user_id for each in connections]))


class NoAnswers:
    def delivered(self, publication: Publication) -> None:
        if publication.message_id == "broken":
            raise ZeroDivisionError("a fault")


class NoMembers:
    def of_session(self, session_id: str) -> list[str]:
        return []


class Bench:
    def __init__(self, clock: Any) -> None:
        self.hub = Hub()
        poller: Any = FakePoller
        self.poller = poller()
        self.statistics = Statistics(clock, "n")
        self.traces = TraceBuffer(self.hub.connection_log, clock)
        unused: Any = None
        self.writer = ConnectionWriter(self.poller, self.statistics, clock)
        self.kept = NoticedDeliveries()
        notices: Any = self.kept
        answers: Any = NoAnswers()
        self.delivery = LocalDelivery(self.hub, self.writer, notices, answers, self.traces, unused)
        broker = MemoryBroker()
        broker.subscribe(self.delivery)
        events = EventBus(unused, clock, unused)
        published = PublishedMessages(events, TopTalkers(clock))
        self.router = Router(broker, unused, published, clock, Retention(60.0, 60.0))
        self.names: dict[str, str] = {}
        for name, user_id, organization_id, role, sessions in (
            ("a1", "a", "o1", "user", ["s1"]),
            ("a2", "a", "o1", "user", []),
            ("b1", "b", "o1", "manager", ["s1", "s2", "s3"]),
            ("c1", "c", "o2", "user", ["s2", "s3"]),
            ("d1", "d", None, "admin", ["s3"]),
        ):
            connection = fake_connection(user_id, organization_id=organization_id, role=role)
            self.hub.add(connection)
            self.names[connection.connection_id] = name
            for session_id in sessions:
                self.hub.join(connection, session_id)

    def connection(self, name: str) -> Any:
        (id_,) = (id_ for id_, each in self.names.items() if each == name)
        return self.hub.connections[id_]

    def selected(self, target: Target, **filters: Any) -> list[str]:
        publication = Publication("msg_1", "x", target, b"{}", **filters)
        return [self.names[c.connection_id] for c in self.delivery.select(publication)]

    def explain(self, message: Message) -> dict[str, Any]:
        nobody: Any = NoMembers()
        return explain(message, self.hub, nobody, Scope(nobody, self.hub, None))


@pytest.fixture
def bench(clock: Any) -> Bench:
    return Bench(clock)


@pytest.mark.parametrize(
    ("target", "filters", "names"),
    [
        (EVERYONE, {}, "a1 a2 b1 c1 d1"),
        (EVERYONE, {"organization_id": "o1"}, "a1 a2 b1"),
        (EVERYONE, {"role": "user"}, "a1 a2 c1"),
        (EVERYONE, {"organization_id": "o1", "role": "user"}, "a1 a2"),
        (EVERYONE, {"exclude_users": frozenset({"a", "d", "nobody"})}, "b1 c1"),
        (EVERYONE, {"organization_id": "o9"}, ""),
        (user("a"), {}, "a1 a2"),
        (user("a"), {"organization_id": "o2"}, ""),
        (user("a"), {"exclude_users": frozenset({"a"})}, ""),
        (user("nobody"), {}, ""),
        (session("s1"), {}, "a1 b1"),
        (session("s2"), {"organization_id": "o2"}, "c1"),
        (session("s3"), {"organization_id": "o2"}, "c1"),
        (session("s3"), {"organization_id": "o2", "with_unaffiliated": True}, "c1 d1"),
        (session("s1"), {"exclude_users": frozenset({"a"})}, "b1"),
        (session("s9"), {}, ""),
        (Target(TargetType.ORGANIZATION, "o1"), {}, "a1 a2 b1"),
        (Target(TargetType.ORGANIZATION, "o1"), {"role": "manager"}, "b1"),
        (Target(TargetType.ORGANIZATION, "o9"), {}, ""),
        (Target(TargetType.ROLE, "user"), {}, "a1 a2 c1"),
        (Target(TargetType.ROLE, "user"), {"organization_id": "o2"}, "c1"),
        (Target(TargetType.ROLE, "service"), {}, ""),
    ],
)
@pytest.mark.gen_test
async def test_a_target_and_its_filters_choose_the_connections(
    bench: Bench, target: Target, filters: dict[str, Any], names: str
) -> None:
    assert bench.selected(target, **filters) == names.split()
    message = Message("x", {}, target, **filters)
    explained = bench.explain(message)
    assert [bench.names[r["connection_id"]] for r in explained["recipients"]] == names.split()
    assert explained["matched"] == len(names.split())
    assert (await bench.router.send(message)).receipt.matched == len(names.split())


def kept(message_id: str, session_id: str, offset: int, **fields: Any) -> Publication:
    stream = f"session:{session_id}"
    return Publication(
        message_id, "x", session(session_id), b"{}", stream=stream, offset=offset, **fields
    )


def test_several_kept_messages_reach_whom_each_would_reach_alone(bench: Bench) -> None:
    several = [
        kept("msg_1", "s1", 1, sender="z"),
        kept("msg_2", "s3", 1, organization_id="o2"),
        kept("msg_3", "s1", 2, sender="nobody"),
        kept("msg_4", "s1", 3, exclude_users=frozenset({"a"})),
        kept("msg_5", "s9", 1),
    ]
    matched = [each.matched for each in bench.delivery.deliver_all(several)]  # type: ignore[union-attr]
    assert matched == [2, 1, 2, 1, 0]
    assert bench.kept.noticed == [
        ("msg_1", ["a", "b"]),
        ("msg_2", ["c"]),
        ("msg_4", ["b"]),
        ("msg_5", []),
    ]
    assert len(bench.traces) == 5


def test_several_end_at_a_time_and_one_that_fails_ends_nothing(bench: Bench) -> None:
    several = [kept("broken", "s1", 1), kept("msg_2", "s1", 2)]
    begun = bench.delivery.deliver_all(several)
    assert begun == [NO_RECIPIENTS, PublishResult(2, 2, 0)]
    assert len(bench.delivery.deliver_all(several, until=0.0)) == 1


def test_one_connection_can_be_a_target(bench: Bench) -> None:
    target = Target(TargetType.CONNECTION, bench.connection("b1").connection_id)
    assert bench.selected(target) == ["b1"]
    assert bench.selected(target, role="user") == []
    assert bench.selected(Target(TargetType.CONNECTION, "conn_none")) == []


@pytest.mark.gen_test
async def test_a_message_is_encoded_once_and_its_counts_add_up(
    bench: Bench, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodings: list[str] = []

    def counted(type_: str, *args: Any) -> bytes:
        encodings.append(type_)
        return addressed_push(type_, *args)

    monkeypatch.setattr("wsserver.realtime.delivery.router.addressed_push", counted)
    bench.connection("b1").websocket.is_open = False
    sent = await bench.router.send(Message("x", {"data": 1}))
    assert sent.receipt == PublishResult(matched=5, sent=4, failed=1)
    assert sent.answer() == {"message_id": sent.message_id, "matched": 5, "sent": 4, "failed": 1}
    assert len(encodings) == 1
    assert len({id(bench.connection(name).websocket.sent[0]) for name in bench.names.values()}) == 1
    stats = bench.statistics
    assert (stats.messages_sent, stats.failed_sends, stats.errors) == (4, 1, 1)
    frame = bench.connection("a1").websocket.sent[0]
    assert json.loads(frame[2:]) == {
        "type": "x",
        "id": sent.message_id,
        "data": 1,
        "timestamp": "2023-11-14T22:13:20.000Z",
    }


@pytest.mark.gen_test
async def test_an_id_given_is_the_messages_own(bench: Bench) -> None:
    sent = await bench.router.send(Message("x", {}, message_id="msg_mine"))
    assert sent.message_id == "msg_mine"
    assert json.loads(bench.connection("a1").websocket.sent[0][2:])["id"] == "msg_mine"


def test_a_signal_carries_no_id_and_is_not_awaited(bench: Bench) -> None:
    bench.router.post(Message("typing", {}, user("a"), is_addressed=False))
    assert "id" not in json.loads(bench.connection("a1").websocket.sent[0][2:])
    assert bench.connection("b1").websocket.sent == []


@pytest.mark.gen_test
async def test_a_message_without_recipients_is_not_encoded(bench: Bench) -> None:
    sent = await bench.router.send(Message("x", {}, user("nobody")))
    assert sent.receipt == PublishResult()
    assert bench.poller.calls == []


def test_a_connection_on_its_way_out_is_pushed_nothing(bench: Bench) -> None:
    connection = bench.connection("a1")
    bench.writer.push(connection, "x")
    connection.is_alive = False
    bench.writer.push(connection, "x")
    assert len(connection.websocket.sent) == 1


@pytest.mark.gen_test
async def test_offline_and_dying_connections_are_left_out_on_real_sockets(live: Live) -> None:
    stays, goes, dies = [await live.connect(u) for u in ("stays", "goes", "dies")]
    goes.send_frame(8, b"\x03\xe8")
    await goes.closing()
    live.manager.close(dies.info, 4502, "")
    sent = await live.manager.broadcast("x")
    assert sent.receipt == PublishResult(1, 1, 0)
    assert (await stays.receive("x"))["id"] == sent.message_id


@pytest.mark.gen_test
async def test_what_is_sent_arrives_in_the_order_of_sending(live: Live) -> None:
    client = await live.in_session("u1")
    for n in range(30):
        if n % 3 == 0:
            await live.manager.broadcast("x", data=n)
        elif n % 3 == 1:
            live.writer.push(client.info, "x", data=n)
        else:
            live.router.post(Message("x", {"data": n}, session("s1")))
    assert [p["data"] for p in await client.rest()] == list(range(30))


@pytest.mark.gen_test
async def test_a_message_that_its_transaction_refuses_is_not_sent(live: Live) -> None:
    def refuse(db: Connection) -> None:
        raise Forbidden("not now")

    client = await live.in_session("u1")
    message = Message("new_message", {"session_id": "s1"}, session("s1"), keep=True)
    with pytest.raises(Forbidden, match="not now"):
        await live.router.keep_checked(message, TransactionHook(refuse, lambda *_: None))
    hook = TransactionHook(lambda db: 7, lambda *_: None)
    (sent,) = await live.router.keep_checked(message, hook)
    assert (sent.offset, sent.checked) == (1, 7)
    assert [push["type"] for push in await client.rest()] == ["new_message"]


class Storing:
    """Streams that accept everything, and store nothing."""

    def append(self, drafts: Sequence[Draft]) -> Outcomes:
        return Promise()


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.gen_test
async def test_a_message_that_an_event_reports_is_counted(clock: Any, is_heard: bool) -> None:
    unused: Any = None
    streams: Any = Storing()
    events = EventBus(unused, clock, unused)
    if is_heard:
        events.add_event_handler(MESSAGE_PUBLISHED, lambda event: None)
    published = PublishedMessages(events, TopTalkers(clock))
    router = Router(MemoryBroker(), streams, published, clock, Retention(60.0, 60.0))
    message = Message("new_message", {}, session("s1"), keep=True, is_counted=False)
    router.keep([message])
    assert message.is_counted is is_heard
