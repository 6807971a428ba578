"""``RedisDirectory``: the connections of all nodes, in hashes by node and by user."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from wsserver.cluster.control import Request
from wsserver.cluster.directory import (
    RESERVATION_S,
    Change,
    ConnectionRecord,
    NodeRecord,
    Reservation,
)
from wsserver.cluster.errors import ClusterUnusable, ForeignCluster, NodeNameTaken
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.link import UNREACHABLE, RedisLink, RedisUnusable
from wsserver.cluster.redis.nodes import (
    LEASE_S,
    REMEMBERED_S,
    RENEW_S,
    NodeRegistry,
    record_of,
)
from wsserver.protocol.targets import Target, TargetType
from wsserver.tasks import end

log = logging.getLogger(__name__)

OWNERS_S = 0.3
"""Time for the owners of a user's connections to confirm them, before a connect is refused."""
AT_ONCE = 500
"""Connections entered in one pipeline."""
EMPTY_S = 3600
"""Time that the number of changes of a user without connections is remembered."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}
"""
_COUNT = """
local count, owned = 0, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local kind = string.sub(all[i], 1, 2)
  if kind == 'c:' and not lost[all[i + 1]] then
    count = count + 1
    owned[#owned + 1] = string.sub(all[i], 3)
    owned[#owned + 1] = all[i + 1]
  elseif kind == 'r:' then
    if tonumber(all[i + 1]) <= now then redis.call('HDEL', KEYS[1], all[i])
    else reserved = reserved + 1 end
  end
end
"""
# KEYS: a user's hash. ARGV: limit, token, ms of a reservation, lost nodes
RESERVE = (
    _NOW
    + "for i = 4, #ARGV do lost[ARGV[i]] = true end\nlocal reserved = 0\n"
    + _COUNT
    + """
if count + reserved >= tonumber(ARGV[1]) then return owned end
redis.call('HSET', KEYS[1], 'r:' .. ARGV[2], string.format('%d', now + ARGV[3]))
redis.call('PERSIST', KEYS[1])
return 1
"""
)
# ARGV: connection, node or '' for its end, token, s to remember, lost nodes
CHANGE = (
    _NOW
    + "for i = 5, #ARGV do lost[ARGV[i]] = true end\nlocal reserved = 0\n"
    + """
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], 'c:' .. ARGV[1])
else redis.call('HSET', KEYS[1], 'c:' .. ARGV[1], ARGV[2]) end
if ARGV[3] ~= '' then redis.call('HDEL', KEYS[1], 'r:' .. ARGV[3]) end
"""
    + _COUNT
    + """
local number = math.max(tonumber(redis.call('HGET', KEYS[1], 'n') or '0') + 1, now)
redis.call('HSET', KEYS[1], 'n', string.format('%d', number))
if count + reserved == 0 then redis.call('EXPIRE', KEYS[1], ARGV[4])
else redis.call('PERSIST', KEYS[1]) end
return {count, string.format('%d', number)}
"""
)
COUNT = (
    _NOW
    + "for i = 1, #ARGV do lost[ARGV[i]] = true end\nlocal reserved = 0\n"
    + _COUNT
    + "return owned"
)

T = TypeVar("T")


class ConfirmConnections(Request[list[str]], frozen=True):
    """The ids of a user's connections on a node."""

    user_id: str


