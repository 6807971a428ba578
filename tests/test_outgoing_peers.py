"""Outgoing HTTP requests to peers whose answers are invalid, too large or endless."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from wsserver.addresses.reach import Reach
from wsserver.http_client import HEAD_LIMIT_BYTES, HttpClient, fetch_document
from wsserver.notifications.http import HttpRequest, NoAnswer

LOOPBACK = Reach(loopback=True)
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def peer(*parts: bytes, is_endless: bool = False) -> AsyncIterator[str]:
    """A server that says exactly this to each request, then closes, or says the last part again
    and again.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
            while is_endless:
                writer.write(parts[-1])
                await writer.drain()
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def reason(url: str) -> str:
    """Why there was no answer."""
    with pytest.raises(NoAnswer) as caught:
        await HttpClient(LOOPBACK, timeout_s=20)(HttpRequest("POST", url, {}, b"{}"))
    await asyncio.sleep(0)  # what was started by the failure may log now
    return str(caught.value)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged at the level of warnings and above."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.exc_info for record in records if record.exc_info is not None] == []
    return [record.getMessage() for record in records]


@pytest.mark.gen_test
@pytest.mark.parametrize("parts", [(OK, b"X-A: " + b"y" * 60_000 + b"\r\n"), (b"H" * 10_000,)])
async def test_a_head_without_end_is_one_line_about_the_peer(
    parts: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with peer(*parts, is_endless=True) as url:
        shown = await reason(f"{url}secret?token=secret")
    assert shown == f"the head of the answer is larger than {HEAD_LIMIT_BYTES} bytes"
    host = url.removeprefix("http://").rstrip("/")
    assert warnings(caplog) == [f"answer not usable host={host} error={shown}"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon in it\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n continued: by nothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: \x00\x01\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: \xff\xfe\r\nno colon\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"",
    ],
)
async def test_what_is_no_answer(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with peer(said) as url:
        shown = await reason(url)
    assert shown in (
        "the answer is not HTTP",
        "the connection was closed without an answer",
    )
    assert len(warnings(caplog)) == (shown == "the answer is not HTTP")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: -5\r\n\r\nhello",
        b"Content-Length: abc\r\n\r\nhello",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"Content-Length: 99999999999999999999999\r\n\r\nhello",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello",
        b"Transfer-Encoding: gzip\r\n\r\nhello",
        b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        b"Content-Length: 50\r\n\r\ncut off",
    ],
)
async def test_an_answer_counts_whatever_its_body_does(
    rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer(OK + rest) as url:
        answer = await HttpClient(LOOPBACK)(HttpRequest("POST", url, {}, b"{}"))
    assert answer.status == 200
    await asyncio.sleep(0)
    assert warnings(caplog) == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "head",
    [
        b"\r\n",
        b"Content-Length: 10000000000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_of_an_endless_body_the_beginning_is_kept(head: bytes) -> None:
    part = b"x" * 4096
    if b"chunked" in head:
        part = b"1000\r\n" + part + b"\r\n"
    async with peer(OK + head, part, is_endless=True) as url:
        answer = await HttpClient(LOOPBACK)(HttpRequest("GET", url, {}))
    assert answer.body == b"x" * 2048


@pytest.mark.gen_test
async def test_a_compressed_answer_is_not_blown_up() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with peer(OK + head + bomb) as url:
        client = HttpClient(LOOPBACK, kept_bytes=1_000_000)
        answer = await client(HttpRequest("GET", url, {}))
    assert answer.body == bomb


@pytest.mark.gen_test
async def test_answers_of_the_wrong_kind_are_interim_ones() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with peer(early + OK + b"Content-Length: 2\r\n\r\nhi") as url:
        answer = await HttpClient(LOOPBACK)(HttpRequest("GET", url, {}))
    assert answer.status == 200


@pytest.mark.gen_test
async def test_keys_are_fetched_within_limits() -> None:
    body = b'{"keys":[]}' + b" " * 1_048_565
    head = OK + b"Content-Length: %d\r\n\r\n"
    async with peer(head % len(body) + body) as url:
        assert await fetch_document(url) == body
    async with peer(head % (len(body) + 1) + body + b" ") as url:
        with pytest.raises(ValueError, match="larger than 1048576 bytes"):
            await fetch_document(url)
    async with peer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        with pytest.raises(ValueError, match="status 404"):
            await fetch_document(url)
    async with peer(OK, b"X-A: " + b"y" * 60_000 + b"\r\n", is_endless=True) as url:
        with pytest.raises(NoAnswer):
            await fetch_document(url)
