"""``RedisDirectory``: the connections of all nodes, in hashes by node and by user."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from wsserver.cluster.control import Answers, Request
from wsserver.cluster.directory import (
    RESERVATION_S,
    Change,
    ConnectionRecord,
    LocalConnections,
    LostConnection,
    NodeRecord,
    Reservation,
    SessionUsers,
)
from wsserver.cluster.errors import ForeignCluster, NodeNameTaken
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.directory_records import (
    change_of,
    decoded,
    matches,
    session_users,
)
from wsserver.cluster.redis.directory_reservations import PendingReservations
from wsserver.cluster.redis.directory_scripts import (
    COUNT,
    DEPART,
    OPEN,
    QUIET,
    RESERVE,
    SESSION,
    Command,
    call,
)
from wsserver.cluster.redis.directory_upkeep import DirectoryUpkeep
from wsserver.cluster.redis.link import UNREACHABLE, RedisLink
from wsserver.cluster.redis.nodes import (
    LEASE_S,
    NodeRegistry,
    record_of,
)
from wsserver.protocol.targets import EVERYONE, Target, TargetType, user
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

OWNERS_S = 0.3
"""Time for the owners of a user's connections to confirm them, before a connect is refused."""
MEMBERS_READ = 5000
"""Connections in a session that its list of users is made from."""
FLUSH_S = 2.0
"""Longest wait for the last writes at the stop."""


class ConfirmConnections(Request[list[str]], frozen=True):
    """The ids of a user's connections on a node; ``r:`` + token for connects in progress."""

    user_id: str


