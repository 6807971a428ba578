from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.errors import BadRequest
from wsserver.realtime.operations.paging import Window, page


@given(st.sets(st.text(max_size=4)), st.integers(1, 7))
def test_pages_hold_every_item_once_in_order(keys: set[str], limit: int) -> None:
    items = sorted(keys)
    seen: list[str] = []
    cursor = None
    while True:
        part = page(items, str, Window(limit, cursor))
        assert part.total == len(items)
        assert len(part.items) <= limit
        seen += part.items
        cursor = part.next_cursor
        if cursor is None:
            break
    assert seen == items


def test_items_that_come_and_go_shift_nothing() -> None:
    first = page(["a", "c", "e"], str, Window(2))
    assert page(["b", "d", "e", "f"], str, Window(9, first.next_cursor)).items == ["d", "e", "f"]


@pytest.mark.parametrize("cursor", ["%", "a", "é", "_" * 5, "gA==", "==="])
def test_a_cursor_of_somebody_else_is_a_bad_request(cursor: str) -> None:
    with pytest.raises(BadRequest) as caught:
        page(["a"], str, Window(1, cursor))
    assert caught.value.details["field"] == "cursor"
