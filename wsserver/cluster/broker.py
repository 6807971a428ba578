"""``Broker``: publishes messages and signals to all nodes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Any, Protocol

from msgspec import Struct

from wsserver.errors import WsServerError
from wsserver.promise import Promise
from wsserver.protocol.origin import Origin
from wsserver.protocol.targets import Target

log = logging.getLogger(__name__)


class Publication(Struct, frozen=True, gc=False):
    """A message as it is published to the nodes, encoded once for all recipients."""

    message_id: str
    """Empty for a signal, which has no id and is not traced."""
    type: str
    target: Target
    payload: bytes
    """The push as JSON text."""
    organization_id: str | None = None
    """Only connections of this organization."""
    with_unaffiliated: bool = False
    """Widens ``organization_id`` to connections without an organization: in many sessions the
    customers have none."""
    role: str | None = None
    """Only connections with this role."""
    exclude_users: frozenset[str] = frozenset()
    origin: Origin | None = None
    """The publisher; None: the server itself."""
    accepted_at: float = 0.0
    """Seconds since the epoch."""
    stream: str = ""
    """The stream that keeps it; empty for a live message."""
    epoch: str = ""
    offset: int = 0
    sender: str | None = None
    """User id that gets its status updates; None: no user."""
    expires_at: float = 0.0
    """Of a kept message; seconds since the epoch."""
    has_ttl: bool = False
    """Whether a kept message expires before the retention time of its stream."""
    changes: int = 0
    """Of a change record: the offset of the changed message, whose newest version it has."""
    revision: int = 0
    """How often the message was changed; of a change record: the changed message."""


class PublishResult(Struct, frozen=True, gc=False):
    """Numbers of connections: matched by a publication, written or queued to, and failed."""

    matched: int = 0
    sent: int = 0
    failed: int = 0
    unreachable: tuple[str, ...] = ()
    """Nodes that did not answer in time: their connections are not counted."""

    def __add__(self, other: PublishResult) -> PublishResult:
        return PublishResult(
            self.matched + other.matched,
            self.sent + other.sent,
            self.failed + other.failed,
            self.unreachable + other.unreachable,
        )


NO_RECIPIENTS = PublishResult()
"""No connection matched."""

Outcome = PublishResult | Promise[PublishResult]
"""A result, or a promised one: of other nodes, or of a message that has to wait for older ones. The
promise is never rejected; that of a broker is resolved after ``RESULTS_S`` at the latest."""


def begin_each(
    begin: Callable[[Publication], Outcome],
    publications: Sequence[Publication],
    until: float,
    now: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """``Broker.begin_all`` or ``Receiver.deliver_all``, one by one.

    They are stored: where one fails, clients get it when they resume.
    """
    outcomes: list[Outcome] = []
    for publication in publications:
        try:
            outcome = begin(publication)
        except WsServerError as error:
            id_ = publication.message_id
            log.warning("stored but not published message_id=%s error=%s", id_, error)
            outcome = NO_RECIPIENTS
        except Exception:  # the next ones have to be published all the same
            log.exception("stored but not published message_id=%s", publication.message_id)
            outcome = NO_RECIPIENTS
        outcomes.append(outcome)
        if now() > until:
            break
    return outcomes


class Push(Struct, frozen=True, gc=False, tag=True):
    """A push that is not a message: neither stored nor traced, and without a result.

    Written once to each connection that any of the targets matches; never to monitors.

    ``progress`` of a message for a recipient only grows: where nodes push independently of each
    other, a node drops what is not above the highest that it has written (``Progress``).
    """

    targets: tuple[Target, ...]
    payload: bytes
    """The push as JSON text."""
    exclude_user: str = ""
    exclude_connection: str = ""
    message_id: str = ""
    """Empty: it has no progress, and is written in any case."""
    recipient: str = ""
    progress: int = 0


class MonitorPush(Struct, frozen=True, gc=False, tag=True):
    """A push to all monitors, except for those of one user; the rest as in ``Push``."""

    payload: bytes
    exclude_user: str = ""
    message_id: str = ""
    recipient: str = ""
    progress: int = 0


class MonitorEvent(Struct, frozen=True, tag=True):
    """An event, to the monitors that have subscribed to its name."""

    event: dict[str, Any]


class InboxSettled(Struct, frozen=True, gc=False, tag=True):
    """Messages of a user's inbox that need not be resent to any connection of the user.

    May get lost, or arrive before the messages: before resending, storage is read.
    """

    user_id: str
    message_ids: Sequence[str]
    up_to: int = 0
    """And all messages up to this offset."""


class AnswerGrown(Struct, frozen=True, gc=False, tag=True):
    """More text of a growing answer, to the nodes with connections in its session.

    May get lost: a node notices it by ``at``, and reads the text from ``node``.
    """

    session_id: str
    message_id: str
    node: str
    """The node that owns the answer."""
    generation: int
    """Number of its owners so far; texts of former ones are out of date."""
    since: int
    """Code points that this owner has begun with."""
    at: int
    """Code points before the text."""
    seq: int
    """The last append that it contains."""
    text: str


Signal = Push | MonitorPush | MonitorEvent | InboxSettled | AnswerGrown


class Receiver(Protocol):
    """Receiving side of a broker: writes to this node's connections; neither waits nor raises."""

    def deliver(self, publication: Publication) -> Outcome:
        """Write a publication to the connections that it matches.

        A promise that is dropped unresolved counts as no answer.
        """
        ...

    def deliver_all(self, publications: Sequence[Publication], until: float = inf) -> list[Outcome]:
        """Write several, in their order; where possible, with one write to each connection.

        None is begun after ``until`` (monotonic seconds) but the first ones, which may be begun
        together: the outcomes are of those that were begun.
        """
        ...

    def signal(self, signal: Signal) -> None:
        """Write a signal to the connections that it matches."""


