"""``S3Blobs``: the bytes of files in a bucket of S3-compatible object storage (extra ``s3``)."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from wsserver.config.file_store import FileStorePlace
from wsserver.errors import StorageUnavailable
from wsserver.extensions.files.blobs import BlobBusy, BlobMoved, Fence, StoredBlob, is_blob_id
from wsserver.extensions.files.folder import translated

T = TypeVar("T")
Run = Callable[[Callable[[], T]], Awaitable[T]]

THREADS = 8
PART_BYTES = 8 * 1024 * 1024
"""Of a part of a multipart upload, which has to have 5 MiB at least; there are 10,000 at most."""
READ_BYTES = 256 * 1024
_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})


class Stored(NamedTuple):
    """What there is of a blob: an object, or a multipart upload and a rest."""

    is_whole: bool = False
    size: int = 0
    upload_id: str | None = None
    parts: tuple[dict[str, Any], ...] = ()
    """``PartNumber`` and ``ETag`` of each."""
    parts_size: int = 0
    rest_size: int = 0
    """Bytes behind the parts, too few for another one."""


class Bucket:
    """The objects of blobs, by blocking calls.

    A blob that grows is a multipart upload; what is too short for a part is in an object of its
    own, ``….rest``, which says behind which byte it belongs. So any process can go on with it.
    """

    def __init__(self, place: FileStorePlace) -> None:
        self._place = place
        self._client: Any = None

    def open(self) -> None:
        """Make the client, which takes a while."""
        if self._client is None:
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=self._place.endpoint,
                region_name=self._place.region,
                config=Config(
                    connect_timeout=5,
                    read_timeout=30,
                    retries={"mode": "standard", "max_attempts": 4},
                    max_pool_connections=THREADS,
                    user_agent_extra="wsserver",
                ),
            )

    def look(self, blob_id: str) -> Stored:
        """What there is of a blob."""
        size = self._size(blob_id)
        if size is not None:
            return Stored(is_whole=True, size=size)
        upload_id = self._upload_id(blob_id)
        parts: list[dict[str, Any]] = []
        total = 0
        if upload_id is not None:
            pages = self._client.get_paginator("list_parts")
            for page in pages.paginate(UploadId=upload_id, **self._key(blob_id)):
                for part in page.get("Parts", ()):
                    parts.append({"PartNumber": part["PartNumber"], "ETag": part["ETag"]})
                    total += int(part["Size"])
        rest = self._rest_size(blob_id, total)
        return Stored(False, total + rest, upload_id, tuple(parts), total, rest)

    def begin(self, blob_id: str) -> str:
        """Begin the multipart upload of a blob; its id."""
        answer = self._client.create_multipart_upload(
            ContentType="application/octet-stream", **self._key(blob_id)
        )
        return str(answer["UploadId"])

    def put_part(self, blob_id: str, upload_id: str, number: int, body: Any) -> dict[str, Any]:
        """Store a part."""
        answer = self._client.upload_part(
            UploadId=upload_id, PartNumber=number, Body=body, **self._key(blob_id)
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def put_rest(self, blob_id: str, start: int, body: Any) -> None:
        """Store what is behind the parts."""
        self._client.put_object(
            Body=body, Metadata={"start": str(start)}, **self._key(blob_id, ".rest")
        )

    def complete(self, blob_id: str, size: int) -> None:
        """Make an object of the parts and the rest; no effect on one that is whole already."""
        found = self.look(blob_id)
        if found.size != size:
            found = self.look(blob_id)  # another process may have completed it meanwhile
        if found.size != size:
            raise BlobMoved(found.size)
        if not found.is_whole:
            rest = self.rest(blob_id) if found.rest_size else b""
            if found.upload_id is None:
                self._client.put_object(Body=rest, **self._key(blob_id))
            else:
                parts = list(found.parts)
                if rest or not parts:
                    number = len(parts) + 1
                    parts.append(self.put_part(blob_id, found.upload_id, number, rest))
                self._client.complete_multipart_upload(
                    UploadId=found.upload_id,
                    MultipartUpload={"Parts": parts},
                    **self._key(blob_id),
                )
        self._client.delete_object(**self._key(blob_id, ".rest"))

    def get(self, blob_id: str, start: int, end: int) -> Any:
        """The body of a part of an object, to be read."""
        span = f"bytes={start}-{end - 1}"
        return self._client.get_object(Range=span, **self._key(blob_id))["Body"]

    def sha256(self, blob_id: str) -> bytes:
        """SHA-256 of a blob."""
        found = self.look(blob_id)
        if found.size and not found.is_whole:
            raise StorageUnavailable("a blob is hashed once it is complete")
        digest = hashlib.sha256()
        if found.size:
            body = self._client.get_object(**self._key(blob_id))["Body"]
            for piece in body.iter_chunks(READ_BYTES):
                digest.update(piece)
        return digest.digest()

    def rest(self, blob_id: str) -> bytes:
        """What is behind the parts."""
        rest: bytes = self._client.get_object(**self._key(blob_id, ".rest"))["Body"].read()
        return rest

    def remove(self, blob_id: str) -> None:
        """Remove everything of a blob."""
        while (upload_id := self._upload_id(blob_id)) is not None:
            self._client.abort_multipart_upload(UploadId=upload_id, **self._key(blob_id))
        for suffix in ("", ".rest"):
            self._client.delete_object(**self._key(blob_id, suffix))

    def listed(self) -> Iterator[list[StoredBlob]]:
        """Everything that belongs to blobs, a page at a time."""
        where = {"Bucket": self._place.bucket, "Prefix": self._place.prefix}
        for operation, member, time in (
            ("list_objects_v2", "Contents", "LastModified"),
            ("list_multipart_uploads", "Uploads", "Initiated"),
        ):
            for page in self._client.get_paginator(operation).paginate(**where):
                found = [
                    StoredBlob(
                        each["Key"].removeprefix(self._place.prefix).removesuffix(".rest"),
                        each[time].timestamp(),
                    )
                    for each in page.get(member, ())
                ]
                yield [each for each in found if is_blob_id(each.blob_id)]

    def _key(self, blob_id: str, suffix: str = "") -> dict[str, str]:
        return {"Bucket": self._place.bucket, "Key": f"{self._place.prefix}{blob_id}{suffix}"}

    def _size(self, blob_id: str) -> int | None:
        try:
            return int(self._client.head_object(**self._key(blob_id))["ContentLength"])
        except ClientError as error:
            if _code(error) not in _ABSENT:
                raise
            return None

    def _upload_id(self, blob_id: str) -> str | None:
        key = self._key(blob_id)
        answer = self._client.list_multipart_uploads(Bucket=key["Bucket"], Prefix=key["Key"])
        found = [each for each in answer.get("Uploads", ()) if each["Key"] == key["Key"]]
        return str(found[0]["UploadId"]) if found else None

    def _rest_size(self, blob_id: str, start: int) -> int:
        """Bytes of the rest; 0 if it is older than the last part, which has it then."""
        try:
            answer = self._client.head_object(**self._key(blob_id, ".rest"))
        except ClientError as error:
            if _code(error) not in _ABSENT:
                raise
            return 0
        return int(answer["ContentLength"]) if answer["Metadata"].get("start") == str(start) else 0


class S3Blobs:
    """Implements ``Blobs``.

    What arrives is collected in an unnamed file of ``spool`` until it is a part, so that memory
    does not depend on it; the rest is stored at the end. After the end of a process at any point
    an upload goes on behind the last part.
    """

    has_locks = False
    """Other processes are not kept from appending: they have to be asked to stop before."""

    def __init__(self, place: FileStorePlace, spool: Path) -> None:
        self._bucket = Bucket(place)
        self._spool = spool
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._appending: set[str] = set()

    async def open(self) -> None:
        """Make the client and the folder; whether the bucket can be reached shows later."""
        await self._run(partial(self._spool.mkdir, parents=True, exist_ok=True, mode=0o700))
        await self._run(self._bucket.open)

    async def close(self) -> None:
        """End the threads, when what they have begun is done."""
        await asyncio.to_thread(self._threads.shutdown)

    async def size(self, blob_id: str) -> int:
        """The size of the object, or of the parts and the rest."""
        return (await self._run(partial(self._bucket.look, blob_id))).size

    async def append(
        self,
        blob_id: str,
        offset: int,
        *,
        cut: bool = False,
        held: bool = False,
        fence: Fence | None = None,
    ) -> S3Appender:
        """Begin to append; parts are never taken back, so ``cut`` changes nothing."""
        if blob_id in self._appending:
            raise BlobBusy
        self._appending.add(blob_id)
        try:
            found = await self._run(partial(self._bucket.look, blob_id))
            if found.is_whole or found.size != offset:
                raise BlobMoved(found.size)
            spool: IO[bytes] = await self._run(self._make_spool)
        except BaseException:
            self._appending.discard(blob_id)
            raise
        end = partial(self._appending.discard, blob_id)
        return S3Appender(
            self._run, self._bucket, blob_id, found, spool, end, is_held=held, fence=fence
        )

    async def complete(self, blob_id: str, size: int) -> None:
        """Make an object of the parts, which are as many bytes as they should be."""
        await self._run(partial(self._bucket.complete, blob_id, size))

    async def sha256(self, blob_id: str) -> bytes:
        """Read and hash the object."""
        return await self._run(partial(self._bucket.sha256, blob_id))

    async def read(self, blob_id: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Read a part of the object, as fast as its reader."""
        if start >= end:
            return
        body = await self._run(partial(self._bucket.get, blob_id, start, end))
        try:
            while start < end:
                piece = await self._run(partial(body.read, min(READ_BYTES, end - start)))
                if not piece:
                    raise StorageUnavailable("the file is shorter than it should be")
                start += len(piece)
                yield piece
        finally:
            body.close()

    async def remove(self, blob_id: str) -> None:
        """Remove the object, its parts and its rest."""
        await self._run(partial(self._bucket.remove, blob_id))

    async def listed(self) -> AsyncGenerator[list[StoredBlob], None]:
        """Objects, rests and multipart uploads, a page at a time."""
        found = self._bucket.listed()
        while (some := await self._run(partial(next, found, None))) is not None:
            yield some

    def _make_spool(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._spool)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (BotoCoreError, ClientError) as error:
            raise StorageUnavailable(f"object storage: {_code(error)}") from error
        except OSError as error:
            raise translated(error) from error
        except RuntimeError as error:  # the threads were ended
            raise StorageUnavailable("the server is about to stop") from error


