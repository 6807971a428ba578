"""Figures in findings, as people read them."""

from __future__ import annotations


def ms(seconds: float) -> str:
    """``12 ms``, ``0.4 ms``, ``3.1 s``."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def size(count: float) -> str:
    """``512 bytes``, ``7.3 MiB``."""
    if count < 1024:
        return f"{count:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def plural(count: float, noun: str) -> str:
    """``1 message``, ``2,000 messages``."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"
