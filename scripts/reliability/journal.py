"""What publishers know: every message that they tried to publish, and where it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

_OFFSET_BITS = 38
_SELECT = (
    f"SELECT s.name, s.epoch, m.key & {(1 << _OFFSET_BITS) - 1}, m.message_id, m.payload"  # noqa: S608 - constants only
    f" FROM messages m JOIN streams s ON s.id = m.key >> {_OFFSET_BITS}"
    f" WHERE s.name = ? AND m.key > (s.id << {_OFFSET_BITS}) + ? ORDER BY m.key"
)
_STREAMS = "SELECT name FROM streams ORDER BY id"

Message = tuple[str, str, int, str, bytes]
"""Stream, epoch, offset, message id, payload."""


class Rows(Protocol):
    """The stored messages, as they are in the database."""

    def opened(self) -> AbstractContextManager[None]:
        """Connect; all calls see the same state."""

    def damage(self) -> str:
        """What is wrong with the database itself; empty: nothing."""

    def streams(self) -> list[str]:
        """The names of all streams."""

    def messages(self, stream: str, after: int) -> Iterable[Message]:
        """The messages of a stream after an offset, ascending."""


class SqliteRows:
    """Those of a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the file, to be read only."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as self._db:
            yield

    def damage(self) -> str:
        """The result of SQLite's own check."""
        (verdict,) = self._db.execute("PRAGMA integrity_check").fetchone()
        return "" if verdict == "ok" else f"integrity_check: {verdict}"

    def streams(self) -> list[str]:
        """The names of all streams."""
        return [name for (name,) in self._db.execute(_STREAMS)]

    def messages(self, stream: str, after: int) -> Iterable[Message]:
        """The messages of a stream after an offset, ascending."""
        return self._db.execute(_SELECT, [stream, after])


class PostgresRows:
    """Those of a PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._db: Any

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Connect; one snapshot."""
        import psycopg  # only where a cluster is tormented

        with psycopg.connect(self._url) as self._db:
            self._db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield

    def damage(self) -> str:
        """Nothing: PostgreSQL checks what it reads."""
        return ""

    def streams(self) -> list[str]:
        """The names of all streams."""
        return [name for (name,) in self._db.execute(_STREAMS)]

    def messages(self, stream: str, after: int) -> Iterable[Message]:
        """The messages of a stream after an offset, ascending."""
        rows: Iterable[Message] = self._db.execute(_SELECT.replace("?", "%s"), [stream, after])
        return rows


class Position(NamedTuple):
    """The position of a message in a stream, as acknowledged by the server."""

    message_id: str
    stream: str
    epoch: str
    offset: int


def position_of(answer: dict[str, Any]) -> Position:
    """The position in an acknowledgement, over REST or a socket."""
    return Position(answer["message_id"], answer["stream"], answer["epoch"], answer["offset"])


@dataclass(slots=True)
class JournalEntry:
    """One message; its key is the idempotency key, and part of its content."""

    key: str
    stream: str
    position: Position | None = None
    """None: not acknowledged, so the outcome is unknown."""


@dataclass
class Findings:
    """What was wrong, in words."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """Everything."""
        return [*self.lost, *self.doubled, *self.other]


class Journal:
    """All entries, and what the database holds of them."""

    def __init__(self) -> None:
        self.entries: dict[str, JournalEntry] = {}
        self.found: dict[str, Position] = {}
        """By key, where the database has it."""
        self.findings = Findings()
        self.rows = 0
        self._checked: dict[str, int] = {}
        self._epochs: dict[str, str] = {}

    def begin(self, key: str, stream: str) -> JournalEntry:
        """Note that a message is about to be published."""
        entry = self.entries[key] = JournalEntry(key, stream)
        return entry

    def acknowledge(self, entry: JournalEntry, position: Position) -> None:
        """Note where the server says that it is; the same each time it is asked."""
        if entry.position is None:
            entry.position = position
        elif entry.position != position:
            self.findings.doubled.append(f"{entry.key}: {entry.position} and then {position}")

    @property
    def acknowledged(self) -> int:
        """How many messages the server has said are kept."""
        return sum(entry.position is not None for entry in self.entries.values())

    def unknown(self) -> list[JournalEntry]:
        """Those that were never acknowledged."""
        return [entry for entry in self.entries.values() if entry.position is None]

    @property
    def ends(self) -> dict[str, int]:
        """The last offset of each stream that was checked."""
        return dict(self._checked)

    def check(self, rows: Rows) -> None:
        """Compare with the database: no gap, acknowledged messages once, at their position.

        To be called while nothing is published; each call reads the messages since the last one.
        """
        with rows.opened():
            if damage := rows.damage():
                self.findings.other.append(damage)
            for name in rows.streams():
                self._read(rows, name)
        for entry in self.entries.values():
            found = self.found.get(entry.key)
            if entry.position is not None and found != entry.position:
                self.findings.lost.append(
                    f"{entry.key}: {entry.position}, the database has {found}"
                )

    def _read(self, rows: Rows, name: str) -> None:
        """Read what is new in a stream."""
        expected = self._checked.get(name, 0) + 1
        for stream, epoch, offset, message_id, payload in rows.messages(name, expected - 1):
            if offset != expected:
                self.findings.other.append(f"{stream}: {expected} is missing before {offset}")
            if self._epochs.setdefault(stream, epoch) != epoch:
                self.findings.other.append(f"{stream}: epoch has changed")
            expected = offset + 1
            self.rows += 1
            key = _key_in(payload)
            if key in self.found:
                self.findings.doubled.append(f"{key}: at {self.found[key]} and at {offset}")
            self.found[key] = Position(message_id, stream, epoch, offset)
        self._checked[name] = expected - 1


def _key_in(payload: bytes) -> str:
    push = msgspec.json.decode(payload)
    return str(push["message"]["content"] if "message" in push else push["data"])
