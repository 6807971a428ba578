"""Progress bar on a terminal's stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")

_PATIENCE_S = 0.5
"""Shorter exports show no bar."""
_ROWS = 256
"""Rows between two readings of the clock."""


class Bar:
    """Counts rows on stderr, if that is a terminal and ``--quiet`` is not given."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what = what
        self._total: int | None = None
        self._is_shown = (
            not quiet
            and sys.stderr is not None
            and sys.stderr.isatty()
            and os.environ.get("TERM") != "dumb"
        )

    def expect(self, total: int) -> None:
        """Set the expected number of rows (an upper bound)."""
        self._total = total

    def counted(self, rows: Iterable[T]) -> Generator[T, None, None]:
        """Yield the rows and show their count; restores the terminal when closed."""
        if not self._is_shown:
            yield from rows
            return
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            shown: tuple[Progress, TaskID] | None = None
            for count, row in enumerate(rows):
                yield row
                if count % _ROWS:
                    continue
                if shown is None and time.monotonic() - began > _PATIENCE_S:
                    shown = self._show(stack)
                if shown is not None:
                    bar, task = shown
                    bar.update(task, completed=count, total=self._total)

    def _show(self, stack: contextlib.ExitStack) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = stack.enter_context(
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
        )
        return bar, bar.add_task(self._what, total=self._total)
