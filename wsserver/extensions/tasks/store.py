"""The tables ``tasks`` and ``task_history``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from wsserver.extensions.tasks.model import Assignee, State, Step, Task
from wsserver.paging import Page
from wsserver.protocol.types import JsonObject
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database, Late
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.engine.newest_first import Rows, newest_page
from wsserver.storage.maintenance.user_tables import UserTable

HISTORY_LIMIT = 1000
"""Changes kept of one task."""
REPEATED_S = 86_400.0
"""How long a request with the same idempotency key is the same request."""
_AT_ONCE = 100
_BATCH_ROWS = 300

MIGRATIONS = (
    Migration(
        "0061_tasks",
        (
            """
            CREATE TABLE tasks (
                task_id TEXT PRIMARY KEY,
                title TEXT NOT NULL,
                steps TEXT NOT NULL,
                state TEXT NOT NULL,
                is_open INTEGER NOT NULL,
                step INTEGER NOT NULL,
                progress REAL NOT NULL,
                version INTEGER NOT NULL,
                assigned_user TEXT,
                assigned_role TEXT,
                session_id TEXT,
                organization_id TEXT,
                due_at REAL,
                overdue_at REAL,
                metadata TEXT NOT NULL,
                created_at REAL NOT NULL,
                created_by TEXT NOT NULL,
                updated_at REAL NOT NULL,
                sent_version INTEGER NOT NULL DEFAULT 0,
                request TEXT UNIQUE
            )
            """,
            "CREATE INDEX tasks_by_user ON tasks (assigned_user, task_id)",
            "CREATE INDEX tasks_by_organization ON tasks (organization_id, task_id)",
            "CREATE INDEX tasks_by_session ON tasks (session_id, task_id)",
            "CREATE INDEX tasks_due ON tasks (due_at) WHERE is_open = 1 AND overdue_at IS NULL",
            "CREATE INDEX tasks_unsent ON tasks (updated_at) WHERE sent_version < version",
            "CREATE INDEX tasks_ended ON tasks (updated_at) WHERE is_open = 0",
            """
            CREATE TABLE task_history (
                task_id TEXT NOT NULL,
                version INTEGER NOT NULL,
                at REAL NOT NULL,
                changed_by TEXT NOT NULL,
                changes TEXT NOT NULL,
                note TEXT,
                PRIMARY KEY (task_id, version)
            )
            """,
        ),
    ),
)

_COLUMNS = (
    "task_id, title, steps, state, is_open, step, progress, version, assigned_user, assigned_role,"
    " session_id, organization_id, due_at, overdue_at, metadata, created_at, created_by, updated_at"
)

USER_TABLES = (
    UserTable(
        table="tasks",
        key="task_id",
        where="assigned_user = :user_id OR created_by = :user_id",
        columns="task_id, title, steps, state, step, progress, assigned_user, session_id,"
        " organization_id, due_at, metadata, created_at, created_by, updated_at",
        json_columns=frozenset({"steps", "metadata"}),
        change="SET assigned_user = CASE WHEN assigned_user = :user_id THEN NULL"
        " ELSE assigned_user END,"
        " request = CASE WHEN created_by = :user_id THEN NULL ELSE request END,"
        " created_by = CASE WHEN created_by = :user_id THEN '' ELSE created_by END",
    ),
    UserTable(
        table="task_history",
        key="task_id",
        where="changed_by = :user_id",
        columns="task_id, version, at, changes, note",
        json_columns=frozenset({"changes"}),
        change="SET changed_by = '', note = NULL",
    ),
)
"""Tasks stay without their user, and the history without who changed it and the notes."""


class Filters(NamedTuple):
    """Which tasks are wanted: all filters must match."""

    state: State | None = None
    assigned_user: str | None = None
    assigned_role: str | None = None
    session_id: str | None = None
    organization_id: str | None = None
    is_overdue: bool | None = None


class Record(NamedTuple):
    """An entry of a task's history."""

    version: int
    at: float
    changed_by: str
    changes: JsonObject
    """Name of each changed field → its new value."""
    note: str | None


