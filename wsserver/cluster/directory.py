"""``ConnectionDirectory``: the connections of all nodes; counts, limits and lists of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from wsserver.protocol.targets import Target

NodeState = Literal["up", "draining", "lost"]
Became = Literal["", "online", "offline"]
USERS_LISTED = 1000
"""Users of a session that are listed at most: tens of thousands would not fit into a reply."""
SessionUsers = list[dict[str, Any]]
"""The users in a session: ``user_id``, ``username`` and the number of ``connections``."""


class ConnectionRecord(Struct, frozen=True, gc=False):
    """A connection as it is in the directory."""

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
    session_id: str | None = None
    """The session that it is bound to."""


class Change(Struct, frozen=True, gc=False):
    """Result of a user's connect or disconnect."""

    connections: int
    """Connections of the user on all nodes, after the change."""
    number: int = 0
    """Grows with each change of this user: of two changes the higher number is the later one. 0 in
    a single process, where changes are never late."""
    became: Became = ""
    """The status that the user has now and had not before. Reported once, by one node."""


class LostConnection(Struct, frozen=True):
    """A connection that has ended with its node."""

    connection: ConnectionRecord
    change: Change
    left: tuple[str, ...]
    """The sessions that its user is in no longer."""


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
    differing_settings: tuple[str, ...] = ()
    """Settings that all nodes have to share, and that differ from those of the asked node."""


class Reservation(Struct, frozen=True, gc=False):
    """A place among a user's connections, for a connect that is not finished yet."""

    user_id: str
    token: str


class LocalConnections(Protocol):
    """The connections of this node: what a directory reads of its hub."""

    def count_of(self, user_id: str) -> int:
        """Number of a user's connections."""
        ...

    def has_others(self, session_id: str, user_id: str) -> bool:
        """Whether other users than this one have joined a session."""
        ...

    def records(self, target: Target) -> Iterable[ConnectionRecord]:
        """The connections that a target matches, in the order of connecting."""
        ...

    def record(self, connection_id: str) -> ConnectionRecord | None:
        """A connection by id."""
        ...

    def count_in(self, session_id: str, user_id: str) -> int:
        """Number of a user's connections that have joined a session."""
        ...

    def users_in(self, session_id: str) -> SessionUsers:
        """The users in a session; at most ``USERS_LISTED``."""
        ...

    def counts(self) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        ...

    def __len__(self) -> int: ...


class ConnectionDirectory(Protocol):
    """Finds connections on all nodes. Each node enters its own, and takes them out again.

    The hub of the node is the source: a connection is in it before ``opened``, and no longer when
    ``closed`` is called. Changes are entered in the order of the calls, without waiting; what has
    come of it is passed to a callback: at once in a single process, else when it is known.
    Connections of nodes that are lost are not counted. While the directory cannot be reached it
    answers from this node's own connections; no status changes then, and what was missed is made
    up for afterwards.
    """

    is_shared: bool
    """Whether there may be other nodes; without, nothing has to be waited for."""

    async def start(self) -> None:
        """Register this node; raises ``ClusterUnusable``, as if a living node has its name."""

    async def stop(self) -> None:
        """Take this node and its connections out."""

    def reserve(
        self, user_id: str, limit: int
    ) -> Reservation | Awaitable[Reservation | None] | None:
        """Count a user's connections and reserve one more, in one step.

        None if there are ``limit`` connections and reservations. A reservation ends with
        ``opened``, with ``cancel``, or after ``RESERVATION_S``.
        """
        ...

    def cancel(self, reservation: Reservation) -> None:
        """Release a reservation: its connect has failed."""

    def opened(
        self,
        connection_id: str,
        user_id: str,
        reservation: Reservation | None,
        on_change: Callable[[Change], None],
    ) -> None:
        """Enter a connection of this node."""

    def closed(
        self,
        connection_id: str,
        user_id: str,
        on_change: Callable[[Change], None],
        *,
        is_handed_over: bool = False,
    ) -> None:
        """Remove a connection of this node.

        ``is_handed_over``: its client connects to another node now; so its user is offline only if
        that has not happened after ``HANDED_OVER_S``.
        """

    def updated(self, connection_id: str) -> None:
        """The claims of a connection of this node have changed."""

    def joined(
        self, connection_id: str, user_id: str, session_id: str, on_change: Callable[[int], None]
    ) -> None:
        """A connection has joined a session: the number of its user's connections there."""

    def left(
        self, connection_id: str, user_id: str, session_id: str, on_change: Callable[[int], None]
    ) -> None:
        """A connection has left a session: the number of its user's connections there."""

    def session_users(self, session_id: str) -> SessionUsers | Awaitable[SessionUsers]:
        """The users in a session; at most ``USERS_LISTED``."""
        ...

    def add_lost_listener(self, listener: Callable[[LostConnection], None]) -> None:
        """Call ``listener`` for each connection of a lost node, on one of the other nodes."""

    def add_status_listener(self, listener: Callable[[str, Change], None]) -> None:
        """Call ``listener`` with a user whose status has changed by no connect or disconnect.

        So it was repaired afterwards, or a user has not come back after ``is_handed_over``.
        """

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
HANDED_OVER_S = 10.0
