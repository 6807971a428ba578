"""``own_streams`` and ``shared_streams``: streams with the delivery of what they publish."""

from __future__ import annotations

from typing import Any

from wsserver.clock import Clock
from wsserver.cluster.broker import Broker
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.delivery.local_delivery import LocalDelivery
from wsserver.realtime.streams.shared_streams import SharedStreams
from wsserver.realtime.streams.streams import Streams
from wsserver.storage.messages.streams import StreamStore
from wsserver.tasks import Tasks


def own_streams(
    store: StreamStore,
    broker: Broker,
    delivery: LocalDelivery,
    hub: Hub,
    clock: Clock,
    tasks: Tasks,
    **options: Any,
) -> Streams:
    """Streams that only this process writes to."""
    broker.subscribe(delivery)
    return Streams(store, broker.begin_all, clock, tasks, **options)


def shared_streams(
    store: StreamStore,
    broker: Broker,
    delivery: LocalDelivery,
    hub: Hub,
    clock: Clock,
    tasks: Tasks,
    **options: Any,
) -> Streams:
    """Streams that other nodes write to, too: what is received is put in order first."""
    streams = SharedStreams(store, broker, delivery, clock, tasks, **options)
    broker.subscribe(streams.follower)
    hub.report_to(streams.follower.follow, streams.follower.unfollow)
    return streams
