"""Files: uploads by tus 1.0.0, what is refused, downloads, and messages that are files."""

from __future__ import annotations

import asyncio
import hashlib
import os
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.tus import (
    ALICE,
    PART,
    begin_patch,
    create,
    head,
    metadata,
    patch,
    sha256,
    state,
    upload,
)
from tests.support.web_server import API, Server, Socket, StartServer, read_response, token
from wsserver.extensions.files import places, service
from wsserver.protocol.types import FILE_TYPE

DATA = bytes(range(256)) * 1024
BOB = token("bob", "user", sessions=["s1"])
EVE = token("eve", "user", sessions=["s2"])
VERSION = {"Tus-Resumable": "1.0.0"}


def files_in(server: Server) -> Any:
    return server.context.extensions["files"]


def stored(server: Server) -> list[Path]:
    """The files in the server's folder."""
    folder = server.context.settings.data_dir / "files"
    return [path for path in folder.rglob("*") if path.is_file()]


async def get(server: Server, path: str, bearer: str | None = ALICE, **headers: str) -> Any:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return await server.request("GET", path, bearer=bearer, headers=lines)


@pytest.mark.gen_test
async def test_an_upload_in_parts_is_one_file(server: Server) -> None:
    events: list[Any] = []
    server.system.manager.add_event_handler("file_uploaded", events.append)
    created = await create(server, len(DATA), filename="报告.pdf", content_type="application/pdf")
    file_id = created.json()["file_id"]
    assert state(created) == (201, "0")
    assert created.headers["location"] == f"{API}/files/{file_id}"
    assert created.headers["tus-resumable"] == "1.0.0"
    assert parsedate_to_datetime(created.headers["upload-expires"])
    assert state(await patch(server, file_id, 0, DATA[:1000])) == (204, "1000")
    asked = await head(server, file_id)
    assert state(asked) == (200, "1000")
    assert asked.headers["upload-length"] == str(len(DATA))
    assert asked.headers["cache-control"] == "no-store"
    assert (await get(server, f"{API}/files/{file_id}")).code == "not_found"
    part = DATA[1000:5000]
    done = await patch(server, file_id, 1000, part, Upload_Checksum=sha256(part))
    assert state(done) == (204, "5000")
    done = await patch(server, file_id, 5000, DATA[5000:])
    assert state(done) == (204, str(len(DATA)))
    assert "upload-expires" not in done.headers
    assert state(await head(server, file_id)) == (200, str(len(DATA)))
    assert state(await patch(server, file_id, len(DATA), b"")) == (204, str(len(DATA)))
    found = await get(server, f"{API}/files/{file_id}", BOB)
    assert (found.status, found.body) == (200, DATA)
    assert found.headers["content-type"] == "application/pdf"
    assert found.headers["x-content-type-options"] == "nosniff"
    disposition = "attachment; filename=\"__.pdf\"; filename*=UTF-8''%E6%8A%A5%E5%91%8A.pdf"
    assert found.headers["content-disposition"] == disposition
    assert "sandbox" in found.headers["content-security-policy"]
    (event,) = events
    assert (event["file_id"], event["bytes"], event["user_id"], event["organization_id"]) == (
        *(file_id, len(DATA), "alice", "o1"),
    )
    assert event["sha256"] == hashlib.sha256(DATA).hexdigest()


@pytest.mark.gen_test
async def test_options_say_what_is_supported(server: Server) -> None:
    for path in ("/files", "/files/file_1"):
        answer = await server.request("OPTIONS", API + path)
        assert answer.status == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-max-size"] == "104857600"
        assert answer.headers["tus-checksum-algorithm"] == "sha256"
        assert answer.headers["tus-extension"].split(",") == [
            *("creation", "creation-with-upload", "termination", "checksum", "expiration")
        ]
    origin = {"Origin": f"http://127.0.0.1:{server.port}", "Access-Control-Request-Method": "PATCH"}
    answer = await server.request("OPTIONS", f"{API}/files/file_1", headers=origin)
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "Upload-Offset" in answer.headers["access-control-allow-headers"]
    assert "Upload-Offset" in answer.headers["access-control-expose-headers"]


