"""``RedisDirectory``: the connections of all nodes, in hashes by node and by user."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from wsserver.cluster.control import Answers, Request
from wsserver.cluster.directory import (
    HANDED_OVER_S,
    RESERVATION_S,
    Change,
    ConnectionRecord,
    LostConnection,
    NodeNameTaken,
    NodeRecord,
    Reservation,
    SessionUsers,
)
from wsserver.cluster.local import Connected
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.directory_scripts import (
    CHANGE,
    COUNT,
    DEPART,
    ENTER,
    OPEN,
    QUIET,
    RESERVE,
    SESSION,
    SETTLE_OFFLINE,
    SETTLE_ONLINE,
    TAKE_DEPARTED,
    Command,
    call,
)
from wsserver.cluster.redis.directory_writes import AT_ONCE, DirectoryWrites, run_pipeline
from wsserver.cluster.redis.link import UNREACHABLE, RedisLink
from wsserver.cluster.redis.nodes import (
    LEASE_S,
    REMEMBERED_S,
    RENEW_S,
    NodeRegistry,
    record_of,
)
from wsserver.protocol.targets import EVERYONE, Target, TargetType, user

log = logging.getLogger(__name__)

OWNERS_S = 0.3
"""Time for the owners of a user's connections to confirm them, before a connect is refused."""
EMPTY_S = 3600
"""Time that the number of changes of a user without connections is remembered."""
SETTLE_S = 2 * RENEW_S + 0.5
"""Time for all nodes to enter their connections again, before missed changes are made up for."""
UNSETTLED_LIMIT = 100_000
"""Users whose missed changes are made up for; no status is pushed for further ones."""
USERS_LISTED = 1000
MEMBERS_READ = 5000
"""Connections in a session that its list of users is made from."""
FLUSH_S = 2.0
"""Longest wait for the last writes at the stop."""

T = TypeVar("T")


class ConfirmConnections(Request[list[str]], frozen=True):
    """The ids of a user's connections on a node."""

    user_id: str


