"""``LeasedTable``: a table as a durable work queue that several processes may share.

A process claims rows that are due for a limited time, works on them and records the result. The
lease is a fence: a result counts only while the row still has the owner and the end of the lease
that it was claimed with, so a process that lost a row cannot overwrite what another one recorded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late


class Lease(NamedTuple):
    """A claim: who holds the rows, and until when (seconds since the epoch)."""

    owner: str
    until: float


class Result(NamedTuple):
    """Result of an attempt, or the reason why none was made."""

    ids: Sequence[int]
    """Of the rows that the attempt was for."""
    state: str
    """``sent``; ``pending``: due again at ``due_at``; anything else ends the delivery."""
    due_at: float | None
    at: float
    """Seconds since the epoch, as ``due_at``."""
    outcome: str | None
    """None: nothing was sent, and no attempt is counted."""
    detail: str = ""


class Claim(Protocol):
    """A row that is leased for an attempt."""

    @property
    def delivery_id(self) -> str:
        """Public id, for the log."""
        ...

    @property
    def ids(self) -> Sequence[int]:
        """Keys of the rows that the attempt is for."""
        ...

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 1."""
        ...


C = TypeVar("C", bound=Claim)

FENCE = "WHERE id = :id AND owner = :owner AND lease_until = :until RETURNING id"
"""SQL condition of a row that a lease still holds."""
_OVER = "(owner = :owner AND lease_until <= :until OR owner NOT IN (SELECT id FROM processes))"
"""SQL condition of leases that have ended, in a database of several processes."""


def record_rows(
    db: Connection, lease: Lease, result: Result, sql: str, members: Mapping[str, Any]
) -> dict[int, str]:
    """Record a result row by row; returns the states by id.

    ``sql``: the statement for one row, which ends with ``FENCE``; ``members``: its other values.
    """
    values = {**members, **lease._asdict()}
    return {
        recorded: result.state
        for id_ in result.ids
        for (recorded,) in db.execute(sql, {**values, "id": id_}).fetchall()
    }


class LeasedTable(ABC, Generic[C]):
    """A table with the columns ``due_at``, ``owner`` and ``lease_until``, read lane by lane.

    All methods raise ``StorageUnavailable``; those that write also ``StorageFull``, and then
    nothing of the call is stored.
    """

    TABLE: str
    LANE: str
    """Column: rows with the same value are one lane."""
    WAITING: str
    """SQL condition of rows that wait until they are due; may use ``:now``."""
    LEASED: str
    """SQL condition of rows that are leased."""
    ACCEPTED_AT: str
    """SQL expression: when a row was accepted, in seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def is_shared(self) -> bool:
        """Whether other processes may work off the table, too."""
        return self._database.is_shared

    @property
    def owner(self) -> str:
        """The owner of leases of this process."""
        return self._database.process

    async def next_due(self, lane: str, now: float) -> float | None:
        """When the next row of a lane is due; None: none is waiting."""
        sql = f"SELECT min(due_at) FROM {self.TABLE} WHERE {self.LANE} = :lane AND {self.WAITING}"  # noqa: S608 - constants only
        values = {"lane": lane, "now": now}
        return await self._database.read(lambda db: scalar(db, sql, values))

    @abstractmethod
    async def claim(self, lane: str, now: float, limit: int, lease: Lease) -> list[C]:
        """Lease rows of a lane that are due, the longest due first."""

    async def record(
        self, lease: Lease, result: Result, late: Late[dict[int, str]] | None = None
    ) -> dict[int, str]:
        """Record a result and end the lease; returns the states by id.

        Rows that the lease no longer holds are left alone, and missing from the answer. ``late``:
        see ``Database.run``.
        """
        return await self._database.run(lambda db: self._record(db, lease, result), late)

    async def bring_forward(self, by_s: float, since: float, now: float) -> int:
        """Make waiting rows due earlier, after the wall clock was set back; returns their count.

        Except those accepted from ``since`` to ``now``, whose times are by the new clock, and all
        that other processes work off, too: by their clocks it is due as it was.
        """
        if self._database.is_shared:
            return 0
        sql = (
            f"UPDATE {self.TABLE} SET due_at = due_at - :by_s WHERE {self.WAITING}"  # noqa: S608
            f" AND NOT coalesce({self.ACCEPTED_AT} BETWEEN :since AND :now, FALSE)"
        )
        values = {"by_s": by_s, "since": since, "now": now}
        return await self._database.run(lambda db: db.execute(sql, values).rowcount)

    async def release(
        self, now: float, busy: Iterable[int] = (), *, ending_by: float | None = None
    ) -> int:
        """End the leases of any owner that have expired; returns their count.

        ``busy``: rows that this process is working on. Their leases only look expired, on a wall
        clock that was set. ``ending_by``: other than ``now``; infinite at the start of a process,
        as all leases are of earlier runs. In a database that other processes may use, too, it is
        ignored. The leases of another one end when that has left or is lost (``SqlLeases``), and
        not before: its clock may be slow.
        """
        is_shared = self._database.is_shared
        is_over = _OVER if is_shared else "lease_until <= :until"
        where = (
            f"{self.LEASED} AND {is_over}"  # noqa: S608 - constants only
            " AND id NOT IN (SELECT value FROM json_each(:busy))"
        )
        until = now if ending_by is None or is_shared else ending_by
        ids = sorted(busy)

        def values(db: Connection) -> dict[str, Any]:
            found = {"now": now, "until": until, "busy": db.listed(ids)}
            return {**found, "owner": self.owner} if is_shared else found

        look = f"SELECT 1 FROM {self.TABLE} WHERE {where} LIMIT 1"  # noqa: S608 - constants only
        if not await self._database.read(lambda db: db.execute(look, values(db)).fetchone()):
            return 0  # without a write
        return await self._database.run(lambda db: self._end_leases(db, where, values(db)))

    @abstractmethod
    def _record(self, db: Connection, lease: Lease, result: Result) -> dict[int, str]:
        """``record``, in the writing thread."""

    def _end_leases(self, db: Connection, where: str, values: Mapping[str, Any]) -> int:
        """Make rows due at ``:now`` at the latest, without a lease; returns their count."""
        return db.execute(
            f"UPDATE {self.TABLE} SET"  # noqa: S608 - constants only
            " due_at = CASE WHEN due_at < :now THEN due_at ELSE :now END,"
            f" owner = NULL, lease_until = NULL WHERE {where}",
            values,
        ).rowcount


def scalar(db: Connection, sql: str, values: Mapping[str, Any]) -> float | None:
    """The one value that a query selects."""
    value: float | None = db.execute(sql, values).fetchone()[0]
    return value
