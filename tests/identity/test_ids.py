"""The form of ids."""

from __future__ import annotations

import pytest

from wsserver.identity.ids import is_id, is_user_id


@pytest.mark.parametrize(
    "text", ["a", "user-1", "a.b_c:d@e-f", "0", "x" * 128, "...", ".a", "AZaz09"]
)
def test_well_formed(text: str) -> None:
    assert is_id(text)
    assert is_user_id(text)


@pytest.mark.parametrize("text", ["auth0|0123", "ann+chat@example.com", "|", "+", "|" * 128])
def test_user_ids_may_also_hold_a_bar_and_a_plus(text: str) -> None:
    assert is_user_id(text)
    assert not is_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "x" * 129,
        "a b",
        "a\n",
        "\x00",
        "%00",
        "..%2f",
        "a/b",
        "١٢",
        "é",
        "ａ",
        "*",
        "a,b",
        "\ud800",
    ],
)
def test_malformed(text: str) -> None:
    assert not is_id(text)
    assert not is_user_id(text)
