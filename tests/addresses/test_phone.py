"""Parsing of phone numbers (E.164)."""

from __future__ import annotations

import pytest

from wsserver.addresses.phone import parse_phone


@pytest.mark.parametrize("text", ["+8613800138000", "+4930123456", "+123456789012345"])
def test_e164(text: str) -> None:
    assert parse_phone(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "13800138000",
        "008613800138000",
        "+0123456789",
        "+86 138 0013 8000",
        "+86-138",
        "+123456",
        "+1234567890123456",
        "+٨٦١٣٨٠٠١٣٨٠٠٠",
        "+8613800138000\n",
        "+8613800138000,+8613900139000",
    ],
)
def test_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="international form"):
        parse_phone(text)
