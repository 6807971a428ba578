"""``/users/{id}/data``: bodies that are made while they are sent, as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.web_server import API, Server, token
from wsserver.errors import StorageUnavailable
from wsserver.web.api import handlers

PATH = f"{API}/users/u1/data"


def lines_of(*chunks: bytes | Exception) -> Any:
    """An export with these chunks."""

    async def made() -> AsyncIterator[bytes]:
        for chunk in chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def export(*_: object) -> AsyncIterator[bytes]:
        return made()

    return export


@pytest.mark.gen_test
async def test_a_body_is_sent_in_chunks(server: Server) -> None:
    for user_id in ("u1", "u|2+x"):
        quoted = user_id.replace("|", "%7C").replace("+", "%2B")
        path = f"{API}/users/{quoted}/contacts"
        await server.request("PUT", path, bearer=token(), email="a@b.example")
        answer = await server.request("GET", f"{API}/users/{quoted}/data", bearer=token())
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert "content-length" not in answer.headers
        (line,) = [json.loads(line) for line in answer.body.splitlines()]
        assert (line["table"], line["row"]["contact"]["user_id"]) == ("contacts", user_id)
    empty = await server.request("GET", f"{API}/users/nobody/data", bearer=token())
    assert (empty.status, empty.body) == (200, b"")


@pytest.mark.gen_test
async def test_head_has_no_body(server: Server) -> None:
    answer = await server.request("HEAD", PATH, bearer=token())
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")


@pytest.mark.gen_test
async def test_a_failure_before_the_first_chunk_is_a_problem(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = lines_of(StorageUnavailable("gone"))
    monkeypatch.setattr(server.context.user_records, "export", broken)
    answer = await server.request("GET", PATH, bearer=token())
    assert (answer.status, answer.json()["code"]) == (503, "storage_unavailable")


@pytest.mark.gen_test
async def test_a_failure_later_cuts_the_body(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = lines_of(b"one\n", StorageUnavailable("gone"))
    monkeypatch.setattr(server.context.user_records, "export", broken)
    with pytest.raises(asyncio.IncompleteReadError):
        await server.request("GET", PATH, bearer=token())
    caplog.handler.flush()
    failures = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert [record.getMessage().split()[:2] for record in failures] == [["request", "failed"]]


@pytest.mark.gen_test
async def test_a_client_that_does_not_read_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "patience_s", lambda size: 0.05)
    ended = asyncio.Event()

    async def made() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000_000
        finally:
            ended.set()

    async def export(*_: object) -> AsyncIterator[bytes]:
        return made()

    monkeypatch.setattr(server.context.user_records, "export", export)
    _, writer = await server.open()
    head = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n\r\n"
    writer.write(head.encode())
    await ended.wait()
    assert await server.context.traffic.wait_idle(5)
    writer.close()


@pytest.mark.gen_test
async def test_a_client_that_goes_away_ends_the_export(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def made() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
                begun.set()
        finally:
            ended.set()

    async def export(*_: object) -> AsyncIterator[bytes]:
        return made()

    monkeypatch.setattr(server.context.user_records, "export", export)
    _, writer = await server.open()
    head = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token()}\r\n\r\n"
    writer.write(head.encode())
    await begun.wait()
    writer.transport.abort()
    await ended.wait()
    assert await server.context.traffic.wait_idle(5)
