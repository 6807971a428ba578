"""A client of tus 1.0.0 for tests: single requests, as they are told."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests.support.http_response import Response
from tests.support.web_server import API, Server, token

PART = "application/offset+octet-stream"
ALICE = token("alice", "user", sessions=["s1"], organization_id="o1")


def metadata(**values: str) -> str:
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


def sha256(data: bytes) -> str:
    return "sha256 " + base64.b64encode(hashlib.sha256(data).digest()).decode()


async def create(
    server: Server,
    length: int,
    *,
    bearer: str = ALICE,
    data: bytes | None = None,
    headers: dict[str, str] | None = None,
    **about: str,
) -> Response:
    """Begin an upload; ``data``: its first part."""
    about = {"filename": "a.txt", "session_id": "s1", **about}
    lines = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(length),
        "Upload-Metadata": metadata(**about),
        **({} if data is None else {"Content-Type": PART}),
        **(headers or {}),
    }
    return await server.request("POST", f"{API}/files", data, bearer=bearer, headers=lines)


async def patch(
    server: Server, file_id: str, offset: int, data: bytes, bearer: str = ALICE, **more: str
) -> Response:
    lines = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": PART,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    path = f"{API}/files/{file_id}"
    return await server.request("PATCH", path, data, bearer=bearer, headers=lines)


async def begin_patch(server: Server, file_id: str, offset: int, body: bytes, **more: str) -> Any:
    """Send the head of a PATCH and a part of its body; returns reader and writer."""
    reader, writer = await server.open()
    lines = {
        "Host": f"127.0.0.1:{server.port}",
        "Authorization": f"Bearer {ALICE}",
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": PART,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"PATCH {API}/files/{file_id} HTTP/1.1\r\n{head}\r\n".encode() + body)
    await writer.drain()
    return reader, writer


async def head(server: Server, file_id: str, bearer: str = ALICE) -> Response:
    lines = {"Tus-Resumable": "1.0.0"}
    return await server.request("HEAD", f"{API}/files/{file_id}", bearer=bearer, headers=lines)


async def upload(server: Server, data: bytes, bearer: str = ALICE, **about: str) -> str:
    """A whole file in one request; its id."""
    answer = await create(server, len(data), data=data, bearer=bearer, headers=None, **about)
    assert answer.status == 201, answer.json()
    return str(answer.json()["file_id"])


def state(answer: Response) -> tuple[int, Any]:
    """Status and offset of an answer."""
    return answer.status, answer.headers.get("upload-offset")
