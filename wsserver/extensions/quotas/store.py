"""The tables ``quotas``, ``quota_usage`` (every report) and ``quota_usage_hours`` (sums)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from wsserver.errors import ValidationFailed
from wsserver.extensions.quotas.amounts import LARGEST_SUM
from wsserver.extensions.quotas.model import Quota
from wsserver.extensions.quotas.periods import Period, period_at
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.epochs import EXPORT_EPOCH_KEY
from wsserver.storage.engine.extension_schema import Migration

HOUR_S = 3600
REPEATED_S = 86_400.0
"""How long a report with the same idempotency key is the same report."""
_AT_ONCE = 100
_BATCH_ROWS = 300

MIGRATIONS = (
    Migration(
        "0062_quotas",
        (
            """
            CREATE TABLE quotas (
                scope TEXT PRIMARY KEY,
                unit TEXT NOT NULL,
                amount_limit INTEGER NOT NULL,
                period TEXT NOT NULL,
                budget INTEGER,
                currency TEXT,
                timezone TEXT NOT NULL,
                at_limit TEXT NOT NULL,
                period_key TEXT NOT NULL,
                starts_at REAL NOT NULL,
                ends_at REAL,
                used INTEGER NOT NULL,
                cost INTEGER NOT NULL,
                told INTEGER NOT NULL,
                budget_told INTEGER NOT NULL,
                has_news INTEGER NOT NULL,
                pushed_at REAL NOT NULL,
                push_due INTEGER NOT NULL,
                is_exhausted INTEGER NOT NULL,
                updated_at REAL NOT NULL,
                updated_by TEXT NOT NULL
            )
            """,
            "CREATE INDEX quotas_with_news ON quotas (scope) WHERE has_news = 1",
            "CREATE INDEX quotas_to_push ON quotas (pushed_at) WHERE push_due = 1",
            "CREATE INDEX quotas_exhausted ON quotas (scope) WHERE is_exhausted = 1",
            """
            CREATE TABLE quota_usage (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                at REAL NOT NULL,
                scope TEXT NOT NULL,
                unit TEXT,
                amount INTEGER NOT NULL,
                cost INTEGER NOT NULL,
                source TEXT NOT NULL,
                session_id TEXT,
                message_id TEXT,
                reported_by TEXT NOT NULL,
                request TEXT UNIQUE
            )
            """,
            "CREATE INDEX quota_usage_by_scope ON quota_usage (scope, at)",
            "CREATE INDEX quota_usage_by_time ON quota_usage (at)",
            """
            CREATE TABLE quota_usage_hours (
                scope TEXT NOT NULL,
                hour INTEGER NOT NULL,
                source TEXT NOT NULL,
                amount INTEGER NOT NULL,
                cost INTEGER NOT NULL,
                reports INTEGER NOT NULL,
                PRIMARY KEY (scope, hour, source)
            )
            """,
            "CREATE INDEX quota_usage_hours_by_time ON quota_usage_hours (hour)",
        ),
    ),
    Migration(
        "0062_quota_answers",
        (
            """
            CREATE TABLE quota_answers (
                message_id TEXT PRIMARY KEY,
                session_id TEXT NOT NULL,
                at REAL NOT NULL,
                unit TEXT NOT NULL,
                amount INTEGER NOT NULL,
                source TEXT NOT NULL
            )
            """,
        ),
    ),
)

_COLUMNS = (
    "scope, unit, amount_limit, period, budget, currency, timezone, at_limit, period_key,"
    " starts_at, ends_at, used, cost, told, budget_told, has_news, pushed_at, push_due,"
    " is_exhausted, updated_at, updated_by"
)
_NAMES = _COLUMNS.split(", ")
_USAGE = "at, scope, unit, amount, cost, source, session_id, message_id, reported_by, request"
_SELECT = f"SELECT {_COLUMNS} FROM quotas"  # noqa: S608 - constants only, as below
_PUT = (
    f"INSERT INTO quotas ({_COLUMNS}) VALUES ({', '.join('?' for _ in _NAMES)})"  # noqa: S608
    " ON CONFLICT (scope) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:])
)


class Report(NamedTuple):
    """Usage to be counted; amounts are millionths."""

    scope: str
    amount: int
    cost: int
    source: str
    reported_by: str
    session_id: str | None = None
    message_id: str | None = None
    request: str | None = None
    """Reports with the same one are the same report."""


class AnswerUse(NamedTuple):
    """What an answer has used, which is not counted yet."""

    message_id: str
    session_id: str
    at: float
    unit: str
    amount: int
    """Millionths."""
    source: str


class Counted(NamedTuple):
    """A quota before and after a report; None: the scope has no quota."""

    before: Quota | None
    after: Quota | None
    is_new: bool
    total: int
    """Used in all, where there is no quota."""


class Point(NamedTuple):
    """Usage of a scope by a source in one step of time."""

    at: int
    scope: str
    source: str
    amount: int
    cost: int
    reports: int


class Wish(NamedTuple):
    """A quota as it is to be."""

    unit: str
    limit: int
    period: Any
    budget: int | None
    currency: str | None
    timezone: str
    at_limit: Any


class QuotaStore:
    """Quotas and usage. Methods raise ``StorageUnavailable``, those that write ``StorageFull``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, scope: str, wish: Wish, by: str, now: float) -> Quota:
        """Set a quota. What was used in its period counts, also from before there was a quota."""

        def put(db: Connection) -> Quota:
            present = _get(db, scope)
            quota = Quota(
                scope=scope,
                unit=wish.unit,
                limit=wish.limit,
                period=wish.period,
                budget=wish.budget,
                currency=wish.currency,
                timezone=wish.timezone,
                at_limit=wish.at_limit,
                current=period_at(wish.period, wish.timezone, now),
                updated_at=now,
                updated_by=by,
            )
            kept = None if present is None else present.at(now)
            counts = (wish.unit, wish.period, wish.timezone)
            if kept is not None and (kept.unit, kept.period, kept.timezone) == counts:
                quota = replace(
                    quota,
                    current=kept.current,
                    used=kept.used,
                    cost=kept.cost,
                    told=kept.told,
                    budget_told=kept.budget_told,
                    pushed_at=kept.pushed_at,
                )
            else:
                used, cost = _used_in(db, scope, wish.unit, quota.current)
                quota = replace(quota, used=used, cost=cost)
            quota = replace(quota, push_due=True)
            _put(db, quota)
            return quota

        return await self._database.run(put)

    async def delete(self, scope: str) -> bool:
        """Delete a quota; its usage stays. False: there is none."""
        return await self._database.run(
            lambda db: db.execute("DELETE FROM quotas WHERE scope = ?", [scope]).rowcount > 0
        )

    async def get(self, scope: str) -> Quota | None:
        """A quota as it was counted last, or None."""
        return await self._database.read(lambda db: _get(db, scope))

    async def count(self, report: Report, now: float) -> Counted:
        """Count usage, in one step with everything that follows from it.

        Writers take turns, so the sums are exact. Raises ``ValidationFailed`` for a sum that is
        too large.
        """
        return await self._database.run(partial(_count, report, now))

    async def uncounted(self, message_id: str | None = None) -> list[AnswerUse]:
        """What answers have used and is not counted yet, some of it; or of one answer."""
        where, values = ("", []) if message_id is None else ("WHERE message_id = ?", [message_id])
        sql = (
            f"SELECT message_id, session_id, at, unit, amount, source FROM quota_answers {where}"  # noqa: S608
            " ORDER BY message_id LIMIT ?"
        )
        return await self._database.read(
            lambda db: [AnswerUse(*row) for row in db.execute(sql, [*values, _AT_ONCE])]
        )

    async def count_answer(
        self, used: AnswerUse, report: Report | None, now: float
    ) -> Counted | None:
        """Count what an answer has used, if it is not counted yet and the quota has its unit.

        It is not found by ``uncounted`` any more then. ``report`` None: the session is of no
        organization, so it is not counted.
        """
        return await self._database.run(partial(_count_answer, used, report, now))

    async def page(self, after: str, limit: int) -> list[Quota]:
        """Quotas by scope, at most ``limit``, after one."""
        return await self._select("scope > ? ORDER BY scope LIMIT ?", [after, limit])

    async def total(self) -> int:
        """Number of quotas."""
        return await self._database.read(
            lambda db: int(db.execute("SELECT count(*) FROM quotas").fetchone()[0])
        )

    async def with_news(self) -> list[Quota]:
        """Quotas with warnings that were not sent yet, some of them."""
        return await self._select("has_news = 1 ORDER BY scope LIMIT ?", [_AT_ONCE])

    async def note_told(self, scope: str, period_key: str, threshold: int, *, budget: bool) -> bool:
        """Note warnings of a period; False: they were noted before, or the period is over."""

        def note(db: Connection) -> bool:
            quota = _get(db, scope)
            if quota is None or quota.current.key != period_key:
                return False
            told = replace(
                quota,
                told=max(quota.told, threshold),
                budget_told=quota.budget_told or budget,
            )
            _put(db, told)
            return told != quota

        return await self._database.run(note)

    async def take_pushes(self, before: float, now: float) -> list[Quota]:
        """Quotas whose use was pushed before a time and has changed since; they count as pushed."""

        def take(db: Connection) -> list[Quota]:
            rows = db.execute(
                f"{_SELECT} WHERE push_due = 1 AND pushed_at <= ? ORDER BY pushed_at LIMIT ?",
                [before, _AT_ONCE],
            ).fetchall()
            found = [replace(_quota(row), pushed_at=now, push_due=False) for row in rows]
            for quota in found:
                _put(db, quota)
            return found

        return await self._database.run(take) if await self._has_pushes() else []

    async def _has_pushes(self) -> bool:
        """Whether there is anything to push: read first, as most times there is not."""
        return await self._database.read(
            lambda db: (
                db.execute("SELECT 1 FROM quotas WHERE push_due = 1 LIMIT 1").fetchone() is not None
            )
        )

    async def exhausted(self) -> dict[str, float | None]:
        """Scopes whose quota is exhausted and stops, each with the end of the period."""
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT scope, ends_at FROM quotas WHERE is_exhausted = 1"
            ).fetchall()
        )
        return dict(map(tuple, rows))

    async def series(
        self, scope: str | None, since: float, until: float, step_s: int, limit: int
    ) -> list[Point]:
        """Usage by step, scope and source, ordered; at most ``limit``. None: of all scopes.

        Steps begin at multiples of their length. With steps of whole hours both ends are those of
        hours, too.
        """
        is_hourly = step_s % HOUR_S == 0
        table, column = ("quota_usage_hours", "hour") if is_hourly else ("quota_usage", "at")
        reports = "sum(reports)" if is_hourly else "count(*)"
        statement = (
            f"SELECT CAST({column} / ?1 AS INTEGER) * ?1 AS step, scope, source, sum(amount),"  # noqa: S608
            f" sum(cost), {reports} FROM {table} WHERE {column} >= ?2 AND {column} < ?3"
            + (" AND scope = ?5" if scope is not None else "")
            + " GROUP BY step, scope, source ORDER BY step, scope, source LIMIT ?4"
        )
        first = since // HOUR_S * HOUR_S if is_hourly else since
        numbers = [int(first), int(until)] if is_hourly else [first, until]

        def select(db: Connection) -> list[Point]:
            chosen = [] if scope is None else [scope]
            rows = db.execute(statement, [step_s, *numbers, limit, *chosen]).fetchall()
            return [Point(*map(_whole, row)) for row in rows]

        return await self._database.read(select)

    async def export(
        self,
        after: int,
        limit: int,
        since: float | None,
        until: float | None,
        scope: str | None = None,
    ) -> tuple[list[dict[str, Any]], int, str]:
        """Reports in the order of storing, after a position; the last position, and the epoch."""

        def select(db: Connection) -> tuple[list[dict[str, Any]], int, str]:
            rows = db.execute(
                f"SELECT id, {_USAGE} FROM quota_usage WHERE id > :after"  # noqa: S608
                " AND (CAST(:since AS DOUBLE PRECISION) IS NULL OR at >= :since)"
                " AND (CAST(:until AS DOUBLE PRECISION) IS NULL OR at < :until)"
                " AND (CAST(:scope AS TEXT) IS NULL OR scope = :scope)"
                " ORDER BY id LIMIT :limit",
                {"after": after, "since": since, "until": until, "scope": scope, "limit": limit},
            ).fetchall()
            end = db.execute("SELECT max(id) FROM quota_usage").fetchone()[0] or 0
            (epoch,) = db.execute(
                "SELECT value FROM meta WHERE key = ?", [EXPORT_EPOCH_KEY]
            ).fetchone()
            names = ["position", *_USAGE.split(", ")]
            return [dict(zip(names, row, strict=True)) for row in rows], end, epoch

        return await self._database.read(select)

    async def prune(self, before: float) -> int:
        """Delete reports and sums of before a time; the last report stays, for its position."""

        def delete_usage(db: Connection) -> int:
            return db.execute(
                "DELETE FROM quota_usage WHERE id IN (SELECT id FROM quota_usage WHERE at < ?"
                " AND id < (SELECT max(id) FROM quota_usage) ORDER BY at LIMIT ?)",
                [before, _BATCH_ROWS],
            ).rowcount

        deleted = await self._repeat(delete_usage)
        hour = int(before // HOUR_S * HOUR_S)
        await self._database.run(
            lambda db: db.execute("DELETE FROM quota_usage_hours WHERE hour < ?", [hour]).rowcount
        )
        return deleted

    async def _repeat(self, delete: Callable[[Connection], int]) -> int:
        deleted = 0
        while batch := await self._database.run(delete):
            deleted += batch
        return deleted

    async def _select(self, rest: str, values: Sequence[Any]) -> list[Quota]:
        def select(db: Connection) -> list[Quota]:
            return [_quota(row) for row in db.execute(f"{_SELECT} WHERE {rest}", values)]

        return await self._database.read(select)


def note_answer(db: Connection, used: AnswerUse) -> None:
    """Note what an answer has used, to be counted soon; without any quota it is not."""
    if db.execute("SELECT 1 FROM quotas LIMIT 1").fetchone() is None:
        return
    db.execute(
        "INSERT INTO quota_answers (message_id, session_id, at, unit, amount, source)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (message_id) DO NOTHING",
        list(used),
    )


def _count_answer(
    used: AnswerUse, report: Report | None, now: float, db: Connection
) -> Counted | None:
    deleted = db.execute("DELETE FROM quota_answers WHERE message_id = ?", [used.message_id])
    if not deleted.rowcount or report is None:
        return None
    quota = _get(db, report.scope)
    if quota is None or quota.unit != used.unit:
        return None
    return _count(report, now, db)


def _count(report: Report, now: float, db: Connection) -> Counted:
    if report.request is not None:
        known = db.execute(
            "SELECT at FROM quota_usage WHERE request = ?", [report.request]
        ).fetchone()
        if known is not None and known[0] > now - REPEATED_S:
            quota = _get(db, report.scope)
            return Counted(quota, quota, False, _total(db, report.scope))
        db.execute("UPDATE quota_usage SET request = NULL WHERE request = ?", [report.request])
    before = _get(db, report.scope)
    db.insert(
        "quota_usage",
        _USAGE,
        [
            (
                now,
                report.scope,
                None if before is None else before.unit,
                report.amount,
                report.cost,
                report.source,
                report.session_id,
                report.message_id,
                report.reported_by,
                report.request,
            )
        ],
    )
    db.execute(
        "INSERT INTO quota_usage_hours (scope, hour, source, amount, cost, reports)"
        " VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (scope, hour, source) DO UPDATE SET"
        " amount = quota_usage_hours.amount + excluded.amount,"
        " cost = quota_usage_hours.cost + excluded.cost,"
        " reports = quota_usage_hours.reports + 1",
        [report.scope, int(now // HOUR_S * HOUR_S), report.source, report.amount, report.cost],
    )
    if before is None:
        return Counted(None, None, True, _total(db, report.scope))
    after = before.use(report.amount, report.cost, now)
    if max(after.used, after.cost) > LARGEST_SUM:
        message = "more than can be counted is used in this period"
        raise ValidationFailed([{"field": "amount", "message": message}])
    _put(db, after)
    return Counted(before.at(now), after, True, after.used)


def _total(db: Connection, scope: str) -> int:
    (total,) = db.execute(
        "SELECT coalesce(sum(amount), 0) FROM quota_usage_hours WHERE scope = ?", [scope]
    ).fetchone()
    return int(total)


def _used_in(db: Connection, scope: str, unit: str, period: Period) -> tuple[int, int]:
    """What the kept reports say about a period."""
    used, cost = db.execute(
        "SELECT coalesce(sum(amount), 0), coalesce(sum(cost), 0) FROM quota_usage"
        " WHERE scope = ? AND at >= ? AND (unit IS NULL OR unit = ?)",
        [scope, period.starts_at, unit],
    ).fetchone()
    return int(used), int(cost)


def _get(db: Connection, scope: str) -> Quota | None:
    row = db.execute(f"{_SELECT} WHERE scope = ?", [scope]).fetchone()
    return None if row is None else _quota(row)


def _put(db: Connection, quota: Quota) -> None:
    db.execute(
        _PUT,
        [
            quota.scope,
            quota.unit,
            quota.limit,
            quota.period,
            quota.budget,
            quota.currency,
            quota.timezone,
            quota.at_limit,
            *quota.current,
            quota.used,
            quota.cost,
            quota.told,
            int(quota.budget_told),
            int(quota.has_news),
            quota.pushed_at,
            int(quota.push_due),
            int(quota.is_exhausted),
            quota.updated_at,
            quota.updated_by,
        ],
    )


def _quota(row: Sequence[Any]) -> Quota:
    return Quota(
        scope=row[0],
        unit=row[1],
        limit=row[2],
        period=row[3],
        budget=row[4],
        currency=row[5],
        timezone=row[6],
        at_limit=row[7],
        current=Period(row[8], row[9], row[10]),
        used=row[11],
        cost=row[12],
        told=row[13],
        budget_told=bool(row[14]),
        pushed_at=row[16],
        push_due=bool(row[17]),
        updated_at=row[19],
        updated_by=row[20],
    )


def _whole(value: Any) -> Any:
    """Sums are whole numbers, which PostgreSQL returns as decimals."""
    return value if isinstance(value, str) else int(value)
