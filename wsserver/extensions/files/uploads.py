"""``Uploads``: resumable uploads by tus 1.0.0."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from wsserver.clock import Clock
from wsserver.cluster.control import Request
from wsserver.errors import Forbidden, NotFound, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.files import tus
from wsserver.extensions.files.blobs import Appender, BlobBusy, BlobMoved, Blobs, Fence
from wsserver.extensions.files.errors import (
    FileLocked,
    FileTooLarge,
    OffsetMismatch,
)
from wsserver.extensions.files.model import File
from wsserver.extensions.files.parts import FirstPart, Outcome, UploadPart, WholeFile
from wsserver.extensions.files.places import Place, Places
from wsserver.extensions.files.table import FileTable, Limits
from wsserver.identity.claims import Claims
from wsserver.protocol.ids import new_id
from wsserver.realtime.access.actor import Actor
from wsserver.storage.maintenance.pruning import DAY_S
from wsserver.web.api.endpoint import PREFIX, BodyReceiver
from wsserver.web.http.headers import Headers
from wsserver.web.http.replies import Reply, json_reply

log = logging.getLogger(__name__)

FILE_UPLOADED = "file_uploaded"
RELEASE_S = 2.0
TRIES = 3


class ReleaseUpload(Request[bool], frozen=True):
    """An upload is to be continued by another request: the one under way has to end."""

    file_id: str


class Uploads:
    """Creates, continues and completes uploads.

    How far an upload is follows from the size of its blob, so that nothing can be lost between the
    two. A later part takes over from an earlier one that is still being received: its connection
    may be long dead without the server knowing.
    """

    def __init__(self, context: ExtensionContext[object], table: FileTable, blobs: Blobs) -> None:
        settings = context.settings
        self._clock: Clock = context.clock
        self._access = context.access
        self._events = context.events
        self._control = context.control
        self._table = table
        self._blobs = blobs
        self._max_bytes = settings.max_file_bytes
        self._expiry_s = settings.file_upload_expiry_s
        self._retention_s = settings.file_retention_days * DAY_S
        self._limits = Limits(settings.file_quota_bytes, settings.file_uploads_per_user)
        self._places = Places()
        self._active: dict[str, UploadPart] = {}
        """The part of each upload that this process receives."""
        self._opening: dict[str, asyncio.Future[None]] = {}
        """Of uploads whose blob is open for a part that is about to be received."""
        context.control.add_handler(ReleaseUpload, self._release)

    async def create(self, actor: Actor, headers: Headers) -> BodyReceiver:
        """Begin an upload; the receiver of its first part, which may be empty.

        Raises ``ValidationFailed``, ``BadRequest``, ``Forbidden`` for the session, ``FileTooLarge``
        and the errors of ``FileTable.add``.
        """
        tus.require_version(headers)
        length = tus.length_in(headers)
        raw = headers.get("Upload-Metadata", "")
        metadata = tus.metadata_in(raw)
        if length > self._max_bytes:
            message = f"{length} bytes; a file has at most {self._max_bytes}"
            raise FileTooLarge(message, limit_bytes=self._max_bytes)
        has_part = tus.has_part(headers)
        declared = tus.content_length(headers)
        if has_part:
            tus.checksum_in(headers)
            self._places.require(actor.claims.sub)
            if declared is not None and declared > length:
                raise FileTooLarge(f"{declared} bytes of a file of {length}")
        elif declared or "Transfer-Encoding" in headers:
            tus.require_part_type(headers)
        claims, session_id = actor.claims, metadata.session_id
        if session_id is not None and not await self._access.may_enter(claims, session_id):
            raise Forbidden(f"no access to session {session_id}")
        now = self._clock.wall()
        file = File(
            file_id=new_id("file", now),
            user_id=claims.sub,
            organization_id=await self._organization_of(claims, session_id),
            session_id=session_id,
            filename=metadata.filename,
            content_type=metadata.content_type,
            length=length,
            metadata=raw,
            created_at=now,
            expires_at=now + self._expiry_s,
        )
        file = await self._table.add(file, self._limits, _key_of(actor, headers))
        if not has_part or file.is_complete or await self.offset(file):
            return WholeFile(self._created, file)  # also where a request is repeated
        remove = partial(self.remove, file)
        try:
            return FirstPart(await self._receive(file, 0, headers, self._created), remove)
        except WsServerError:
            await remove()
            raise

    async def head(self, actor: Actor, file_id: str, headers: Headers) -> Reply:
        """How far an upload is."""
        tus.require_version(headers)
        file = await self._own(actor, file_id)
        offset = file.length if file.is_complete else await self.offset(file)
        if offset == file.length and not file.is_complete:
            file = await self.complete(file, None)  # it ended between its last byte and this
        answer = {
            "Upload-Offset": str(offset),
            "Upload-Length": str(file.length),
            **_expiry(file),
        }
        if file.metadata:
            answer["Upload-Metadata"] = file.metadata
        return Reply(b"", headers=answer)

    async def patch(self, actor: Actor, file_id: str, headers: Headers) -> BodyReceiver:
        """Continue an upload; the receiver of the part."""
        tus.require_version(headers)
        tus.require_part_type(headers)
        offset = tus.number_in(headers, "Upload-Offset")
        tus.checksum_in(headers)
        file = await self._own(actor, file_id)
        return await self._receive(file, offset, headers, self._patched)

    async def offset(self, file: File) -> int:
        """Where an unfinished upload goes on."""
        size = min(await self._blobs.size(file.file_id), file.length)
        return size if file.unverified_from is None else min(size, file.unverified_from)

    async def complete(self, file: File, digest: bytes | None) -> File:
        """Note that all bytes of an upload are stored; ``digest``: their SHA-256, if it is known.

        Raises ``NotFound`` if it was deleted meanwhile, ``OffsetMismatch`` if two nodes have
        written to it and its parts do not make the file: it has to be uploaded again.
        """
        try:
            await self._blobs.complete(file.file_id, file.length)
        except BlobMoved as moved:
            log.error("parts of a file do not fit file_id=%s bytes=%d", file.file_id, moved.size)
            await self._blobs.remove(file.file_id)
            raise OffsetMismatch(file.length, 0) from None
        if digest is None:
            digest = await self._blobs.sha256(file.file_id)
        now = self._clock.wall()
        row, is_new = await self._table.complete(
            file.file_id, digest.hex(), now, now + self._retention_s
        )
        if row is None or not row.is_complete:
            raise NotFound("file", file.file_id)
        if is_new:
            self._events.emit(FILE_UPLOADED, **row.view())
        return row

    async def remove(self, file: File) -> None:
        """Delete a file or an upload, even while it is being received.

        Its time is over first: no later part may bring it back, and what a crash leaves undone is
        done by the next ``Files.expire``.
        """
        await self._table.end(file.file_id)
        if not file.is_complete:
            await self._control.ask_all(ReleaseUpload(file.file_id), RELEASE_S)
        await self._blobs.remove(file.file_id)
        await self._table.remove([file.file_id])

    async def close(self) -> None:
        """Store what has arrived of the parts under way, at the stop of the server."""
        for part in tuple(self._active.values()):
            await part.abort()

    # Receiving

    async def _receive(
        self, file: File, offset: int, headers: Headers, outcome: Outcome
    ) -> BodyReceiver:
        current = file.length if file.is_complete else await self.offset(file)
        if offset != current:
            raise OffsetMismatch(offset, current)
        room = file.length - offset
        declared = tus.content_length(headers)
        if declared is not None and declared > room:
            raise FileTooLarge(f"{declared} bytes, but the upload ends after {room}")
        if room == 0:
            return WholeFile(outcome, file)
        checksum = tus.checksum_in(headers)
        is_successor = file.file_id in self._active
        place = self._places.take(file.user_id, is_successor=is_successor)
        try:
            part = await self._begin(file, offset, checksum, outcome, place)
        except BaseException:
            place.free()
            raise
        await self._require_present(part)
        return part

    async def _begin(
        self, file: File, offset: int, checksum: bytes | None, outcome: Outcome, place: Place
    ) -> UploadPart:
        """Open the blob for a part; another one of the upload is ended before."""
        appender = await self._open(file, offset, is_held=checksum is not None)
        opened = self._opening[file.file_id] = asyncio.get_running_loop().create_future()
        try:
            if checksum is not None:
                await self._table.mark_unverified(file.file_id, offset)
            elif file.unverified_from is not None:
                await self._table.mark_unverified(file.file_id, None)
        except BaseException:
            await appender.discard()
            raise
        finally:
            self._opening.pop(file.file_id, None)
            opened.set_result(None)
        on_end = partial(self._part_ended, place)
        part = UploadPart(file, offset, appender, checksum, self._table, outcome, on_end)
        self._active[file.file_id] = part
        return part

    async def _require_present(self, part: UploadPart) -> None:
        """End a part whose upload was deleted before it could be found here, with its blob.

        The blob may have been made again by that. Raises ``NotFound``.
        """
        file_id = part.file.file_id
        try:
            found = await self._table.get(file_id)
        except BaseException:
            await part.abort()
            raise
        if found is None or found.expires_at <= self._clock.wall():
            await part.abort()
            await self._blobs.remove(file_id)
            raise NotFound("file", file_id)

    async def _open(self, file: File, offset: int, *, is_held: bool) -> Appender:
        cut = file.unverified_from is not None
        fence = None
        if not self._blobs.has_locks:
            await self._take_over(file)
            fence = await self._fence(file)
        for _ in range(TRIES):
            try:
                return await self._blobs.append(
                    file.file_id, offset, cut=cut, held=is_held, fence=fence
                )
            except BlobMoved as moved:
                raise OffsetMismatch(offset, moved.size) from None
            except BlobBusy:
                await self._take_over(file)
        raise FileLocked("another request is writing to the upload", retry_after_s=1)

    async def _fence(self, file: File) -> Fence:
        """Become the only writer of an upload; what makes sure that this is still so.

        Two nodes may begin at the same time, each before it can be asked by the other.
        """
        writer = new_id("writer", self._clock.wall())
        await self._table.set_writer(file.file_id, writer)

        async def require_writer() -> None:
            if not await self._table.is_writer(file.file_id, writer):
                raise FileLocked("another request has taken over the upload", retry_after_s=1)

        return require_writer

    async def _take_over(self, file: File) -> None:
        """End the part of the upload that is being received, on whichever node."""
        answers = await self._control.ask_all(ReleaseUpload(file.file_id), RELEASE_S)
        if answers.unreachable and not self._blobs.has_locks:
            raise FileLocked("a node that may write to it does not answer", retry_after_s=5)

    def _part_ended(self, place: Place, part: UploadPart) -> None:
        place.free()
        if self._active.get(part.file.file_id) is part:
            del self._active[part.file.file_id]

    async def _release(self, request: ReleaseUpload) -> bool:
        opened = self._opening.get(request.file_id)
        if opened is not None:
            await opened
        part = self._active.get(request.file_id)
        if part is None:
            return False
        await part.abort()
        return True

    # Answers

    async def _created(self, file: File, offset: int, digest: bytes | None) -> Reply:
        reply = json_reply({"file_id": file.file_id}, 201)
        headers = await self._progress(file, offset, digest)
        headers["Location"] = f"{PREFIX}/files/{file.file_id}"
        return Reply(reply.body, status=201, headers=headers)

    async def _patched(self, file: File, offset: int, digest: bytes | None) -> Reply:
        return Reply(b"", status=204, headers=await self._progress(file, offset, digest))

    async def _progress(self, file: File, offset: int, digest: bytes | None) -> dict[str, str]:
        """Headers of an upload that has got to an offset; it is complete at its end."""
        if not file.is_complete and offset < 0:
            offset = await self.offset(file)
        if not file.is_complete and offset == file.length:
            file = await self.complete(file, digest)
        if file.is_complete:
            offset = file.length
        return {"Upload-Offset": str(offset), **_expiry(file)}

    # Access

    async def _own(self, actor: Actor, file_id: str) -> File:
        """An upload of the requester; raises ``NotFound`` for all others."""
        file = await self._table.get(file_id)
        now = self._clock.wall()
        if file is None or file.user_id != actor.claims.sub or file.expires_at <= now:
            raise NotFound("file", file_id)
        return file

    async def _organization_of(self, claims: Claims, session_id: str | None) -> str | None:
        """The organization of a new file: that of its user, else that of its session."""
        if claims.organization_id is not None or session_id is None:
            return claims.organization_id
        return await self._access.organization_of(session_id)


def _expiry(file: File) -> dict[str, str]:
    return {} if file.is_complete else {"Upload-Expires": tus.expires(file.expires_at)}


def _key_of(actor: Actor, headers: Headers) -> str | None:
    """What makes a repeated request for a new upload the same one."""
    key = headers.get("Idempotency-Key", "")
    return f"{actor.claims.organization_id or ''} {actor.claims.sub} {key}"[:512] if key else None
