"""Ids: form, order and uniqueness."""

from __future__ import annotations

import re

import pytest

from wsserver.identity.ids import is_id
from wsserver.protocol.ids import IdFactory, new_id


def test_ids_have_their_prefix_and_are_well_formed() -> None:
    for prefix in ("conn", "msg", "notify"):
        id_ = new_id(prefix)
        assert re.fullmatch(prefix + "_[0-9a-hjkmnp-tv-z]{20}", id_)
        assert is_id(id_)


@pytest.mark.parametrize("steps", [[0.0], [0.001], [0.0, 0.0, 0.001], [1.0, 3600.0], [-3600.0, 0]])
def test_ids_sort_in_the_order_of_their_making_whatever_the_clock_does(steps: list[float]) -> None:
    make = IdFactory()
    wall = 1_700_000_000.0
    ids = []
    for n in range(500):
        wall += steps[n % len(steps)]
        ids.append(make("msg", wall))
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_ids_of_different_processes_sort_by_time_and_differ() -> None:
    one, other = IdFactory(), IdFactory()
    assert one("msg", 1_700_000_000.000) < other("msg", 1_700_000_000.001)
    assert one("msg", 1_800_000_000.0) != other("msg", 1_800_000_000.0)


def test_ids_go_on_when_their_last_digits_run_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for start in (1022, 1023, (1 << 20) - 1, (1 << 49) - 1):
        monkeypatch.setattr("secrets.randbits", lambda _, start=start: start)
        make = IdFactory()
        ids = [make("msg", 1_700_000_000.0) for _ in range(2100)]
        assert ids == sorted(set(ids))
        assert {id_[:14] for id_ in ids} == {ids[0][:14]}, "the time stays the same"


def test_the_machines_clock_counts_when_none_is_given() -> None:
    make = IdFactory()
    assert make("msg", 1_000_000_000.0) < make("msg")
