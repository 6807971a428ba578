"""Wiring of the live side: ``build_live`` builds hub, streams, delivery, manager and commands.

The application and its tests call it. Each object gets its collaborators by its constructor; only
handlers, listeners and subscribers are registered afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from wsserver.clock import Clock
from wsserver.cluster.broker import Broker
from wsserver.cluster.control import Control
from wsserver.cluster.directory import ConnectionDirectory
from wsserver.cluster.nodes import Nodes
from wsserver.identity.permissions import Permissions
from wsserver.identity.revocations import Revocations
from wsserver.identity.tickets import Tickets
from wsserver.identity.tokens import TokenVerifier
from wsserver.realtime.access.memberships import AssignedOrganizations, Members
from wsserver.realtime.access.session_access import SessionAccess
from wsserver.realtime.access.tenancy import Tenancy
from wsserver.realtime.answers.answer_routing import AnswerRouting
from wsserver.realtime.answers.followed_answers import FollowedAnswers
from wsserver.realtime.answers.owned_answers import OwnedAnswers
from wsserver.realtime.answers.watchers import AnswerWatchers
from wsserver.realtime.commands.answer_commands import AnswerCommands
from wsserver.realtime.commands.chat_commands import ChatCommands
from wsserver.realtime.commands.conversation_commands import ConversationCommands
from wsserver.realtime.commands.message_check import MessageCheck
from wsserver.realtime.commands.message_commands import MessageCommands
from wsserver.realtime.commands.monitor_commands import MonitorCommands
from wsserver.realtime.commands.receipt_commands import ReceiptCommands
from wsserver.realtime.commands.stream_commands import StreamCommands
from wsserver.realtime.connect_state import ConnectStateLoader
from wsserver.realtime.connections.heartbeat import Heartbeat
from wsserver.realtime.connections.hub import Hub
from wsserver.realtime.connections.openings import Openings
from wsserver.realtime.delivery.local_delivery import ConnectionWriter, LocalDelivery
from wsserver.realtime.delivery.published import PublishedMessages
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.delivery.stream_wiring import own_streams, shared_streams
from wsserver.realtime.delivery.trace_buffer import TraceBuffer
from wsserver.realtime.dispatcher import Dispatcher
from wsserver.realtime.event_streams import EventStreams
from wsserver.realtime.inbox.inbox_replay import InboxReplay
from wsserver.realtime.inbox.inbox_tracking import InboxTracking
from wsserver.realtime.inbox.inboxes import Expirer, Inboxes
from wsserver.realtime.inbox.message_status import MessageStatuses
from wsserver.realtime.inbox.plain_receipts import PlainReceipts
from wsserver.realtime.inbox.receipt_recorder import NotificationReceipts, ReceiptRecorder
from wsserver.realtime.inbox.redelivery import Redelivery
from wsserver.realtime.inbox.unacked import UnackedIndex
from wsserver.realtime.live_side import LiveSettings, LiveSide, UserDirectory
from wsserver.realtime.manager import WebSocketManager
from wsserver.realtime.messages.audience import is_for
from wsserver.realtime.observability.cluster_statistics import ClusterStatistics
from wsserver.realtime.observability.events import EventBus
from wsserver.realtime.observability.monitors import MonitorInterest, Monitors
from wsserver.realtime.observability.statistics import Statistics
from wsserver.realtime.observability.top_talkers import TopTalkers
from wsserver.realtime.operations.access_changes import AccessChanges
from wsserver.realtime.operations.admin_actions import AdminActions
from wsserver.realtime.operations.admin_queries import AdminQueries
from wsserver.realtime.operations.answers import Answers
from wsserver.realtime.operations.chaos import Chaos, NodeChaos
from wsserver.realtime.operations.command_channels import CommandChannels
from wsserver.realtime.operations.drain_forecast import DrainForecasts
from wsserver.realtime.operations.message_changes import (
    MessageChanges,
    MessagesDeleted,
    NoteDeletion,
    RemoveContents,
)
from wsserver.realtime.operations.node_actions import NodeActions
from wsserver.realtime.operations.node_queries import NodeQueries
from wsserver.realtime.operations.publishing import Publishing
from wsserver.realtime.operations.recordings import NodeRecordings, Recordings
from wsserver.realtime.operations.search_indexer import SearchIndexer
from wsserver.realtime.operations.searching import Search
from wsserver.realtime.operations.session_actions import SessionActions
from wsserver.realtime.operations.user_records import UserErased, UserRecords
from wsserver.realtime.sessions.conversation_list import ConversationList
from wsserver.realtime.sessions.conversations import Conversations, HolderChanged
from wsserver.realtime.sessions.presence import Presence
from wsserver.realtime.sessions.read_positions import ReadPositions
from wsserver.realtime.sessions.sessions import Sessions
from wsserver.realtime.sessions.unread import UnreadPushes
from wsserver.realtime.sessions.visits import SessionVisits
from wsserver.realtime.streams.revisions import Revisions
from wsserver.realtime.streams.stream import TAIL_LIMIT_BYTES
from wsserver.realtime.tracing.dry_run import DryRuns
from wsserver.realtime.tracing.tracing import Tracing
from wsserver.storage.engine.database import Database
from wsserver.storage.maintenance.erasure import UserErasure
from wsserver.storage.maintenance.user_data import UserData
from wsserver.storage.maintenance.user_tables import UserTable
from wsserver.storage.messages.answers import AnswerStore, NoteEnd, end_deleted
from wsserver.storage.messages.conversations import ConversationStore
from wsserver.storage.messages.participant_store import ParticipantStore
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.search import SearchStore
from wsserver.storage.messages.session_past import PastSessions
from wsserver.storage.messages.streams import StreamStore
from wsserver.storage.messages.user_messages import UserMessages
from wsserver.storage.tables.access_lists import AccessChangeStore, RevocationStore
from wsserver.storage.tables.audit import AuditLog
from wsserver.tasks import Tasks
from wsserver.wire.poller import Poller


def build_live(
    settings: LiveSettings,
    *,
    clock: Clock,
    tasks: Tasks,
    database: Database,
    broker: Broker,
    control: Control,
    connections: ConnectionDirectory,
    poller: Poller,
    hub: Hub,
    directory: UserDirectory,
    organizations: AssignedOrganizations,
    members: Members,
    permissions: Permissions,
    revocations: Revocations,
    revocation_store: RevocationStore,
    tickets: Tickets,
    verifier: TokenVerifier,
    audit: AuditLog,
    notification_receipts: NotificationReceipts | None = None,
    removals: Sequence[RemoveContents] = (),
    user_tables: Sequence[UserTable] = (),
    deletion_notes: Sequence[NoteDeletion] = (),
    answer_notes: Sequence[NoteEnd] = (),
    message_check: MessageCheck | None = None,
) -> LiveSide:
    """Build the live side; nothing runs yet."""
    awaits_reading = settings.away_notify_s > 0
    store = StreamStore(database, settings.default_holder, awaits_reading=awaits_reading)
    receipt_store = ReceiptStore(database)
    conversation_store = ConversationStore(database, settings.default_holder)

    # Observation
    statistics = Statistics(clock, settings.node)
    events = EventBus(tasks, clock, statistics.handler_failed)
    heartbeat = Heartbeat(hub, settings.heartbeat, clock, statistics.round_trips.observe)
    stats = partial(_stats, statistics, hub, heartbeat)
    traces = TraceBuffer(hub.connection_log, clock, settings.trace_retention_s)

    # Access
    tenancy = Tenancy(
        hub,
        control,
        members,
        organizations,
        directory,
        store.writers,
        conversation_store.organizations,
    )
    access = SessionAccess(permissions, members.is_member, tenancy)
    nodes = Nodes(control, connections)
    cluster_statistics = ClusterStatistics(control, nodes, hub, stats, clock, tasks)
    top_talkers = TopTalkers(clock)
    monitors = Monitors(
        events,
        broker,
        control,
        cluster_statistics,
        top_talkers,
        clock,
        access.shows_contents,
    )
    control.add_listener(MonitorInterest, monitors.interested)
    control.add_gap_listener(monitors.interest_missed)

    # Writing to connections, and tracking what they have received
    writer = ConnectionWriter(poller, statistics, clock)
    statuses = MessageStatuses(broker, connections, monitors, clock)
    unacked = UnackedIndex(settings.ack_timeout_s, settings.ack_retries, settings.stream_limit)
    receipts = ReceiptRecorder(
        messages=store,
        store=receipt_store,
        broker=broker,
        unacked=unacked,
        statuses=statuses,
        notifications=notification_receipts,
        access=access,
        hub=hub,
        events=events,
        clock=clock,
        tasks=tasks,
    )
    tracking = InboxTracking(unacked, receipts, statuses, clock)
    plain_receipts = (
        PlainReceipts(receipt_store, members.is_member, clock) if awaits_reading else None
    )
    inboxes = Inboxes(
        store=receipt_store,
        unacked=unacked,
        tracking=tracking,
        replay=InboxReplay(
            receipt_store,
            unacked,
            tracking,
            writer.push_encoded,
            settings.replay_budget_bytes,
            clock,
            tasks,
        ),
        redelivery=Redelivery(
            store, receipt_store, hub, unacked, statuses, writer.push_encoded, clock
        ),
        receipts=receipts,
        statuses=statuses,
        clock=clock,
        plain_receipts=plain_receipts,
    )
    answer_store = AnswerStore(database, settings.node, answer_notes)
    followed = FollowedAnswers(hub, writer, control, answer_store, clock, tasks)
    watchers = AnswerWatchers(hub, followed, control, clock)
    broker.add_gap_listener(followed.refresh)
    delivery = LocalDelivery(hub, writer, inboxes, followed, traces, monitors)
    statuses.add_listener(traces.marked)

    # Sending: live through the broker, kept through the streams
    make_streams = shared_streams if database.is_shared else own_streams
    streams = make_streams(
        store,
        broker,
        delivery,
        hub,
        clock,
        tasks,
        growing=followed,
        on_unreached=inboxes.queued,
        cork=poller.cork,
        replay_limit=settings.stream_limit,
        retention=settings.retention,
        tail_limit_bytes=max(TAIL_LIMIT_BYTES, settings.replay_budget_bytes),
    )
    control.add_gap_listener(streams.changes_missed)
    published = PublishedMessages(events, top_talkers)
    router = Router(broker, streams, published, clock, settings.retention)
    revisions = Revisions(streams, control, clock, published.watch)
    owned_answers = OwnedAnswers(
        followed,
        answer_store,
        revisions,
        broker,
        control,
        events,
        clock,
        tasks,
        settings.answers,
    )
    statistics.add_source("answers", owned_answers.figures)

    participants = ParticipantStore(database, is_for)
    positions = ReadPositions(participants, broker, clock, tasks, is_alone=not database.is_shared)
    streams.add_stored_listener(positions.wrote)
    unread = UnreadPushes(participants, hub, delivery.signal, control, clock, tasks)
    streams.add_stored_listener(unread.stored)
    positions.add_listener(unread.moved)

    visits = SessionVisits(database, clock, is_alone=not database.is_shared)

    # Connections
    presence = Presence(
        hub,
        delivery.signal,
        control,
        connections,
        monitors,
        members,
        access,
        clock,
        tasks,
    )
    sessions = Sessions(
        hub,
        router,
        writer,
        events,
        access,
        members,
        streams,
        presence,
        connections,
        positions,
        followed,
        watchers,
        visits,
        None if plain_receipts is None else plain_receipts.joined,
        settings.replay_budget_bytes,
    )
    dispatcher = Dispatcher(settings.rate, statistics, clock, tasks)
    openings = Openings()
    manager = WebSocketManager(
        hub=hub,
        connections=connections,
        control=control,
        router=router,
        writer=writer,
        poller=poller,
        events=events,
        statistics=statistics,
        stats=stats,
        heartbeat=heartbeat,
        limits=settings.limits,
        monitors=monitors,
        presence=presence,
        sessions=sessions,
        inboxes=inboxes,
        event_streams=EventStreams(
            poller,
            access,
            control.node,
            replay_budget=settings.replay_budget_bytes,
            session_limit=settings.sessions_per_connection,
            silence_s=settings.heartbeat.timeout_s,
        ),
        openings=openings,
        connect_states=ConnectStateLoader(
            streams,
            inboxes,
            access,
            revocations.check,
            positions,
            settings.replay_budget_bytes,
        ),
        dispatcher=dispatcher,
        on_claims=directory.note,
        clock=clock,
        tasks=tasks,
        token_leeway_s=settings.token_leeway_s,
    )

    conversations = Conversations(
        conversation_store, broker, control, members, monitors, events, clock
    )
    conversations.add_holder_listener(partial(_end_answers, owned_answers))

    conversation_list = ConversationList(
        participants, conversation_store, streams, sessions, members, access, hub
    )

    # Operations, and the commands of clients and monitors
    NodeQueries(manager, tenancy, settings.node).register(control)
    DrainForecasts(hub, unacked, owned_answers).register(control)
    admin_queries = AdminQueries(
        nodes,
        cluster_statistics,
        manager,
        permissions,
        tenancy,
        streams,
        conversations,
        conversation_list,
        PastSessions(database),
        visits,
    )
    admin_actions = AdminActions(
        control,
        permissions,
        members,
        tenancy,
        revocations,
        revocation_store,
        tickets,
        audit,
        clock,
        nodes,
    )
    NodeActions(manager, tenancy).register(control)
    node_recordings = NodeRecordings(hub, poller, tenancy, openings, events, clock, settings.node)
    node_recordings.register(control)
    taking_part = [partial(node_recordings.take_part, control)]
    if settings.chaos:
        node_chaos = NodeChaos(hub, poller, tenancy, openings, clock)
        node_chaos.register(control)
        taking_part.append(partial(node_chaos.take_part, control))
    chaos = Chaos(settings.chaos, control, permissions, tenancy, audit, events, clock)
    recordings = Recordings(control, nodes, permissions, tenancy, audit, events, clock)
    session_actions = SessionActions(conversations, control, permissions, tenancy, audit, clock)
    access_changes = AccessChanges(
        AccessChangeStore(database),
        manager,
        tenancy,
        members,
        organizations,
        revocations,
        unread,
        control,
    )
    access_changes.register()
    dry_runs = DryRuns(control, nodes, hub, members, tenancy)
    publishing = Publishing(
        router,
        permissions,
        members,
        tenancy,
        audit,
        clock,
        dry_runs,
        conversations.require_term,
        settings.reserved_pushes,
    )
    message_changes = MessageChanges(
        store,
        revisions,
        permissions,
        tenancy,
        access,
        audit,
        control,
        clock,
        edit_window_s=settings.edit_window_s,
        removals=[end_deleted, *removals],
        notes=deletion_notes,
    )
    user_records = UserRecords(
        UserData(database, user_tables),
        UserErasure(database, user_tables),
        UserMessages(database),
        streams,
        revisions,
        receipts,
        traces,
        hub,
        permissions,
        tenancy,
        audit,
        control,
        clock,
        tasks,
        retention=settings.retention,
        removals=[end_deleted, *removals],
    )
    control.add_listener(UserErased, lambda notice: positions.forget_user(notice.user_id))
    control.add_listener(UserErased, lambda notice: unread.look_at_all_of(notice.user_id))
    control.add_listener(MessagesDeleted, partial(_forget_answers, owned_answers))
    answers = Answers(
        AnswerRouting(owned_answers, answer_store, control, tasks),
        owned_answers,
        followed,
        answer_store,
        router,
        permissions,
        tenancy,
        access,
        audit,
        clock,
    )
    search_store = SearchStore(database)
    search = Search(search_store, access, members, permissions, tenancy, clock)
    tracing = Tracing(
        traces,
        hub,
        members,
        access,
        permissions,
        tenancy,
        store,
        receipt_store,
        clock,
        control,
        nodes,
    )
    stream_commands = StreamCommands(
        sessions,
        streams,
        receipt_store,
        settings.replay_budget_bytes,
        settings.sessions_per_connection,
    )
    chat_commands = ChatCommands(
        manager, router, verifier, clock, settings.replay_budget_bytes, message_check
    )
    dispatcher.add_handlers(chat_commands.table())
    dispatcher.add_handlers(stream_commands.table())
    dispatcher.add_handlers(ReceiptCommands(receipts).table())
    dispatcher.add_handlers(
        MessageCommands(
            message_changes, search, settings.replay_budget_bytes, message_check
        ).table()
    )
    dispatcher.add_handlers(
        ConversationCommands(
            conversations,
            conversation_list,
            positions,
            access,
            permissions,
            tenancy,
            settings.replay_budget_bytes,
        ).table()
    )
    answer_commands = AnswerCommands(answers)
    dispatcher.add_handlers(answer_commands.table())
    dispatcher.add_monitor_handlers(answer_commands.monitor_table())
    dispatcher.add_monitor_handlers(
        MonitorCommands(monitors, admin_queries, publishing, admin_actions).table()
    )
    return LiveSide(
        nodes=nodes,
        statistics=statistics,
        cluster_statistics=cluster_statistics,
        events=events,
        traces=traces,
        tenancy=tenancy,
        store=store,
        participants=participants,
        receipt_store=receipt_store,
        streams=streams,
        revisions=revisions,
        router=router,
        writer=writer,
        delivery=delivery,
        statuses=statuses,
        receipts=receipts,
        inboxes=inboxes,
        plain_receipts=plain_receipts,
        expirer=Expirer(store, inboxes, clock, settings.stream_limit, settings.retention),
        dispatcher=dispatcher,
        manager=manager,
        admin_queries=admin_queries,
        admin_actions=admin_actions,
        conversations=conversations,
        positions=positions,
        visits=visits,
        unread=unread,
        session_actions=session_actions,
        access_changes=access_changes,
        publishing=publishing,
        message_changes=message_changes,
        user_records=user_records,
        answers=answers,
        owned_answers=owned_answers,
        search_store=search_store,
        search=search,
        search_indexer=SearchIndexer(search_store, clock),
        tracing=tracing,
        command_channels=CommandChannels(control, nodes, hub, dispatcher, poller),
        recordings=recordings,
        chaos=chaos,
        taking_part=taking_part,
    )


def _end_answers(owned: OwnedAnswers, notice: HolderChanged) -> None:
    """End the answers of a session that were begun for a former holder."""
    owned.end_former(notice.session_id, notice.term)


def _forget_answers(owned: OwnedAnswers, notice: MessagesDeleted) -> None:
    """Forget answers whose messages were deleted: they have ended in storage."""
    owned.deleted(notice.message_ids)


def _stats(
    statistics: Statistics, hub: Hub, heartbeat: Heartbeat, organization_id: str | None = None
) -> dict[str, Any]:
    """The current statistics, of an organization or of the whole server."""
    return statistics.snapshot(
        hub, heartbeat.settings.timeout_s, heartbeat.resumed_at, organization_id
    )