class Broker(Protocol):
    """Publishes to every node.

    The publishing node gets its own publications by the same callbacks, before ``post``,
    ``signal``, ``begin`` and the first suspension of ``publish`` return: the path is the same for
    one node and for many.
    Publications and signals of one node for one target arrive at each node in the order of
    publishing; those for different targets may overtake each other.
    """

    def subscribe(self, receiver: Receiver) -> None:
        """Register the receiving side of this node, before ``start``, in place of another one."""

    async def start(self) -> None:
        """Connect to the message transport; unreachable: goes on trying in the background."""

    async def stop(self) -> None:
        """Disconnect; nothing is delivered any more."""

    def follow(self, target: Target) -> None:
        """This node has its first connection that matches a user, session or organization."""

    def unfollow(self, target: Target) -> None:
        """The last such connection has ended."""

    async def followed(self, target: Target) -> None:
        """Wait until publications for a followed target arrive; call before reading its head."""

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when publications may have been missed, e.g. after a reconnect.

        Heads of streams have to be compared with the database then.
        """

    def post(self, publication: Publication) -> None:
        """Publish without waiting for the result."""

    def signal(self, signal: Signal, reached: Callable[[bool], None] | None = None) -> None:
        """Publish a signal.

        ``reached``: called once, maybe before this returns, with whether a node follows its target.
        False also where that is not known.
        """

    def begin(self, publication: Publication) -> Outcome:
        """Publish; returns the sum of the nodes' results, or a promise of it.

        Many can be published before the first result is awaited.
        """
        ...

    def begin_all(
        self,
        publications: Sequence[Publication],
        until: float,
        uncounted: Collection[str] = (),
    ) -> list[Outcome]:
        """Publish several in their order, kept ones that are stored; never raises.

        None is begun after ``until`` (monotonic seconds) but the first ones: the outcomes are of
        those that were begun. ``uncounted``: ids of messages whose results nobody asks for; theirs
        may lack those of other nodes, and of this one.
        """
        ...

    async def publish(self, publication: Publication) -> PublishResult:
        """Publish; returns the sum of the nodes' results."""
        ...

    def health(self) -> dict[str, object]:
        """State for the health check: ``ok`` and details."""
        ...
