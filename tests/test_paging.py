from __future__ import annotations

import string
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver import paging
from wsserver.errors import BadRequest
from wsserver.paging import Window, decode_cursor, encode_cursor, json_bytes, page_of, take

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


class TimeAndNode(NamedTuple):
    at: float
    node: str


@given(TEXTS, st.floats(allow_nan=False, allow_infinity=False))
def test_a_cursor_is_safe_in_a_url_and_comes_back(text: str, at: float) -> None:
    for row, kind in ((text, str), (TimeAndNode(at, text), TimeAndNode)):
        cursor = encode_cursor(row)
        assert set(cursor) <= {*string.ascii_letters, *string.digits, *"-_"}
        assert decode_cursor(cursor, kind) == row


@pytest.mark.parametrize("kind", [str, TimeAndNode])
@pytest.mark.parametrize("cursor", ["", "%", "a", "é", "_" * 5, "gA==", "===", "bnVsbA", "W10"])
def test_an_invalid_cursor_is_a_bad_request(cursor: str, kind: type) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_cursor(cursor, kind)
    assert caught.value.details["field"] == "cursor"


def test_a_page_ends_at_a_number_of_rows_or_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(number, "é" * 100) for number in range(10)]
    assert take(iter(rows), 3) == (rows[:3], True)
    assert take(iter(rows), 10) == (rows, False)
    assert take(iter(rows[:0]), 10) == ([], False)
    size = json_bytes(rows[0])
    assert size > 700  # bytes of UTF-8, and the names of fields
    monkeypatch.setattr(paging, "PAGE_BYTES", 4 * size + 5)
    assert take(iter(rows), 9) == (rows[:4], True)
    assert take(iter(rows[:4]), 9) == (rows[:4], False)
    monkeypatch.setattr(paging, "PAGE_BYTES", 1)
    assert take(iter(rows), 9) == (rows[:1], True)


def test_a_page_reads_no_further_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 3000)
    read = []

    def rows() -> Iterator[str]:
        for number in range(100):
            read.append(number)
            yield "x" * 500

    page, has_more = take(rows(), 50)
    assert (len(page), has_more, len(read)) == (2, True, 3)


@given(st.sets(st.text(max_size=4)), st.integers(1, 7))
def test_pages_hold_every_item_once_in_order(keys: set[str], limit: int) -> None:
    items = sorted(keys)
    seen: list[str] = []
    cursor = None
    while True:
        page = page_of(items, str, Window(limit, cursor), str)
        assert page.total == len(items)
        assert len(page.items) <= limit
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == items


def test_items_added_and_removed_between_pages_shift_nothing() -> None:
    first = page_of(["a", "c", "e"], str, Window(2), str.upper)
    assert first.items == ["A", "C"]
    second = page_of(["b", "d", "e", "f"], str, Window(9, first.next_cursor), str.upper)
    assert second.items == ["D", "E", "F"]