@pytest.mark.gen_test
async def test_what_is_wrong_is_refused_and_leaves_nothing_behind(server: Server) -> None:
    async def refused(answer: Any, status: int, code: str, *fields: str) -> None:
        reply = await answer
        assert (reply.status, reply.code) == (status, code), reply.json()
        assert reply.headers["tus-resumable"] == "1.0.0"
        named = [each["field"] for each in reply.json().get("errors", [])]
        assert named == list(fields)

    old = {"Tus-Resumable": "0.2.2"}
    await refused(create(server, 1, headers=old), 412, "tus_version_unsupported")
    for length in ("-1", "1.5", "", "99999999999999999999"):
        await refused(create(server, 1, headers={"Upload-Length": length}), 400, "bad_request")
    deferred = {"Upload-Defer-Length": "1"}
    await refused(create(server, 1, headers=deferred), 400, "bad_request")
    await refused(create(server, 104857601), 413, "file_too_large")
    await refused(create(server, 3, data=b"four"), 413, "file_too_large")
    wrong = {"Upload-Checksum": sha256(b"other")}
    await refused(create(server, 4, data=b"four", headers=wrong), 460, "checksum_mismatch")
    odd = {"Upload-Checksum": "md5 AAAA"}
    await refused(create(server, 4, data=b"four", headers=odd), 400, "bad_request")
    for name in ("../a", "a\\b", "..", "x" * 500, "a\u202egpj.exe", "a\nb", "\ud7ff\u2066", " "):
        await refused(create(server, 1, filename=name), 422, "validation_failed", "filename")
    faults = ("filename", "content_type", "session_id")
    bad = create(server, 1, filename="/", content_type="text", session_id="a b")
    await refused(bad, 422, "validation_failed", *faults)
    broken = {"Upload-Metadata": "filename !"}
    await refused(create(server, 1, headers=broken), 422, "validation_failed", "Upload-Metadata")
    await refused(create(server, 1, session_id="s2"), 403, "forbidden")
    await refused(create(server, 1, bearer="x"), 401, "token_invalid")
    typed = {"Content-Type": "text/plain"}
    await refused(create(server, 1, data=b"x", headers=typed), 415, "unsupported_media_type")
    assert (await server.get("/files")).json()["total"] == 0
    assert stored(server) == []
    file_id = (await create(server, 10)).json()["file_id"]
    for offset in (1, 10, 11):
        await refused(patch(server, file_id, offset, b"x"), 409, "offset_mismatch")
    await refused(patch(server, file_id, 0, b"x" * 11), 413, "file_too_large")
    await refused(patch(server, file_id, 0, b"x", Upload_Offset="-1"), 400, "bad_request")
    mismatch = patch(server, file_id, 0, b"x", Upload_Checksum=sha256(b"y"))
    await refused(mismatch, 460, "checksum_mismatch")
    short = patch(server, file_id, 0, b"x", Upload_Checksum="sha256 AAAA")
    await refused(short, 400, "bad_request")
    await refused(
        patch(server, file_id, 0, b"x", Content_Type="a/b"), 415, "unsupported_media_type"
    )
    await refused(patch(server, file_id, 0, b"x", BOB), 404, "not_found")
    await refused(patch(server, "..", 0, b"x"), 400, "bad_request", "file_id")
    assert state(await head(server, file_id)) == (200, "0")
    assert (await head(server, file_id, BOB)).status == 404
    assert sum(path.stat().st_size for path in stored(server)) == 0


async def settled(server: Server, file_id: str, least: int = 0) -> int:
    """The offset of an upload once no request writes to it."""
    while True:
        await asyncio.sleep(0)
        offset = int((await head(server, file_id)).headers["upload-offset"])
        if not files_in(server).uploads._active and offset >= least:
            return offset


