"""What a torment has found: figures, and limits that were kept or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """A figure; with a limit, one that must not be passed."""

    label: str
    value: float
    limit: float | None = None
    is_time: bool = False
    """Does it depend on how fast the machine is?"""

    @property
    def is_kept(self) -> bool:
        """Is the figure as it must be?"""
        return self.limit is None or abs(self.value) <= self.limit


@dataclass
class Verdict:
    """The report of one profile."""

    title: str
    lines: list[Line] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    """Lines of figures that are only told."""
    notes: list[str] = field(default_factory=list)
    judges_times: bool = True
    """False: times are told, and do not count; other programs may be busy."""

    def figure(self, label: str, value: float) -> None:
        """Add what is only told."""
        self.lines.append(Line(label, value))

    def limit(self, label: str, value: float, limit: float) -> None:
        """Add what must not be more than ``limit``."""
        self.lines.append(Line(label, value, limit))

    def time(self, label: str, value: float, limit: float) -> None:
        """Add a time that must not be more than ``limit``."""
        self.lines.append(Line(label, value, limit, is_time=True))

    @property
    def is_good(self) -> bool:
        """Was every limit kept that counts?"""
        return all(line.is_kept or (line.is_time and not self.judges_times) for line in self.lines)

    def text(self) -> str:
        """As people read it."""
        rows = [self.title, *(f"  {line}" for line in self.table)]
        for line in self.lines:
            limit = "" if line.limit is None else f"   at most {line.limit:,.0f}"
            mark = "" if line.is_kept else "   NOT KEPT"
            rows.append(f"  {line.label:<42} {line.value:>12,.0f}{limit}{mark}")
        rows += [f"  ! {note}" for note in self.notes]
        rows.append(f"  {'passed' if self.is_good else 'FAILED'}")
        return "\n".join(rows)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` percent do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else 0.0