class RedisDirectory:
    """Enters this node's connections, and reads those of all.

    ``wsserver:{node:NAME}:connections`` has a node's connections as records,
    ``wsserver:{user:ID}:connections`` a user's, ``wsserver:{session:ID}:connections`` a session's
    (see ``directory_scripts``). While Redis is away, this node's own connections are all there
    are; they are entered again afterwards, also when it was emptied.

    A user's status is announced by the script that changes it, so once. Changes while Redis is
    away, and until all nodes have entered theirs again, leave it as it was: ``_unsettled`` has
    their users, for whom it is compared ``SETTLE_S`` later.
    """

    answers_now = False

    def __init__(self, link: RedisLink, registry: NodeRegistry, control: RedisControl) -> None:
        self._link = link
        self._registry = registry
        self._node = registry.node
        self._control = control
        self._connected: Connected
        self._lost_listeners: list[Callable[[LostConnection], None]] = []
        self._status_listeners: list[Callable[[str, Change], None]] = []
        self._is_reachable = True
        self._is_behind = False
        """Whether Redis may lack changes of this node's connections."""
        self._is_entering = False
        """Whether Redis lacks some of them at the moment."""
        self._has_entered = False
        """Whether all connections have been entered once since the start."""
        self._renewed_at = 0.0
        """Loop time of the last renewal of the lease."""
        self._settled_at = 0.0
        """Loop time until which no status is announced."""
        self._unsettled: dict[str, bool] = {}
        """By user with missed changes: whether this node had a connection of it before."""
        self._tasks: list[asyncio.Task[None]] = []
        self._checks: dict[str, asyncio.Task[bool]] = {}
        """By user: the running check of the owners of its connections."""
        self._departed = link.key("nodes", "departed")
        self._marker = (link.key(f"node:{self._node}", "entered"), secrets.token_hex(8))
        records = self._node_key(self._node)
        self._writes = DirectoryWrites(link, records, self._departed, self._marker)
        self._writes.on_away = self._away
        control.add_handler(ConfirmConnections, self._confirm)

    def over(self, connected: Connected) -> RedisDirectory:
        """Set the connections of this node; to be called once, before ``start``."""
        self._connected = connected
        self._writes.over(connected)
        return self

    # Start and stop

    async def start(self) -> None:
        """Register this node, waiting for the end of a former run that was killed.

        Raises ``NodeNameTaken``, and ``RedisUnusable`` for a server that cannot work.
        """
        try:
            await self._link.check()
            await self._register()
            await self._registry.refresh()
            await self._run([("SET", *self._marker)])
        except UNREACHABLE as error:
            self._away(error)
        for work in (self._maintain, self._writes.run):
            self._tasks.append(asyncio.create_task(work(), name="redis directory"))

    async def stop(self) -> None:
        """Take this node and its connections out."""
        if not self._tasks:
            return
        if self._is_reachable:
            try:
                await asyncio.wait_for(self._writes.is_idle.wait(), FLUSH_S)
            except TimeoutError:
                log.warning("last changes of connections not written")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._is_reachable = False  # nothing is written any more
        self._writes.fail()
        try:
            users: list[str] = []
            await self._remove_all(
                self._node, QUIET, lambda lost: users.append(lost.connection.user_id)
            )
            if users:
                await self._run([call(DEPART, self._departed, users)])
            await self._link.commands.delete(self._marker[0])
            await self._registry.leave()
        except (RedisError, OSError):
            log.info("node not taken out; its lease ends by itself")

    async def _register(self) -> None:
        deadline = asyncio.get_running_loop().time() + LEASE_S + 1.0
        while True:
            try:
                await self._registry.renew()
                return
            except NodeNameTaken:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.2)

    # Admission

    def reserve(
        self, user_id: str, limit: int
    ) -> Reservation | Awaitable[Reservation | None] | None:
        """Count and reserve in one step.

        At the limit the owners of the counted connections have to confirm them within
        ``OWNERS_S``; those that are not confirmed do not count.
        """
        if not self._is_reachable:
            return self._local_reservation(user_id, limit)
        return self._reserve(user_id, limit)

    def _local_reservation(self, user_id: str, limit: int) -> Reservation | None:
        return Reservation(user_id, "") if self._connected.count_of(user_id) < limit else None

    async def _reserve(self, user_id: str, limit: int) -> Reservation | None:
        await asyncio.sleep(0)  # callers that must not wait give up here, before a command is sent
        token = secrets.token_hex(8)
        args: list[str | bytes | int] = [
            limit,
            token,
            int(RESERVATION_S * 1000),
            *self._registry.lost,
        ]

        async def run() -> Reservation | None:
            command = call(RESERVE, self._user_key(user_id), args)
            (owned,) = await self._run([command])
            if owned != 1 and await self._has_unconfirmed(user_id, owned):
                (owned,) = await self._run([command])
            return Reservation(user_id, token) if owned == 1 else None

        found = await self._or(run, _AWAY)
        return self._local_reservation(user_id, limit) if found is _AWAY else found

    def cancel(self, reservation: Reservation) -> None:
        """Release a reservation."""
        if reservation.token and self._is_reachable:
            key = self._user_key(reservation.user_id)
            self._writes.add(("HDEL", key, f"r:{reservation.token}"))

    async def _has_unconfirmed(self, user_id: str, owned: Sequence[bytes]) -> bool:
        """Whether connections were removed by a check, which serves all connects of the user."""
        check = self._checks.get(user_id)
        if check is None:
            check = asyncio.create_task(
                self._remove_unconfirmed(user_id, owned), name="confirm connections"
            )
            self._checks[user_id] = check
            check.add_done_callback(lambda _: self._checks.pop(user_id))
        return await asyncio.shield(check)

    async def _remove_unconfirmed(self, user_id: str, owned: Sequence[bytes]) -> bool:
        """Remove connections that their nodes do not have, or whose nodes do not answer."""
        by_node: dict[str, set[str]] = {}
        for id_, node in zip(owned[::2], owned[1::2], strict=True):
            by_node.setdefault(node.decode(), set()).add(id_.decode())
        asked = ConfirmConnections(user_id)
        answers = await asyncio.gather(*(self._ask_owner(node, asked) for node in by_node))
        gone: list[str] = []
        for (owner, ids), answer in zip(by_node.items(), answers, strict=True):
            if answer is not None:
                gone += ids - set(answer.by_node.get(owner, ()))
        if gone:
            await self._link.commands.hdel(self._user_key(user_id), *[f"c:{id_}" for id_ in gone])
        return bool(gone)

    async def _ask_owner(self, node: str, request: ConfirmConnections) -> Answers[list[str]] | None:
        """Ask an owner, twice if it does not answer: it may only be busy."""
        answer = await self._control.ask_patiently(node, request, OWNERS_S)
        if answer is not None and answer.unreachable:
            answer = await self._control.ask_patiently(node, request, OWNERS_S)
        return answer

    def _confirm(self, request: ConfirmConnections) -> list[str]:
        """Confirm a user's connections, entering them again: a late answer counts as none."""
        ids = [each.connection_id for each in self._connected.records(user(request.user_id))]
        if self._is_reachable and not self._writes.is_full:
            for id_ in ids:
                self._writes.add(self._change(QUIET, request.user_id, id_, self._node))
        return ids

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
        if self._writes_now():
            self._writes.changed(connection_id)
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
        if self._writes_now():
            self._writes.ended(connection_id)
            if is_handed_over:
                self._writes.departed(user_id)
        mode = QUIET if is_handed_over else OPEN
        self._enter(user_id, connection_id, "", on_change, mode=mode)

    def updated(self, connection_id: str) -> None:
        """Write the connection's record again."""
        if self._writes_now():
            self._writes.changed(connection_id)

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
        is_settled = asyncio.get_running_loop().time() >= self._settled_at
        was_here = not node or self._connected.count_of(user_id) > 1

        def done(result: Any, is_kept: bool) -> None:
            is_known = result is not None and is_kept
            if mode == OPEN and not (is_settled and is_known):
                self._note_unsettled(user_id, was_here)
            if is_known:
                change = _change_of(result)
                on_change(change if is_settled else Change(change.connections))
                return
            on_change(Change(self._connected.count_of(user_id)))
            if result is not None:
                self._emptied()

        if self._writes_now():
            now = mode if is_settled else QUIET
            self._writes.add(self._change(now, user_id, connection_id, node, token), done)
        else:
            done(None, False)

    def _note_unsettled(self, user_id: str, was_here: bool) -> None:
        if len(self._unsettled) < UNSETTLED_LIMIT:
            self._unsettled.setdefault(user_id, was_here)

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
        local = self._connected.count_in(session_id, user_id)

        def done(result: Any, is_kept: bool) -> None:
            on_change(int(result) if result is not None and is_kept else local)

        if not self._writes_now():
            done(None, False)
            return
        record = self._connected.record(connection_id)
        username = (record.username if record is not None else None) or ""
        self._writes.changed(connection_id)
        args = [user_id, self._node, connection_id, username, is_join, *self._registry.lost]
        self._writes.add(call(SESSION, self._session_key(session_id), args), done)

    def _writes_now(self) -> bool:
        """Whether changes are written; else all is entered again later."""
        if self._is_reachable and not self._writes.is_full:
            return True
        self._is_behind = True
        return False

    def _change(
        self, mode: str, user_id: str, connection_id: str, node: str, token: str = ""
    ) -> Command:
        args: list[str | bytes | int] = [
            mode,
            connection_id,
            node,
            token,
            EMPTY_S,
            *self._registry.lost,
        ]
        return call(CHANGE, self._user_key(user_id), args)

    # Reading

    def add_lost_listener(self, listener: Callable[[LostConnection], None]) -> None:
        """Call ``listener`` for each connection of a lost node that this node takes out."""
        self._lost_listeners.append(listener)

    def add_status_listener(self, listener: Callable[[str, Change], None]) -> None:
        """Call ``listener`` with a user whose status has changed by no connect or disconnect."""
        self._status_listeners.append(listener)

    def session_users(self, session_id: str) -> SessionUsers | Awaitable[SessionUsers]:
        """The users in a session, in the order of their ids."""
        if not self._is_reachable:
            return self._connected.users_in(session_id)
        return self._session_users(session_id)

    async def _session_users(self, session_id: str) -> SessionUsers:
        async def run() -> SessionUsers:
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            # Behind what was changed before, so that the list has it.
            self._writes.add(
                ("ZRANGE", self._session_key(session_id), 0, MEMBERS_READ - 1),
                lambda result, _: None if done.done() else done.set_result(result),
            )
            members = await done
            if members is None:
                return self._connected.users_in(session_id)
            return _session_users(members, set(self._registry.lost))

        return await self._or(run, self._connected.users_in(session_id))

    def may_be_online(self, user_id: str, besides: str = "") -> bool:
        """Always True while Redis can be reached: other nodes may have a connection."""
        return self._is_reachable or self._connected.count_of(user_id) > (1 if besides else 0)

    def may_have_others(self, session_id: str, user_id: str) -> bool:
        """Always True: other nodes may have connections in the session."""
        return True

    async def count(self, user_id: str) -> int:
        """Number of a user's connections."""

        async def run() -> int:
            return len(await self._owned(user_id)) // 2

        return await self._or(run, self._connected.count_of(user_id))

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

        found = await self._or(run, self._local_records())
        matching = [each for each in found if _matches(each, target) and node in (None, each.node)]
        return sorted(matching, key=lambda each: (each.connected_at, each.connection_id))

    async def users(self, *, node: str | None = None) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        counts: dict[str, int] = {}
        for each in await self._or(lambda: self._all(node), self._local_records()):
            if node in (None, each.node):
                counts[each.user_id] = counts.get(each.user_id, 0) + 1
        return counts

    async def nodes(self) -> Sequence[NodeRecord]:
        """The nodes, sorted by name."""

        async def run() -> list[NodeRecord]:
            await self._registry.refresh()
            pipeline = self._link.commands.pipeline(transaction=False)
            for node in self._registry.known:
                pipeline.hlen(self._node_key(node.name))
            lengths = await pipeline.execute()
            return [record_of(*each) for each in zip(self._registry.known, lengths, strict=True)]

        info = self._registry.info
        alone = NodeRecord(self._node, info.since, len(self._connected), info.version, info.state)
        return await self._or(run, [alone])

    def health(self) -> dict[str, Any]:
        """Whether Redis has this node's connections."""
        return {
            "ok": self._is_reachable and not (self._is_behind or self._is_entering),
            "kind": "redis",
        }

    async def _of_user(self, user_id: str) -> list[ConnectionRecord]:
        owned = await self._owned(user_id)
        pipeline = self._link.commands.pipeline(transaction=False)
        for id_, node in zip(owned[::2], owned[1::2], strict=True):
            pipeline.hget(self._node_key(node.decode()), id_)
        return [_decoded(each) for each in await pipeline.execute() if each is not None]

    async def _all(self, node: str | None) -> list[ConnectionRecord]:
        names = [each for each in await self._registry.living() if node in (None, each)]
        pipeline = self._link.commands.pipeline(transaction=False)
        for name in names:
            pipeline.hvals(self._node_key(name))
        return [_decoded(each) for values in await pipeline.execute() for each in values]

    async def _owned(self, user_id: str) -> list[bytes]:
        """A user's connections, each followed by its node."""
        (owned,) = await self._run([call(COUNT, self._user_key(user_id), self._registry.lost)])
        found: list[bytes] = owned
        return found

    def _local_records(self) -> list[ConnectionRecord]:
        return list(self._connected.records(EVERYONE))

    # Maintenance

    async def _maintain(self) -> None:
        while True:
            try:
                await self._advance()
            except NodeNameTaken:
                log.critical("node name taken by another node node=%s", self._node)
            except UNREACHABLE as error:
                self._away(error)
            except RedisError:
                log.exception("redis directory failed")
            await asyncio.sleep(RENEW_S / 4 if not self._is_reachable else RENEW_S)

    async def _advance(self) -> None:
        """Renew the lease, enter what Redis lacks, take out what lost nodes have left."""
        is_new = await self._registry.renew()
        now = asyncio.get_running_loop().time()
        if not self._has_entered:
            if not await self._control.is_up_within(LEASE_S / 2):
                return  # nobody would hear what has become of a former run's connections
        elif is_new or not self._is_reachable or now - self._renewed_at > LEASE_S:
            # The other nodes' leases may have ended for the same reason.
            self._unsettle()
        self._renewed_at = now
        self._is_reachable = True
        if is_new or self._is_behind or not self._has_entered:
            await self._enter_all()
        await self._registry.refresh()
        if asyncio.get_running_loop().time() < self._settled_at:
            return
        for node in self._registry.known:
            if node.is_living:
                continue
            if await self._registry.claim_reaping(node.name):
                await self._remove_all(node.name, OPEN, self._report)
            if node.lost_s > REMEMBERED_S:
                await self._registry.forget(node)
        await self._settle()

    def _emptied(self) -> None:
        """Redis has lost this node's connections."""
        if not self._is_behind:
            log.warning("redis was emptied; connections are entered again")
        self._is_behind = True
        self._unsettle()

    def _unsettle(self) -> None:
        self._settled_at = asyncio.get_running_loop().time() + SETTLE_S

    async def _settle(self) -> None:
        """Announce what has become of users with missed changes, and of those handed over."""
        args = [int(HANDED_OVER_S * 1000), AT_ONCE]
        (departed,) = await self._run([call(TAKE_DEPARTED, self._departed, args)])
        modes = {user_id.decode(): SETTLE_OFFLINE for user_id in departed}
        missed, self._unsettled = self._unsettled, {}
        for user_id, was_here in missed.items():
            modes[user_id] = SETTLE_ONLINE if was_here else SETTLE_OFFLINE
        commands = [self._change(mode, id_, "", "") for id_, mode in modes.items()]
        try:
            results = []
            for start in range(0, len(commands), AT_ONCE):
                results += await self._run(commands[start : start + AT_ONCE])
        except BaseException:
            self._unsettled = missed | self._unsettled
            raise
        for user_id, result in zip(modes, results, strict=True):
            self._announce(user_id, _change_of(result))

    def _announce(self, user_id: str, change: Change) -> None:
        if change.became:
            for listener in self._status_listeners:
                listener(user_id, change)

    async def _enter_all(self) -> None:
        """Enter all connections of this node again, and take out those that have ended."""
        self._is_behind, self._is_entering = False, True
        key = self._node_key(self._node)
        try:
            stored: dict[str, ConnectionRecord] = {}
            values: list[Any] = await self._link.commands.hvals(key)
            for value in values:
                record = _decoded(value)
                stored[record.connection_id] = record
            stale = [each for id_, each in stored.items() if self._connected.record(id_) is None]
            # Of a former run; those that have ended while Redis was away were reported then.
            mode, report = (QUIET, _ignore) if self._has_entered else (OPEN, self._report)
            await self._remove(self._node, stale, mode, report)
            await self._enter_again(stored)
            await self._enter_statuses()
            await self._run([("SET", *self._marker)])
        except BaseException:
            self._is_behind = True
            raise
        self._has_entered = True
        self._is_entering = False

    async def _enter_again(self, stored: Mapping[str, ConnectionRecord]) -> None:
        """Enter all connections behind the changes that wait, so that none overtakes its end."""
        ids = [each.connection_id for each in self._connected.records(EVERYONE)]
        for start in range(0, len(ids), AT_ONCE // 4):
            entered: list[asyncio.Future[Any]] = []
            for id_ in ids[start : start + AT_ONCE // 4]:
                record = self._connected.record(id_)
                if record is None:  # it has ended meanwhile
                    continue
                self._writes.changed(id_)
                for session_id in stored[id_].sessions if id_ in stored else ():
                    if session_id not in record.sessions:
                        self._writes.add(self._session_command(record, session_id, ""))
                for session_id in record.sessions:
                    self._writes.add(self._session_command(record, session_id, "1"))
                mode = ENTER if self._unsettled.get(record.user_id, True) else QUIET
                future = asyncio.get_running_loop().create_future()
                entered.append(future)
                self._writes.add(
                    self._change(mode, record.user_id, id_, self._node),
                    partial(self._entered, record.user_id, future),
                )
            if not all(await asyncio.gather(*entered)):
                raise ConnectionError("connections not entered")

    async def _enter_statuses(self) -> None:
        """Enter that users were online whose connections have ended or moved meanwhile."""
        were_here = [user_id for user_id, was_here in self._unsettled.items() if was_here]
        for start in range(0, len(were_here), AT_ONCE):
            some = were_here[start : start + AT_ONCE]
            await self._run([("HSETNX", self._user_key(user_id), "s", "1") for user_id in some])

    def _entered(
        self, user_id: str, future: asyncio.Future[bool], result: Any, is_kept: bool
    ) -> None:
        """A connection was entered again: its user may have been offline for the others."""
        if not future.done():
            future.set_result(result is not None)
        if result is not None:
            self._announce(user_id, _change_of(result))

    def _session_command(self, record: ConnectionRecord, session_id: str, is_join: str) -> Command:
        args = [record.user_id, record.node, record.connection_id, record.username or "", is_join]
        return call(SESSION, self._session_key(session_id), [*args, *self._registry.lost])

    def _report(self, lost: LostConnection) -> None:
        for listener in self._lost_listeners:
            try:
                listener(lost)
            except Exception:  # the others have to be taken out, too
                log.exception("lost connection not handled")

    async def _remove_all(
        self, node: str, mode: str, report: Callable[[LostConnection], None]
    ) -> None:
        """Take out the connections of a node that has ended."""
        values: list[Any] = await self._link.commands.hvals(self._node_key(node))
        await self._remove(node, [_decoded(each) for each in values], mode, report)

    async def _remove(
        self,
        node: str,
        records: list[ConnectionRecord],
        mode: str,
        report: Callable[[LostConnection], None],
    ) -> None:
        for start in range(0, len(records), AT_ONCE // 4):
            some = records[start : start + AT_ONCE // 4]
            commands: list[Command] = []
            for each in some:
                commands.append(self._change(mode, each.user_id, each.connection_id, ""))
                commands += [self._session_command(each, id_, "") for id_ in each.sessions]
            # Last, so that another node goes on if this one ends meanwhile.
            ids = [each.connection_id for each in some]
            commands.append(("HDEL", self._node_key(node), *ids))
            results = iter(await self._run(commands))
            for each in some:
                change = _change_of(next(results))
                left = tuple([id_ for id_ in each.sessions if next(results) == 0])
                report(LostConnection(each, change, left))

    # While Redis is away

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        return await run_pipeline(self._link, commands) if commands else []

    async def _or(self, run: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What ``run`` returns; ``otherwise`` while Redis is away."""
        if self._is_reachable:
            try:
                return await run()
            except UNREACHABLE as error:
                self._away(error)
                await self._link.reset()
        return otherwise

    def _away(self, error: BaseException) -> None:
        if self._is_reachable:
            log.warning("redis is away; connections are judged by local counts error=%r", error)
        self._is_reachable = False
        self._is_behind = True

    def _user_key(self, user_id: str) -> str:
        return self._link.key(f"user:{user_id}", "connections")

    def _node_key(self, node: str) -> str:
        return self._link.key(f"node:{node}", "connections")

    def _session_key(self, session_id: str) -> str:
        return self._link.key(f"session:{session_id}", "connections")


_AWAY: Any = object()


def _change_of(result: Sequence[Any]) -> Change:
    """The answer of ``CHANGE``."""
    count, number, became = result
    return Change(int(count), int(number), became.decode())


def _session_users(members: Sequence[bytes], lost: Collection[str]) -> SessionUsers:
    """The users of a session's members on living nodes, which are sorted by user."""
    found: dict[str, dict[str, Any]] = {}
    for member in members:
        user_id, node, _, username = member.decode().split("\0", 3)
        if node in lost:
            continue
        if user_id not in found:
            if len(found) == USERS_LISTED:
                break
            name = username or None
            found[user_id] = {"user_id": user_id, "username": name, "connections": 0}
        found[user_id]["connections"] += 1
    return list(found.values())


def _decoded(data: bytes) -> ConnectionRecord:
    return msgspec.msgpack.decode(data, type=ConnectionRecord)


def _matches(connection: ConnectionRecord, target: Target) -> bool:
    match target.type:
        case TargetType.USER:
            return connection.user_id == target.id
        case TargetType.SESSION:
            return target.id in connection.sessions
        case TargetType.ORGANIZATION:
            return connection.organization_id == target.id
        case TargetType.ROLE:
            return connection.role == target.id
        case TargetType.CONNECTION:
            return connection.connection_id == target.id
        case _:
            return True


def _ignore(_: LostConnection) -> None:
    """Report nothing: the end of the connection was reported when it ended."""
