"""The statistics' fields: their order, and how people read their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsctl.output import plain
from wsctl.text import flatten
from wsctl.times import readable

TEN = (
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
)
"""The fields that every statistics answer and snapshot has."""


def in_order(stats: Mapping[str, Any]) -> dict[str, Any]:
    """``stats`` flat, the ten fields first, the rest as the server gave it."""
    flat = flatten(stats)
    return {name: flat.get(name) for name in TEN} | flat


def label(name: str) -> str:
    """A field's name without the unit that its value is shown with."""
    words = name.removesuffix("_ms").removesuffix("_s").removesuffix("_bytes")
    return words.replace("_", " ").replace(".", " ")


def shown(name: str, value: Any) -> str:
    """A field's value with its unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if name.endswith("uptime_s"):
        return readable(value)
    if name.endswith("_ms") or "_ms." in name:
        return f"{plain(float(value))} ms"
    if name.endswith("_bytes"):
        return f"{plain(value)} B"
    if name.endswith(("_per_second", "_per_s")):
        return f"{plain(float(value))} /s"
    return plain(value)
