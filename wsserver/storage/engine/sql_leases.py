"""``SqlLeases``: the processes that share a database, and the periodic work that each does for all.

Every process writes a number that grows, its beat, every ``BEAT_S`` into the table ``processes``. A
process whose beat has not changed for ``LOST_S``, by the monotonic clock of an observer, is lost:
the observer deletes its row. Who has no row has no leases, neither of periodic work (the table
``leases``) nor of rows (``LeasedTable``), nor claims of idempotency keys. So no clock is compared
with another one, and no time is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from wsserver.errors import WsServerError
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

BEAT_S = 2.0
LOST_S = 6.0
HELD_S = 5.0
"""Time after a beat for which a process relies on its leases; shorter than ``LOST_S``, as clocks
differ in speed."""
GAP_S = 5.0
"""Time between two readings after which no process counts as observed: the database was away, or
this process stood still."""

_BEAT = (
    "INSERT INTO processes (id, beat) VALUES (?, ?)"
    " ON CONFLICT (id) DO UPDATE SET beat = excluded.beat"
)
_TAKE = (
    "INSERT INTO leases (name, holder, fence) VALUES (?, ?, 1)"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = leases.fence + 1"
    " RETURNING fence"
)
_HOLDER = (
    "SELECT l.holder, l.fence, p.id IS NOT NULL FROM leases l"
    " LEFT JOIN processes p ON p.id = l.holder WHERE l.name = ?"
)


class LeaseLost(Exception):
    """Periodic work was refused: another process has taken it over meanwhile."""

    def __init__(self, name: str) -> None:
        super().__init__(f"another process has taken over: {name}")


class Fence(NamedTuple):
    """A lease as proof: writes that must not happen twice call ``require`` first."""

    name: str
    number: int

    def require(self, db: Connection) -> None:
        """Raise ``LeaseLost`` if a later holder has a higher number."""
        row = db.execute("SELECT fence FROM leases WHERE name = ?", [self.name]).fetchone()
        if row is not None and row[0] > self.number:
            raise LeaseLost(self.name)


class Observer:
    """Finds lost processes: those whose beat does not change while this one reads it."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        """Latest beat of each process, and when it was first read."""
        self._read_at = float("-inf")

    def observe(self, beats: Mapping[str, int], now: float) -> dict[str, int]:
        """Note the beats as they were read; ``now``: monotonic seconds, after the reading.

        Returns the lost processes with their latest beats.
        """
        if now - self._read_at > GAP_S:
            self._seen = {}
        self._read_at = now
        seen = {}
        for process, beat in beats.items():
            known = self._seen.get(process)
            seen[process] = known if known is not None and known[0] == beat else (beat, now)
        self._seen = seen
        return {process: beat for process, (beat, since) in seen.items() if now - since >= LOST_S}


class SqlLeases:
    """``Leases`` in a database that several processes share.

    While the database is away, no process holds any; its work needs the database anyway.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._me = database.process
        self._beat = 0
        self._fences: dict[str, int] = {}
        """Of each lease that this process is a candidate for; 0: another one holds it."""
        self._held_until = 0.0
        """Monotonic; of all leases with a number."""
        self._observer = Observer()
        self._others: set[str] = set()
        """The other processes, as last read."""
        self._lost_listeners: list[Callable[[], None]] = []
        self._has_new = asyncio.Event()
        self._tasks = Tasks()
        self._is_running = False

    async def start(self) -> None:
        """Enter this process, before it claims anything. Raises ``StorageUnavailable``."""
        await self._advance()
        self._is_running = True
        self._tasks.spawn(self._run(), name="leases")

    async def stop(self) -> None:
        """Take this process out, and with it all of its leases."""
        if not self._is_running:
            return
        await self._tasks.end()
        self._is_running = False
        self._fences = {}
        try:
            await self._database.run(
                lambda db: db.execute("DELETE FROM processes WHERE id = ?", [self._me]).rowcount
            )
        except WsServerError as error:  # the others notice
            log.info("leases not released error=%s", error)

    def holds(self, name: str) -> bool:
        """Whether this process holds a lease now."""
        fence = self._fences.get(name)
        if fence is None:
            if self._is_running:
                self._fences[name] = 0
                self._has_new.set()
            return False
        return fence > 0 and asyncio.get_running_loop().time() < self._held_until

    def fence(self, name: str) -> int:
        """The fencing number of a held lease; 0: not held."""
        return self._fences[name] if self.holds(name) else 0

    def add_lost_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when another process has left, or is lost and was taken out."""
        self._lost_listeners.append(listener)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._has_new.wait()
            except TimeoutError:
                pass
            self._has_new.clear()
            try:
                await self._advance()
            except WsServerError as error:
                log.info("leases not renewed error=%s", error)
            except Exception:  # without it, this process would never hold a lease again
                log.exception("leases not renewed")

    async def _advance(self) -> None:
        """Beat, take what is free, and take out whoever is lost."""
        loop = asyncio.get_running_loop()
        self._beat += 1
        beat, names, asked_at = self._beat, list(self._fences), loop.time()
        fences, beats = await self._database.run(lambda db: _beat(db, self._me, beat, names))
        self._fences |= fences
        self._held_until = asked_at + HELD_S
        before, self._others = self._others, beats.keys() - {self._me}
        if before - self._others:
            self._report()
        lost = self._observer.observe(beats, loop.time())
        lost.pop(self._me, None)
        if lost:
            for process in await self._database.run(lambda db: _take_out(db, lost.items())):
                log.warning("process lost process=%s", process)
            self._has_new.set()  # its leases are free

    def _report(self) -> None:
        for listener in self._lost_listeners:
            try:
                listener()
            except Exception:  # the others, and the renewal of the leases, go on
                log.exception("end of a process not handled")


def _beat(
    db: Connection, me: str, beat: int, names: Iterable[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Beat and acquire leases; returns their numbers, and the beats of all processes."""
    db.execute(_BEAT, [me, beat])
    fences = {name: _acquire(db, name, me) for name in names}
    return fences, dict(db.execute("SELECT id, beat FROM processes").fetchall())


def _acquire(db: Connection, name: str, me: str) -> int:
    row = db.execute(_HOLDER, [name]).fetchone()
    if row is not None:
        holder, fence, is_living = row
        if holder == me:
            return int(fence)
        if is_living:
            return 0
    (fence,) = db.execute(_TAKE, [name, me]).fetchone()
    return int(fence)


def _take_out(db: Connection, lost: Iterable[tuple[str, int]]) -> list[str]:
    """Delete the rows of processes that have not beaten since; returns their ids."""
    return [
        process
        for process, beat in lost
        if db.execute("DELETE FROM processes WHERE id = ? AND beat = ?", [process, beat]).rowcount
    ]