class S3Appender:
    """Implements ``Appender``: a spool, whose content becomes parts."""

    def __init__(
        self,
        run: Run[Any],
        bucket: Bucket,
        blob_id: str,
        found: Stored,
        spool: IO[bytes],
        on_end: Callable[[], None],
        *,
        is_held: bool,
        fence: Fence | None,
    ) -> None:
        self._run = run
        self._bucket = bucket
        self._blob_id = blob_id
        self._rest_size = found.rest_size
        """Of a rest that is not in the spool yet."""
        self._fence = fence
        self._upload_id = found.upload_id
        self._parts = len(found.parts)
        self._start = found.parts_size
        """Where the spool begins: at its beginning is the rest that was stored."""
        self._spool = spool
        self._spooled = 0
        self._on_end = on_end
        self._is_held = is_held
        self._hash = hashlib.sha256()

    async def write(self, data: bytes) -> None:
        """Add to the spool; store a part when there is enough for one."""
        if not self._is_held and self._spooled + self._rest_size + len(data) >= PART_BYTES:
            await self._require_writer()
        await self._run(partial(self._write, data))

    def digest(self) -> bytes:
        """SHA-256 of what was appended."""
        return self._hash.digest()

    async def keep(self) -> None:
        """Store what is left."""
        try:
            if self._spooled:
                await self._require_writer()
            await self._run(self._store_all)
        finally:
            self._end()

    async def discard(self) -> None:
        """Forget what is not stored yet, which is all of it if the appender was ``held``."""
        self._end()

    async def _require_writer(self) -> None:
        if self._fence is not None:
            await self._fence()

    def _write(self, data: bytes) -> None:
        if self._rest_size:
            rest = self._bucket.rest(self._blob_id)
            self._spooled = self._spool.write(rest)
            self._rest_size = 0
        self._spool.write(data)
        self._hash.update(data)
        self._spooled += len(data)
        if not self._is_held and self._spooled >= PART_BYTES:
            self._store_part(self._spooled)

    def _store_all(self) -> None:
        if not self._spooled:
            return
        self._spool.seek(0)
        if not self._is_held and self._spooled < PART_BYTES:
            self._bucket.put_rest(self._blob_id, self._start, self._spool)
            return
        left = self._spooled
        while left >= PART_BYTES:
            self._store(self._spool.read(PART_BYTES), PART_BYTES)
            left -= PART_BYTES
        if left:
            self._bucket.put_rest(self._blob_id, self._start, self._spool.read(left))

    def _store_part(self, size: int) -> None:
        self._spool.seek(0)
        self._store(self._spool, size)
        self._spool.seek(0)
        self._spool.truncate()
        self._spooled = 0

    def _store(self, body: Any, size: int) -> None:
        if self._upload_id is None:
            self._upload_id = self._bucket.begin(self._blob_id)
        self._parts += 1
        self._bucket.put_part(self._blob_id, self._upload_id, self._parts, body)
        self._start += size

    def _end(self) -> None:
        with suppress(OSError):
            self._spool.close()
        self._on_end()


def _code(error: Exception) -> str:
    """The code of a refusal, or the kind of another failure."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__
