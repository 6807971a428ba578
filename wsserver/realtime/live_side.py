"""``LiveSide``: the objects of the live side, and the settings that it is built from."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wsserver.cluster.nodes import Nodes
from wsserver.identity.claims import Claims
from wsserver.realtime.access.tenancy import KnownUsers, Tenancy
from wsserver.realtime.answers.owned_answers import AnswerSettings, OwnedAnswers
from wsserver.realtime.connections.connection_limit import ConnectionLimits
from wsserver.realtime.connections.heartbeat import HeartbeatSettings
from wsserver.realtime.connections.rate_limit import MessageRate
from wsserver.realtime.delivery.local_delivery import ConnectionWriter, LocalDelivery
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.inbox.inboxes import Expirer, Inboxes
from wsserver.realtime.inbox.message_status import MessageStatuses
from wsserver.realtime.inbox.plain_receipts import PlainReceipts
from wsserver.realtime.inbox.receipt_recorder import ReceiptRecorder
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.observability.cluster_statistics import ClusterStatistics
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.operations.access_changes import AccessChanges
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import AdminQueries
from wsserver.realtime.operations.answers import Answers
from wsserver.realtime.operations.chaos import Chaos
from wsserver.realtime.operations.command_channels import CommandChannels
from wsserver.realtime.operations.message_changes import MessageChanges
from wsserver.realtime.operations.publishing import Publishing
from wsserver.realtime.operations.recordings import Recordings
from wsserver.realtime.operations.search_indexer import SearchIndexer
from wsserver.realtime.operations.searching import Search
from wsserver.realtime.operations.session_actions import SessionActions
from wsserver.realtime.operations.user_records import UserRecords
from wsserver.realtime.sessions.conversations import Conversations
from wsserver.realtime.sessions.read_positions import ReadPositions
from wsserver.realtime.sessions.unread import UnreadPushes
from wsserver.realtime.sessions.visits import SessionVisits
from wsserver.realtime.streams.retention_policy import Retention
from wsserver.realtime.streams.revisions import Revisions
from wsserver.realtime.streams.streams import Streams
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.storage.messages.participant_store import ParticipantStore
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.search import SearchStore
from wsserver.storage.messages.streams import StreamStore


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """Settings of the live side; ``app.live_settings`` takes them from the configuration.

    Their defaults are those of ``Settings``.
    """

    node: str
    heartbeat: HeartbeatSettings
    limits: ConnectionLimits
    rate: MessageRate
    sessions_per_connection: int
    replay_budget_bytes: int
    """Bytes of kept messages that may be queued for one connection."""
    stream_limit: int
    """Messages kept in one stream."""
    retention: Retention
    answers: AnswerSettings
    ack_timeout_s: float
    ack_retries: int
    trace_retention_s: float
    reserved_pushes: frozenset[str]
    """Types that extensions send, and the API does not."""
    token_leeway_s: float
    edit_window_s: float
    default_holder: str | None
    """The AI that holds new sessions."""
    chaos: bool
    """Whether connections may be disturbed."""
    away_notify_s: float
    """Time after which absent members of a session are notified of a message; 0: never."""


class UserDirectory(KnownUsers, Protocol):
    """The users that have ever connected."""

    def note(self, claims: Claims) -> None:
        """A user has connected, or has a newer token."""


@dataclass(frozen=True, kw_only=True)
class LiveSide:
    """What ``build_live`` returns: the objects that the rest of the program uses."""

    nodes: Nodes
    statistics: Statistics
    cluster_statistics: ClusterStatistics
    events: EventBus
    traces: TraceBuffer
    tenancy: Tenancy
    store: StreamStore
    participants: ParticipantStore
    receipt_store: ReceiptStore
    streams: Streams
    revisions: Revisions
    router: Router
    writer: ConnectionWriter
    delivery: LocalDelivery
    statuses: MessageStatuses
    receipts: ReceiptRecorder
    inboxes: Inboxes
    plain_receipts: PlainReceipts | None
    expirer: Expirer
    dispatcher: Dispatcher
    manager: WebSocketManager
    admin_queries: AdminQueries
    admin_actions: AdminActions
    conversations: Conversations
    positions: ReadPositions
    visits: SessionVisits
    unread: UnreadPushes
    session_actions: SessionActions
    access_changes: AccessChanges
    publishing: Publishing
    message_changes: MessageChanges
    user_records: UserRecords
    answers: Answers
    owned_answers: OwnedAnswers
    search_store: SearchStore
    search: Search
    search_indexer: SearchIndexer
    tracing: Tracing
    command_channels: CommandChannels
    recordings: Recordings
    chaos: Chaos
    taking_part: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    """Work of a node that joins: taking part in what runs on the others."""