@pytest.mark.gen_test
async def test_a_broken_connection_goes_on_where_it_broke(server: Server) -> None:
    file_id = (await create(server, len(DATA))).json()["file_id"]
    offset, steps = 0, (1, 65_537, 0, 100_000)
    for step in steps:
        part = DATA[offset : offset + step]
        length = str(len(DATA) - offset)
        _, writer = await begin_patch(server, file_id, offset, part, Content_Length=length)
        writer.close()
        offset = await settled(server, file_id, offset + step)
        assert offset == sum(steps[: steps.index(step) + 1])
    part = DATA[offset : offset + 500]
    _, writer = await begin_patch(
        server, file_id, offset, part, Content_Length="9999", Upload_Checksum=sha256(DATA)
    )
    writer.close()
    assert await settled(server, file_id) == offset  # it could not be compared
    rest = DATA[offset:]
    assert (await patch(server, file_id, offset, rest)).status == 204
    assert (await get(server, f"{API}/files/{file_id}")).body == DATA


@pytest.mark.gen_test
async def test_too_long_a_body_without_a_length_leaves_nothing(server: Server) -> None:
    file_id = (await create(server, 10)).json()["file_id"]
    body = b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"
    reader, writer = await begin_patch(server, file_id, 0, body, Transfer_Encoding="chunked")
    assert (await read_response(reader)).code == "file_too_large"
    writer.close()
    assert state(await head(server, file_id)) == (200, "0")
    body = b"a\r\n" + b"x" * 10 + b"\r\n0\r\n\r\n"
    reader, writer = await begin_patch(server, file_id, 0, body, Transfer_Encoding="chunked")
    assert state(await read_response(reader)) == (204, "10")
    writer.close()


@pytest.mark.gen_test
async def test_a_later_request_takes_over_from_a_stalled_one(server: Server) -> None:
    file_id = (await create(server, 10)).json()["file_id"]
    reader, writer = await begin_patch(server, file_id, 0, b"abc", Content_Length="10")
    while not files_in(server).uploads._active:
        await asyncio.sleep(0)
    answer = await patch(server, file_id, 0, b"0123456789")
    while answer.status == 409:  # what the first request has sent is stored
        offset = int(answer.json()["offset"])
        answer = await patch(server, file_id, offset, b"0123456789"[offset:])
    assert state(answer) == (204, "10")
    writer.write(b"defghij")
    assert (await read_response(reader)).code == "file_locked"
    writer.close()


