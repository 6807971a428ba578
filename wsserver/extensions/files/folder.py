"""``FolderBlobs``: the bytes of files as files of a folder, which several processes may share."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.extensions.files.blobs import BlobBusy, BlobMoved, Fence, StoredBlob, is_blob_id

T = TypeVar("T")

THREADS = 4
"""For reading and writing, so that the event loop never waits for a disk."""
READ_BYTES = 256 * 1024
HASH_BYTES = 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FolderBlobs:
    """Implements ``Blobs``; an id must be usable as a file name.

    A lock of the file (``flock``) admits one appender, whichever process it is in; it ends with the
    process. ``is_durable``: what is kept survives a loss of power, too.
    """

    has_locks = True

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        self._folder = folder
        self._is_durable = is_durable
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="files")

    async def open(self) -> None:
        """Make the folder."""
        await self._run(partial(os.makedirs, self._folder, mode=0o700, exist_ok=True))

    async def close(self) -> None:
        """End the threads, when what they have begun is done."""
        await asyncio.to_thread(self._threads.shutdown)

    async def size(self, blob_id: str) -> int:
        """The size of the file."""
        return await self._run(partial(_size, self._path(blob_id)))

    async def append(
        self,
        blob_id: str,
        offset: int,
        *,
        cut: bool = False,
        held: bool = False,
        fence: Fence | None = None,
    ) -> FolderAppender:
        """Open the file for appending; its lock makes a fence unnecessary."""
        path = self._path(blob_id)
        descriptor = await self._run(partial(_open, path, offset, cut=cut))
        return FolderAppender(self._run, descriptor, offset, is_durable=self._is_durable)

    async def complete(self, blob_id: str, size: int) -> None:
        """Compare the size; the file stays where it is."""
        stored = await self.size(blob_id)
        if stored != size:
            raise BlobMoved(stored)

    async def sha256(self, blob_id: str) -> bytes:
        """Read and hash the file."""
        return await self._run(partial(_hash, self._path(blob_id)))

    async def read(self, blob_id: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Read a part of the file, one piece ahead of its reader at most."""
        if start >= end:
            return  # of an empty file there may be none in the folder
        file = await self._run(partial(open, self._path(blob_id), "rb", buffering=0))
        try:
            while start < end:
                wanted = min(READ_BYTES, end - start)
                piece = await self._run(partial(os.pread, file.fileno(), wanted, start))
                if not piece:
                    raise StorageUnavailable("the file is shorter than it should be")
                start += len(piece)
                yield piece
        finally:
            file.close()

    async def remove(self, blob_id: str) -> None:
        """Delete the file."""
        await self._run(partial(self._path(blob_id).unlink, missing_ok=True))

    async def listed(self) -> AsyncGenerator[list[StoredBlob], None]:
        """The files, those of a folder at a time."""
        found = blobs_in(self._folder)
        while (some := await self._run(partial(next, found, None))) is not None:
            yield some

    def _path(self, blob_id: str) -> Path:
        return self._folder / blob_id[-2:] / blob_id

    async def _run(self, work: Callable[[], T]) -> T:
        """Work in a thread; a cancelled caller leaves it to end by itself."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise translated(error) from error
        except RuntimeError as error:  # the threads were ended
            raise StorageUnavailable("the server is about to stop") from error


class FolderAppender:
    """Implements ``Appender``: an open, locked file."""

    def __init__(
        self,
        run: Callable[[Callable[[], None]], Awaitable[None]],
        descriptor: int,
        start: int,
        *,
        is_durable: bool,
    ) -> None:
        self._run = run
        self._descriptor = descriptor
        self._start = start
        self._is_durable = is_durable
        self._hash = hashlib.sha256()

    async def write(self, data: bytes) -> None:
        """Append to the file."""
        await self._run(partial(self._write, data))

    def digest(self) -> bytes:
        """SHA-256 of what was appended."""
        return self._hash.digest()

    async def keep(self) -> None:
        """Close the file."""
        await self._run(self._close)

    async def discard(self) -> None:
        """Cut off what was appended, and close the file."""
        with suppress(StorageFull, StorageUnavailable):
            await self._run(self._cut)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._hash.update(data)

    def _close(self) -> None:
        try:
            if self._is_durable:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _cut(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._start)
        finally:
            os.close(self._descriptor)


def blobs_in(folder: Path) -> Iterator[list[StoredBlob]]:
    """The blobs of a folder, by the folders in it."""
    try:
        inside = sorted(each.path for each in os.scandir(folder) if len(each.name) == 2)
    except FileNotFoundError:
        return
    for path in inside:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield [
                StoredBlob(each.name, each.stat(follow_symlinks=False).st_mtime)
                for each in os.scandir(path)
                if is_blob_id(each.name)
            ]


def _open(path: Path, offset: int, *, cut: bool) -> int:
    """Open, lock and check a file; returns its descriptor, at its end."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlobBusy from None
        size = os.fstat(descriptor).st_size
        if size < offset or (size > offset and not cut):
            raise BlobMoved(size)
        if size > offset:
            os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _hash(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(HASH_BYTES):
                digest.update(piece)
    except FileNotFoundError:
        pass  # an empty file, to which nothing was ever appended
    return digest.digest()


def translated(error: OSError) -> StorageFull | StorageUnavailable:
    """The error that says what has failed."""
    if error.errno in _FULL:
        return StorageFull("no room for the file")
    return StorageUnavailable(f"files: {os.strerror(error.errno or errno.EIO)}")
