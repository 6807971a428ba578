"""Nodes for the contract suite of the seams between processes, by implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from wsserver.cluster.broker import Broker, Node, Publication, PublishResult, Signal
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory, ConnectionRecord
from wsserver.cluster.leases import Leases
from wsserver.cluster.local import LocalControl, LocalDirectory, LocalLeases
from wsserver.cluster.memory import MemoryBroker
from wsserver.realtime.connections.hub import Hub, HubRecords
from wsserver.protocol.targets import Target


class Receiver:
    """The receiving side of a node: notes what arrives, and returns a fixed result."""

    def __init__(self, result: PublishResult = PublishResult()) -> None:
        self.result = result
        self.publications: list[Publication] = []
        self.signals: list[Signal] = []

    @property
    def ids(self) -> list[str]:
        return [each.message_id for each in self.publications]

    def deliver(self, publication: Publication) -> PublishResult:
        self.publications.append(publication)
        return self.result

    def signal(self, signal: Signal) -> None:
        self.signals.append(signal)


@dataclass
class ClusterNode:
    """The seams of one node."""

    name: str
    broker: Broker
    control: Control
    directory: ConnectionDirectory
    leases: Leases
    connected: Any
    receiver: Receiver = field(default_factory=Receiver)


class Cluster(Protocol):
    """An implementation of all seams."""

    is_shared: bool
    """Whether there may be several nodes."""

    def nodes(self, count: int) -> AbstractAsyncContextManager[list[ClusterNode]]:
        """Start nodes; without ``is_shared`` it is one."""
        ...
