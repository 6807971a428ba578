"""Phone numbers."""

from __future__ import annotations

import re

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def parse_phone(text: str) -> str:
    """Return a number in E.164 form: ``+``, country code, number, 7 to 15 digits in all.

    Raises ``ValueError`` for every other way of writing it.
    """
    if _E164.fullmatch(text) is None:
        raise ValueError("must be a phone number in international form like +8613800138000")
    return text
