"""One export from source to file; with a state file, from the end of the last run."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wsctl.atomic_file import Replacement
from wsctl.errors import Failed
from wsctl.exporting.progress_bar import Bar
from wsctl.exporting.reader import Numbered, Reader, Row, Wanted
from wsctl.exporting.sources import Source, to_the_end
from wsctl.exporting.state import Mark, State, StateFile, Unfinished
from wsctl.exporting.writers import SHAPES, WRITERS
from wsctl.snapshots.steps import LastPerStep
from wsctl.times import epoch

Commit = Callable[[Replacement | None], None]
"""Publishes a sealed file (None: rows went to standard output) and saves the state."""


@dataclass(frozen=True)
class Export:
    """Kind, source, format and destination of an export."""

    kind: str
    source: Source
    format: str
    out: Path | None
    """None: standard output."""
    bar: Bar

    def of_time(self, since: float, until: float, step_s: int | None) -> int:
        """Export a range of time; returns the number of rows."""
        rows = self.source.of_time(self.kind, since, until, step_s, self.bar.expect)
        return self._write(rows, _publish)

    def of_rows(self, rows: Iterable[Row]) -> int:
        """Export rows from elsewhere; returns their number."""
        return self._write(rows, _publish)

    def since_last(self, file: StateFile, since: float | None, step_s: int | None) -> int:
        """Export the rows added since the last run, and save the new position in the state.

        ``since`` applies to the first run only; None: all rows.
        """
        state = file.settle()
        wanted = Wanted(
            self.kind,
            after=0 if state.mark is None else state.mark.position,
            since=since if state.mark is None else None,
            is_settled=True,
        )
        with contextlib.ExitStack() as opened:
            reading = opened.enter_context(self.source.reading(wanted, self.bar.expect))
            _check(state.mark, reading)
            rows: Iterable[Numbered] = to_the_end(opened, reading)
            steps = None if step_s is None else _steps(step_s)
            if steps is not None:
                rows = steps.of(rows)

            def commit(target: Replacement | None) -> None:
                held = [] if steps is None else [position for position, _ in steps.held]
                mark = Mark(reading.epoch, min(held) - 1 if held else reading.position)
                _advance(file, state, mark, target)

            return self._write((row for _, row in rows), commit, file.part_name)

    def _write(self, rows: Iterable[Row], commit: Commit, part_name: str | None = None) -> int:
        with contextlib.closing(self.bar.counted(rows)) as counted:
            if self.out is None:
                return self._print(counted, commit)
            return self._replace(self.out, counted, commit, part_name)

    def _replace(
        self, out: Path, rows: Iterable[Row], commit: Commit, part_name: str | None
    ) -> int:
        try:
            target = Replacement(out, part_name=part_name, compress=out.suffix == ".gz")
            try:
                folder = None if target.temporary is None else target.path.parent
                count = WRITERS[self.format](rows, SHAPES[self.kind], target.file, folder)
                target.seal()
            except BaseException:
                target.discard()
                raise
            commit(target)
        except OSError as error:
            raise Failed(f"cannot write {out}: {error.strerror or error}") from None
        return count

    def _print(self, rows: Iterable[Row], commit: Commit) -> int:
        """Write to standard output, after all rows were read."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
            count = WRITERS[self.format](rows, SHAPES[self.kind], file, None)
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout)
            sys.stdout.flush()
        commit(None)
        return count


def _steps(step_s: int) -> LastPerStep[Numbered]:
    return LastPerStep(
        step_s,
        moment=lambda numbered: epoch(numbered[1]["timestamp"]) or 0.0,
        group=lambda numbered: numbered[1]["node"],
        keeps_open=True,
    )


def _check(mark: Mark | None, reading: Reader) -> None:
    if mark is not None and (reading.epoch != mark.epoch or reading.end < mark.position):
        raise Failed(
            "the state file belongs to another database, or to this one before a backup was"
            " restored; nothing was exported. Remove it and give --since"
        )


def _publish(target: Replacement | None) -> None:
    if target is not None:
        try:
            target.publish()
        except BaseException:
            target.discard()
            raise


def _advance(file: StateFile, state: State, mark: Mark, target: Replacement | None) -> None:
    """Rename the file and advance the state, so that a crash leaves both or neither.

    The state first names the file that is about to be renamed; the next run sees from the
    temporary name whether that happened. So from then on this run must not remove the file.
    """
    if target is not None and target.temporary is not None:
        about_to = Unfinished(mark, str(target.temporary), str(target.path))
        try:
            file.save(State(state.kind, state.mark, about_to))
        except Failed:  # the old state is in place
            target.discard()
            raise
        target.publish()
    file.save(State(state.kind, mark))
