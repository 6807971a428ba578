"""What waits to be sent: batches, their order, their limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wsserver.cluster.redis import outgoing
from wsserver.cluster.redis.outgoing import Datagram, OutgoingQueue


class Sending:
    """A queue whose datagrams are read as the other nodes read them."""

    def __init__(self) -> None:
        self.all_read_batches = True
        self.queue = OutgoingQueue("n1", lambda: self.all_read_batches)

    def add(
        self, channel: str, *bodies: int, kind: str = "publish", is_counted: bool = False
    ) -> None:
        for body in bodies:
            self.queue.add(channel, kind, msgspec.msgpack.encode(body), is_counted=is_counted)

    def taken(self) -> list[tuple[str, str, Any]]:
        found = []
        for channel, data, _ in self.queue.take():
            datagram = msgspec.msgpack.decode(data, type=Datagram)
            body = msgspec.msgpack.decode(datagram.body) if datagram.body else None
            found.append((channel, datagram.kind, body))
        return found


@pytest.fixture
def sending() -> Sending:
    return Sending()


def test_bodies_for_one_channel_are_one_datagram_in_their_order(sending: Sending) -> None:
    for number in range(3):
        sending.add("a", number)
        sending.add("b", 10 + number)
    assert sending.taken() == [
        ("a", "publications", [0, 1, 2]),
        ("b", "publications", [10, 11, 12]),
    ]
    sending.add("a", 3)
    assert sending.taken() == [("a", "publish", 3)]
    assert not sending.queue


def test_other_kinds_for_a_channel_end_a_batch(sending: Sending) -> None:
    sending.add("a", 1, 2)
    sending.add("a", 3, 4, kind="signal")
    sending.add("a", 5, is_counted=True)
    sending.add("a", 6)
    assert sending.taken() == [
        ("a", "publications", [1, 2]),
        ("a", "signals", [3, 4]),
        ("a", "publish", 5),
        ("a", "publish", 6),
    ]


def test_nothing_overtakes_a_datagram_of_its_own(sending: Sending) -> None:
    sending.add("a", 1)
    sending.queue.put("all", "notice", b"", 0)
    sending.add("a", 2)
    assert sending.taken() == [("a", "publish", 1), ("all", "notice", None), ("a", "publish", 2)]


def test_a_batch_has_a_largest_size(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "BATCH_LIMIT", 2)
    sending.add("a", 1, 2, 3)
    assert [body for _, _, body in sending.taken()] == [[1, 2], 3]
    monkeypatch.setattr(outgoing, "BATCH_LIMIT", 100)
    monkeypatch.setattr(outgoing, "BATCH_LIMIT_BYTES", 3)
    sending.add("a", 1, 2, 3, 4)
    assert [body for _, _, body in sending.taken()] == [[1, 2, 3], 4]


def test_nodes_that_do_not_read_batches_get_each_body_by_itself(sending: Sending) -> None:
    sending.all_read_batches = False
    sending.add("a", 1, 2)
    assert sending.taken() == [("a", "publish", 1), ("a", "publish", 2)]


def test_a_node_that_does_not_read_batches_comes_while_one_waits(sending: Sending) -> None:
    sending.add("a", 1)
    sending.all_read_batches = False
    sending.add("a", 2, kind="signal")
    sending.add("a", 3)
    assert sending.taken() == [("a", "publish", 1), ("a", "signal", 2), ("a", "publish", 3)]


def test_what_exceeds_the_limits_is_dropped(
    sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "WAITING_LIMIT", 3)
    sending.add("a", 1, 2, 3)
    assert sending.queue.add("a", "publish", b"\x04") is None
    sending.queue.put("a", "notice", b"", 0)
    assert sending.taken() == [("a", "publications", [1, 2, 3])]
    monkeypatch.setattr(outgoing, "WAITING_LIMIT_BYTES", 2)
    sending.add("a", 1, 2, 3)
    assert sending.taken() == [("a", "publications", [1, 2])]


def test_those_that_cannot_be_sent_are_counted_as_such(sending: Sending) -> None:
    counts: list[int | None] = []
    for body in (b"\x01", b"\x02"):
        batch = sending.queue.add("a", "publish", body, is_counted=True)
        assert batch is not None
        batch.counted = counts.append
    sending.queue.fail()
    assert (counts, sending.taken()) == ([None], [])
