"""Block characters: levels, gaps, axes."""

from __future__ import annotations

import pytest

from wsctl.output.charts import bars, chart, columns_of, latest_columns, nice_top


def test_a_column_is_the_mean_of_its_points_and_a_gap_is_no_zero() -> None:
    points = [(0.0, 1.0), (1.9, 3.0), (4.0, 5.0), (99.0, 7.0), (-1.0, 7.0)]
    assert columns_of(points, 0.0, 2.0, 4) == [2.0, None, 5.0, None]


def test_borders_of_columns_stay_while_time_goes_on() -> None:
    points = [(float(second), float(second)) for second in range(10)]
    first = latest_columns(points, 9.0, 2.0, 3)
    assert first == [4.5, 6.5, 8.5]
    assert latest_columns(points, 9.9, 2.0, 3) == first
    assert latest_columns(points, 10.0, 2.0, 3) == [6.5, 8.5, None]


def test_bars_tell_gap_zero_little_and_full_apart() -> None:
    assert bars([None, 0.0, 0.01, 4.0, 8.0, 99.0], 1, 8.0) == [" ▁▂▄██"]
    assert bars([2.0, 8.0, 16.0, None], 2, 16.0) == ["  █ ", "▂██ "]


@pytest.mark.parametrize(
    ("largest", "top"),
    [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (2.2, 2.5), (26, 50), (51, 100), (3000, 5000)],
)
def test_an_axis_ends_at_a_round_number(largest: float, top: float) -> None:
    assert nice_top([None, largest]) == pytest.approx(top)


def test_a_chart_has_labels_and_times() -> None:
    assert chart([0.0, 5.0, None, 10.0], height=3, labels=("10", "5", "0"), times=("a", "b")) == [
        "10 ┤   █",
        " 5 ┤ ▄ █",
        " 0 ┤▁█ █",
        "   └────",
        "    a  b",
    ]