@pytest.mark.gen_test
async def test_a_later_request_takes_over_from_one_that_only_begins(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = (await create(server, 10)).json()["file_id"]
    uploads = files_in(server).uploads
    append, mark = uploads._blobs.append, uploads._table.mark_unverified
    opened: list[str] = []

    async def count(blob_id: str, *values: Any, **more: Any) -> Any:
        opened.append(blob_id)
        return await append(blob_id, *values, **more)

    async def mark_late(*values: Any) -> Any:
        for _ in range(2000):  # until the other request would have given up
            await asyncio.sleep(0)
            if len(opened) > 3:
                break
        return await mark(*values)

    monkeypatch.setattr(uploads._blobs, "append", count)
    monkeypatch.setattr(uploads._table, "mark_unverified", mark_late)
    checked = {"Content_Length": "10", "Upload_Checksum": sha256(b"0123456789")}
    _, writer = await begin_patch(server, file_id, 0, b"012", **checked)
    while not opened:
        await asyncio.sleep(0)
    assert state(await patch(server, file_id, 0, b"0123456789")) == (204, "10")
    writer.close()


@pytest.mark.gen_test
async def test_a_method_may_be_named_by_a_header(server: Server) -> None:
    file_id = (await create(server, 3)).json()["file_id"]
    lines = {**VERSION, "Upload-Offset": "0", "Content-Type": PART}
    path, override = f"{API}/files/{file_id}", "X-HTTP-Method-Override"
    patched = {**lines, override: "PATCH"}
    answer = await server.request("POST", path, b"abc", bearer=ALICE, headers=patched)
    assert state(answer) == (204, "3")
    deleted = {**VERSION, override: "DELETE"}
    answer = await server.request("POST", path, bearer=ALICE, headers=deleted)
    assert answer.status == 204
    plain = await server.request("POST", path, bearer=ALICE, headers=VERSION)
    assert plain.status == 405


@pytest.mark.gen_test
async def test_an_empty_file_and_a_repeated_request(server: Server) -> None:
    empty = await create(server, 0)
    assert state(empty) == (201, "0")
    found = await get(server, empty.headers["location"])
    assert (found.status, found.body) == (200, b"")
    key = {"Idempotency-Key": "k1"}
    first, second = [await create(server, 3, data=b"abc", headers=key) for _ in range(2)]
    assert first.headers["location"] == second.headers["location"]
    assert state(second) == (201, "3")
    assert (await create(server, 4, headers=key)).code == "idempotency_conflict"


@pytest.mark.gen_test
async def test_limits_of_uploads_and_organizations(start_server: StartServer) -> None:
    server = await start_server(file_uploads_per_user=2, file_quota_bytes=20_000)
    ids = [(await create(server, 5000)).json()["file_id"] for _ in range(2)]
    limited = await create(server, 1)
    assert (limited.status, limited.code) == (429, "file_upload_limit")
    assert (await create(server, 5000, bearer=BOB)).status == 201  # without an organization
    carol = token("carol", "user", sessions=["s1"], organization_id="o1")
    full = await create(server, 10_001, bearer=carol)
    assert (full.status, full.code) == (413, "file_quota_exhausted")
    assert (full.json()["used_bytes"], full.json()["limit_bytes"]) == (10_000, 20_000)
    assert (await create(server, 10_000, bearer=carol)).status == 201
    assert (await create(server, 1, bearer=carol)).code == "file_quota_exhausted"
    path = f"{API}/files/{ids[0]}"
    assert (await server.request("DELETE", path, bearer=ALICE, headers=VERSION)).status == 204
    assert (await server.request("DELETE", path, bearer=ALICE, headers=VERSION)).status == 404
    assert (await create(server, 1, bearer=carol)).status == 201  # counts for 4096


@pytest.mark.gen_test
async def test_only_so_many_parts_are_received_at_a_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "ACTIVE_LIMIT", 1)
    ids = [(await create(server, 10)).json()["file_id"] for _ in range(2)]
    _, writer = await begin_patch(server, ids[0], 0, b"abc", Content_Length="10")
    while not files_in(server).uploads._active:
        await asyncio.sleep(0)
    busy = await patch(server, ids[1], 0, b"x")
    assert (busy.status, busy.code, busy.headers["retry-after"]) == (503, "file_uploads_busy", "5")
    writer.close()


@pytest.mark.gen_test
async def test_a_user_sends_so_many_parts_at_a_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "USER_LIMIT", 1)
    ids = [(await create(server, 10)).json()["file_id"] for _ in range(2)]
    _, writer = await begin_patch(server, ids[0], 0, b"abc", Content_Length="10")
    while not files_in(server).uploads._active:
        await asyncio.sleep(0)
    limited = await patch(server, ids[1], 0, b"x")
    assert (limited.status, limited.code) == (429, "file_upload_limit")
    assert limited.headers["retry-after"] == "5"
    theirs = (await create(server, 1, bearer=BOB)).json()["file_id"]
    assert state(await patch(server, theirs, 0, b"x", bearer=BOB)) == (204, "1")
    offset = int((await head(server, ids[0])).headers["upload-offset"])
    assert (await patch(server, ids[0], offset, b"x")).status in (204, 409)  # it takes over
    assert state(await patch(server, ids[1], 0, b"x")) == (204, "1")
    writer.close()


