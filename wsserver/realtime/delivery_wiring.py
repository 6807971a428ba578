"""What follows the writing of a kept message: inboxes, receipts, statuses, put together."""

from __future__ import annotations

from dataclasses import dataclass

from wsserver.clock import Clock
from wsserver.realtime.delivery.router import Router
from wsserver.realtime.inbox.expirer import Expirer
from wsserver.realtime.inbox.inbox_replay import InboxReplay
from wsserver.realtime.inbox.inbox_tracking import InboxTracking
from wsserver.realtime.inbox.inboxes import Inboxes
from wsserver.realtime.inbox.message_status import MessageStatuses
from wsserver.realtime.inbox.receipts import Receipts
from wsserver.realtime.inbox.redelivery import Redelivery
from wsserver.realtime.inbox.unacked import Ledger
from wsserver.realtime.manager import WebSocketManager
from wsserver.storage.messages.receipts import ReceiptStore
from wsserver.storage.messages.streams import StreamStore
from wsserver.tasks import Tasks


@dataclass(frozen=True)
class DeliverySettings:
    """How long and how often clients are given a message, and how much waits."""

    ack_timeout_s: float = 10.0
    ack_retries: int = 3
    stream_limit: int = 1000
    budget_bytes: int = 1024 * 1024 // 8 * 7
    """Of an inbox, so much at most waits for one connection."""


class Deliveries:
    """Builds the parts that know each other; ``app.build()`` hands them to the others."""

    def __init__(
        self,
        manager: WebSocketManager,
        router: Router,
        messages: StreamStore,
        receipts: ReceiptStore,
        clock: Clock,
        tasks: Tasks,
        settings: DeliverySettings,
    ) -> None:
        ledger = Ledger(settings.ack_timeout_s, settings.ack_retries, settings.stream_limit)
        self.statuses = MessageStatuses(manager.hub, router, manager.monitors)
        self.receipts = Receipts(
            messages=messages,
            store=receipts,
            ledger=ledger,
            statuses=self.statuses,
            access=manager.sessions.access,
            hub=manager.hub,
            events=manager.events,
            clock=clock,
            tasks=tasks,
        )
        sending = InboxTracking(ledger, self.receipts, self.statuses, clock)
        self.inboxes = Inboxes(
            store=receipts,
            ledger=ledger,
            sending=sending,
            catching_up=InboxReplay(
                receipts, ledger, sending, router.give, settings.budget_bytes, clock, tasks
            ),
            redelivery=Redelivery(messages, manager.hub, ledger, self.statuses, router.give, clock),
            receipts=self.receipts,
            statuses=self.statuses,
            clock=clock,
        )
        self.sweeper = Expirer(messages, self.inboxes, clock, settings.stream_limit)
