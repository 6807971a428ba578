"""Amounts of usage: numbers as JSON has them, counted exactly as millionths."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated

from msgspec import Meta

SCALE = 1_000_000
LARGEST_AMOUNT = 1e9
LARGEST_LIMIT = 1e12
LARGEST_SUM = 9_000_000_000_000 * SCALE
"""Fits into a column of the database."""

Amount = Annotated[
    float, Meta(ge=0, le=LARGEST_AMOUNT, description="counted in millionths", examples=[812])
]
Limit = Annotated[float, Meta(gt=0, le=LARGEST_LIMIT, examples=[1_000_000])]

_EXPONENT = Decimal(1)


def to_millionths(value: float) -> int:
    """A number in millionths; what is less than one is rounded."""
    return int((Decimal(repr(value)) * SCALE).quantize(_EXPONENT, ROUND_HALF_EVEN))


def to_number(millionths: int) -> int | float:
    """The number that JSON has: whole if it can be."""
    whole, rest = divmod(millionths, SCALE)
    return whole if rest == 0 else millionths / SCALE
