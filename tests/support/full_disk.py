"""A plugin that makes the disk full for SQLite while a file ``full`` is in the data folder.

SQLite refuses writes with the error and the rollback of a full disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wsserver.storage.engine.worker import Job
from wsserver.storage.engine.writer import Writer

PAGES_BY_DEFAULT = 2**30


def install(manager: Any) -> None:
    """Limit the number of pages before each transaction."""
    mark = Path(os.environ["WSSERVER_DATA_DIR"]) / "full"
    work = Writer._work

    def with_limited_pages(self: Writer, db: Any, jobs: Sequence[Job]) -> Any:
        is_full = mark.exists()
        # The file can have no fewer pages than it has, so 1 is as many as there are.
        db.execute(f"PRAGMA max_page_count = {1 if is_full else PAGES_BY_DEFAULT}")
        if is_full:
            for job in jobs:
                job.fn = _with_a_new_page(job.fn)
        return work(self, db, jobs)

    Writer._work = with_limited_pages  # type: ignore[method-assign, assignment]


def _with_a_new_page(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a job need a new page: a small write would fit into an existing one."""

    def run(db: Any) -> Any:
        db.execute("CREATE TABLE one_page_more (x)")
        return fn(db)

    return run
