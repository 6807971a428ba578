"""Shapes of files in answers and events, and queries."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from wsserver.protocol.types import Id, UserId
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.queries import PageQuery


class FileView(Answer):
    """A file, or an unfinished upload."""

    file_id: str
    filename: str
    content_type: str
    bytes: Annotated[int, Meta(description="of the whole file, even while it is uploaded")]
    sha256: Annotated[str | None, Meta(description="in hexadecimal; null: unfinished")]
    user_id: Annotated[str, Meta(description="who has uploaded it")]
    session_id: str | None
    organization_id: str | None
    created_at: Time
    completed_at: Time | None
    expires_at: Time


class FileList(Listing):
    """Files, newest first."""

    files: list[FileView]


class FileCreated(Answer):
    """A new upload; ``Location`` has its address."""

    file_id: str


class FileAddress(Answer):
    """A signed address, which needs no token for ten minutes."""

    url: Annotated[str, Meta(description="path with query, on this server")]
    expires_at: Time


class FilesQuery(PageQuery, kw_only=True):
    """Filters of files: all must match."""

    user_id: UserId | None = None
    session_id: Id | None = None
    organization_id: Id | None = None


class DownloadQuery(Struct, forbid_unknown_fields=True, kw_only=True):
    """The signature of an address."""

    expires: Annotated[int, Meta(ge=0, le=2**53, description="seconds since the epoch")] | None = (
        None
    )
    signature: (
        Annotated[str, Meta(min_length=1, max_length=128, description="of a signed address")] | None
    ) = None
