"""Times as people write them."""

from __future__ import annotations

import pytest

from wsctl.times import parse_duration, parse_moment, readable, rfc3339


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "m", "-5m", "5x", "٣h", "0s", "9999999w", "1h 5m", "1e3s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|range"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", "2023-11-13T22:13:20.000Z"),
        ("2024-01-15T14:30:00Z", "2024-01-15T14:30:00.000Z"),
        ("2024-01-15T14:30:00.125+08:00", "2024-01-15T06:30:00.125Z"),
        ("2024-01-15", "2024-01-15T00:00:00.000Z"),
    ],
)
def test_moments(text: str, moment: str) -> None:
    assert rfc3339(parse_moment(text, 1_700_000_000.0)) == moment


@pytest.mark.parametrize(
    "text", ["2026-13-45", "2026-02-30T00:00:00Z", "2024-01-15T14:30:00", "yesterday", "1700000000"]
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        parse_moment(text, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (59, "59 s"), (725, "12 min 5 s"), (3600, "1 h"), (90061, "1 d 1 h")],
)
def test_readable_durations(seconds: float, text: str) -> None:
    assert readable(seconds) == text