class RedisDirectory:
    """Enters this node's connections, and reads those of all.

    ``wsserver:{node:NAME}:connections`` has a node's connections as records,
    ``wsserver:{user:ID}:connections`` a user's, ``wsserver:{session:ID}:connections`` a session's
    (see ``directory_scripts``). While Redis is away, this node's own connections are all there
    are; they are entered again afterwards, also when it was emptied.
    """

    is_shared = True

    def __init__(
        self,
        link: RedisLink,
        registry: NodeRegistry,
        control: RedisControl,
        local: LocalConnections,
    ) -> None:
        self._link = link
        self._registry = registry
        self._node = registry.node
        self._control = control
        self._local = local
        self._upkeep = DirectoryUpkeep(link, registry, control, local)
        self._checks: dict[str, asyncio.Task[bool | None]] = {}
        """By user: the running check of the owners of its connections."""
        self._pending = PendingReservations(registry.node)
        self._tasks = Tasks()
        control.add_handler(ConfirmConnections, self._confirm)

    def add_lost_listener(self, listener: Callable[[LostConnection], None]) -> None:
        """Call ``listener`` for each connection of a lost node that this node takes out."""
        self._upkeep.lost_listeners.append(listener)

    def add_status_listener(self, listener: Callable[[str, Change], None]) -> None:
        """Call ``listener`` with a user whose status has changed by no connect or disconnect."""
        self._upkeep.status_listeners.append(listener)

    # Start and stop

    async def start(self) -> None:
        """Register this node, waiting for the end of a former run that was killed.

        Raises ``ClusterUnusable`` for a name that is taken, or a server that cannot work.
        """
        try:
            await self._link.check()
            await self._register()
            await self._registry.refresh()
            await self._upkeep.execute([("SET", *self._upkeep.marker)])
        except UNREACHABLE as error:
            self._upkeep.away(error)
            await self._link.shut("not checked yet whether it may be used")
        for work in (self._upkeep.maintain, self._upkeep.writes.run):
            self._tasks.spawn(work(), name="redis directory")

    async def stop(self) -> None:
        """Take this node and its connections out."""
        if not self._tasks:
            return
        if self._upkeep.is_reachable:
            try:
                await asyncio.wait_for(self._upkeep.writes.is_idle.wait(), FLUSH_S)
            except TimeoutError:
                log.warning("last changes of connections not written")
        await self._tasks.end()
        self._upkeep.write_no_more()
        try:
            users: list[str] = []
            await self._upkeep.remove_all(
                self._node, QUIET, lambda lost: users.append(lost.connection.user_id)
            )
            if users:
                await self._upkeep.execute([call(DEPART, self._upkeep.departed, users)])
            await self._link.commands.delete(self._upkeep.marker[0])
            await self._registry.leave()
        except (RedisError, OSError):
            log.info("node not taken out; its lease ends by itself")

    async def _register(self) -> None:
        deadline = asyncio.get_running_loop().time() + LEASE_S + 1.0
        until: float | None = None
        while True:
            try:
                await self._registry.renew()
                return
            except (NodeNameTaken, ForeignCluster) as error:
                is_renewed = until is not None and error.until > until
                if is_renewed or asyncio.get_running_loop().time() > deadline:
                    raise
                until = error.until
            await asyncio.sleep(0.2)

    # Admission

    def reserve(
        self, user_id: str, limit: int
    ) -> Reservation | Awaitable[Reservation | None] | None:
        """Count and reserve in one step.

        At the limit the owners of the counted connections have to confirm them within
        ``OWNERS_S``; those that are not confirmed do not count.
        """
        if not self._upkeep.is_reachable:
            return self._local_reservation(user_id, limit)
        return self._reserve(user_id, limit)

    def _local_reservation(self, user_id: str, limit: int) -> Reservation | None:
        return Reservation(user_id, "") if self._local.count_of(user_id) < limit else None

    async def _reserve(self, user_id: str, limit: int) -> Reservation | None:
        await asyncio.sleep(0)  # callers that must not wait give up here, before a command is sent
        token = self._pending.begin(user_id)
        args: list[str | bytes | int] = [
            limit,
            token,
            int(RESERVATION_S * 1000),
            *self._registry.lost,
        ]

        async def run() -> Reservation | None:
            command = call(RESERVE, self._upkeep.user_key(user_id), args)
            owned = await self._queued(command)
            if isinstance(owned, list):
                has_removed = await self._has_removed(user_id, owned)
                if has_removed is None:
                    owned = None
                elif has_removed:
                    owned = await self._queued(command)
            if owned == 1:
                return Reservation(user_id, token)
            self._pending.end(token)
            # None: Redis is away
            return self._local_reservation(user_id, limit) if owned is None else None

        try:
            found = await self._upkeep.unless_away(run, _AWAY)
        except BaseException:  # the client may have gone, and Redis has it all the same
            self.cancel(Reservation(user_id, token))
            raise
        return self._local_reservation(user_id, limit) if found is _AWAY else found

    async def _queued(self, command: Command) -> Any:
        """Run a command with the writes: many at the same time share a connection and a round trip.

        None if Redis is away.
        """
        if not self._upkeep.is_reachable or self._upkeep.writes.is_full:
            return None
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._upkeep.writes.add(
            command, lambda result, _: None if done.done() else done.set_result(result)
        )
        return await done

    def cancel(self, reservation: Reservation) -> None:
        """Release a reservation."""
        self._pending.end(reservation.token)
        if reservation.token and self._upkeep.is_reachable:
            key = self._upkeep.user_key(reservation.user_id)
            self._upkeep.writes.add(("HDEL", key, f"r:{reservation.token}"))

    async def _has_removed(self, user_id: str, owned: Sequence[bytes]) -> bool | None:
        """Whether a check has removed something; it serves all connects of the user.

        None if Redis is away.
        """
        check = self._checks.get(user_id)
        if check is None:
            check = self._tasks.spawn(
                self._remove_unconfirmed(user_id, owned), name="confirm connections"
            )
            self._checks[user_id] = check
            check.add_done_callback(lambda _: self._checks.pop(user_id))
        await asyncio.wait({check})
        return None if check.cancelled() else check.result()

    async def _remove_unconfirmed(self, user_id: str, owned: Sequence[bytes]) -> bool | None:
        """Remove what its nodes do not have, or whose nodes do not answer."""
        by_node: dict[str, set[str]] = {}
        for name, node in zip(owned[::2], owned[1::2], strict=True):
            by_node.setdefault(node.decode(), set()).add(name.decode())
        asked = ConfirmConnections(user_id)
        answers = await asyncio.gather(*(self._ask_owner(node, asked) for node in by_node))
        gone: list[str] = []
        for (owner, names), answer in zip(by_node.items(), answers, strict=True):
            if answer is not None:
                gone += names - set(answer.by_node.get(owner, ()))
        if not gone:
            return False
        fields = [name if name.startswith("r:") else f"c:{name}" for name in gone]

        async def remove() -> bool:
            await self._link.commands.hdel(self._upkeep.user_key(user_id), *fields)
            return True

        return await self._upkeep.unless_away(remove, None)

    async def _ask_owner(self, node: str, request: ConfirmConnections) -> Answers[list[str]] | None:
        """Ask an owner, twice if it does not answer: it may only be busy."""
        answer = await self._control.ask_patiently(node, request, OWNERS_S)
        if answer is not None and answer.unreachable:
            answer = await self._control.ask_patiently(node, request, OWNERS_S)
        return answer

    def _confirm(self, request: ConfirmConnections) -> list[str]:
        """Confirm a user's connections, entering them again: a late answer counts as none."""
        ids = [each.connection_id for each in self._local.records(user(request.user_id))]
        if self._upkeep.is_reachable and not self._upkeep.writes.is_full:
            for id_ in ids:
                self._upkeep.writes.add(
                    self._upkeep.change(QUIET, request.user_id, id_, self._node)
                )
        return ids + [f"r:{token}" for token in self._pending.of(request.user_id)]

    # This node's connections

    def opened(
        self,
        connection_id: str,
        user_id: str,
        reservation: Reservation | None,
        on_change: Callable[[Change], None],
    ) -> None:
        """Enter a connection of this node."""
        token = reservation.token if reservation is not None else ""
        if self._upkeep.writes_now():
            self._upkeep.writes.changed(connection_id)
        self._enter(user_id, connection_id, self._node, on_change, token=token)

    def closed(
        self,
        connection_id: str,
        user_id: str,
        on_change: Callable[[Change], None],
        *,
        is_handed_over: bool = False,
    ) -> None:
        """Remove a connection of this node."""
        if is_handed_over and self._upkeep.writes_now():
            self._upkeep.writes.departed(user_id)
        mode = QUIET if is_handed_over else OPEN
        self._enter(user_id, connection_id, "", on_change, mode=mode)

    def updated(self, connection_id: str) -> None:
        """Write the connection's record again."""
        if self._upkeep.writes_now():
            self._upkeep.writes.changed(connection_id)

    def _enter(
        self,
        user_id: str,
        connection_id: str,
        node: str,
        on_change: Callable[[Change], None],
        *,
        mode: str = OPEN,
        token: str = "",
    ) -> None:
        """Enter a connection in its user's hash, or its end."""
        is_settled = self._upkeep.is_settled
        was_here = not node or self._local.count_of(user_id) > 1

        def done(result: Any, is_kept: bool) -> None:
            self._pending.end(token)
            is_known = result is not None and is_kept
            if mode == OPEN and not (is_settled and is_known):
                self._upkeep.note_unsettled(user_id, was_here)
            if is_known:
                change = change_of(result)
                on_change(change if is_settled else Change(change.connections))
                return
            on_change(Change(self._local.count_of(user_id)))
            if result is not None:
                self._upkeep.emptied()

        if self._upkeep.writes_now():
            now = mode if is_settled else QUIET
            command = self._upkeep.change(now, user_id, connection_id, node, token)
            self._upkeep.writes.add(command, done, ended="" if node else connection_id)
        else:
            done(None, False)

    def joined(
        self, connection_id: str, user_id: str, session_id: str, on_change: Callable[[int], None]
    ) -> None:
        """A connection has joined a session."""
        self._enter_session(connection_id, user_id, session_id, "1", on_change)

    def left(
        self, connection_id: str, user_id: str, session_id: str, on_change: Callable[[int], None]
    ) -> None:
        """A connection has left a session."""
        self._enter_session(connection_id, user_id, session_id, "", on_change)

    def _enter_session(
        self,
        connection_id: str,
        user_id: str,
        session_id: str,
        is_join: str,
        on_change: Callable[[int], None],
    ) -> None:
        local = self._local.count_in(session_id, user_id)

        def done(result: Any, is_kept: bool) -> None:
            on_change(int(result) if result is not None and is_kept else local)

        if not self._upkeep.writes_now():
            done(None, False)
            return
        record = self._local.record(connection_id)
        username = (record.username if record is not None else None) or ""
        self._upkeep.writes.changed(connection_id)
        args = [user_id, self._node, connection_id, username, is_join, *self._registry.lost]
        self._upkeep.writes.add(call(SESSION, self._upkeep.session_key(session_id), args), done)

    # Reading

    def session_users(self, session_id: str) -> SessionUsers | Awaitable[SessionUsers]:
        """The users in a session, in the order of their ids."""
        if not self._upkeep.is_reachable:
            return self._local.users_in(session_id)
        return self._session_users(session_id)

    async def _session_users(self, session_id: str) -> SessionUsers:
        async def run() -> SessionUsers:
            # Behind what was changed before, so that the list has it.
            command = ("ZRANGE", self._upkeep.session_key(session_id), 0, MEMBERS_READ - 1)
            members = await self._queued(command)
            if members is None:
                return self._local.users_in(session_id)
            return session_users(members, set(self._registry.lost))

        return await self._upkeep.unless_away(run, self._local.users_in(session_id))

    def may_be_online(self, user_id: str, besides: str = "") -> bool:
        """Always True while Redis can be reached: other nodes may have a connection."""
        return self._upkeep.is_reachable or self._local.count_of(user_id) > (1 if besides else 0)

    def may_have_others(self, session_id: str, user_id: str) -> bool:
        """Always True: other nodes may have connections in the session."""
        return True

    async def count(self, user_id: str) -> int:
        """Number of a user's connections."""

        async def run() -> int:
            return len(await self._owned(user_id)) // 2

        return await self._upkeep.unless_away(run, self._local.count_of(user_id))

    async def connections(
        self, target: Target, *, node: str | None = None
    ) -> Sequence[ConnectionRecord]:
        """The connections that match a target, oldest first.

        Those of a user by the user's hash; all others by reading the hashes of the nodes.
        """

        async def run() -> list[ConnectionRecord]:
            if target.type is TargetType.USER:
                return await self._of_user(target.id)
            return await self._all(node)

        found = await self._upkeep.unless_away(run, self._local_records())
        matching = [each for each in found if matches(each, target) and node in (None, each.node)]
        return sorted(matching, key=lambda each: (each.connected_at, each.connection_id))

    async def users(self, *, node: str | None = None) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        counts: dict[str, int] = {}
        for each in await self._upkeep.unless_away(lambda: self._all(node), self._local_records()):
            if node in (None, each.node):
                counts[each.user_id] = counts.get(each.user_id, 0) + 1
        return counts

    async def nodes(self) -> Sequence[NodeRecord]:
        """The nodes, sorted by name; while Redis is away those that were last read."""

        async def run() -> list[NodeRecord]:
            await self._registry.refresh()
            known = self._registry.known
            pipeline = self._link.commands.pipeline(transaction=False)
            for node in known:
                pipeline.hlen(self._upkeep.node_key(node.name))
            lengths = await pipeline.execute()
            return [
                record_of(each, length, self._registry.differences_of(each))
                for each, length in zip(known, lengths, strict=True)
            ]

        found = await self._upkeep.unless_away(run, None)
        return self._last_known() if found is None else found

    def _last_known(self) -> list[NodeRecord]:
        """The nodes without Redis: this one as it is, of the others no connections are known."""
        info = self._registry.info
        own = NodeRecord(self._node, info.since, len(self._local), info.version, info.state)
        others = [record_of(each, 0) for each in self._registry.known if each.name != self._node]
        return sorted([own, *others], key=lambda each: each.node)

    def health(self) -> dict[str, Any]:
        """Whether Redis has this node's connections."""
        return {
            "ok": self._upkeep.is_complete,
            "kind": "redis",
        }

    async def _of_user(self, user_id: str) -> list[ConnectionRecord]:
        owned = await self._owned(user_id)
        pipeline = self._link.commands.pipeline(transaction=False)
        for id_, node in zip(owned[::2], owned[1::2], strict=True):
            pipeline.hget(self._upkeep.node_key(node.decode()), id_)
        return [decoded(each) for each in await pipeline.execute() if each is not None]

    async def _all(self, node: str | None) -> list[ConnectionRecord]:
        names = [each for each in await self._registry.living() if node in (None, each)]
        pipeline = self._link.commands.pipeline(transaction=False)
        for name in names:
            pipeline.hvals(self._upkeep.node_key(name))
        return [decoded(each) for values in await pipeline.execute() for each in values]

    async def _owned(self, user_id: str) -> list[bytes]:
        """A user's connections, each followed by its node."""
        (owned,) = await self._upkeep.execute(
            [call(COUNT, self._upkeep.user_key(user_id), self._registry.lost)]
        )
        found: list[bytes] = owned
        return found

    def _local_records(self) -> list[ConnectionRecord]:
        return list(self._local.records(EVERYONE))


_AWAY: Any = object()
