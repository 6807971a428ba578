"""JSON answer types shared by all REST resources: ``Answer``, ``Listing``, ``Problem``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Time = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2024-01-15T14:30:00.000Z"])]
Cursor = Annotated[str, Meta(description="for the next page; null on the last one")]


class Answer(Struct, kw_only=True):
    """The root of all answers; fields may be added to them, none is ever taken away."""


class Listing(Answer):
    """What all lists have."""

    total: int
    next_cursor: Cursor | None


class FieldError(Answer):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(Answer):
    """Every error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    field: str | None = None
    errors: list[FieldError] | None = None
