"""The contract of ``Blobs``, for every implementation."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.object_store import ObjectStore
from wsserver.config.file_store import file_store_place
from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.extensions.files import s3
from wsserver.extensions.files.blobs import BlobBusy, BlobMoved, Blobs
from wsserver.extensions.files.folder import FolderBlobs
from wsserver.extensions.files.s3 import S3Blobs

ID = "file_01hk153x00h9v3t7n2c4d5e6"
MIB = 1024 * 1024
Opened = Callable[[], AbstractAsyncContextManager[Blobs]]


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens an implementation; two that are opened share the bytes."""
    url = None
    if request.param == "s3":
        url = request.getfixturevalue("object_store").new_bucket()

    @asynccontextmanager
    async def open_one() -> AsyncIterator[Blobs]:
        blobs: Blobs = FolderBlobs(tmp_path / "files", is_durable=True)
        if url is not None:
            await blobs.close()
            blobs = S3Blobs(file_store_place(url), tmp_path / "spool")
        await blobs.open()
        try:
            yield blobs
        finally:
            await blobs.close()

    return open_one


async def stored(blobs: Blobs, data: bytes) -> None:
    appender = await blobs.append(ID, 0)
    await appender.write(data)
    await appender.keep()


async def content(blobs: Blobs, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(ID, start, end)])


@pytest.mark.gen_test
async def test_a_blob_grows_by_appending_and_is_read_in_parts(opened: Opened) -> None:
    data = os.urandom(700_000)
    async with opened() as blobs:
        assert await blobs.size(ID) == 0
        assert await blobs.sha256(ID) == hashlib.sha256().digest()
        assert await content(blobs, 0, 0) == b""
        first = await blobs.append(ID, 0)
        await first.write(data[:3])
        await first.write(data[3:500_000])
        assert first.digest() == hashlib.sha256(data[:500_000]).digest()
        await first.keep()
        assert await blobs.size(ID) == 500_000
        second = await blobs.append(ID, 500_000)
        await second.write(data[500_000:])
        await second.keep()
        await blobs.complete(ID, len(data))
        await blobs.complete(ID, len(data))
        assert await blobs.sha256(ID) == hashlib.sha256(data).digest()
        assert await content(blobs, 0, len(data)) == data
        assert await content(blobs, 299_999, 300_001) == data[299_999:300_001]
        await blobs.remove(ID)
        await blobs.remove(ID)
        assert await blobs.size(ID) == 0


@pytest.mark.gen_test
async def test_what_is_discarded_leaves_the_blob_as_it_was(opened: Opened) -> None:
    async with opened() as blobs:
        await stored(blobs, b"abc")
        appender = await blobs.append(ID, 3)
        await appender.write(b"def")
        await appender.discard()
        assert await blobs.size(ID) == 3
        held = await blobs.append(ID, 3, held=True)
        await held.write(b"x" * 9 * MIB)
        await held.discard()
        assert await blobs.size(ID) == 3


