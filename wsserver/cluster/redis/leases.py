"""``RedisLeases``: named leases with fencing numbers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from redis.exceptions import RedisError

from wsserver.cluster.redis.link import UNREACHABLE, RedisLink
from wsserver.tasks import end

log = logging.getLogger(__name__)

LEASE_S = 6.0
RENEW_S = 2.0
MARGIN_S = 1.0
"""A lease is given up so long before Redis ends it: for the time of the request and slow clocks."""

# The number grows also after Redis was emptied, as it is at least the time in milliseconds.
ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local fence = tonumber(redis.call('GET', KEYS[2]) or '0')
if not holder then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  fence = math.max(fence + 1, now)
  redis.call('SET', KEYS[2], string.format('%d', fence))
end
return fence
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass
class _Held:
    until: float = 0.0
    """Monotonic time; 0: not held."""
    fence: int = 0


class RedisLeases:
    """Acquires and renews the leases that were asked for, every ``RENEW_S``.

    While Redis is away the leases end, and the work of all nodes waits.
    """

    def __init__(self, link: RedisLink, holder: str) -> None:
        self._link = link
        self._holder = holder
        """Unique for this run of the node: a restarted one is another holder."""
        self._wanted: dict[str, _Held] = {}
        self._has_new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._acquire = link.commands.register_script(ACQUIRE)
        self._release = link.commands.register_script(RELEASE)

    async def start(self) -> None:
        """Begin to acquire."""
        self._task = asyncio.create_task(self._renew_all(), name="redis leases")

    async def stop(self) -> None:
        """Release all."""
        if self._task is None:
            return
        await end(self._task)
        self._task = None
        wanted, self._wanted = self._wanted, {}
        for name, held in wanted.items():
            if held.until:
                try:
                    await self._release(keys=[self._key(name)], args=[self._holder])
                except (RedisError, OSError):
                    break  # they end by themselves

    def holds(self, name: str) -> bool:
        """Whether this node holds a lease now."""
        held = self._wanted.get(name)
        if held is None:
            if self._task is not None:
                self._wanted[name] = _Held()
                self._has_new.set()
            return False
        return asyncio.get_running_loop().time() < held.until

    def fence(self, name: str) -> int:
        """The fencing number of a held lease; 0: not held."""
        return self._wanted[name].fence if self.holds(name) else 0

    async def _renew_all(self) -> None:
        while True:
            self._has_new.clear()
            for name, held in list(self._wanted.items()):
                try:
                    await self._renew(name, held)
                except UNREACHABLE as error:
                    log.info("lease not renewed name=%s error=%r", name, error)
                    await self._link.reset()
                except RedisError:
                    log.exception("lease not renewed name=%s", name)
            try:
                await asyncio.wait_for(self._has_new.wait(), RENEW_S)
            except TimeoutError:
                pass

    async def _renew(self, name: str, held: _Held) -> None:
        asked_at = asyncio.get_running_loop().time()
        key = self._key(name)
        fence = await self._acquire(
            keys=[key, f"{key}:fence"], args=[self._holder, int(LEASE_S * 1000)]
        )
        held.fence = int(fence)
        held.until = asked_at + LEASE_S - MARGIN_S if held.fence else 0.0

    def _key(self, name: str) -> str:
        return self._link.key(f"lease:{name}")