class RedisDirectory:
    """Enters this node's connections, and reads those of all.

    ``wsserver:{node:NAME}:connections`` has a node's connections as records,
    ``wsserver:{user:ID}:connections`` a user's: ``c:`` + id → node, ``r:`` + token → end of a
    reservation, ``n`` → the number of the last change. While Redis is away, this node's own
    connections are all there are; they are entered again afterwards, also when it was emptied.
    """

    def __init__(self, link: RedisLink, registry: NodeRegistry, control: RedisControl) -> None:
        self._link = link
        self._registry = registry
        self._node = registry.node
        self._control = control
        self._own: dict[str, ConnectionRecord] = {}
        self._by_user: dict[str, dict[str, None]] = {}
        self._lost_listeners: list[Callable[[ConnectionRecord], None]] = []
        self._is_reachable = True
        self._is_behind = False
        """Whether Redis may lack changes of this node's connections."""
        self._latest_number = 0
        """Of all changes that this node has made; goes on from there while Redis is away."""
        self._task: asyncio.Task[None] | None = None
        register = link.commands.register_script
        self._reserve, self._change, self._count = map(register, (RESERVE, CHANGE, COUNT))
        control.add_handler(ConfirmConnections, self._confirm)

    # Start and stop

    async def start(self) -> None:
        """Register this node, waiting for the end of a former run that was killed.

        Raises ``ClusterUnusable`` for a name that is taken, or a server that cannot work.
        """
        try:
            await self._link.check()
            await self._register()
            await self._clear(self._node)  # of a former run
            await self._registry.refresh()
        except UNREACHABLE as error:
            self._away(error)
            await self._link.shut("not checked yet whether it may be used")
        self._task = asyncio.create_task(self._maintain(), name="redis directory")

    async def stop(self) -> None:
        """Take this node and its connections out."""
        if self._task is None:
            return
        await end(self._task)
        self._task = None
        try:
            await self._clear(self._node)
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

    async def reserve(self, user_id: str, limit: int) -> Reservation | None:
        """Count and reserve in one step.

        At the limit the owners of the counted connections have to confirm them within
        ``OWNERS_S``; those that are not confirmed do not count.
        """
        await asyncio.sleep(0)  # callers that must not wait give up here, before a command is sent
        token = secrets.token_hex(8)
        args: list[str | int] = [limit, token, int(RESERVATION_S * 1000), *self._registry.lost]
        local = Reservation(user_id, "") if self._local_count(user_id) < limit else None

        async def run() -> Reservation | None:
            keys = [self._user_key(user_id)]
            owned = await self._reserve(keys=keys, args=args)
            if owned != 1 and await self._remove_unconfirmed(user_id, owned):
                owned = await self._reserve(keys=keys, args=args)
            return Reservation(user_id, token) if owned == 1 else None

        return await self._or(run, local)

    async def cancel(self, reservation: Reservation) -> None:
        """Release a reservation."""

        async def run() -> None:
            key = self._user_key(reservation.user_id)
            await self._link.commands.hdel(key, f"r:{reservation.token}")

        if reservation.token:
            await self._or(run, None)

    async def _remove_unconfirmed(self, user_id: str, owned: Sequence[bytes]) -> bool:
        """Remove connections that their nodes do not have, or whose nodes do not answer."""
        by_node: dict[str, set[str]] = {}
        for id_, node in zip(owned[::2], owned[1::2], strict=True):
            by_node.setdefault(node.decode(), set()).add(id_.decode())
        asked = ConfirmConnections(user_id)
        answers = await asyncio.gather(
            *(self._control.ask_patiently(node, asked, OWNERS_S) for node in by_node)
        )
        gone: list[str] = []
        for (owner, ids), answer in zip(by_node.items(), answers, strict=True):
            if answer is not None:
                gone += ids - set(answer.by_node.get(owner, ()))
        if gone:
            await self._link.commands.hdel(self._user_key(user_id), *[f"c:{id_}" for id_ in gone])
        return bool(gone)

    def _confirm(self, request: ConfirmConnections) -> list[str]:
        return list(self._by_user.get(request.user_id, ()))

    # This node's connections

    async def opened(
        self, connection: ConnectionRecord, reservation: Reservation | None = None
    ) -> Change:
        """Enter a connection of this node."""
        user_id = connection.user_id
        self._own[connection.connection_id] = connection
        self._by_user.setdefault(user_id, {})[connection.connection_id] = None
        token = reservation.token if reservation is not None else ""

        async def run() -> Change:
            data = msgspec.msgpack.encode(connection)
            await self._link.commands.hset(
                self._node_key(self._node), connection.connection_id, data
            )
            return await self._changed(user_id, connection.connection_id, self._node, token)

        return await self._or(run, self._local_change(user_id), is_change=True)

    async def closed(self, connection_id: str, user_id: str) -> Change:
        """Remove a connection of this node."""
        self._own.pop(connection_id, None)
        mine = self._by_user.get(user_id, {})
        mine.pop(connection_id, None)
        if not mine:
            self._by_user.pop(user_id, None)

        async def run() -> Change:
            await self._link.commands.hdel(self._node_key(self._node), connection_id)
            return await self._changed(user_id, connection_id, "", "")

        return await self._or(run, self._local_change(user_id), is_change=True)

    async def updated(self, connection: ConnectionRecord) -> None:
        """Replace a connection of this node."""
        if connection.connection_id not in self._own:
            return
        self._own[connection.connection_id] = connection

        async def run() -> None:
            data = msgspec.msgpack.encode(connection)
            await self._link.commands.hset(
                self._node_key(self._node), connection.connection_id, data
            )

        await self._or(run, None, is_change=True)

    async def _changed(self, user_id: str, connection_id: str, node: str, token: str) -> Change:
        count, number = await self._change(
            keys=[self._user_key(user_id)],
            args=[connection_id, node, token, EMPTY_S, *self._registry.lost],
        )
        change = Change(int(count), int(number))
        self._latest_number = max(self._latest_number, change.number)
        return change

    # Reading

    def add_lost_listener(self, listener: Callable[[ConnectionRecord], None]) -> None:
        """Call ``listener`` for each connection of a lost node that this node takes out."""
        self._lost_listeners.append(listener)

    def may_be_online(self, user_id: str, besides: str = "") -> bool:
        """Always True while Redis can be reached: other nodes may have a connection."""
        return self._is_reachable or self._local_count(user_id) > (1 if besides else 0)

    def may_have_others(self, session_id: str, user_id: str) -> bool:
        """Always True: other nodes may have connections in the session."""
        return True

    async def count(self, user_id: str) -> int:
        """Number of a user's connections."""

        async def run() -> int:
            owned = await self._count(keys=[self._user_key(user_id)], args=self._registry.lost)
            return len(owned) // 2

        return await self._or(run, self._local_count(user_id))

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

        found = await self._or(run, list(self._own.values()))
        matching = [each for each in found if _matches(each, target) and node in (None, each.node)]
        return sorted(matching, key=lambda each: (each.connected_at, each.connection_id))

    async def users(self, *, node: str | None = None) -> Mapping[str, int]:
        """The connected users, each with the number of connections."""
        counts: dict[str, int] = {}
        for each in await self._or(lambda: self._all(node), list(self._own.values())):
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
        alone = NodeRecord(self._node, info.since, len(self._own), info.version, info.state)
        return await self._or(run, [alone])

    def health(self) -> dict[str, Any]:
        """Whether Redis has this node's connections."""
        return {"ok": self._is_reachable and not self._is_behind, "kind": "redis"}

    async def _of_user(self, user_id: str) -> list[ConnectionRecord]:
        owned = await self._count(keys=[self._user_key(user_id)], args=self._registry.lost)
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

    # Maintenance

    async def _maintain(self) -> None:
        while True:
            try:
                await self._advance()
            except ClusterUnusable as fault:
                self._report(fault.problem)
                if isinstance(fault, ForeignCluster):
                    await self._link.shut(fault.problem)
            except UNREACHABLE as error:
                self._away(error)
            except RedisError as error:
                self._report(str(error))
            await asyncio.sleep(RENEW_S / 4 if not self._is_reachable else RENEW_S)

    async def _advance(self) -> None:
        """Renew the lease, enter what Redis lacks, take out what lost nodes have left."""
        fault: str | None = None
        try:
            await self._link.check(
                with_rights=not self._is_reachable or self._link.fault is not None
            )
        except RedisUnusable as found:
            fault = found.problem  # what works in spite of it goes on
            self._report(fault)
        try:
            is_new = await self._registry.renew()
        except UNREACHABLE as error:
            if fault is None:
                raise
            self._away(error, fault)
            return
        self._link.open()
        if is_new or self._is_behind:
            await self._enter_all()
        self._is_reachable = True
        await self._registry.refresh()
        for node in self._registry.known:
            if node.is_living:
                continue
            if await self._registry.claim_reaping(node.name):
                for connection in await self._clear(node.name):
                    for listener in self._lost_listeners:
                        listener(connection)
            if node.lost_s > REMEMBERED_S:
                await self._registry.forget(node)
        self._report(fault)

    async def _enter_all(self) -> None:
        """Enter all connections of this node again, and take out those that have ended."""
        self._is_behind = False
        key = self._node_key(self._node)
        try:
            stored: dict[Any, Any] = await self._link.commands.hgetall(key)
            for id_, data in stored.items():
                if id_.decode() not in self._own:
                    old = _decoded(data)
                    await self._changed(old.user_id, old.connection_id, "", "")
                    await self._link.commands.hdel(key, id_)
            own = list(self._own.values())
            for start in range(0, len(own), AT_ONCE):
                pipeline = self._link.commands.pipeline(transaction=False)
                for each in own[start : start + AT_ONCE]:
                    if each.connection_id in self._own:  # it may have ended meanwhile
                        pipeline.hset(key, each.connection_id, msgspec.msgpack.encode(each))
                        field = f"c:{each.connection_id}"
                        pipeline.hset(self._user_key(each.user_id), field, self._node)
                        pipeline.persist(self._user_key(each.user_id))
                await pipeline.execute()
        except BaseException:
            self._is_behind = True
            raise

    async def _clear(self, node: str) -> list[ConnectionRecord]:
        """Take out the connections of a node that has ended; returns them."""
        key = self._node_key(node)
        values: list[Any] = await self._link.commands.hvals(key)
        found = [_decoded(each) for each in values]
        for each in found:
            await self._changed(each.user_id, each.connection_id, "", "")
        await self._link.commands.delete(key)
        return found

    # While Redis is away

    async def _or(
        self, run: Callable[[], Awaitable[T]], otherwise: T, *, is_change: bool = False
    ) -> T:
        """What ``run`` returns; ``otherwise`` while Redis is away."""
        if self._is_reachable:
            try:
                return await run()
            except UNREACHABLE as error:
                self._away(error)
                await self._link.reset()
        if is_change:
            self._is_behind = True
        return otherwise

    def _away(self, error: BaseException, fault: str | None = None) -> None:
        if self._is_reachable:
            log.warning("redis is away; connections are judged by local counts error=%r", error)
            self._link.fault = fault or f"cannot be reached: {error}"
        self._is_reachable = False
        self._is_behind = True

    def _report(self, fault: str | None) -> None:
        """Note what is wrong with the server, and log it if it is something new."""
        if fault is not None and fault != self._link.fault:
            log.critical("redis cannot be used as it is fault=%s", fault)
        elif fault is None and self._link.fault is not None:
            log.info("redis can be used again")
        self._link.fault = fault

    def _local_count(self, user_id: str) -> int:
        return len(self._by_user.get(user_id, ()))

    def _local_change(self, user_id: str) -> Change:
        self._latest_number += 1
        return Change(self._local_count(user_id), self._latest_number)

    def _user_key(self, user_id: str) -> str:
        return self._link.key(f"user:{user_id}", "connections")

    def _node_key(self, node: str) -> str:
        return self._link.key(f"node:{node}", "connections")


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
