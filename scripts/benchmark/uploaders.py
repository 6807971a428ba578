"""A client that uploads files, one after the other: by tus, or to a peer as one request."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from scripts.benchmark.http_client import HttpClient
from scripts.benchmark.tokens import make_token

FILES_PATH, PEER_PATH = "/api/v1/websocket/files", "/upload"
_VERSION = {"Tus-Resumable": "1.0.0"}


async def upload(
    url: str, user_id: str | None, length: int, times: int, seconds: float
) -> dict[str, Any]:
    """Upload so many files, and further ones until the time is over; return how long they took.

    ``user_id`` None: to a peer. Files are deleted in between, which is not counted.
    """
    until = time.monotonic() + seconds
    took_s, count = 0.0, 0
    token = None if user_id is None else make_token(user_id)
    async with HttpClient(urlsplit(url).port or 0, token) as client:
        while count < times or time.monotonic() < until:
            began = time.monotonic()
            if user_id is None:
                await client.exchange("PUT", PEER_PATH, {}, length)
                took_s += time.monotonic() - began
            else:
                path = await _by_tus(client, length)
                took_s += time.monotonic() - began
                await client.exchange("DELETE", path, _VERSION)
            count += 1
    return {"bytes": count * length, "count": count, "seconds": took_s}


async def _by_tus(client: HttpClient, length: int) -> str:
    begun = await client.exchange("POST", FILES_PATH, {**_VERSION, "Upload-Length": str(length)})
    path = urlsplit(begun["location"]).path
    head = {**_VERSION, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    stored = await client.exchange("PATCH", path, head, length)
    if stored["upload-offset"] != str(length):
        raise RuntimeError(f"{stored['upload-offset']} bytes of {length} were stored")
    return path
