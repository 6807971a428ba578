"""The tables ``files`` and ``file_usage``: files, and how much each organization has."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from wsserver.errors import IdempotencyConflict
from wsserver.extensions.files.errors import FileQuotaExhausted, FileUploadLimit
from wsserver.extensions.files.model import File
from wsserver.paging import Page
from wsserver.storage.engine.connection import Connection
from wsserver.storage.engine.database import Database
from wsserver.storage.engine.extension_schema import Migration
from wsserver.storage.engine.newest_first import Rows, newest_page
from wsserver.storage.maintenance.user_tables import UserTable

BATCH_ROWS = 100
KEY_BYTES = 32

MIGRATIONS = (
    Migration(
        "0056_files",
        (
            """
            CREATE TABLE files (
                file_id TEXT PRIMARY KEY,
                user_id TEXT NOT NULL,
                organization_id TEXT,
                session_id TEXT,
                filename TEXT NOT NULL,
                content_type TEXT NOT NULL,
                length INTEGER NOT NULL,
                metadata TEXT NOT NULL,
                created_at REAL NOT NULL,
                expires_at REAL NOT NULL,
                completed_at REAL,
                sha256 TEXT,
                unverified_from INTEGER,
                charge INTEGER NOT NULL,
                request TEXT UNIQUE
            )
            """,
            "CREATE INDEX files_by_user ON files (user_id, file_id)",
            "CREATE INDEX files_by_organization ON files (organization_id, file_id)",
            "CREATE INDEX files_by_session ON files (session_id, file_id)",
            "CREATE INDEX files_by_expiry ON files (expires_at)",
            "CREATE INDEX files_unfinished ON files (user_id) WHERE completed_at IS NULL",
            """
            CREATE TABLE file_usage (
                organization_id TEXT PRIMARY KEY,
                bytes INTEGER NOT NULL,
                files INTEGER NOT NULL
            )
            """,
            """
            CREATE TABLE file_keys (
                id INTEGER PRIMARY KEY,
                secret BLOB NOT NULL
            )
            """,
        ),
    ),
    Migration(
        "0076_file_writers",  # of uploads whose storage has no locks
        ("ALTER TABLE files ADD COLUMN writer TEXT",),
    ),
)

USER_TABLES = (
    UserTable(
        table="files",
        key="file_id",
        where="user_id = :user_id",
        columns="file_id, session_id, organization_id, filename, content_type, length, sha256,"
        " created_at, completed_at, expires_at",
        change=None,  # ``Files.erase`` deletes the bytes, too
    ),
)

_COLUMNS = (
    "file_id, user_id, organization_id, session_id, filename, content_type, length, metadata,"
    " created_at, expires_at, completed_at, sha256, unverified_from"
)


class Limits(NamedTuple):
    """What a new upload is checked against; 0: no quota."""

    quota_bytes: int
    uploads_per_user: int


class Filters(NamedTuple):
    """Which files are wanted: all filters must match."""

    user_id: str | None = None
    session_id: str | None = None
    organization_id: str | None = None


class FileTable:
    """The rows of files.

    Methods raise ``StorageUnavailable``, those that write also ``StorageFull``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def key(self) -> bytes:
        """The secret that addresses are signed with: one for all servers of the database."""

        def make(db: Connection) -> bytes:
            db.execute(
                "INSERT INTO file_keys (id, secret) VALUES (1, ?) ON CONFLICT (id) DO NOTHING",
                [secrets.token_bytes(KEY_BYTES)],
            )
            return bytes(db.execute("SELECT secret FROM file_keys WHERE id = 1").fetchone()[0])

        return await self._database.run(make)

    async def add(self, file: File, limits: Limits, request: str | None) -> File:
        """Store a new upload; the one of the same ``request`` if there is one.

        Raises ``FileQuotaExhausted``, ``FileUploadLimit``, ``IdempotencyConflict``.
        """

        def insert(db: Connection) -> File:
            if request is not None:
                row = db.execute(
                    f"SELECT {_COLUMNS} FROM files WHERE request = ?",  # noqa: S608 - constants
                    [request],
                ).fetchone()
                if row is not None:
                    return _same(_file(row), file)
            unfinished = db.execute(
                "SELECT count(*) FROM files WHERE user_id = ? AND completed_at IS NULL"
                " AND expires_at > ?",
                [file.user_id, file.created_at],
            ).fetchone()[0]
            if unfinished >= limits.uploads_per_user:
                most = limits.uploads_per_user
                raise FileUploadLimit(f"{most} uploads are unfinished; finish or delete one first")
            organization = file.organization_id or ""
            found = db.execute(
                "SELECT bytes FROM file_usage WHERE organization_id = ?", [organization]
            ).fetchone()
            used = 0 if found is None else found[0]
            if limits.quota_bytes and used + file.charge > limits.quota_bytes:
                raise FileQuotaExhausted(used, limits.quota_bytes)
            db.insert("files", f"{_COLUMNS}, charge, request", [(*_row(file), request)])
            _count(db, organization, file.charge, 1)
            return file

        return await self._database.run(insert)

    async def get(self, file_id: str) -> File | None:
        """A file, or None."""
        return await self._database.read(lambda db: _get(db, file_id))

    async def mark_unverified(self, file_id: str, offset: int | None) -> bool:
        """Note where a part with a checksum begins, None: it was compared; False: no such file."""
        return await self._update(
            "unverified_from = ? WHERE file_id = ? AND completed_at IS NULL", [offset, file_id]
        )

    async def set_writer(self, file_id: str, writer: str) -> bool:
        """Make a part the only writer of an upload; False: no such file."""
        return await self._update("writer = ? WHERE file_id = ?", [writer, file_id])

    async def is_writer(self, file_id: str, writer: str) -> bool:
        """Whether a part is still the writer of its upload."""
        row = await self._database.read(
            lambda db: db.execute(
                "SELECT 1 FROM files WHERE file_id = ? AND writer = ?", [file_id, writer]
            ).fetchone()
        )
        return row is not None

    async def absent(self, file_ids: Sequence[str]) -> list[str]:
        """Which of these files have no row, in their order."""
        rows = await self._database.read(
            lambda db: db.execute(
                "SELECT file_id FROM files WHERE file_id IN (SELECT value FROM json_each(?))",
                [db.listed(file_ids)],
            ).fetchall()
        )
        known = {file_id for (file_id,) in rows}
        return [each for each in file_ids if each not in known]

    async def complete(
        self, file_id: str, sha256: str, now: float, expires_at: float
    ) -> tuple[File | None, bool]:
        """Note that an upload is complete; the file, and whether it was not so before.

        One whose time is over stays as it is.
        """

        def update(db: Connection) -> tuple[File | None, bool]:
            changed = db.execute(
                "UPDATE files SET completed_at = ?, sha256 = ?, expires_at = ?,"
                " unverified_from = NULL"
                " WHERE file_id = ? AND completed_at IS NULL AND expires_at > ?",
                [now, sha256, expires_at, file_id, now],
            ).rowcount
            return _get(db, file_id), bool(changed)

        return await self._database.run(update)

    async def bind(self, file_id: str, user_id: str, session_id: str) -> bool:
        """Give a file of a user to a session, once; False: it is of another one already."""
        return await self._update(
            "session_id = ? WHERE file_id = ? AND user_id = ?"
            " AND (session_id IS NULL OR session_id = ?)",
            [session_id, file_id, user_id, session_id],
        )

    async def end(self, file_id: str) -> bool:
        """Let the time of a file be over, before it is removed; False: there is none."""
        return await self._update("expires_at = 0 WHERE file_id = ?", [file_id])

    async def remove(self, file_ids: Sequence[str]) -> int:
        """Delete files; returns how many there were."""

        def delete(db: Connection) -> int:
            found = db.execute(
                "SELECT organization_id, charge FROM files"
                " WHERE file_id IN (SELECT value FROM json_each(?))",
                [db.listed(file_ids)],
            ).fetchall()
            db.execute(
                "DELETE FROM files WHERE file_id IN (SELECT value FROM json_each(?))",
                [db.listed(file_ids)],
            )
            for organization, charge in found:
                _count(db, organization or "", -charge, -1)
            return len(found)

        return await self._database.run(delete)

    async def expired(self, now: float) -> list[File]:
        """Files whose time is over, some of them."""
        return await self._some("expires_at <= ? ORDER BY expires_at", [now])

    async def of_user(self, user_id: str, after: str = "") -> list[File]:
        """Files of a user by ascending ids, some of them."""
        rest = "user_id = ? AND file_id > ? ORDER BY file_id"
        return await self._some(rest, [user_id, after])

    async def page(self, filters: Filters, limit: int, cursor: str | None) -> Page[File]:
        """Files that match all filters, newest first. Raises ``BadRequest`` for a bad cursor."""
        given = {name: value for name, value in filters._asdict().items() if value is not None}
        conditions = [f"{name} = ?" for name in given]
        rows = Rows("files", "file_id", _COLUMNS, conditions, list(given.values()))
        return await newest_page(
            self._database, rows, limit, cursor, _file, lambda file: file.file_id
        )

    async def usage(self, organization_id: str | None) -> int:
        """Bytes that the files of an organization count for."""

        def select(db: Connection) -> int:
            row = db.execute(
                "SELECT bytes FROM file_usage WHERE organization_id = ?", [organization_id or ""]
            ).fetchone()
            return 0 if row is None else int(row[0])

        return await self._database.read(select)

    async def _update(self, rest: str, values: Sequence[Any]) -> bool:
        return await self._database.run(
            lambda db: bool(db.execute(f"UPDATE files SET {rest}", values).rowcount)  # noqa: S608
        )

    async def _some(self, rest: str, values: Sequence[Any]) -> list[File]:
        def select(db: Connection) -> list[File]:
            statement = f"SELECT {_COLUMNS} FROM files WHERE {rest} LIMIT ?"  # noqa: S608
            return [_file(row) for row in db.execute(statement, [*values, BATCH_ROWS])]

        return await self._database.read(select)


