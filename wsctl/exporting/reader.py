"""A reading: stored rows in the order of committing, from the API or the database file.

One writer commits one after another, so that what comes after a position is exactly what has come
since. Positions belong to an epoch; a database that was restored from a backup has another one.
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

_PATIENCE_S = 30.0
LISTS = {"stats": "snapshots", "audit": "entries", "notifications": "deliveries"}
"""What is exported → what the API calls its rows."""


@dataclass(frozen=True)
class Wanted:
    """Which rows: those after a position, within times (seconds since the epoch)."""

    kind: str
    after: int = 0
    since: float | None = None
    """Inclusive."""
    until: float | None = None
    """Exclusive."""
    is_settled: bool = False
    """Of deliveries only those that have come to their end, in the order in which they did."""


class Reader(Protocol):
    """Rows that can be read once."""

    epoch: str
    end: int
    """The position of what was committed last when the reading was opened."""
    position: int
    """After the last row: where the next reading has to begin."""

    def rows(self) -> Iterator[Numbered]:
        """The rows, in the order of their positions."""
        ...


class ApiReader:
    """Asks a running server, page by page, up to what was there when it was first asked."""

    def __init__(self, client: Client, wanted: Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self._first = self._page(wanted.after)
        self.epoch: str = member(self._first, "epoch", str)
        self.end: int = member(self._first, "end", int)
        self.position = wanted.after

    def rows(self) -> Iterator[Numbered]:
        """The rows, in the order of their positions."""
        page = self._first
        while True:
            if page["epoch"] != self.epoch:
                raise Failed("the server has begun a new numbering meanwhile: run it again")
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
        return self._client.get(f"/export/{wanted.kind}", query, patience_s=_PATIENCE_S)
