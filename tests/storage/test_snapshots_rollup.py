from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wsserver.storage.tables.snapshots import FIELDS, HourSums, hour_of, sum_by_hour

Row = tuple[int, float, str, Iterable[int], Mapping[str, Any]]


def row(at: float, node: str, value: int, **extra: Any) -> Row:
    return value, at, node, [value * (n + 1) for n in range(len(FIELDS))], extra


def test_an_hour_starts_at_its_first_second() -> None:
    assert hour_of(7199.999) == 3600
    assert hour_of(7200.0) == 7200


def test_hours_and_nodes_are_added_up_apart() -> None:
    sums = sum_by_hour([row(0, "a", 1), row(3599.9, "a", 2), row(3600, "a", 4), row(1, "b", 8)])
    assert {key: (hour.samples, hour.totals[1], hour.last_id) for key, hour in sums.items()} == {
        (0, "a"): (2, 6, 2),
        (3600, "a"): (1, 8, 4),
        (0, "b"): (1, 16, 8),
    }


def test_of_the_further_entries_only_numbers_count_and_only_where_present() -> None:
    hour = HourSums()
    zeros = [0] * len(FIELDS)
    hour.add(
        1, zeros, {"p99_ms": 1.5, "flag": True, "version": "1", "nested": {"a": 1}, "gone": None}
    )
    hour.add(2, zeros, {"p99_ms": 2.5, "rate": 3})
    hour.add(3, zeros, {})
    assert hour.extra == {"p99_ms": (4.0, 2), "rate": (3, 1)}
    assert hour.samples == 3


ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 4 * 3600).map(float),
        st.sampled_from(["a", "b"]),
        st.integers(0, 10**9),
        rate=st.integers(0, 1000),
    ),
    max_size=30,
)


@given(ROWS, st.integers(0, 30))
def test_however_it_is_cut_the_sums_are_the_same(rows: list[Row], cut: int) -> None:
    merged = sum_by_hour(rows[:cut])
    for key, hour in sum_by_hour(rows[cut:]).items():
        merged.setdefault(key, HourSums()).merge(hour)
    assert merged == sum_by_hour(rows)
