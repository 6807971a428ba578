from __future__ import annotations

import string
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsserver.errors import BadRequest
from wsserver.storage.paging import decode_cursor, encode_cursor

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


class Place(NamedTuple):
    at: float
    node: str


@given(TEXTS, st.floats(allow_nan=False, allow_infinity=False))
def test_a_cursor_is_safe_in_a_url_and_comes_back(text: str, at: float) -> None:
    for row, kind in ((text, str), (Place(at, text), Place)):
        cursor = encode_cursor(row)
        assert set(cursor) <= {*string.ascii_letters, *string.digits, *"-_"}
        assert decode_cursor(cursor, kind) == row


@pytest.mark.parametrize("kind", [str, Place])
@pytest.mark.parametrize("cursor", ["", "%", "a", "é", "_" * 5, "gA==", "===", "bnVsbA", "W10"])
def test_what_no_page_gave_out_is_a_bad_request(cursor: str, kind: type) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_cursor(cursor, kind)
    assert caught.value.details["field"] == "cursor"
