"""``Blobs``: where the bytes of files are; implemented by ``FolderBlobs`` and ``S3Blobs``."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple, Protocol

_BLOB_ID = re.compile(r"file_[0-9a-z]{8,64}")


class BlobBusy(Exception):
    """Another request, maybe of another process, is appending to the blob."""


class BlobMoved(Exception):
    """A blob is at another size than the one to append at."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the blob has {size} bytes")
        self.size = size


Fence = Callable[[], Awaitable[None]]
"""Raises ``FileLocked`` once another writer has taken the place of this one."""


class StoredBlob(NamedTuple):
    """A blob that is in the storage, whole or not."""

    blob_id: str
    changed_at: float
    """Seconds since the epoch."""


def is_blob_id(name: str) -> bool:
    """Whether something in the storage has the name of a blob: all else is left alone."""
    return _BLOB_ID.fullmatch(name) is not None


class Appender(Protocol):
    """Appends to a blob; ends with ``keep`` or ``discard``."""

    async def write(self, data: bytes) -> None:
        """Append. Raises ``StorageFull`` or ``StorageUnavailable``."""
        ...

    def digest(self) -> bytes:
        """SHA-256 of what was appended."""
        ...

    async def keep(self) -> None:
        """End: what was written stays. Raises as ``write`` does."""
        ...

    async def discard(self) -> None:
        """End without what was written. Never raises.

        Of an appender that is not ``held``, parts may stay: the beginning of what was written.
        """
        ...


class Blobs(Protocol):
    """Bytes by id. All methods raise ``StorageUnavailable`` if the storage cannot be reached.

    What was written survives the end of the process at any point: ``size`` says how much it is.
    """

    has_locks: bool
    """Whether ``BlobBusy`` tells of appenders in other processes, too."""

    async def open(self) -> None:
        """Prepare the storage, at the start of the server."""
        ...

    async def close(self) -> None:
        """End what belongs to this process. Idempotent."""
        ...

    async def size(self, blob_id: str) -> int:
        """The bytes that are stored; 0 for an unknown blob."""
        ...

    async def append(
        self,
        blob_id: str,
        offset: int,
        *,
        cut: bool = False,
        held: bool = False,
        fence: Fence | None = None,
    ) -> Appender:
        """Begin to append at ``offset``, the size of the blob.

        ``cut``: reduce the blob to that before, as what an appender has written that was to be
        compared may be in it; ``held``: this is such an appender. ``fence`` is asked before
        anything is stored, where the storage has no locks. Raises ``BlobBusy`` while another
        appender of the blob is open, ``BlobMoved``.
        """
        ...

    async def complete(self, blob_id: str, size: int) -> None:
        """Note that nothing is appended any more. Repeatable.

        Raises ``BlobMoved`` if the blob has another size than it should have.
        """
        ...

    async def sha256(self, blob_id: str) -> bytes:
        """SHA-256 of the whole blob, read for it."""
        ...

    def read(self, blob_id: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from ``start`` to before ``end``, some at a time."""
        ...

    async def remove(self, blob_id: str) -> None:
        """Remove a blob; no effect on an unknown one."""
        ...

    def listed(self) -> AsyncGenerator[list[StoredBlob], None]:
        """Everything that is stored, some at a time; a blob may come twice."""
        ...
