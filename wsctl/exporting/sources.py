"""Source of rows: the server's API, or its database file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsctl.errors import Failed
from wsctl.exporting.reader import PATIENCE_S, ApiReader, Numbered, Reader, Row, Wanted
from wsctl.http.client import member, path_part

if TYPE_CHECKING:
    from wsctl.http.client import Client

OnTotal = Callable[[int], object]
"""Called with the approximate number of rows to expect."""
_NAMES = {"stats": "statistics", "audit": "the audit trail"}


@dataclass(frozen=True)
class Source:
    """A database file or, without one, the server that ``client`` talks to."""

    database: Path | None
    client: Callable[[], Client]

    @contextlib.contextmanager
    def reading(self, wanted: Wanted, on_total: OnTotal) -> Iterator[Reader]:
        """Open a reader; its rows are valid only if this ends without an error."""
        reading: Reader
        if self.database is None:
            reading = ApiReader(self.client(), wanted)
            on_total(reading.end - wanted.after)
            yield reading
            return
        from wsctl.exporting.database_reader import DatabaseReader
        from wsctl.snapshots.database import read_database

        with read_database(self.database, _NAMES.get(wanted.kind, wanted.kind)) as connection:
            reading = DatabaseReader(connection, wanted)
            on_total(reading.end - wanted.after)
            yield reading

    def of_time(
        self, kind: str, since: float, until: float, step_s: int | None, on_total: OnTotal
    ) -> Iterator[Row]:
        """Rows of a range of time: snapshots by time, others in commit order."""
        if kind != "stats":
            with self.reading(Wanted(kind, since=since, until=until), on_total) as reading:
                yield from (row for _, row in reading.rows())
            return
        from wsctl.snapshots import history

        span = history.Range(since, until, step_s)
        if self.database is None:
            yield from history.from_api(self.client(), span, on_total)
        else:
            yield from history.from_database(self.database, span, on_total)


def messages(client: Client, filters: Mapping[str, str | None]) -> Iterator[Row]:
    """Messages of sessions from a running server, session by session."""
    cursor = None
    while True:
        query = {**filters, "cursor": cursor}
        page = client.get("/export/messages", query, patience_s=PATIENCE_S)
        yield from member(page, "messages", list)
        previous, cursor = cursor, page.get("next_cursor")
        if cursor is None:
            return
        if cursor == previous:
            raise Failed("the server's export does not advance")


def user_data(client: Client, user: str) -> Iterator[Row]:
    """All that a running server has stored about a user: ``table`` and ``row``."""
    return client.lines(f"/users/{path_part(user)}/data")


def to_the_end(opened: contextlib.ExitStack, reading: Reader) -> Iterator[Numbered]:
    """The rows of a reader; closes ``opened``, which holds it, before the last ``next`` returns."""
    yield from reading.rows()
    opened.close()
