"""Rows of stored statistics."""

from __future__ import annotations

from typing import Any

from wsserver.storage.tables.snapshots import FIELDS


def snapshot(at: float, value: int = 0, node: str = "n1", **extra: Any) -> dict[str, Any]:
    numbers = {name: value + n for n, name in enumerate(FIELDS)}
    return {"timestamp": at, "node": node, "sequence": value, **numbers, **extra}
