"""Readers of stored rows in commit order, from the API or the database file.

A single writer commits rows one after another, so the rows after a position are exactly those added
since. Positions belong to an epoch; a database restored from a backup has a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from wsctl.errors import Failed
from wsctl.http.client import Client, member
from wsctl.times import rfc3339

Row = dict[str, Any]
Numbered = tuple[int, Row]

PATIENCE_S = 30.0
LISTS = {
    "stats": "snapshots",
    "audit": "entries",
    "notifications": "deliveries",
    "usage": "usage",
}
"""Kind of export → field of the API's answer with its rows."""


@dataclass(frozen=True)
class Wanted:
    """Range of rows: those after a position, within times (seconds since the epoch)."""

    kind: str
    after: int = 0
    since: float | None = None
    """Inclusive."""
    until: float | None = None
    """Exclusive."""
    is_settled: bool = False
    """Of deliveries only final ones, in the order in which they became final."""


class Reader(Protocol):
    """Rows that can be read once."""

    epoch: str
    end: int
    """Position of the last commit when the reader was opened."""
    position: int
    """After the last row: where the next reader has to begin."""

    def rows(self) -> Iterator[Numbered]:
        """The rows, ordered by position."""


class ApiReader:
    """Reads pages from a running server, up to the end at the first request."""

    def __init__(self, client: Client, wanted: Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self._first = self._page(wanted.after)
        self.epoch: str = member(self._first, "epoch", str)
        self.end: int = member(self._first, "end", int)
        self.position = wanted.after

    def rows(self) -> Iterator[Numbered]:
        """The rows, ordered by position."""
        page = self._first
        while True:
            if page["epoch"] != self.epoch:
                raise Failed("the server's database was replaced during the export: run it again")
            for row in member(page, LISTS[self._wanted.kind], list):
                yield row.pop("position"), row
            previous, self.position = self.position, member(page, "position", int)
            if self.position >= self.end:
                return
            if self.position <= previous:
                raise Failed("the server's export does not advance")
            page = self._page(self.position)

    def _page(self, after: int) -> Any:
        wanted = self._wanted
        query = {
            "after": after,
            "since": None if wanted.since is None else rfc3339(wanted.since),
            "until": None if wanted.until is None else rfc3339(wanted.until),
            "order": "settled" if wanted.is_settled and wanted.kind == "notifications" else None,
        }
        return self._client.get(f"/export/{wanted.kind}", query, patience_s=PATIENCE_S)
