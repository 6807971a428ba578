"""Where rows come from: the server, or its database file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsctl.exporting.reading import ApiReading, Numbered, Reading, Row, Wanted

if TYPE_CHECKING:
    from wsctl.http.client import Client

Told = Callable[[int], object]
"""Is told about how many rows there are to come."""
_NAMES = {"stats": "statistics", "audit": "the audit trail"}


@dataclass(frozen=True)
class Source:
    """A database file or, without one, the server that ``client`` talks to."""

    database: Path | None
    client: Callable[[], Client]

    @contextlib.contextmanager
    def reading(self, wanted: Wanted, told: Told) -> Iterator[Reading]:
        """Open a reading; what was read counts only once this has ended without an error."""
        reading: Reading
        if self.database is None:
            reading = ApiReading(self.client(), wanted)
            told(reading.end - wanted.after)
            yield reading
            return
        from wsctl.exporting.file_reading import FileReading
        from wsctl.snapshots.database import read_database

        with read_database(self.database, _NAMES.get(wanted.kind, wanted.kind)) as connection:
            reading = FileReading(connection, wanted)
            told(reading.end - wanted.after)
            yield reading

    def of_time(
        self, kind: str, since: float, until: float, step_s: int | None, told: Told
    ) -> Iterator[Row]:
        """Rows of a range of time: snapshots in its order, others in that of committing."""
        if kind != "stats":
            with self.reading(Wanted(kind, since=since, until=until), told) as reading:
                yield from (row for _, row in reading.rows())
            return
        from wsctl.snapshots import history

        span = history.Range(since, until, step_s)
        if self.database is None:
            yield from history.from_api(self.client(), span, told)
        else:
            yield from history.from_database(self.database, span, told)


def to_the_end(opened: contextlib.ExitStack, reading: Reading) -> Iterator[Numbered]:
    """The rows of a reading that ``opened`` holds, which is closed before they end."""
    yield from reading.rows()
    opened.close()
