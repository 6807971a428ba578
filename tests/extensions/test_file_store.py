"""Files in object storage: a server with ``file_store_url``, and the setting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.object_store import ObjectStore
from tests.support.tus import ALICE, begin_patch, create, head, patch, sha256, state
from tests.support.web_server import API, StartServer, read_response
from wsserver.config import ConfigFaults, load_settings
from wsserver.config.faults import Faulty
from wsserver.config.file_store import FileStorePlace, file_store_place

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest.mark.gen_test
async def test_files_are_uploaded_read_and_deleted_in_object_storage(
    start_server: StartServer, object_store: ObjectStore
) -> None:
    url = object_store.new_bucket()
    server = await start_server(file_store_url=url)
    data = bytes(range(256)) * 4096 * 9  # more than a part
    file_id = (await create(server, len(data))).json()["file_id"]
    assert state(await patch(server, file_id, 0, data[:5])) == (204, "5")
    wrong = {"Upload_Checksum": sha256(b"other")}
    assert (await patch(server, file_id, 5, data[5:], **wrong)).code == "checksum_mismatch"
    assert state(await head(server, file_id)) == (200, "5")
    right = {"Upload_Checksum": sha256(data[5:1000])}
    assert state(await patch(server, file_id, 5, data[5:1000], **right)) == (204, "1000")
    assert state(await patch(server, file_id, 1000, data[1000:])) == (204, str(len(data)))
    assert object_store.keys(url) == [f"chat/files/{file_id}"]
    path = f"{API}/files/{file_id}"
    span = {"Range": "bytes=8388600-8388700"}
    part = await server.request("GET", path, bearer=ALICE, headers=span)
    assert (part.status, part.body) == (206, data[8388600:8388701])
    assert (await server.request("GET", path, bearer=ALICE)).body == data
    unfinished = (await create(server, 10 * MIB, data=bytes(9 * MIB))).json()["file_id"]
    assert len(object_store.keys(url)) == 3
    for each in (file_id, unfinished):
        deleted = await server.request("DELETE", f"{API}/files/{each}", bearer=ALICE)
        assert deleted.status == 204
    assert object_store.keys(url) == []


@pytest.mark.gen_test
async def test_a_part_whose_place_another_node_has_taken_stores_nothing(
    start_server: StartServer, object_store: ObjectStore
) -> None:
    server = await start_server(file_store_url=object_store.new_bucket())
    file_id = (await create(server, 10)).json()["file_id"]
    assert state(await patch(server, file_id, 0, b"abc")) == (204, "3")
    reader, writer = await begin_patch(server, file_id, 3, b"de", Content_Length="5")
    files = server.context.extensions["files"]
    while not files.uploads._active:
        await asyncio.sleep(0)
    await files._table.set_writer(file_id, "of another node")
    writer.write(b"fgh")
    refused = await read_response(reader)
    assert (refused.status, refused.code) == (423, "file_locked")
    assert state(await head(server, file_id)) == (200, "3")
    assert state(await patch(server, file_id, 3, b"defghij")) == (204, "10")
    writer.close()


@pytest.mark.gen_test
async def test_parts_that_do_not_make_the_file_are_sent_again(
    start_server: StartServer, object_store: ObjectStore
) -> None:
    """As where a part of a node that had lost its place arrived after those of the next one."""
    server = await start_server(file_store_url=object_store.new_bucket())
    file_id = (await create(server, 4)).json()["file_id"]
    files = server.context.extensions["files"]
    appender = await files._blobs.append(file_id, 0)
    await appender.write(b"abcdefgh")
    await appender.keep()
    refused = await head(server, file_id)
    assert refused.status == 409
    assert state(await head(server, file_id)) == (200, "0")
    assert state(await patch(server, file_id, 0, b"abcd")) == (204, "4")


def test_the_place_of_a_url() -> None:
    assert file_store_place("s3://chat-files") == FileStorePlace("chat-files")
    assert file_store_place("s3://b12/a/b/?region=eu-1&endpoint=http://127.0.0.1:9000") == (
        FileStorePlace("b12", "a/b/", "http://127.0.0.1:9000", "eu-1")
    )


@pytest.mark.parametrize(
    "url",
    [
        *("", "s3://", "file:///x", "s3://B_ucket", "s3://b12?endpoint=ftp://x"),
        *(
            "s3://b12?zone=x",
            "s3://key:secret@b12",
            "s3://b12/a b",
            "s3://b12?endpoint=https://u:p@x",
            "s3://b12#x",
        ),
    ],
)
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(Faulty):
        file_store_place(url)


def test_a_wrong_url_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigFaults, match="file_store_url"):
        load_settings(None, {"WSSERVER_FILE_STORE_URL": "ftp://x"}, {}, dev=True)