@pytest.mark.gen_test
async def test_what_is_stored_without_a_row_is_removed_after_a_day(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await upload(server, DATA)
    unfinished = (await create(server, 10, data=b"abc")).json()["file_id"]
    files = files_in(server)
    orphans = [f"{file_id[:-1]}{end}" for end in "wxyz" if end != file_id[-1]][:3]
    for each in orphans:
        await (await files._blobs.append(each, 0)).keep()
    for path in (server.context.settings.data_dir / "files").glob("??/*"):
        if path.name != orphans[0]:  # younger than a day
            os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(service, "SWEEP_LIMIT", 1)
    await files.sweep()
    assert files.figures() == {"orphans_removed": 1}
    await files.sweep()
    await files.sweep()
    assert {path.name for path in stored(server)} == {file_id, unfinished, orphans[0]}
    metrics = (await server.request("GET", "/metrics")).body.decode()
    assert "wsserver_file_orphans_removed_total 2.0" in metrics


@pytest.mark.gen_test
async def test_who_may_read_a_file(server: Server) -> None:
    file_id = await upload(server, DATA)
    path = f"{API}/files/{file_id}"
    boss = token("boss", "manager", organization_id="o1")
    other = token("boss2", "manager", organization_id="o2")
    for bearer, status in (
        *((ALICE, 200), (BOB, 200), (EVE, 404), (boss, 200), (other, 404), (token(), 200)),
        (None, 401),
    ):
        assert (await get(server, path, bearer)).status == status
    signed = await get(server, f"{path}/url", BOB)
    assert (await get(server, f"{path}/url", EVE)).status == 404
    url = signed.json()["url"]
    assert (await get(server, url, None)).body == DATA
    for bad in (url[:-1] + ("A" if url[-1] != "A" else "B"), url.replace("expires=1", "expires=2")):
        assert (await get(server, bad, None)).code == "forbidden"
    clock = server.context.clock
    clock.wall = lambda: 2e9 + 1
    late = files_in(server).downloads._addresses.is_valid
    assert not late(file_id, 2_000_000_000, "x")
    del clock.wall


@pytest.mark.gen_test
async def test_a_signed_address_ends(server: Server) -> None:
    addresses = files_in(server).downloads._addresses
    expires_at = int(server.context.clock.wall()) - 1
    signature = addresses._signature("file_1", expires_at)
    assert not addresses.is_valid("file_1", expires_at, signature)
    later = expires_at + 600
    assert addresses.is_valid("file_1", later, addresses._signature("file_1", later))
    assert not addresses.is_valid("file_2", later, addresses._signature("file_1", later))


@pytest.mark.gen_test
async def test_ranges_and_conditions(server: Server) -> None:
    path = f"{API}/files/{await upload(server, DATA, content_type='text/html')}"
    whole = await get(server, path)
    assert whole.headers["content-type"] == "application/octet-stream"  # never rendered
    etag, size = whole.headers["etag"], len(DATA)
    for asked, start, end in (
        *(("bytes=0-0", 0, 1), ("bytes=5-", 5, size), ("bytes=-7", size - 7, size)),
        *(("bytes=10-99999999", 10, size), ("bytes=100-70000", 100, 70_001)),
    ):
        part = await get(server, path, Range=asked)
        assert (part.status, part.body) == (206, DATA[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=-0", "bytes=0-1,2-3", "bytes=" + "0-," * 3000 + "0-"):
        refused = await get(server, path, Range=asked)
        assert (refused.status, refused.code) == (416, "range_not_satisfiable")
    for asked in ("bytes=5-1", "lines=1-2", "bytes=a-b"):
        assert (await get(server, path, Range=asked)).status == 200
    assert (await get(server, path, If_None_Match=etag)).status == 304
    assert (await get(server, path, Range="bytes=0-1", If_Range='"x"')).status == 200
    probe = await server.request("HEAD", path, bearer=BOB)
    assert (probe.status, probe.headers["content-length"]) == (200, str(size))


@pytest.mark.gen_test
async def test_a_message_that_is_a_file(server: Server) -> None:
    alice = await server.connect("alice", sessions=["s1", "s2"])
    for session_id in ("s1", "s2"):
        alice.send(type="join_session", session_id=session_id)
        await alice.push("session_joined")

    async def send(content: Any, session_id: str = "s1") -> dict[str, Any]:
        fields = {"session_id": session_id, "content_type": FILE_TYPE, "content": content}
        alice.send(type="send_message", ref=1, **fields)
        while (answer := await alice.push()).get("ref") != 1:
            pushes.append(answer)
        return answer

    pushes: list[dict[str, Any]] = []
    file_id = await upload(server, b"abc", filename="x.png", content_type="image/png")
    sent = await send({"file_id": file_id})
    assert sent["type"] == "ack"
    pushed = [each for each in pushes if each["type"] == "new_message"]
    message = (pushed or [await alice.push("new_message")])[0]["message"]
    url = message["content"].pop("url")
    assert message["content"] == {
        "file_id": file_id,
        "filename": "x.png",
        "content_type": "image/png",
        "bytes": 3,
        "sha256": hashlib.sha256(b"abc").hexdigest(),
    }
    assert (await get(server, url, None)).body == b"abc"
    assert (await send({"file_id": file_id}, "s2"))["error"]["code"] == "not_found"
    unfinished = (await create(server, 3)).json()["file_id"]
    for content, code in (
        ({"file_id": unfinished}, "not_found"),
        ({"file_id": "file_1"}, "not_found"),
        ("text", "bad_request"),
        ({}, "bad_request"),
        ({"file_id": "a b"}, "bad_request"),
        ({"file_id": file_id, "url": "https://evil.example"}, "bad_request"),
    ):
        assert (await send(content))["error"]["code"] == code
    edited = {"type": "edit_message", "ref": 2, "message_id": sent["message_id"]}
    alice.send(**edited, content={"file_id": file_id, "url": "https://evil.example"})
    while (answer := await alice.push()).get("ref") != 2:
        pass
    assert answer["error"]["code"] == "forbidden"
    # A file without a session becomes that of the first one that its user sends it to.
    free = await create(server, 1, data=b"x", headers={"Upload-Metadata": metadata(filename="f")})
    free_id = free.json()["file_id"]
    assert (await get(server, f"{API}/files/{free_id}", EVE)).status == 404
    assert (await send({"file_id": free_id}, "s2"))["type"] == "ack"
    assert (await get(server, f"{API}/files/{free_id}", EVE)).status == 200
    assert (await send({"file_id": free_id}, "s1"))["error"]["code"] == "not_found"


@pytest.mark.gen_test
async def test_a_file_is_deleted_with_the_message_of_its_user(server: Server) -> None:
    alice = await server.connect("alice", sessions=["s1"])
    bob = await server.connect("bob", sessions=["s1"])
    file_id = await upload(server, b"abc")
    url = (await get(server, f"{API}/files/{file_id}/url", BOB)).json()["url"]

    async def ask(socket: Socket, **fields: Any) -> dict[str, Any]:
        socket.send(ref="r", **fields)
        while (answer := await socket.push()).get("ref") != "r":
            pass
        return answer

    sent = []
    for socket in (alice, bob):
        await ask(socket, type="join_session", session_id="s1")
        fields = {"session_id": "s1", "content_type": FILE_TYPE, "content": {"file_id": file_id}}
        sent.append((await ask(socket, type="send_message", **fields))["message_id"])
    assert (await ask(bob, type="delete_message", message_id=sent[1]))["type"] == "ack"
    assert (await get(server, url, None)).body == b"abc"
    assert (await ask(alice, type="delete_message", message_id=sent[0]))["type"] == "ack"
    path = f"{API}/files/{file_id}"
    for each, bearer in ((url, None), (path, BOB), (path, ALICE)):
        assert (await get(server, each, bearer)).code == "not_found"
    await files_in(server).expire()
    assert stored(server) == []


@pytest.mark.gen_test
async def test_lists_and_deletion_by_who_manages_files(server: Server) -> None:
    mine = await upload(server, b"abc")
    foreign = await upload(server, b"abc", BOB)
    boss = token("boss", "manager", organization_id="o1")
    listed = (await server.get("/files", bearer=boss)).json()
    assert [each["file_id"] for each in listed["files"]] == [mine]
    assert (await server.get("/files?organization_id=o2", bearer=boss)).status == 403
    assert (await server.get("/files", bearer=ALICE)).status == 403
    both = [each["file_id"] for each in (await server.get("/files")).json()["files"]]
    assert both == [foreign, mine]
    page = (await server.get("/files?limit=1")).json()
    rest = (await server.get(f"/files?limit=1&cursor={page['next_cursor']}")).json()
    assert [each["file_id"] for each in (*page["files"], *rest["files"])] == both
    only = (await server.get("/files?user_id=bob&session_id=s1")).json()["files"]
    assert [each["file_id"] for each in only] == [foreign]

    async def delete(file_id: str, bearer: str) -> int:
        path = f"{API}/files/{file_id}"
        return (await server.request("DELETE", path, bearer=bearer, headers=VERSION)).status

    assert await delete(foreign, boss) == 404
    assert await delete(foreign, ALICE) == 404
    assert await delete(mine, boss) == 204
    entries = (await server.get("/audit?action=delete_file")).json()["entries"]
    assert [(each["actor"], each["target"]) for each in entries] == [("boss", f"file:{mine}")]
    assert [path.name for path in stored(server)] == [foreign]


@pytest.mark.gen_test
async def test_time_ends_files_and_uploads(server: Server) -> None:
    whole, part = await upload(server, b"abc"), (await create(server, 9)).json()["file_id"]
    await patch(server, part, 0, b"abc")
    files, clock = files_in(server), server.context.clock
    now = clock.wall()
    await files.expire()
    assert len(stored(server)) == 2
    clock.wall = lambda: now + 86_401
    assert (await head(server, part, token("alice", "user", exp=now + 9e6))).status == 404
    await files.expire()
    assert [path.name for path in stored(server)] == [whole]
    clock.wall = lambda: now + 30 * 86_400 + 1
    await files.expire()
    assert stored(server) == []
    del clock.wall
    assert (await server.get("/files")).json()["total"] == 0


@pytest.mark.gen_test
async def test_erasing_a_user_removes_their_files(server: Server) -> None:
    await server.connect("alice", sessions=["s1"])
    file_id = await upload(server, b"abc")
    exported = await server.get("/users/alice/data")
    assert file_id.encode() in exported.body
    erased = await server.request("DELETE", f"{API}/users/alice/data", bearer=token())
    assert erased.json()["erased"]["files"] == 1
    assert stored(server) == []


@pytest.mark.gen_test
async def test_a_part_that_begins_while_its_upload_is_deleted_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = files_in(server).uploads._blobs
    append, remove = blobs.append, blobs.remove
    answers: list[Any] = []

    async def append_late(blob_id: str, *values: Any, **more: Any) -> Any:
        path = f"{API}/files/{blob_id}"
        answers.append(await server.request("DELETE", path, bearer=ALICE, headers=VERSION))
        return await append(blob_id, *values, **more)

    async def remove_early(blob_id: str) -> None:
        await remove(blob_id)
        answers.append(await patch(server, blob_id, 0, b"abc"))

    first, second = [(await create(server, 10)).json()["file_id"] for _ in range(2)]
    monkeypatch.setattr(blobs, "append", append_late)
    answers.append(await patch(server, first, 0, b"abc"))
    monkeypatch.setattr(blobs, "append", append)
    monkeypatch.setattr(blobs, "remove", remove_early)
    path = f"{API}/files/{second}"
    answers.append(await server.request("DELETE", path, bearer=ALICE, headers=VERSION))
    assert [answer.status for answer in answers] == [204, 404, 404, 204]
    assert stored(server) == []
    assert (await server.get("/files")).json()["total"] == 0


@pytest.mark.gen_test
async def test_a_file_that_got_its_last_byte_before_a_crash_is_complete(server: Server) -> None:
    file_id = (await create(server, 3)).json()["file_id"]
    files = files_in(server)
    appender = await files.uploads._blobs.append(file_id, 0)
    await appender.write(b"abc")
    await appender.keep()
    assert state(await head(server, file_id)) == (200, "3")
    assert (await get(server, f"{API}/files/{file_id}")).body == b"abc"
