"""Receivers of parts of uploads: what arrives is appended to a blob, and counted by its bytes."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from wsserver.errors import StorageFull, StorageUnavailable, WsServerError
from wsserver.extensions.files.blobs import Appender
from wsserver.extensions.files.errors import ChecksumMismatch, FileLocked, FileTooLarge
from wsserver.extensions.files.model import File
from wsserver.extensions.files.table import FileTable
from wsserver.web.api.endpoint import BodyReceiver
from wsserver.web.http.replies import Reply

BUFFER_BYTES = 256 * 1024
"""What is written at once; as much of each upload is in memory at most, besides a read."""

Outcome = Callable[[File, int, bytes | None], Awaitable[Reply]]
"""The answer for a file, the offset that it has got to (-1: unknown), and the SHA-256 of all of it,
if that is known."""


class WholeFile:
    """Receives nothing: a request without a part, or for an upload that is at its end."""

    def __init__(self, outcome: Outcome, file: File) -> None:
        self._outcome = outcome
        self._file = file

    async def write(self, chunk: bytes) -> None:
        """Ignore the part of a request that was repeated."""

    async def finish(self) -> Reply:
        """The answer."""
        return await self._outcome(self._file, -1, None)

    async def abort(self) -> None:
        """Nothing is to be cleaned up."""


class FirstPart:
    """Receives the part that a new upload begins with.

    If it is refused, the upload is removed: its client has not learned the address.
    """

    def __init__(self, part: BodyReceiver, remove: Callable[[], Awaitable[None]]) -> None:
        self._part = part
        self._remove = remove

    async def write(self, chunk: bytes) -> None:
        """Take a piece of the part."""
        try:
            await self._part.write(chunk)
        except WsServerError:
            await self._remove()
            raise

    async def finish(self) -> Any:
        """The answer of the part."""
        try:
            return await self._part.finish()
        except WsServerError:
            await self._remove()
            raise

    async def abort(self) -> None:
        """End the part; what has arrived can be found by a repeated request with its key."""
        await self._part.abort()


class UploadPart:
    """Receives a part, and appends it to the blob.

    A part that breaks off stays as far as it has arrived, unless it has a checksum, which can only
    be compared with the whole of it. The upload may be taken over by another request at any time:
    ``abort`` ends this one then.
    """

    def __init__(
        self,
        file: File,
        offset: int,
        appender: Appender,
        checksum: bytes | None,
        table: FileTable,
        outcome: Outcome,
        on_end: Callable[[UploadPart], None],
    ) -> None:
        self.file = file
        self._start = offset
        self._received = 0
        self._appender = appender
        self._checksum = checksum
        self._table = table
        self._outcome = outcome
        self._on_end = on_end
        self._pieces: list[bytes] = []
        self._held = 0
        self._turn = asyncio.Lock()
        self._has_ended = False

    async def write(self, chunk: bytes) -> None:
        """Take a piece of the part.

        Raises ``FileTooLarge`` beyond the end of the upload: nothing of the part is stored then.
        """
        async with self._turn:
            self._require_open()
            if self._start + self._received + len(chunk) > self.file.length:
                await self._end(is_kept=False)
                raise FileTooLarge(f"the upload has {self.file.length} bytes")
            self._received += len(chunk)
            self._pieces.append(chunk)
            self._held += len(chunk)
            if self._held >= BUFFER_BYTES:
                await self._flush()

    async def finish(self) -> Reply:
        """Store the rest, and compare the checksum; at its end the upload is complete."""
        async with self._turn:
            self._require_open()
            try:
                await self._flush()
            except BaseException:
                await self._end(is_kept=self._checksum is None)
                raise
            digest = self._appender.digest()
            if self._checksum is not None:
                await self._compare(digest, self._checksum)
            await self._end(is_kept=True)
        known = digest if self._start == 0 else None
        return await self._outcome(self.file, self._start + self._received, known)

    async def abort(self) -> None:
        """Keep what has arrived of a part without a checksum; end."""
        async with self._turn:
            if self._has_ended:
                return
            # The client asks how far it has got.
            with suppress(StorageFull, StorageUnavailable, FileLocked):
                try:
                    if self._checksum is None:
                        await self._flush()
                finally:
                    await self._end(is_kept=self._checksum is None)

    async def _compare(self, digest: bytes, wanted: bytes) -> None:
        """Note that the part is what it should be; otherwise end, and raise."""
        is_right = hmac.compare_digest(digest, wanted)
        if not is_right:
            await self._end(is_kept=False)
        try:
            await self._table.mark_unverified(self.file.file_id, None)
        except BaseException:
            if is_right:
                await self._end(is_kept=False)
            raise
        if not is_right:
            raise ChecksumMismatch("the part has another SHA-256")

    def _require_open(self) -> None:
        if self._has_ended:
            raise FileLocked("another request has taken over the upload", retry_after_s=1)

    async def _flush(self) -> None:
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._held = 0
            await self._appender.write(data)

    async def _end(self, *, is_kept: bool) -> None:
        self._has_ended = True
        self._pieces.clear()
        try:
            if is_kept:
                await self._appender.keep()
            else:
                await self._appender.discard()
        finally:
            self._on_end(self)
