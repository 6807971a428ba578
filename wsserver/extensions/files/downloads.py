"""``Downloads``: who may read a file, its signed addresses, and the answer with its bytes."""

from __future__ import annotations

from typing import Any

from wsserver.clock import Clock, rfc3339
from wsserver.errors import Forbidden, NotFound, TokenMissing
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.files.addresses import Addresses
from wsserver.extensions.files.blobs import Blobs
from wsserver.extensions.files.model import File, Span, disposition, range_of, served_type
from wsserver.extensions.files.table import FileTable
from wsserver.extensions.files.views import DownloadQuery
from wsserver.realtime.access.actor import Actor
from wsserver.web.http.headers import Headers
from wsserver.web.http.replies import Reply

MANAGE = "files:manage"
POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


class Downloads:
    """Answers with files: to who may enter their session, and to signed addresses."""

    def __init__(
        self,
        context: ExtensionContext[object],
        table: FileTable,
        blobs: Blobs,
        addresses: Addresses,
    ) -> None:
        self._clock: Clock = context.clock
        self._access = context.access
        self._table = table
        self._blobs = blobs
        self._addresses = addresses

    async def get(
        self, actor: Actor | None, file_id: str, query: DownloadQuery, headers: Headers
    ) -> Reply:
        """The answer with a file, or the part of it that ``Range`` asks for.

        Raises ``TokenMissing`` without token and signature, ``Forbidden`` for a bad signature,
        ``NotFound`` for a file that is unknown, incomplete or out of reach, and
        ``RangeNotSatisfiable``.
        """
        file = await self._find(actor, file_id, query)
        etag = f'"{file.sha256}"'
        fixed = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Disposition": disposition(file.filename),
            "Content-Security-Policy": POLICY,
        }
        if etag in [each.strip() for each in headers.get("If-None-Match", "").split(",")]:
            return Reply(b"", status=304, headers=fixed)
        asked = headers.get("Range", "")
        is_current = headers.get("If-Range", etag) == etag
        part = range_of(asked, file.length) if asked and is_current else None
        if part is None:
            part, status = Span(0, file.length), 200
        else:
            status = 206
            fixed["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{file.length}"
        fixed["Content-Length"] = str(part.end - part.start)
        chunks = self._blobs.read(file_id, part.start, part.end) if part.end > part.start else None
        return Reply(b"", served_type(file.content_type), status, fixed, chunks)

    async def address(self, actor: Actor, file_id: str) -> dict[str, Any]:
        """A new signed address of a file that the requester may read; raises ``NotFound``."""
        file = await self._readable(actor, file_id)
        address = self._addresses.sign(file.file_id)
        return {"url": address.url, "expires_at": rfc3339(address.expires_at)}

    async def _find(self, actor: Actor | None, file_id: str, query: DownloadQuery) -> File:
        if query.signature is not None and query.expires is not None:
            if not self._addresses.is_valid(file_id, query.expires, query.signature):
                raise Forbidden("the signature of the address is wrong, or its time is over")
            return await self._complete(file_id)
        if actor is None:
            raise TokenMissing("send a token, or use a signed address")
        return await self._readable(actor, file_id)

    async def _complete(self, file_id: str) -> File:
        file = await self._table.get(file_id)
        if file is None or not file.is_complete or file.expires_at <= self._clock.wall():
            raise NotFound("file", file_id)
        return file

    async def _readable(self, actor: Actor, file_id: str) -> File:
        file = await self._complete(file_id)
        claims = actor.claims
        if file.user_id == claims.sub or await self._manages(actor, file):
            return file
        if file.session_id is None or not await self._access.may_enter(claims, file.session_id):
            raise NotFound("file", file_id)
        return file

    async def _manages(self, actor: Actor, file: File) -> bool:
        if not self._access.allows(actor.claims, MANAGE):
            return False
        scope = self._access.scope(actor, MANAGE)
        return scope.organization_id in (None, file.organization_id)