@pytest.mark.gen_test
async def test_a_folder_cuts_off_what_was_to_be_compared(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    await stored(blobs, b"abc")
    cut = await blobs.append(ID, 1, cut=True)
    await cut.write(b"x")
    await cut.keep()
    assert await content(blobs, 0, 2) == b"ax"
    await blobs.close()


@pytest.mark.gen_test
async def test_any_process_goes_on_behind_what_is_stored(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 5 MiB and rests, appended by several; one of them ends without a word."""
    monkeypatch.setattr(s3, "PART_BYTES", 5 * MIB)
    data = os.urandom(11 * MIB)
    ends = (1, 6 * MIB + 7, 7 * MIB, len(data))
    start = 0
    for end in ends:
        async with opened() as blobs, opened() as others:
            assert await others.size(ID) == start
            appender = await blobs.append(ID, start, held=end == 7 * MIB)
            for at in range(start, end, MIB):
                await appender.write(data[at : min(at + MIB, end)])
            await appender.keep()
            start = end
    async with opened() as blobs:
        lost = await blobs.append(ID, start)
        await lost.write(b"never kept")
        if not blobs.has_locks:
            assert await blobs.size(ID) == start
        await lost.discard()
    async with opened() as blobs, opened() as others:
        await blobs.complete(ID, len(data))
        await others.complete(ID, len(data))
        assert await others.size(ID) == len(data)
        assert await others.sha256(ID) == hashlib.sha256(data).digest()
        span = (5 * MIB - 3, 5 * MIB + 400_000)
        assert await content(others, *span) == data[slice(*span)]
        await others.remove(ID)
        assert await blobs.size(ID) == 0


@pytest.mark.gen_test
async def test_an_object_store_that_cannot_be_reached_is_unavailable(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    for url in (
        f"s3://absent-bucket?endpoint={object_store.url}",
        "s3://b00?endpoint=http://[::1]:9",
    ):
        blobs = S3Blobs(file_store_place(url), tmp_path)
        await blobs.open()
        with pytest.raises(StorageUnavailable):
            await stored(blobs, b"abc")
        await blobs.close()


@pytest.mark.gen_test
async def test_a_blob_that_another_process_completes_meanwhile_is_complete(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = S3Blobs(file_store_place(object_store.new_bucket()), tmp_path)
    await blobs.open()
    await stored(blobs, b"abc")
    await blobs.complete(ID, 3)
    looks = iter([s3.Stored()])  # looked at between the end of its parts and the object
    look = s3.Bucket.look
    monkeypatch.setattr(s3.Bucket, "look", lambda *given: next(looks, None) or look(*given))
    await blobs.complete(ID, 3)
    assert await content(blobs, 0, 3) == b"abc"
    await blobs.close()


@pytest.mark.gen_test
async def test_one_appends_at_a_time_and_at_the_end_only(opened: Opened) -> None:
    async with opened() as blobs, opened() as others:
        await stored(blobs, b"abc")
        for offset in (0, 2, 4):
            with pytest.raises(BlobMoved) as moved:
                await blobs.append(ID, offset)
            assert moved.value.size == 3
        appender = await blobs.append(ID, 3)
        for each in (blobs, others) if blobs.has_locks else (blobs,):
            with pytest.raises(BlobBusy):
                await each.append(ID, 3)
        await appender.keep()
        await (await others.append(ID, 3)).keep()


@pytest.mark.gen_test
async def test_a_blob_that_is_shorter_than_asked_for_is_a_fault(opened: Opened) -> None:
    async with opened() as blobs:
        await stored(blobs, b"abc")
        with pytest.raises(BlobMoved):
            await blobs.complete(ID, 4)
        await blobs.complete(ID, 3)
        with pytest.raises(StorageUnavailable):
            await content(blobs, 0, 4)


@pytest.mark.gen_test
async def test_whatever_is_stored_is_listed(opened: Opened) -> None:
    async with opened() as blobs:
        assert [some async for some in blobs.listed() if some] == []
        whole, short, long = (f"{ID[:-2]}{end}" for end in ("01", "02", "12"))
        for blob_id, size in ((whole, 3), (short, 3), (long, 9 * MIB)):
            appender = await blobs.append(blob_id, 0)
            await appender.write(bytes(size))
            await appender.keep()
        await blobs.complete(whole, 3)
        found = [each async for some in blobs.listed() for each in some]
        assert {each.blob_id for each in found} == {whole, short, long}
        assert all(each.changed_at > 1e9 for each in found)


@pytest.mark.gen_test
async def test_a_reader_may_stop_early(opened: Opened) -> None:
    async with opened() as blobs:
        await stored(blobs, bytes(1_000_000))
        await blobs.complete(ID, 1_000_000)
        reading = blobs.read(ID, 0, 1_000_000)
        assert await anext(reading)
        await reading.aclose()
        assert not [fd for fd in os.listdir("/proc/self/fd") if _target(fd).endswith(ID)]


@pytest.mark.gen_test
async def test_a_full_disk_is_named_as_such(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async with opened() as blobs:
        if isinstance(blobs, S3Blobs):
            return  # it writes to a file without ``os.write``
        appender = await blobs.append(ID, 0)
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            with pytest.raises(StorageFull):
                await asyncio.wait_for(appender.write(b"abc"), 60)
        await appender.discard()
        assert await blobs.size(ID) == 0


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
