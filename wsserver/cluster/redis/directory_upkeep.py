"""``DirectoryUpkeep``: renews a node's lease, and keeps what Redis has of connections right."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import RedisError

from wsserver.cluster.directory import (
    HANDED_OVER_S,
    Change,
    ConnectionRecord,
    LocalConnections,
    LostConnection,
)
from wsserver.cluster.errors import ClusterUnusable, ForeignCluster
from wsserver.cluster.redis.control import RedisControl
from wsserver.cluster.redis.directory_records import change_of, decoded
from wsserver.cluster.redis.directory_scripts import (
    CHANGE,
    DUE_DEPARTED,
    ENTER,
    FORGET_DEPARTED,
    OPEN,
    QUIET,
    SESSION,
    SETTLE_OFFLINE,
    SETTLE_ONLINE,
    Command,
    call,
)
from wsserver.cluster.redis.directory_writes import AT_ONCE, DirectoryWrites, run_pipeline
from wsserver.cluster.redis.link import UNREACHABLE, RedisLink, RedisUnusable
from wsserver.cluster.redis.nodes import LEASE_S, REMEMBERED_S, RENEW_S, NodeRegistry
from wsserver.protocol.targets import EVERYONE

log = logging.getLogger(__name__)

SETTLE_S = LEASE_S + 0.5
"""Time for all nodes to enter their connections again, before missed changes are made up for."""
UNSETTLED_LIMIT = 100_000
"""Users whose missed changes are made up for; no status is pushed for further ones."""
EMPTY_S = 3600
"""Time that the number of changes of a user without connections is remembered."""

T = TypeVar("T")


class DirectoryUpkeep:
    """What Redis has of this node's connections for ``RedisDirectory``, and whether it is away.

    Connections of this node are entered again when Redis was away or emptied, or when others took
    this node for lost; those of lost nodes are taken out, by one of the others.

    A user's status is announced by the script that changes it, so once. Changes while Redis is
    away, and until all nodes have entered theirs again, leave it as it was: ``_unsettled`` has
    their users, for whom it is compared ``SETTLE_S`` later.
    """

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
        self.lost_listeners: list[Callable[[LostConnection], None]] = []
        self.status_listeners: list[Callable[[str, Change], None]] = []
        self.is_reachable = True
        """False: Redis is away, and this node's own connections are all that is known."""
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
        self.departed = link.key("nodes", "departed")
        self.marker = (link.key(f"node:{self._node}", "entered"), secrets.token_hex(8))
        records = self.node_key(self._node)
        self.writes = DirectoryWrites(
            link, local, records, self.departed, self.marker, on_away=self.away
        )

    @property
    def is_settled(self) -> bool:
        """Whether statuses are announced as they change."""
        return asyncio.get_running_loop().time() >= self._settled_at

    @property
    def is_complete(self) -> bool:
        """Whether Redis has this node's connections."""
        return self.is_reachable and not (self._is_behind or self._is_entering)

    def writes_now(self) -> bool:
        """Whether changes are written; else all is entered again later."""
        if self.is_reachable and not self.writes.is_full:
            return True
        self._is_behind = True
        return False

    def write_no_more(self) -> None:
        """Take Redis for away from now on; what waits to be written has failed."""
        self.is_reachable = False
        self.writes.fail()

    async def maintain(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await self._advance()
            except ClusterUnusable as fault:
                self._note_fault(fault.problem)
                if isinstance(fault, ForeignCluster):
                    await self._link.shut(fault.problem)
            except UNREACHABLE as error:
                self.away(error)
            except RedisError as error:
                self._note_fault(str(error))
            except Exception:  # without it, this node's lease would end for good
                log.exception("redis directory not maintained")
            await asyncio.sleep(RENEW_S / 4 if not self.is_reachable else RENEW_S)

    async def _advance(self) -> None:
        """Check the server, renew the lease, bring what it has of connections up to date."""
        fault: str | None = None
        try:
            await self._link.check(
                with_rights=not self.is_reachable or self._link.fault is not None
            )
        except RedisUnusable as found:
            fault = found.problem  # what works in spite of it goes on
            self._note_fault(fault)
        try:
            is_new = await self._registry.renew()
        except UNREACHABLE as error:
            if fault is None:
                raise
            self.away(error, fault)
            return
        self._link.open()
        if await self._bring_up_to_date(is_new):
            self._note_fault(fault)

    async def _bring_up_to_date(self, is_new: bool) -> bool:
        """Enter what Redis lacks, take out what lost nodes have left; False: not possible yet.

        ``is_new``: Redis did not have this node's lease.
        """
        now = asyncio.get_running_loop().time()
        if not self._has_entered:
            if not await self._control.is_up_within(LEASE_S / 2):
                return False  # other nodes would not get the ends of a former run's connections
            if not self.is_reachable:
                self._unsettle()  # it was away, and the other nodes may not be back yet
        elif is_new or not self.is_reachable or now - self._renewed_at > LEASE_S:
            # The other nodes' leases may have ended for the same reason.
            self._unsettle()
            self._is_behind = True
            if not await self._control.can_notify():
                return False  # other nodes would not get which users are online again
        self._renewed_at = now
        self.is_reachable = True
        was_lost = is_new and self._has_entered
        if is_new or self._is_behind or not self._has_entered:
            await self._enter_all()
        # Another node may still be taking out connections: it claimed that before the renewal.
        self._is_behind |= was_lost
        await self._registry.refresh()
        if not self.is_settled:
            return True
        for node in self._registry.known:
            if node.is_living:
                continue
            if await self._registry.claim_reaping(node.name):
                await self.remove_all(node.name, OPEN, self._report, while_lost=True)
            if node.lost_s > REMEMBERED_S:
                await self._registry.forget(node)
        await self._settle()
        return True

    def emptied(self) -> None:
        """Redis has lost this node's connections."""
        if not self._is_behind:
            log.warning("redis was emptied; connections are entered again")
        self._is_behind = True
        self._unsettle()

    def _unsettle(self) -> None:
        self._settled_at = asyncio.get_running_loop().time() + SETTLE_S

    async def _settle(self) -> None:
        """Announce what has become of users with missed changes, and of those handed over.

        The latter are forgotten afterwards: if this node ends meanwhile, another one goes on.
        """
        args = [int(HANDED_OVER_S * 1000), AT_ONCE]
        (departed,) = await self.execute([call(DUE_DEPARTED, self.departed, args)])
        missed, self._unsettled = self._unsettled, {}
        were_here = {user_id.decode(): False for user_id in departed[::2]} | missed
        commands = [
            self.change(SETTLE_ONLINE if was_here else SETTLE_OFFLINE, user_id, "", "")
            for user_id, was_here in were_here.items()
        ]
        try:
            results = []
            for start in range(0, len(commands), AT_ONCE):
                results += await self.execute(commands[start : start + AT_ONCE])
        except BaseException:
            self._unsettled = missed | self._unsettled
            raise
        for user_id, result in zip(were_here, results, strict=True):
            self._announce(user_id, change_of(result))
        if departed:
            await self.execute([call(FORGET_DEPARTED, self.departed, departed)])

    def _announce(self, user_id: str, change: Change) -> None:
        if change.became:
            for listener in self.status_listeners:
                listener(user_id, change)

    async def _enter_all(self) -> None:
        """Enter all connections of this node again, and take out those that have ended."""
        self._is_behind, self._is_entering = False, True
        key = self.node_key(self._node)
        try:
            # Those that end while this is read are taken out by ``closed``, and reported once.
            known = {each.connection_id for each in self._local.records(EVERYONE)}
            stored: dict[str, ConnectionRecord] = {}
            values: list[Any] = await self._link.commands.hvals(key)
            for value in values:
                record = decoded(value)
                stored[record.connection_id] = record
            stale = [
                each
                for id_, each in stored.items()
                if id_ not in known and self._local.record(id_) is None
            ]
            # Of a former run; those that have ended while Redis was away were reported then.
            mode, report = (QUIET, _ignore) if self._has_entered else (OPEN, self._report)
            await self._remove(self._node, stale, mode, report)
            await self._enter_again(stored)
            await self._enter_statuses()
            await self.execute([("SET", *self.marker)])
        except BaseException:
            self._is_behind = True
            raise
        self._has_entered = True
        self._is_entering = False

    async def _enter_again(self, stored: Mapping[str, ConnectionRecord]) -> None:
        """Enter all connections behind the changes that wait, so that none overtakes its end."""
        ids = [each.connection_id for each in self._local.records(EVERYONE)]
        for start in range(0, len(ids), AT_ONCE // 4):
            entered: list[asyncio.Future[Any]] = []
            for id_ in ids[start : start + AT_ONCE // 4]:
                record = self._local.record(id_)
                if record is None:  # it has ended meanwhile
                    continue
                self.writes.changed(id_)
                for session_id in stored[id_].sessions if id_ in stored else ():
                    if session_id not in record.sessions:
                        self.writes.add(self._session_command(record, session_id, ""))
                for session_id in record.sessions:
                    self.writes.add(self._session_command(record, session_id, "1"))
                mode = ENTER if self._unsettled.get(record.user_id, True) else QUIET
                future = asyncio.get_running_loop().create_future()
                entered.append(future)
                self.writes.add(
                    self.change(mode, record.user_id, id_, self._node),
                    partial(self._entered, record.user_id, future),
                )
            if not all(await asyncio.gather(*entered)):
                raise ConnectionError("connections not entered")

    async def _enter_statuses(self) -> None:
        """Enter that users were online whose connections have ended or moved meanwhile."""
        were_here = [user_id for user_id, was_here in self._unsettled.items() if was_here]
        for start in range(0, len(were_here), AT_ONCE):
            some = were_here[start : start + AT_ONCE]
            await self.execute([("HSETNX", self.user_key(user_id), "s", "1") for user_id in some])

    def _entered(
        self, user_id: str, future: asyncio.Future[bool], result: Any, is_kept: bool
    ) -> None:
        """A connection was entered again: its user may have been offline for the others."""
        if not future.done():
            future.set_result(result is not None)
        if result is not None:
            self._announce(user_id, change_of(result))

    def _session_command(self, record: ConnectionRecord, session_id: str, is_join: str) -> Command:
        args = [record.user_id, record.node, record.connection_id, record.username or "", is_join]
        return call(SESSION, self.session_key(session_id), [*args, *self._registry.lost])

    def _report(self, lost: LostConnection) -> None:
        for listener in self.lost_listeners:
            try:
                listener(lost)
            except Exception:  # the others have to be taken out, too
                log.exception("lost connection not handled")

    async def remove_all(
        self,
        node: str,
        mode: str,
        report: Callable[[LostConnection], None],
        *,
        while_lost: bool = False,
    ) -> None:
        """Take out the connections of a node that has ended.

        ``while_lost``: no more of them once the node is back, as it has entered them again.
        """
        values: list[Any] = await self._link.commands.hvals(self.node_key(node))
        records = [decoded(each) for each in values]
        await self._remove(node, records, mode, report, while_lost=while_lost)

    async def _is_lost(self, node: str) -> bool:
        await self._registry.refresh()
        return node in self._registry.lost

    async def _remove(
        self,
        node: str,
        records: list[ConnectionRecord],
        mode: str,
        report: Callable[[LostConnection], None],
        *,
        while_lost: bool = False,
    ) -> None:
        for start in range(0, len(records), AT_ONCE // 4):
            if while_lost and start > 0 and not await self._is_lost(node):
                log.info("node is back, its other connections stay node=%s", node)
                return
            some = records[start : start + AT_ONCE // 4]
            commands: list[Command] = []
            for each in some:
                commands.append(self.change(mode, each.user_id, each.connection_id, ""))
                commands += [self._session_command(each, id_, "") for id_ in each.sessions]
            # Last, so that another node goes on if this one ends meanwhile.
            ids = [each.connection_id for each in some]
            commands.append(("HDEL", self.node_key(node), *ids))
            results = iter(await self.execute(commands))
            for each in some:
                change = change_of(next(results))
                left = tuple([id_ for id_ in each.sessions if next(results) == 0])
                report(LostConnection(each, change, left))

    def note_unsettled(self, user_id: str, was_here: bool) -> None:
        """A user's status may be another one: it is compared later.

        ``was_here``: whether this node had a connection of the user before.
        """
        if len(self._unsettled) < UNSETTLED_LIMIT:
            self._unsettled.setdefault(user_id, was_here)

    # Commands

    def change(
        self, mode: str, user_id: str, connection_id: str, node: str, token: str = ""
    ) -> Command:
        """The command that enters a connection in its user's hash; without ``node``: its end."""
        args: list[str | bytes | int] = [
            mode,
            connection_id,
            node,
            token,
            EMPTY_S,
            *self._registry.lost,
        ]
        return call(CHANGE, self.user_key(user_id), args)

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; returns their results."""
        return await run_pipeline(self._link, commands) if commands else []

    async def unless_away(self, run: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What ``run`` returns; ``otherwise`` while Redis is away."""
        if self.is_reachable:
            try:
                return await run()
            except UNREACHABLE as error:
                self.away(error)
                await self._link.reset()
        return otherwise

    def away(self, error: BaseException, fault: str | None = None) -> None:
        """Redis cannot be reached; ``fault``: why, for ``/health``."""
        if self.is_reachable:
            log.warning("redis is away; connections are judged by local counts error=%r", error)
            self._link.fault = fault or f"cannot be reached: {error}"
        self.is_reachable = False
        self._is_behind = True

    def _note_fault(self, fault: str | None) -> None:
        """Note what is wrong with the server, and log it if it is something new."""
        if fault is not None and fault != self._link.fault:
            log.critical("redis cannot be used as it is fault=%s", fault)
        elif fault is None and self._link.fault is not None:
            log.info("redis can be used again")
        self._link.fault = fault

    def user_key(self, user_id: str) -> str:
        """Key of the connections of a user."""
        return self._link.key(f"user:{user_id}", "connections")

    def node_key(self, node: str) -> str:
        """Key of the connections of a node."""
        return self._link.key(f"node:{node}", "connections")

    def session_key(self, session_id: str) -> str:
        """Key of the connections in a session."""
        return self._link.key(f"session:{session_id}", "connections")


def _ignore(_: LostConnection) -> None:
    """Report nothing: the end of the connection was reported when it ended."""
