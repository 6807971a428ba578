"""Histograms: cumulative buckets, sum and count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsserver.histogram import NETWORK_S, Histogram


def test_a_value_on_a_bound_is_not_above_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert list(histogram.buckets()) == [("1.0", 2), ("2.0", 4), ("+Inf", 5)]
    assert (histogram.count, histogram.sum) == (5, 8.0)


@given(st.lists(st.floats(0, 100)))
def test_each_bucket_has_what_is_not_above_its_bound(values: list[float]) -> None:
    histogram = Histogram(NETWORK_S)
    for value in values:
        histogram.observe(value)
    for bound, count in histogram.buckets():
        assert count == sum(value <= float(bound) for value in values)
    assert histogram.count == len(values)
