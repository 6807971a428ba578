"""Bar charts over time in block characters; pure functions of numbers and sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

EIGHTHS = " ▁▂▃▄▅▆▇█"
_NICE = (1, 2, 2.5, 5, 10)

Point = tuple[float, float]
"""A time in seconds and the value then."""


def columns_of(
    points: Iterable[Point], since: float, column_s: float, columns: int
) -> list[float | None]:
    """The mean of the points in each column of ``column_s`` seconds from ``since`` on.

    None for a column without points, which is not zero.
    """
    sums, counts = [0.0] * columns, [0] * columns
    for at, value in points:
        index = math.floor((at - since) / column_s)
        if 0 <= index < columns:
            sums[index] += value
            counts[index] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def latest_columns(
    points: Iterable[Point], now: float, column_s: float, columns: int
) -> list[float | None]:
    """``columns_of`` up to ``now``; columns begin at multiples of ``column_s``.

    So a column keeps its points while the chart scrolls.
    """
    last = math.floor(now / column_s)
    return columns_of(points, (last - columns + 1) * column_s, column_s, columns)


def bars(values: Sequence[float | None], height: int, top: float) -> list[str]:
    """Bars of ``height`` lines, the upper line first; ``top`` is the value of a full bar.

    A gap is blank, a zero the lowest mark, and every value above zero is higher than that.
    """
    steps = 8 * height
    levels = [_level(value, steps, top) for value in values]
    return [
        "".join(EIGHTHS[min(8, max(0, level - 8 * row))] for level in levels)
        for row in reversed(range(height))
    ]


def _level(value: float | None, steps: int, top: float) -> int:
    if value is None:
        return 0
    if value <= 0 or top <= 0:
        return 1
    return max(2, min(steps, round(value / top * steps)))


def nice_top(values: Iterable[float | None]) -> float:
    """A round number that is no less than any of the values: the upper end of an axis."""
    largest = max((value for value in values if value is not None), default=0.0)
    if largest <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(largest))
    return next(nice * power for nice in _NICE if nice * power >= largest * (1 - 1e-9))


def chart(
    values: Sequence[float | None], *, height: int, labels: Sequence[str], times: tuple[str, str]
) -> list[str]:
    """Bars with axes: ``labels`` for top, middle and zero; ``times`` are at the two ends below.

    The width is that of the longest label, a rule and one cell for each value.
    """
    top = nice_top(values)
    margin = max(map(len, labels))
    middle = height // 2
    at_line = {0: labels[0], middle: labels[1], height - 1: labels[2]}
    lines = []
    for number, line in enumerate(bars(values, height, top)):
        label = at_line.get(number, "")
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{line}".rstrip())
    lines.append(" " * (margin + 1) + "└" + "─" * len(values))
    gap = len(values) - len(times[0]) - len(times[1])
    below = times[0] + " " * max(1, gap) + times[1] if gap > 0 else times[1]
    lines.append(" " * (margin + 2) + below)
    return lines
