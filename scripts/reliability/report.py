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

    @property
    def is_kept(self) -> bool:
        """Is the figure as it must be?"""
        return self.limit is None or abs(self.value) <= self.limit


@dataclass
class Verdict:
    """The report of one profile."""

    title: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, label: str, value: float) -> None:
        """Add what is only told."""
        self.lines.append(Line(label, value))

    def limit(self, label: str, value: float, limit: float) -> None:
        """Add what must not be more than ``limit``."""
        self.lines.append(Line(label, value, limit))

    @property
    def is_good(self) -> bool:
        """Was every limit kept?"""
        return all(line.is_kept for line in self.lines)

    def text(self) -> str:
        """As people read it."""
        rows = [self.title]
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
