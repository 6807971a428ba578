"""JSON answer types shared by all REST resources: ``Answer``, ``Listing``, ``Problem``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Time = Annotated[str, Meta(description="RFC 3339, UTC", examples=["2024-01-15T14:30:00.000Z"])]
Cursor = Annotated[str, Meta(description="of the next page; null on the last page")]


class Answer(Struct, kw_only=True):
    """Base of all JSON answers; fields may be added, none is removed."""


class Listing(Answer):
    """Common fields of all lists."""

    total: int
    next_cursor: Cursor | None


Unreachable = Annotated[
    list[str], Meta(description="nodes that did not answer in time; only if there are any")
]


class ClusterAnswer(Answer, kw_only=True):
    """Base of answers that several nodes give together."""

    unreachable: Unreachable | UnsetType = UNSET


class ClusterListing(Listing, kw_only=True):
    """Common fields of lists that several nodes give together."""

    unreachable: Unreachable | UnsetType = UNSET


class FieldError(Answer):
    """A fault of one field."""

    field: str
    message: str


class Problem(Answer):
    """Problem document of an error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    field: str | None = None
    errors: list[FieldError] | None = None
