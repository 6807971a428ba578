"""The contract of ``Blobs``, for every implementation."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from wsserver.errors import StorageFull, StorageUnavailable
from wsserver.extensions.files.blobs import BlobBusy, BlobMoved, Blobs
from wsserver.extensions.files.folder import FolderBlobs

ID = "file_01hk153x00h9v3t7n2c4d5e6"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Blobs]:
    blobs = FolderBlobs(folder / "files", is_durable=True)
    await blobs.open()
    try:
        yield blobs
    finally:
        await blobs.close()


async def stored(blobs: Blobs, data: bytes) -> None:
    appender = await blobs.append(ID, 0)
    await appender.write(data)
    await appender.keep()


async def content(blobs: Blobs, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(ID, start, end)])


@pytest.mark.gen_test
async def test_a_blob_grows_by_appending_and_is_read_in_parts(tmp_path: Path) -> None:
    data = os.urandom(700_000)
    async with opened(tmp_path) as blobs:
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
        await blobs.complete(ID)
        await blobs.complete(ID)
        assert await blobs.sha256(ID) == hashlib.sha256(data).digest()
        assert await content(blobs, 0, len(data)) == data
        assert await content(blobs, 299_999, 300_001) == data[299_999:300_001]
        await blobs.remove(ID)
        await blobs.remove(ID)
        assert await blobs.size(ID) == 0


@pytest.mark.gen_test
async def test_what_is_discarded_leaves_the_blob_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as blobs:
        await stored(blobs, b"abc")
        appender = await blobs.append(ID, 3)
        await appender.write(b"def")
        await appender.discard()
        assert await blobs.size(ID) == 3
        cut = await blobs.append(ID, 1, cut=True)
        await cut.write(b"x")
        await cut.keep()
        assert await content(blobs, 0, 2) == b"ax"


@pytest.mark.gen_test
async def test_one_appends_at_a_time_and_at_the_end_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as blobs, opened(tmp_path) as others:
        await stored(blobs, b"abc")
        for offset in (0, 2, 4):
            with pytest.raises(BlobMoved) as moved:
                await blobs.append(ID, offset)
            assert moved.value.size == 3
        appender = await blobs.append(ID, 3)
        for each in (blobs, others):
            with pytest.raises(BlobBusy):
                await each.append(ID, 3)
        await appender.keep()
        await (await others.append(ID, 3)).keep()


@pytest.mark.gen_test
async def test_a_blob_that_is_shorter_than_asked_for_is_a_fault(tmp_path: Path) -> None:
    async with opened(tmp_path) as blobs:
        await stored(blobs, b"abc")
        with pytest.raises(StorageUnavailable):
            await content(blobs, 0, 4)


@pytest.mark.gen_test
async def test_a_reader_may_stop_early(tmp_path: Path) -> None:
    async with opened(tmp_path) as blobs:
        await stored(blobs, bytes(1_000_000))
        reading = blobs.read(ID, 0, 1_000_000)
        assert await anext(reading)
        await reading.aclose()
        assert not [fd for fd in os.listdir("/proc/self/fd") if _target(fd).endswith(ID)]


@pytest.mark.gen_test
async def test_a_full_disk_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async with opened(tmp_path) as blobs:
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
