"""The contract of every broker, run against the one that there is."""

from __future__ import annotations

import msgspec
import pytest

from wsserver.cluster.broker import Broker, Publication, PublishResult
from wsserver.cluster.memory import MemoryBroker
from wsserver.protocol.targets import EVERYONE, session


class Node:
    """Takes publications and says that it delivered to so many."""

    def __init__(self, receipt: PublishResult) -> None:
        self.receipt = receipt
        self.got: list[str] = []

    def deliver(self, publication: Publication) -> PublishResult:
        self.got.append(publication.message_id)
        return self.receipt


def publication(id_: str) -> Publication:
    return Publication(id_, "x", EVERYONE, b"{}")


@pytest.fixture
def broker() -> Broker:
    return MemoryBroker()


@pytest.mark.gen_test
async def test_every_node_gets_every_publication_in_order_and_the_receipts_add_up(
    broker: Broker,
) -> None:
    nodes = [Node(PublishResult(3, 2, 1)), Node(PublishResult(10, 10, 0))]
    for node in nodes:
        broker.subscribe(node.deliver)
    await broker.start()
    assert await broker.publish(publication("m1")) == PublishResult(13, 12, 1)
    broker.post(publication("m2"))
    assert await broker.publish(publication("m3")) == PublishResult(13, 12, 1)
    assert [node.got for node in nodes] == [["m1", "m2", "m3"]] * 2
    assert broker.health()["ok"] is True
    await broker.stop()


@pytest.mark.gen_test
async def test_without_nodes_nobody_is_matched(broker: Broker) -> None:
    await broker.start()
    assert await broker.publish(publication("m1")) == PublishResult(0, 0, 0)
    broker.post(publication("m2"))
    await broker.stop()


@pytest.mark.gen_test
async def test_after_stopping_nothing_is_delivered(broker: Broker) -> None:
    node = Node(PublishResult(1, 1, 0))
    broker.subscribe(node.deliver)
    await broker.start()
    await broker.stop()
    await broker.publish(publication("m1"))
    broker.post(publication("m2"))
    assert node.got == []


def test_a_publication_can_cross_a_wire() -> None:
    sent = Publication(
        *("m1", "x", session("s1"), b"{}"),
        organization_id="o1",
        with_unaffiliated=True,
        role="user",
        exclude_users=frozenset({"u1"}),
    )
    wire = msgspec.msgpack.encode(sent)
    assert msgspec.msgpack.decode(wire, type=Publication) == sent
