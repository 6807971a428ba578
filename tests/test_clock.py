"""Times as text."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsctl.times import rfc3339 as shown_by_wsctl
from wsserver.clock import rfc3339


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1619, "2023-11-14T22:13:20.161Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (1_700_000_000.161, "2023-11-14T22:13:20.161Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_what_is_beyond_a_millisecond_is_cut_by_server_and_wsctl_alike(
    seconds: float, text: str
) -> None:
    assert rfc3339(seconds) == shown_by_wsctl(seconds) == text


@given(st.floats(0, 4e9))
@example(1_700_000_000.7835)
@example(1_700_000_000.9999996)
def test_server_and_wsctl_write_every_moment_alike(seconds: float) -> None:
    assert rfc3339(seconds) == shown_by_wsctl(seconds)


def test_every_millisecond_stays_what_it_is() -> None:
    for millis in range(1000):
        text = f"2024-02-29T23:59:59.{millis:03d}Z"
        assert rfc3339(datetime.fromisoformat(text).timestamp()) == text
