"""``NodeRegistry``: the nodes of a cluster, each with a lease that it renews."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from redis.exceptions import RedisError

from wsserver.cluster.directory import NodeRecord, NodeState
from wsserver.cluster.errors import ForeignCluster, NodeNameTaken
from wsserver.cluster.redis.link import RedisLink
from wsserver.cluster.redis.lua import NOW

log = logging.getLogger(__name__)

LEASE_S = 6.0
RENEW_S = 2.0
REMEMBERED_S = 60.0
"""Time that a lost node is listed."""
REAP_S = 10.0
"""Time to remove the connections of a lost node, before another node tries."""

# KEYS: info, leases, reaped, cluster. ARGV: node, instance, info, lease in ms, identity of the
# database, its location
RENEW = (
    NOW
    + """
local known = redis.call('HGET', KEYS[1], ARGV[1])
local ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0')
local mine = known and string.sub(known, 1, #ARGV[2]) == ARGV[2]
local owner = redis.call('HMGET', KEYS[4], 'identity', 'location')
if owner[1] ~= ARGV[5] then
  local living = redis.call('ZRANGEBYSCORE', KEYS[2], now + 1, '+inf', 'WITHSCORES')
  local names, latest = {}, 0
  for i = 1, #living, 2 do
    if not (mine and living[i] == ARGV[1]) then
      names[#names + 1] = living[i]
      latest = math.max(latest, tonumber(living[i + 1]))
    end
  end
  if owner[1] and #names > 0 then
    return {'foreign', string.format('%d', latest), owner[2], table.concat(names, ', ')}
  end
  redis.call('HSET', KEYS[4], 'identity', ARGV[5], 'location', ARGV[6])
end
if known and not mine and ends > now then return {'taken', string.format('%d', ends)} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
local reaped = redis.call('HDEL', KEYS[3], ARGV[1])
if mine and ends > 0 and reaped == 0 then return 'renewed' end
return 'new'
"""
)
LIST = (
    NOW
    + """
return {string.format('%d', now), redis.call('HGETALL', KEYS[1]),
        redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')}
"""
)
# ARGV: node, time for reaping in ms
REAP = (
    NOW
    + """
local ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0')
if ends > now then return 0 end
local claim = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
if claim > now then return 0 end
redis.call('HSET', KEYS[3], ARGV[1], string.format('%d', now + ARGV[2]))
return 1
"""
)
# ARGV: node, instance; '': of any run, unless it lives again
REMOVE = (
    NOW
    + """
local ends = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0')
if ARGV[2] == '' and ends > now then return 0 end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and string.sub(known, 1, #ARGV[2]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
end
return 0
"""
)
INSTANCE_CHARS = 16


class NodeInfo(msgspec.Struct, frozen=True):
    """What a node writes about itself."""

    since: float
    version: str
    state: NodeState = "up"
    clock_offset_s: float = 0.0
    """Of its clock from Redis' clock, as measured before the latest renewal of its lease."""
    settings: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Fingerprints of the settings that all nodes have to share, by name."""
    reads_batches: bool = False
    """Whether it reads datagrams with several messages; versions before do not."""


class KnownNode(NamedTuple):
    """A node of the registry."""

    name: str
    info: NodeInfo
    is_living: bool
    lost_s: float
    """Seconds since its lease has ended; 0 while it lives."""


class NodeRegistry:
    """Registers this node, and lists all. Times are those of Redis: clocks of nodes may differ.

    ``instance``: 16 characters, unique for this run of the node. ``database``: its identity and
    location; nodes with different ones are not one cluster. ``settings``: fingerprints of this
    node's settings, for the identity of the database. ``wall``: seconds since the epoch.
    ``predecessor``: instance of a run that has ended for certain, also if it could not remove
    itself.

    If Redis was emptied, the nodes that lived before are listed on for ``LEASE_S``: each enters
    itself again at its next renewal, and has to be asked until then.
    """

    def __init__(
        self,
        link: RedisLink,
        node: str,
        instance: str,
        info: NodeInfo,
        database: Callable[[], tuple[str, str]] = lambda: ("", ""),
        wall: Callable[[], float] = time.time,
        predecessor: str | None = None,
        settings: Callable[[str], Mapping[str, str]] = lambda _: {},
    ) -> None:
        if len(instance) != INSTANCE_CHARS:
            raise ValueError(f"instance: {INSTANCE_CHARS} characters")
        self._link = link
        self._database = database
        self._settings = settings
        self._wall = wall
        self.node = node
        self.info = info
        self.known: list[KnownNode] = []
        """The nodes as last read, sorted by name."""
        self.all_read_batches = False
        """Whether all of them that live read datagrams with several messages."""
        self._instance = instance
        self._predecessor = predecessor
        self._reported: dict[str, tuple[str, ...]] = {}
        """By node: the differing settings that were logged last."""
        self._is_listed = False
        """Whether Redis had this node when the nodes were read last."""
        self._kept: list[KnownNode] = []
        """The nodes that lived before Redis was emptied."""
        self._kept_until = 0.0
        """Loop time."""
        self._keys = [link.key("nodes", part) for part in ("info", "leases", "reaped")]
        self._cluster_key = link.key("nodes", "cluster")
        scripts = [link.commands.register_script(text) for text in (RENEW, LIST, REAP, REMOVE)]
        self._renew, self._list, self._reap, self._remove = scripts

    async def renew(self) -> bool:
        """Renew the lease; True if Redis did not have it: all about this node is to be entered.

        Raises ``NodeNameTaken``, and ``ForeignCluster`` if living nodes have another database.
        """
        if self._predecessor is not None:
            await self._remove(
                keys=self._keys,
                args=[self.node, self._predecessor],
                client=self._link.unchecked,
            )
            self._predecessor = None
        identity, location = self._database()
        if not self.info.settings:
            self.info = msgspec.structs.replace(self.info, settings=self._settings(identity))
        info = msgspec.json.encode(self.info)
        outcome = await self._renew(
            keys=[*self._keys, self._cluster_key],
            args=[self.node, self._instance, info, int(LEASE_S * 1000), identity, location],
            client=self._link.unchecked,
        )
        if isinstance(outcome, list):
            kind, until, *foreign = (each.decode() for each in outcome)
            if kind == "taken":
                raise NodeNameTaken(self.node, float(until))
            theirs, nodes = foreign
            raise ForeignCluster(theirs, nodes, location, float(until))
        is_new = bool(outcome == b"new")
        if is_new and self._is_listed:
            self._keep_living()
        return is_new

    async def leave(self) -> None:
        """Remove this node."""
        await self._remove(keys=self._keys, args=[self.node, self._instance])

    @property
    def lost(self) -> list[str]:
        """Names of the nodes whose lease has ended, as last read."""
        return [node.name for node in self.known if not node.is_living]

    @property
    def last_living(self) -> list[str]:
        """Names of the living nodes, as last read."""
        return [node.name for node in self.known if node.is_living]

    async def living(self) -> list[str]:
        """Names of the living nodes; as last read, if Redis is away."""
        try:
            await self.refresh()
        except (RedisError, OSError):
            pass
        return self.last_living

    async def refresh(self) -> None:
        """Read the nodes, and measure this node's clock."""
        asked_at = self._wall()
        now_text, flat, leases = await self._list(keys=self._keys)
        now = int(now_text)
        offset_s = round((asked_at + self._wall()) / 2 - now / 1000, 3)
        self.info = msgspec.structs.replace(self.info, clock_offset_s=offset_s)
        ends = {leases[i]: float(leases[i + 1]) for i in range(0, len(leases), 2)}
        nodes = []
        for name, data in sorted(zip(flat[::2], flat[1::2], strict=True)):
            try:
                info = msgspec.json.decode(data[INSTANCE_CHARS:], type=NodeInfo)
            except msgspec.DecodeError as error:  # it enters itself again; others are listed
                log.warning(
                    "what a node says of itself is unreadable node=%r error=%s", name, error
                )
                continue
            lost_s = max(0.0, (now - ends.get(name, 0.0)) / 1000)
            nodes.append(KnownNode(name.decode(), info, lost_s == 0.0, lost_s))
        listed = {node.name for node in nodes}
        if self._is_listed and self.node not in listed:
            self._keep_living()
        self._is_listed = self.node in listed
        if asyncio.get_running_loop().time() < self._kept_until:
            nodes += [node for node in self._kept if node.name not in listed]
            nodes.sort(key=lambda node: node.name)
        self.known = nodes
        self.all_read_batches = all(node.info.reads_batches for node in nodes if node.is_living)
        self._report_differences()

    def differences_of(self, node: KnownNode) -> tuple[str, ...]:
        """Names of the settings in which a living node differs from this one.

        Settings that only one of them has are left out: its version is another one.
        """
        own, other = self.info.settings, node.info.settings
        if not node.is_living:
            return ()
        return tuple(sorted([name for name in own if other.get(name, own[name]) != own[name]]))

    def _report_differences(self) -> None:
        """Log differing settings of the other nodes, each difference once."""
        found = {node.name: self.differences_of(node) for node in self.known}
        for name, settings in found.items():
            if settings and settings != self._reported.get(name):
                log.warning(
                    "settings of a node differ from those of this one node=%s settings=%s",
                    name,
                    ",".join(settings),
                )
        self._reported = found

    def _keep_living(self) -> None:
        """Redis has lost this node, so perhaps all: those that lived are listed for a lease."""
        self._kept = [node for node in self.known if node.is_living]
        self._kept_until = asyncio.get_running_loop().time() + LEASE_S
        self._is_listed = False

    async def claim_reaping(self, node: str) -> bool:
        """Whether this node is to remove the connections of a lost one."""
        return bool(await self._reap(keys=self._keys, args=[node, int(REAP_S * 1000)]))

    async def forget(self, node: KnownNode) -> None:
        """Remove a node that is lost for long, unless it is back since it was read."""
        await self._remove(keys=self._keys, args=[node.name, ""])


def record_of(
    node: KnownNode, connections: int, differing_settings: tuple[str, ...] = ()
) -> NodeRecord:
    """A node as the directory lists it."""
    info = node.info
    return NodeRecord(
        node.name,
        info.since,
        connections,
        info.version,
        info.state if node.is_living else "lost",
        info.clock_offset_s,
        differing_settings,
    )
