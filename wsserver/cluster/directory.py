"""``ConnectionDirectory``: the connections of all nodes; counts, limits and lists of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from wsserver.protocol.targets import Target

NodeState = Literal["up", "draining", "lost"]


class ConnectionRecord(Struct, frozen=True, gc=False):
    """A connection as the directory knows it."""

    connection_id: str
    user_id: str
    node: str
    username: str | None = None
    role: str = ""
    organization_id: str | None = None
    endpoint: str = ""
    connected_at: float = 0.0
    """Seconds since the epoch."""
    sessions: tuple[str, ...] = ()
    """The joined sessions."""


class Change(Struct, frozen=True, gc=False):
    """Result of a user's connect or disconnect."""

    connections: int
    """Connections of the user on all nodes, after the change."""
    number: int
    """Grows with each change of this user: of two changes the higher number is the later one."""


class NodeRecord(Struct, frozen=True):
    """A node of the cluster."""

    node: str
    since: float
    """When it started, in seconds since the epoch."""
    connections: int
    version: str
    state: NodeState
    clock_offset_s: float | None = None
    """Of its clock from Redis' clock; positive: it is ahead. None: there is none."""


class Reservation(Struct, frozen=True, gc=False):
    """A place among a user's connections, for a connect that is not finished yet."""

    user_id: str
    token: str


class ConnectionDirectory(Protocol):
    """Finds connections on all nodes. Each node enters its own, and takes them out again.

    Connections of nodes that are lost are not counted. While the directory cannot be reached it
    answers from this node's own connections, and is entered anew afterwards.
    """

    async def start(self) -> None:
        """Register this node; raises ``ClusterUnusable``, as if a living node has its name."""

    async def stop(self) -> None:
        """Take this node and its connections out."""

    async def reserve(self, user_id: str, limit: int) -> Reservation | None:
        """Count a user's connections and reserve one more, in one step.

        None if there are ``limit`` connections and reservations. A reservation ends with
        ``opened``, with ``cancel``, or after ``RESERVATION_S``.
        """
        ...

    async def cancel(self, reservation: Reservation) -> None:
        """Release a reservation: its connect has failed."""

    async def opened(
        self, connection: ConnectionRecord, reservation: Reservation | None = None
    ) -> Change:
        """Enter a connection of this node."""
        ...

    async def closed(self, connection_id: str, user_id: str) -> Change:
        """Remove a connection of this node."""
        ...

    async def updated(self, connection: ConnectionRecord) -> None:
        """Replace a connection of this node: its claims or joined sessions have changed."""

    def add_lost_listener(self, listener: Callable[[ConnectionRecord], None]) -> None:
        """Call ``listener`` for each connection of a lost node, on one of the other nodes."""

    def may_be_online(self, user_id: str, besides: str = "") -> bool:
        """Whether a user may have a connection, other than ``besides``, which is one of theirs.

        False only if there surely is none: pushes to the user need not be encoded then.
        """
        ...

    def may_have_others(self, session_id: str, user_id: str) -> bool:
        """Whether other users than this one may have joined a session; no monitors."""
        ...

    async def count(self, user_id: str) -> int:
        """Number of a user's connections."""
        ...

    async def connections(
        self, target: Target, *, node: str | None = None
    ) -> Sequence[ConnectionRecord]:
        """The connections of a user, session, organization or role, by id, or all; oldest first.

        ``node``: only those of one node.
        """
        ...

    async def users(self, *, node: str | None = None) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        ...

    async def nodes(self) -> Sequence[NodeRecord]:
        """The nodes, sorted by name; lost ones for a minute after they were last seen."""
        ...

    def health(self) -> dict[str, Any]:
        """State for the health check: ``ok`` and details."""
        ...


RESERVATION_S = 10.0
