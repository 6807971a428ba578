"""Fields of the statistics: order, labels, units."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from wsctl.formatting import byte_size, plain
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


COUNTERS = (
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "connects",
    "refused_commands",
    "failed_sends",
    "internal_errors",
    "handler_failures",
)
"""Fields that only grow from the server's start on."""

_PERCENTILE = re.compile(r"(.+_ms)_(p[0-9]+|max)")
_CHANNEL = re.compile(r"notifications_(websocket|push|sms|email)_(.+)")
_OF_CHANNEL = ("sent", "retried", "failed", "expired", "acknowledged")


def as_stored(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Current statistics, flat and with the names of a stored snapshot: ``deliver_ms_p99``."""
    flat: dict[str, Any] = {}
    for name, value in stats.items():
        if isinstance(value, Mapping):
            prefix = "" if name == "rates" else f"{name}_"
            flat |= {prefix + inner: figure for inner, figure in as_stored(value).items()}
        else:
            flat[name] = value
    return flat


def as_live(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A stored snapshot in the shape of current statistics; the opposite of ``as_stored``."""
    stats: dict[str, Any] = {}
    for name, value in snapshot.items():
        place, inner = stats, name
        if match := _CHANNEL.fullmatch(name):
            channels = stats.setdefault("notifications", {})
            place, inner = channels.setdefault(match[1], {}), match[2]
        if match := _PERCENTILE.fullmatch(inner):
            place.setdefault(match[1], {})[match[2]] = value
        elif inner.endswith("_per_s"):
            place.setdefault("rates", {})[inner] = value
        else:
            place[inner] = value
    return stats


def in_order(stats: Mapping[str, Any]) -> dict[str, Any]:
    """``stats`` flat, the ten fields first, the rest in the server's order."""
    flat = flatten(stats)
    return {name: flat.get(name) for name in TEN} | flat


def people_rows(stats: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of ``field``, ``value`` and ``rate`` for people: few enough for a terminal's 24 lines.

    A rate is printed beside its counter, percentiles share a row.
    """
    rates = dict(stats.get("rates") or {})
    rows = [
        {
            "field": label(name),
            "value": shown(name, value),
            "rate": shown("_per_s", rates.pop(f"{name}_per_s", None)),
        }
        for name, value in in_order(stats).items()
        if not isinstance(stats.get(name, {}), Mapping)
    ]
    rows += [{"field": label(k), "value": "", "rate": shown(k, v)} for k, v in rates.items()]
    for name, figures in stats.items():
        if name == "notifications":
            rows += _channels(figures)
        elif name == "answers":
            rows += _answers(figures)
        elif isinstance(figures, Mapping) and name != "rates":
            rows.append(_percentiles(name, figures))
    return rows


def _answers(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """Answers that grow, and how those that have ended did, if there were any."""
    if not any(figures.values()):
        return []
    now = {name: figures.get(name) for name in ("growing", "begun", "appends")}
    ended = {name: value for name, value in figures.items() if name not in now}
    return [_percentiles("answers", now), _percentiles("answers", ended)]


def _channels(channels: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Outcomes of each channel that was used.

    Only the inbox has acknowledgements: their latency has its own row.
    """
    rows = []
    for channel, figures in channels.items():
        values = [figures.get(name) or 0 for name in _OF_CHANNEL]
        if any(values):
            field = f"{channel} {'/'.join(_OF_CHANNEL)}"
            rows.append({"field": field, "value": "/".join(map(plain, values)), "rate": ""})
        if figures.get("acknowledged"):
            row = _percentiles("acknowledged_ms", figures["acknowledged_ms"])
            rows.append({**row, "field": f"{channel} {row['field']}"})
    return rows


def _percentiles(name: str, figures: Mapping[str, Any]) -> dict[str, str]:
    field = f"{label(name)} {'/'.join(figures)}"
    if all(value is None for value in figures.values()):
        return {"field": field, "value": "-", "rate": ""}
    values = "/".join("-" if value is None else plain(value) for value in figures.values())
    unit = " ms" if name.endswith("_ms") else ""
    return {"field": field, "value": values + unit, "rate": ""}


def label(name: str) -> str:
    """A field's name without the unit that its value is shown with."""
    if match := _PERCENTILE.fullmatch(name):
        return f"{label(match[1])} {match[2]}"
    for unit in UNITS:
        name = name.removesuffix(unit)
    return name.replace("_", " ").replace(".", " ")


def shown(name: str, value: Any) -> str:
    """A field's value with its unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value)
    if match := _PERCENTILE.fullmatch(name):
        name = match[1]
    for unit, show in UNITS.items():
        if name.endswith(unit):
            return show(value)
    return plain(value)


UNITS: dict[str, Callable[[float], str]] = {
    "_per_s": lambda value: f"{plain(float(value))} /s",
    "_ms": lambda value: f"{plain(float(value))} ms",
    "_bytes": byte_size,
    "_s": readable,
}
"""End of a field's name → how its value is written; the first that fits counts."""