def end_sent(db: Connection, file_id: str, user_id: str | None, stream: str) -> None:
    """Let the time of a file be over that its user has sent in the stream of its session."""
    db.execute(
        "UPDATE files SET expires_at = 0"
        " WHERE file_id = ? AND user_id = ? AND 'session:' || session_id = ?",
        [file_id, user_id, stream],
    )


def _count(db: Connection, organization: str, size: int, files: int) -> None:
    db.execute(
        "INSERT INTO file_usage (organization_id, bytes, files) VALUES (?, 0, 0)"
        " ON CONFLICT (organization_id) DO NOTHING",
        [organization],
    )
    db.execute(
        "UPDATE file_usage SET bytes = bytes + ?, files = files + ? WHERE organization_id = ?",
        [size, files, organization],
    )


def _same(found: File, wanted: File) -> File:
    """The upload of a repeated request; raises ``IdempotencyConflict`` if it is for another one."""
    for name in ("length", "metadata"):
        if getattr(found, name) != getattr(wanted, name):
            raise IdempotencyConflict("the key was used for another upload")
    return found


def _get(db: Connection, file_id: str) -> File | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM files WHERE file_id = ?",  # noqa: S608 - constants only
        [file_id],
    ).fetchone()
    return None if row is None else _file(row)


def _row(file: File) -> tuple[Any, ...]:
    return (
        file.file_id,
        file.user_id,
        file.organization_id,
        file.session_id,
        file.filename,
        file.content_type,
        file.length,
        file.metadata,
        file.created_at,
        file.expires_at,
        file.completed_at,
        file.sha256,
        file.unverified_from,
        file.charge,
    )


def _file(row: Sequence[Any]) -> File:
    return File(
        file_id=row[0],
        user_id=row[1],
        organization_id=row[2],
        session_id=row[3],
        filename=row[4],
        content_type=row[5],
        length=row[6],
        metadata=row[7],
        created_at=row[8],
        expires_at=row[9],
        completed_at=row[10],
        sha256=row[11],
        unverified_from=row[12],
    )