Decide = Callable[[Task], tuple[Task, list[str]]]
"""The task after a change, and the names of the changed fields; may raise."""


class TaskStore:
    """Tasks and their histories.

    Methods raise ``StorageUnavailable``, those that write also ``StorageFull``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        task: Task,
        request: str | None,
        now: float,
        late: Late[tuple[Task, bool]] | None = None,
    ) -> tuple[Task, bool]:
        """Store a new task; the one of the same ``request`` if there is one, and False.

        ``late``: see ``Database.run``.
        """

        def insert(db: Connection) -> tuple[Task, bool]:
            if request is not None:
                found = db.execute(
                    f"SELECT {_COLUMNS} FROM tasks WHERE request = ?",  # noqa: S608 - constants only
                    [request],
                ).fetchone()
                if found is not None and _task(found).created_at > now - REPEATED_S:
                    return _task(found), False
                db.execute("UPDATE tasks SET request = NULL WHERE request = ?", [request])
            db.insert("tasks", f"{_COLUMNS}, request", [(*_row(task), request)])
            _record(db, task, Record(task.version, now, task.created_by, {}, None))
            return task, True

        return await self._database.run(insert, late)

    async def get(self, task_id: str) -> Task | None:
        """A task, or None."""
        return await self._database.read(lambda db: _get(db, task_id))

    async def change(
        self,
        task_id: str,
        decide: Decide,
        by: str,
        note: str | None,
        now: float,
        late: Late[tuple[Task, list[str]] | None] | None = None,
    ) -> tuple[Task, list[str]] | None:
        """Change a task and note that in its history; None: there is no such task.

        ``decide`` runs in the writing thread: nothing else changes the task meanwhile. ``late``:
        see ``Database.run``.
        """

        def update(db: Connection) -> tuple[Task, list[str]] | None:
            task = _get(db, task_id)
            if task is None:
                return None
            after, changed = decide(task)
            if changed:
                db.execute(
                    "UPDATE tasks SET state = ?, is_open = ?, step = ?, progress = ?, version = ?,"
                    " updated_at = ? WHERE task_id = ?",
                    [
                        after.state,
                        int(after.is_open),
                        after.step,
                        after.progress,
                        after.version,
                        after.updated_at,
                        task_id,
                    ],
                )
                values = {name: getattr(after, name) for name in changed if name != "note"}
                _record(db, after, Record(after.version, now, by, values, note))
            return after, changed

        return await self._database.run(update, late)

    async def history(self, task_id: str) -> list[Record]:
        """The latest changes of a task, oldest first."""
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT version, at, changed_by, changes, note FROM task_history"
                " WHERE task_id = ? ORDER BY version",
                [task_id],
            ).fetchall()
        )
        return [
            Record(version, at, by, msgspec.json.decode(changes), note)
            for version, at, by, changes, note in rows
        ]

    async def page(self, filters: Filters, limit: int, cursor: str | None) -> Page[Task]:
        """Tasks that match all filters, newest first. Raises ``BadRequest`` for a bad cursor."""
        rows = Rows("tasks", "task_id", _COLUMNS, *_conditions(filters))
        return await newest_page(
            self._database, rows, limit, cursor, _task, lambda task: task.task_id
        )

    async def due(self, now: float) -> list[Task]:
        """Open tasks past their time that were not found overdue yet, some of them."""
        return await self._select(
            "is_open = 1 AND overdue_at IS NULL AND due_at <= ? ORDER BY due_at", [now]
        )

    async def mark_overdue(self, task_id: str, now: float) -> Task | None:
        """Note that a task is overdue; None: it was noted already, or the task has ended."""

        def mark(db: Connection) -> Task | None:
            marked = db.execute(
                "UPDATE tasks SET overdue_at = ?, version = version + 1, updated_at = ?"
                " WHERE task_id = ? AND is_open = 1 AND overdue_at IS NULL",
                [now, now, task_id],
            ).rowcount
            task = _get(db, task_id)
            if not marked or task is None:
                return None
            _record(db, task, Record(task.version, now, "", {"overdue": True}, None))
            return task

        return await self._database.run(mark)

    async def mark_sent(self, task_id: str, version: int) -> None:
        """Note that the push about a version was stored."""
        await self._database.run(
            lambda db: (
                db.execute(
                    "UPDATE tasks SET sent_version = ? WHERE task_id = ? AND sent_version < ?",
                    [version, task_id, version],
                ).rowcount
            )
        )

    async def unsent(self, before: float) -> list[Task]:
        """Tasks changed before a time whose latest version was not pushed yet, some of them."""
        return await self._select(
            "sent_version < version AND updated_at < ? ORDER BY updated_at", [before]
        )

    async def prune(self, before: float) -> int:
        """Delete tasks that ended before a time, with their histories; returns their number."""

        def delete(db: Connection) -> int:
            ids = [
                task_id
                for (task_id,) in db.execute(
                    "SELECT task_id FROM tasks WHERE is_open = 0 AND updated_at < ?"
                    " ORDER BY updated_at LIMIT ?",
                    [before, _BATCH_ROWS],
                )
            ]
            for table in ("task_history", "tasks"):
                db.execute(
                    f"DELETE FROM {table} WHERE task_id IN (SELECT value FROM json_each(?))",  # noqa: S608
                    [db.listed(ids)],
                )
            return len(ids)

        deleted = 0
        while batch := await self._database.run(delete):
            deleted += batch
        return deleted

    async def _select(self, rest: str, values: Sequence[Any]) -> list[Task]:
        def select(db: Connection) -> list[Task]:
            statement = f"SELECT {_COLUMNS} FROM tasks WHERE {rest} LIMIT ?"  # noqa: S608
            return [_task(row) for row in db.execute(statement, [*values, _AT_ONCE])]

        return await self._database.read(select)


def _conditions(filters: Filters) -> tuple[list[str], list[Any]]:
    conditions, values = [], []
    for name in ("state", "assigned_user", "assigned_role", "session_id", "organization_id"):
        value = getattr(filters, name)
        if value is not None:
            conditions.append(f"{name} = ?")
            values.append(value)
    if filters.is_overdue is True:
        conditions.append("is_open = 1 AND overdue_at IS NOT NULL")
    elif filters.is_overdue is False:
        conditions.append("(is_open = 0 OR overdue_at IS NULL)")
    return conditions, values


def _get(db: Connection, task_id: str) -> Task | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM tasks WHERE task_id = ?",  # noqa: S608 - constants only
        [task_id],
    ).fetchone()
    return None if row is None else _task(row)


def _record(db: Connection, task: Task, record: Record) -> None:
    """Add to the history, whose oldest entries end at its limit."""
    db.insert(
        "task_history",
        "task_id, version, at, changed_by, changes, note",
        [
            (
                task.task_id,
                record.version,
                record.at,
                record.changed_by,
                msgspec.json.encode(record.changes).decode(),
                record.note,
            )
        ],
    )
    db.execute(
        "DELETE FROM task_history WHERE task_id = ? AND version <= ?",
        [task.task_id, record.version - HISTORY_LIMIT],
    )


def _row(task: Task) -> tuple[Any, ...]:
    assignee = task.assignee or Assignee()
    return (
        task.task_id,
        task.title,
        msgspec.json.encode(task.steps).decode(),
        task.state,
        int(task.is_open),
        task.step,
        task.progress,
        task.version,
        assignee.user,
        assignee.role,
        task.session_id,
        task.organization_id,
        task.due_at,
        task.overdue_at,
        msgspec.json.encode(task.metadata).decode(),
        task.created_at,
        task.created_by,
        task.updated_at,
    )


def _task(row: Sequence[Any]) -> Task:
    user, role = row[8], row[9]
    return Task(
        task_id=row[0],
        title=row[1],
        steps=msgspec.json.decode(row[2], type=tuple[Step, ...]),
        state=row[3],
        step=row[5],
        progress=row[6],
        version=row[7],
        assignee=None if user is None and role is None else Assignee(user, role),
        session_id=row[10],
        organization_id=row[11],
        due_at=row[12],
        overdue_at=row[13],
        metadata=msgspec.json.decode(row[14]),
        created_at=row[15],
        created_by=row[16],
        updated_at=row[17],
    )
