"""Values as people read them: counts, numbers, byte sizes, short durations."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> str:
    """A value in a table: empty for null, yes and no, at most two decimals."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def plural(count: float, noun: str) -> str:
    """A count with its noun: ``1 connection``, ``1,204 connections``."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def short(value: float) -> str:
    """A number in at most six characters: ``0.25``, ``45.2``, ``1,204``, ``34.6k``, ``1.2M``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return plain(round(value, 0 if value >= 1000 else 1 if value >= 10 else 2))


def byte_size(value: float) -> str:
    """Bytes with a unit that keeps the number short: ``512 B``, ``145 KiB``, ``1.4 GiB``."""
    size, unit = float(value), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1000 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}"


def ms(seconds: float) -> str:
    """A measured time: ``12 ms``, ``0.4 ms``, ``3.1 s``."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{int(seconds < 0.01)}f} ms"
