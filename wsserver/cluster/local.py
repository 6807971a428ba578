"""``LocalControl``, ``LocalDirectory`` and ``LocalLeases``: the seams of a single process."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from wsserver.cluster.control import Answers, Notice, Request
from wsserver.cluster.directory import (
    Change,
    ConnectionRecord,
    LocalConnections,
    LostConnection,
    NodeRecord,
    Reservation,
    SessionUsers,
)
from wsserver.native import mypyc_attr
from wsserver.protocol.targets import Target

R = TypeVar("R")

UNCONTESTED = 2**62
"""Fencing number of a single process, whatever was granted while several shared the database."""


@mypyc_attr(allow_interpreted_subclasses=True)
class LocalControl:
    """Calls the handlers of this process directly."""

    has_others = False

    def __init__(self, node: str) -> None:
        self.node = self.all_nodes = node
        self._handlers: dict[type[Request[Any]], Callable[[Any], Any]] = {}
        self._listeners: dict[type[Notice], list[Callable[[Any], None]]] = {}

    def add_handler(
        self, kind: type[Request[R]], handler: Callable[[Any], R | Awaitable[R]]
    ) -> None:
        """Register the handler of a kind of request."""
        self._handlers[kind] = handler

    def add_listener(self, kind: type[Notice], listener: Callable[[Any], None]) -> None:
        """Register the listener of a kind of notice."""
        self._listeners.setdefault(kind, []).append(listener)

    def add_gap_listener(self, listener: Callable[[], None]) -> None:
        """Do nothing: notices are never missed."""

    async def start(self) -> None:
        """Do nothing: there are no other nodes."""

    async def stop(self) -> None:
        """Do nothing: there are no other nodes."""

    async def ask_all(self, request: Request[R], timeout_s: float = 1.0) -> Answers[R]:
        """Call the handler."""
        return Answers({self.node: await self._call(request)})

    async def ask(self, node: str, request: Request[R], timeout_s: float = 1.0) -> Answers[R]:
        """Call the handler if ``node`` is this one."""
        if node != self.node:
            return Answers({}, (node,))
        return Answers({self.node: await self._call(request)})

    def notify(self, notice: Notice) -> None:
        """Call the listeners."""
        self.notify_here(notice)

    def notify_here(self, notice: Notice) -> None:
        """Call the listeners."""
        for listener in self._listeners.get(type(notice), ()):
            listener(notice)

    async def _call(self, request: Request[R]) -> R:
        answer = self._handlers[type(request)](request)
        found: R = await answer if inspect.isawaitable(answer) else answer
        return found


_RESERVED = Reservation("", "")
"""One for all: in a single process nothing comes between the count and the connect."""


class LocalDirectory:
    """The directory of a single process: its connections, as they are."""

    is_shared = False

    def __init__(self, local: LocalConnections, node: str, version: str, since: float) -> None:
        self._local = local
        self._node = node
        self._version = version
        self._since = since

    async def start(self) -> None:
        """Do nothing: there are no other nodes."""

    async def stop(self) -> None:
        """Do nothing: there are no other nodes."""

    def reserve(self, user_id: str, limit: int) -> Reservation | None:
        """Compare the number of connections."""
        return _RESERVED if self._local.count_of(user_id) < limit else None

    def cancel(self, reservation: Reservation) -> None:
        """Do nothing: reservations are not counted."""

    def opened(
        self,
        connection_id: str,
        user_id: str,
        reservation: Reservation | None,
        on_change: Callable[[Change], None],
    ) -> None:
        """Count; the connection is in the process's own index already."""
        count = self._local.count_of(user_id)
        on_change(Change(count, 0, "online" if count == 1 else ""))

    def closed(
        self,
        connection_id: str,
        user_id: str,
        on_change: Callable[[Change], None],
        *,
        is_handed_over: bool = False,
    ) -> None:
        """Count; the connection is out of the process's own index already."""
        count = self._local.count_of(user_id)
        on_change(Change(count, 0, "" if count or is_handed_over else "offline"))

    def updated(self, connection_id: str) -> None:
        """Do nothing: the process's own index is up to date."""

    def joined(
        self, connection_id: str, user_id: str, session_id: str, on_change: Callable[[int], None]
    ) -> None:
        """Count."""
        on_change(self._local.count_in(session_id, user_id))

    def left(
        self, connection_id: str, user_id: str, session_id: str, on_change: Callable[[int], None]
    ) -> None:
        """Count."""
        on_change(self._local.count_in(session_id, user_id))

    def session_users(self, session_id: str) -> SessionUsers:
        """The users in a session; at most ``USERS_LISTED``."""
        return self._local.users_in(session_id)

    def add_lost_listener(self, listener: Callable[[LostConnection], None]) -> None:
        """Do nothing: no other node can be lost."""

    def add_status_listener(self, listener: Callable[[str, Change], None]) -> None:
        """Do nothing: no change is late."""

    def may_be_online(self, user_id: str, besides: str = "") -> bool:
        """Whether a user has a connection, other than ``besides``."""
        return self._local.count_of(user_id) > (1 if besides else 0)

    def may_have_others(self, session_id: str, user_id: str) -> bool:
        """Whether other users than this one have joined a session."""
        return self._local.has_others(session_id, user_id)

    async def count(self, user_id: str) -> int:
        """Number of a user's connections."""
        return self._local.count_of(user_id)

    async def connections(
        self, target: Target, *, node: str | None = None
    ) -> Sequence[ConnectionRecord]:
        """The connections that match a target, oldest first."""
        if node not in (None, self._node):
            return []
        found = self._local.records(target)
        return sorted(found, key=lambda each: (each.connected_at, each.connection_id))

    async def users(self, *, node: str | None = None) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        return self._local.counts() if node in (None, self._node) else {}

    async def nodes(self) -> Sequence[NodeRecord]:
        """This process."""
        count = len(self._local)
        return [NodeRecord(self._node, self._since, count, self._version, "up")]

    def health(self) -> dict[str, Any]:
        """Always ok."""
        return {"ok": True, "kind": "local"}


class LocalLeases:
    """Every lease is held: there is no other node."""

    async def start(self) -> None:
        """Do nothing: there are no other nodes."""

    async def stop(self) -> None:
        """Do nothing: there are no other nodes."""

    def holds(self, name: str) -> bool:
        """Always True."""
        return True

    def fence(self, name: str) -> int:
        """The highest number: no other node has ever held a later one."""
        return UNCONTESTED

    def add_lost_listener(self, listener: Callable[[], None]) -> None:
        """Do nothing: no other node can be lost."""
