"""Turns what was measured into a table with ratios, and bars."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence

from scripts.benchmark.catalogue import Figure, Workload
from scripts.benchmark.workloads import Figures, Size

LABEL_WIDTH = 38
COLUMN_WIDTH = 12
BAR_WIDTH = 40
CROWDED = 0.9
"""A share of their cores above which the clients are likely to have been the limit."""
NOISY = 0.2
"""Cores that other programs used, above which figures say little."""


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds that have it."""
    keys = dict.fromkeys(key for each in rounds for key in each)
    found: Figures = {}
    for key in keys:
        values = [value for each in rounds if (value := each.get(key)) is not None]
        found[key] = statistics.median(values) if values else None
    return found


def table(workload: Workload, size: Size, by_server: Mapping[str, Sequence[Figures]]) -> str:
    """What one workload found, a column for each server and one for each ratio to another."""
    found = {server: medians(rounds) for server, rounds in by_server.items()}
    return "\n".join(_table(workload, size, found))


def _table(workload: Workload, size: Size, found: Mapping[str, Figures]) -> Iterator[str]:
    servers = list(found)
    first, others = servers[0], servers[1:]
    yield f"{workload.name}: {workload.about.format(**vars(size))}"
    heads = [*servers, *(f"/ {other}" for other in others)]
    width = max(COLUMN_WIDTH, *(len(head) + 2 for head in heads))
    yield _row("", heads, width)
    rows = [each for each in workload.figures if any(each.key in some for some in found.values())]
    for figure in rows:
        values = {server: found[server].get(figure.key) for server in servers}
        cells = [_cell(figure, values[server]) for server in servers]
        if figure.has_ratio:
            cells += [_ratio(values[first], values[other]) for other in others]
        yield _row(figure.label, cells, width)
    crowded = [name for name in servers if (found[name].get("client_cpu") or 0) > CROWDED]
    if crowded:
        yield f"  ! the clients were the limit, by far or nearly: {', '.join(crowded)}"
    noisy = [name for name in servers if (found[name].get("other_cpu") or 0) > NOISY]
    if noisy:
        yield f"  ! other programs were busy, measure again: {', '.join(noisy)}"
    yield from _bars(workload, found)


def _row(label: str, cells: Sequence[str], width: int) -> str:
    text = f"  {label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{width}}" for cell in cells)
    return text.rstrip()


def _cell(figure: Figure, value: float | None) -> str:
    return "-" if value is None else figure.form.format(value * figure.scale)


def _ratio(ours: float | None, theirs: float | None) -> str:
    if ours is None or not theirs:
        return "-"
    ratio = ours / theirs
    return f"{ratio:.1f} x" if ratio >= 0.1 else f"{ratio:.3f} x"


def _bars(workload: Workload, found: Mapping[str, Figures]) -> Iterator[str]:
    figure = next((each for each in workload.figures if each.is_main), None)
    if figure is None or len(found) < 2:
        return
    values = {server: figures.get(figure.key) or 0.0 for server, figures in found.items()}
    largest = max(values.values())
    if largest <= 0:
        return
    yield ""
    yield f"  {figure.label}{' (less is better)' if figure.is_less_better else ''}"
    names = max(10, *map(len, values))
    for server, value in values.items():
        yield f"  {server:<{names}} {bar(value / largest, BAR_WIDTH)} {_cell(figure, value)}"


def bar(share: float, width: int) -> str:
    """A bar of that share of the width, to an eighth of a character."""
    eighths = max(0, round(share * width * 8))
    full, rest = divmod(eighths, 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[rest].strip()).ljust(width)
