"""What became of a message with each of its recipients: pure, told what is known of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, Protocol

from msgspec import Struct

from wsserver.clock import rfc3339
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection_log import ConnectionInterval
from wsserver.realtime.delivery.trace_buffer import Entry, Progress

RECIPIENTS_LIMIT = 1000
COLLECTED_S = 0.1
"""What was found unsent may have been collected, with other messages, for so long before."""

State = Literal["pending", "sent", "delivered", "read", "dropped", "expired"]
STATES: tuple[State, ...] = ("pending", "sent", "delivered", "read", "dropped", "expired")
PROGRESS: dict[State, int] = {"sent": 1, "delivered": 2, "read": 3}


class Receipt(Protocol):
    """What the storage knows of a user and a message; times in seconds since the epoch."""

    @property
    def user_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def delivered_at(self) -> float | None:
        """When the user got the message; None: not yet."""
        ...

    @property
    def read_at(self) -> float | None:
        """When the user read it; None: not yet."""
        ...

    @property
    def is_by_offset(self) -> int:
        """Not 0: only the stream was acknowledged, up to an offset."""
        ...


class Recipient(Struct):
    """How far a message has come with a connection; with a user, where that is none."""

    user_id: str
    connection_id: str | None
    state: State
    reason: str | None = None
    history: list[tuple[State, float]] = []

    def go_on(self, state: State, at: float, reason: str | None = None) -> None:
        """Note the next step, or one that is learnt of late: who has read a message has got it."""
        if PROGRESS.get(state, 9) >= PROGRESS.get(self.state, 0):
            self.state, self.reason = state, reason
            self.history.append((state, at))
            return
        place = [step for step, _ in self.history].index(self.state)
        if at <= self.history[place][1]:
            self.history.insert(place, (state, at))

    def has_come_to(self, state: State) -> bool:
        """Was this step among them?"""
        return any(state == each for each, _ in self.history)

    def view(self) -> dict[str, Any]:
        """The recipient as a trace lists it."""
        shown: dict[str, Any] = {"user_id": self.user_id}
        if self.connection_id:
            shown["connection_id"] = self.connection_id
        shown["state"] = self.state
        if self.reason:
            shown["reason"] = self.reason
        shown["history"] = [{"state": state, "at": rfc3339(at)} for state, at in self.history]
        return shown


class Recipients:
    """Recipients by the thousand: all are counted, the first ones listed, those it lost first."""

    def __init__(self, limit: int = RECIPIENTS_LIMIT) -> None:
        self._limit = limit
        self._counts: Counter[State] = Counter()
        self._lost: list[Recipient] = []
        self._others: list[Recipient] = []
        self.users: set[str] = set()
        """All of them."""
        self.reached: set[str] = set()
        """Those to whom the message was at least sent."""

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, recipient: Recipient) -> None:
        """Count a recipient, who is listed while there is room."""
        self._counts[recipient.state] += 1
        self.users.add(recipient.user_id)
        is_lost = recipient.state == "dropped"
        if recipient.state in ("sent", "delivered", "read"):
            self.reached.add(recipient.user_id)
        listed = self._lost if is_lost else self._others
        if len(listed) < self._limit:
            listed.append(recipient)

    @property
    def is_truncated(self) -> bool:
        """Are there more than are listed?"""
        return len(self) > self._limit

    def listing(self) -> list[dict[str, Any]]:
        """Those that are listed."""
        return [each.view() for each in [*self._lost, *self._others][: self._limit]]

    def summary(self) -> dict[str, int]:
        """How many there are, and how many in each state."""
        return {"total": len(self), **{state: self._counts[state] for state in STATES}}


def who_was_there(
    entry: Entry,
    stay: ConnectionInterval,
    end: ConnectionInterval | None,
    receipt: Receipt | None,
    at: float,
) -> Recipient:
    """What became of a message with a connection that was there and was meant.

    ``end``: how it has ended since, if it has. ``receipt``: of the user, if nobody else's has been
    told yet. ``at``: when the message was delivered, in seconds since the epoch.
    """
    recipient = Recipient(stay.user_id, stay.connection_id, "pending", history=[])
    why_lost = "slow" if end is not None and end.code == CloseCode.SLOW_CONSUMER else "failed"
    if stay.connection_id in entry.failed:
        recipient.go_on("dropped", at, why_lost)
        return recipient
    recipient.go_on("sent", at)
    unsent_since = stay.unsent_since if end is None else end.unsent_since
    is_unsent = unsent_since is not None and entry.delivered_at >= unsent_since - COLLECTED_S
    if stay.is_plain and not is_unsent:
        recipient.go_on("delivered", at)
    add_marks(recipient, entry)
    if receipt is not None:
        add_receipt(recipient, receipt)
    if recipient.state == "sent" and is_unsent and end is not None:
        recipient.go_on("dropped", end.ended_at, why_lost)
    return recipient


def who_came_later(entry: Entry, user_id: str, connection_id: str) -> Recipient:
    """What became of a kept message with a connection that got it from its stream."""
    recipient = Recipient(user_id, connection_id, "pending", history=[])
    recipient.go_on("pending", entry.accepted_at)
    add_marks(recipient, entry)
    return recipient


def who_was_absent(
    entry: Entry, user_id: str, reason: str | None, receipt: Receipt | None, gone_at: float | None
) -> Recipient:
    """What became of a message with a user who was meant, and not there to get it.

    ``gone_at``: when it ceased to be kept, if it has: nobody waits for it since then.
    """
    recipient = Recipient(user_id, None, "pending", history=[])
    if not entry.stream:
        return left_out(entry, user_id, reason or "offline")
    recipient.go_on("pending", entry.accepted_at, reason)
    if receipt is not None:
        add_receipt(recipient, receipt)
    if recipient.state == "pending" and gone_at is not None:
        recipient.go_on("expired", gone_at, reason)
    return recipient


def left_out(
    entry: Entry, user_id: str, reason: str, connection_id: str | None = None
) -> Recipient:
    """Somebody who was not meant, or not there."""
    recipient = Recipient(user_id, connection_id, "dropped", history=[])
    recipient.go_on("dropped", entry.accepted_at, reason)
    return recipient


def add_marks(recipient: Recipient, entry: Entry) -> None:
    """Put in what connections have said since."""
    marks = (entry.marks or {}).get((recipient.user_id, recipient.connection_id or ""), {})
    for state, at in sorted(marks.items(), key=_when):
        recipient.go_on(state, at)


def add_receipt(recipient: Recipient, receipt: Receipt) -> None:
    """Put in what storage knows and memory does not."""
    if receipt.delivered_at is not None and not recipient.has_come_to("delivered"):
        recipient.go_on("delivered", receipt.delivered_at)
    if receipt.read_at is not None and not recipient.has_come_to("read"):
        recipient.go_on("read", receipt.read_at)


def _when(mark: tuple[Progress, float]) -> float:
    return mark[1]
