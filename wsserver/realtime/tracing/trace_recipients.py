"""Delivery states of a message by recipient: pure functions of trace entry and receipts."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, Protocol

from msgspec import Struct

from wsserver.clock import rfc3339
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection_log import ConnectionInterval
from wsserver.realtime.delivery.trace_entry import Progress, TraceEntry

RECIPIENTS_LIMIT = 1000
COLLECTED_S = 0.1
"""Messages may be buffered for this time before the transport counts them as unsent."""

State = Literal["pending", "sent", "delivered", "read", "dropped", "expired"]
STATES: tuple[State, ...] = ("pending", "sent", "delivered", "read", "dropped", "expired")
PROGRESS: dict[State, int] = {"sent": 1, "delivered": 2, "read": 3}


class StoredReceipt(Protocol):
    """The stored receipt of a user for a message; times in seconds since the epoch."""

    @property
    def user_id(self) -> str:
        """The user of the receipt."""
        ...

    @property
    def delivered_at(self) -> float | None:
        """When the user received the message; None: not yet."""
        ...

    @property
    def read_at(self) -> float | None:
        """When the user read it; None: not yet."""
        ...

    @property
    def is_by_offset(self) -> int:
        """Not 0: the stream was acknowledged up to an offset, not the message."""
        ...


class TraceRecipient(Struct):
    """The delivery state of a message for a connection, or for a user without one."""

    user_id: str
    connection_id: str | None
    state: State
    reason: str | None = None
    history: list[tuple[State, float]] = []
    node: str = ""
    """The node that has the connection; empty: there is only one, or there is no connection."""

    def advance(self, state: State, at: float, reason: str | None = None) -> None:
        """Record a state; an earlier one that is learned late goes into the history only."""
        if PROGRESS.get(state, 9) >= PROGRESS.get(self.state, 0):
            self.state, self.reason = state, reason
            self.history.append((state, at))
            return
        index = [step for step, _ in self.history].index(self.state)
        if at <= self.history[index][1]:
            self.history.insert(index, (state, at))

    def has_reached(self, state: State) -> bool:
        """Whether the state is in the history."""
        return any(state == each for each, _ in self.history)

    def view(self) -> dict[str, Any]:
        """The recipient as JSON of the trace."""
        shown: dict[str, Any] = {"user_id": self.user_id}
        if self.connection_id:
            shown["connection_id"] = self.connection_id
        if self.node:
            shown["node"] = self.node
        shown["state"] = self.state
        if self.reason:
            shown["reason"] = self.reason
        shown["history"] = [{"state": state, "at": rfc3339(at)} for state, at in self.history]
        return shown


class RecipientsPart(Struct, frozen=True):
    """The recipients that a node has; of the lists at most ``RECIPIENTS_LIMIT`` each."""

    counts: dict[State, int] = {}
    lost: list[TraceRecipient] = []
    others: list[TraceRecipient] = []
    users: list[str] = []
    """Of all recipients."""
    reached: list[str] = []
    """Users to whom the message was at least sent."""


class TraceRecipients:
    """All recipients of a message: counted by state, up to a limit listed, dropped ones first."""

    def __init__(self, limit: int = RECIPIENTS_LIMIT) -> None:
        self._limit = limit
        self._counts: Counter[State] = Counter()
        self._lost: list[TraceRecipient] = []
        self._others: list[TraceRecipient] = []
        self.users: set[str] = set()
        """Of all recipients."""
        self.reached: set[str] = set()
        """Users to whom the message was at least sent."""

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, recipient: TraceRecipient) -> None:
        """Count a recipient, and list it while there is room."""
        self._counts[recipient.state] += 1
        self.users.add(recipient.user_id)
        is_lost = recipient.state == "dropped"
        if recipient.state in ("sent", "delivered", "read"):
            self.reached.add(recipient.user_id)
        listed = self._lost if is_lost else self._others
        if len(listed) < self._limit:
            listed.append(recipient)

    def part(self) -> RecipientsPart:
        """The recipients, for another node."""
        counts = dict(self._counts)
        return RecipientsPart(
            counts, self._lost, self._others, list(self.users), list(self.reached)
        )

    def add_part(self, part: RecipientsPart, node: str) -> None:
        """Add the recipients of another node."""
        self._counts.update(part.counts)
        self.users.update(part.users)
        self.reached.update(part.reached)
        for listed, more in ((self._lost, part.lost), (self._others, part.others)):
            for recipient in more[: self._limit - len(listed)]:
                recipient.node = node if recipient.connection_id else ""
                listed.append(recipient)

    def name_node(self, node: str) -> None:
        """Note the node of the connections so far."""
        for recipient in (*self._lost, *self._others):
            recipient.node = node if recipient.connection_id else ""

    @property
    def is_truncated(self) -> bool:
        """Whether there are more recipients than are listed."""
        return len(self) > self._limit

    def listing(self) -> list[dict[str, Any]]:
        """The listed recipients."""
        return [each.view() for each in [*self._lost, *self._others][: self._limit]]

    def summary(self) -> dict[str, int]:
        """Number of recipients in total and in each state."""
        return {"total": len(self), **{state: self._counts[state] for state in STATES}}


def connected_recipient(
    entry: TraceEntry,
    interval: ConnectionInterval,
    end: ConnectionInterval | None,
    receipt: StoredReceipt | None,
    at: float,
) -> TraceRecipient:
    """The recipient of a connection that a message was sent to.

    ``end``: the ended interval of the connection, if it has ended since. ``receipt``: of the user,
    unless reported with another connection. ``at``: time of the delivery, in seconds since the
    epoch.
    """
    recipient = TraceRecipient(interval.user_id, interval.connection_id, "pending", history=[])
    why_lost = "slow" if end is not None and end.code == CloseCode.SLOW_CONSUMER else "failed"
    if interval.connection_id in entry.failed:
        recipient.advance("dropped", at, why_lost)
        return recipient
    recipient.advance("sent", at)
    unsent_since = interval.unsent_since if end is None else end.unsent_since
    is_unsent = unsent_since is not None and entry.delivered_at >= unsent_since - COLLECTED_S
    if interval.is_plain and not is_unsent:
        recipient.advance("delivered", at)
    add_marks(recipient, entry)
    if receipt is not None:
        add_receipt(recipient, receipt)
    if recipient.state == "sent" and is_unsent and end is not None:
        recipient.advance("dropped", end.ended_at, why_lost)
    return recipient


def later_recipient(entry: TraceEntry, user_id: str, connection_id: str) -> TraceRecipient:
    """The recipient of a connection that got a kept message later, from its stream."""
    recipient = TraceRecipient(user_id, connection_id, "pending", history=[])
    recipient.advance("pending", entry.accepted_at)
    add_marks(recipient, entry)
    return recipient


def offline_recipient(
    entry: TraceEntry,
    user_id: str,
    reason: str | None,
    receipt: StoredReceipt | None,
    expired_at: float | None,
) -> TraceRecipient:
    """The recipient of a user who was not connected when the message was sent.

    ``expired_at``: when the message expired, if it has.
    """
    recipient = TraceRecipient(user_id, None, "pending", history=[])
    if not entry.stream:
        return excluded_recipient(entry, user_id, reason or "offline")
    recipient.advance("pending", entry.accepted_at, reason)
    if receipt is not None:
        add_receipt(recipient, receipt)
    if recipient.state == "pending" and expired_at is not None:
        recipient.advance("expired", expired_at, reason)
    return recipient


def excluded_recipient(
    entry: TraceEntry, user_id: str, reason: str, connection_id: str | None = None
) -> TraceRecipient:
    """The recipient of a user or connection that was excluded, or not connected."""
    recipient = TraceRecipient(user_id, connection_id, "dropped", history=[])
    recipient.advance("dropped", entry.accepted_at, reason)
    return recipient


def add_marks(recipient: TraceRecipient, entry: TraceEntry) -> None:
    """Add progress reported by connections since."""
    marks = (entry.marks or {}).get((recipient.user_id, recipient.connection_id or ""), {})
    for state, at in sorted(marks.items(), key=_when):
        recipient.advance(state, at)


def add_receipt(recipient: TraceRecipient, receipt: StoredReceipt) -> None:
    """Add stored progress that the trace buffer does not have."""
    if receipt.delivered_at is not None and not recipient.has_reached("delivered"):
        recipient.advance("delivered", receipt.delivered_at)
    if receipt.read_at is not None and not recipient.has_reached("read"):
        recipient.advance("read", receipt.read_at)


def _when(mark: tuple[Progress, float]) -> float:
    return mark[1]
