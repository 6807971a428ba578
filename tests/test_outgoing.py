"""Outgoing HTTP requests: no redirects, no forbidden addresses, nothing left open."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.http_provider import HttpProvider
from tests.support.mail_sink import SilentServer
from tests.support.waiting import PATIENCE_S
from wsserver.addresses.reach import Reach
from wsserver.errors import UrlForbidden
from wsserver.http_client import HttpClient, fetch_document
from wsserver.notifications.http import HttpRequest, NoAnswer

LOOPBACK = Reach(loopback=True)
PUBLIC = Reach()


@pytest.mark.gen_test
async def test_a_request_and_its_answer(provider: HttpProvider) -> None:
    provider.answer_with(418, b"x" * 5000, Retry_After="7")
    answer = await HttpClient(LOOPBACK)(
        HttpRequest("POST", provider.url("/a?b=%20c"), {"X-Y": "z"}, "内容".encode())
    )
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (418, b"x" * 2048, "7")
    (asked,) = provider.requests
    assert (asked.method, asked.path, asked.body.decode()) == ("POST", "/a?b=%20c", "内容")
    assert asked.headers["X-Y"] == "z"
    assert asked.headers["Host"] == f"127.0.0.1:{provider.port}"
    assert asked.headers["User-Agent"].startswith("wsserver/")


@pytest.mark.gen_test
async def test_redirects_are_not_followed(provider: HttpProvider) -> None:
    provider.answer_with(302, Location=provider.url("/secret"))
    answer = await HttpClient(LOOPBACK)(HttpRequest("GET", provider.url(), {}))
    assert answer.status == 302
    assert len(provider.requests) == 1


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_connection_is_made_to_a_forbidden_address(
    provider: HttpProvider, host: str, scheme: str
) -> None:
    with pytest.raises(UrlForbidden):
        await HttpClient(PUBLIC)(HttpRequest("POST", f"{scheme}://{host}:{provider.port}/", {}))
    assert provider.requests == []


@pytest.mark.gen_test
async def test_a_name_that_leads_to_this_machine(
    provider: HttpProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker chooses the answer of the DNS."""
    asked_for: list[str] = []

    def answer(host: str, port: int, *args: object, **options: object) -> list[object]:
        asked_for.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    request = HttpRequest("POST", f"https://rebind.example:{provider.port}/", {})
    with pytest.raises(UrlForbidden, match="not public"):
        await HttpClient(PUBLIC)(request)
    assert asked_for == ["rebind.example"]
    answer_ = await HttpClient(LOOPBACK)(
        HttpRequest("POST", f"http://rebind.example:{provider.port}/", {})
    )
    assert answer_.status == 200
    assert asked_for == ["rebind.example", "rebind.example"]
    assert provider.requests[0].headers["Host"] == f"rebind.example:{provider.port}"


@pytest.mark.gen_test
async def test_certificates_are_checked_by_name(
    provider: HttpProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    await provider.stop()
    provider.start(authority.server(["localhost", "127.0.0.1"]))
    url = f"https://localhost:{provider.port}/"
    client = HttpClient(LOOPBACK, tls=authority.client)
    assert (await client(HttpRequest("GET", url, {}))).status == 200
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        await HttpClient(LOOPBACK)(HttpRequest("GET", url, {}))
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more)
    )
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        await client(HttpRequest("GET", f"https://other.example:{provider.port}/", {}))


@pytest.mark.gen_test
async def test_no_answer(provider: HttpProvider) -> None:
    await provider.stop()
    with pytest.raises(NoAnswer, match="refused"):
        await HttpClient(None)(HttpRequest("GET", provider.url(), {}))
    provider.start()
    provider.hang()
    with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s"):
        await HttpClient(None, timeout_s=0.1)(HttpRequest("GET", provider.url(), {}))
    await provider.left.wait()


@pytest.mark.gen_test
async def test_no_name() -> None:
    with pytest.raises(NoAnswer):
        await HttpClient(None)(HttpRequest("GET", "http://nowhere.invalid/", {}))


@pytest.mark.gen_test
async def test_what_is_no_http() -> None:
    server = SilentServer(b"220 mail.test\r\n" * 10)
    await server.start()
    request = HttpRequest("GET", f"http://127.0.0.1:{server.port}/", {})
    with pytest.raises(NoAnswer):
        await HttpClient(None, timeout_s=1)(request)
    await server.left.wait()
    await server.stop()


HEAD = b"HTTP/1.1 202 Accepted\r\nRetry-After: 7\r\n"


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        pytest.param(HEAD + b"Content-Length: 3000000000\r\n\r\n" + b"x" * 9999, 2048, id="huge"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n", 2, id="unfinished"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 0, id="no chunk"),
        pytest.param(HEAD + b"Content-Length: no\r\n\r\n", 0, id="no length"),
        pytest.param(HEAD + b"\r\n" + b"x" * (2 << 20), 2048, id="endless"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\nx",
            1,
            id="hints before it",
        ),
    ],
)
async def test_an_answer_counts_once_its_head_is_there(said: bytes, kept: int) -> None:
    """Taken for none, it would make the other side do twice what it did."""
    server = SilentServer(said)
    await server.start()
    request = HttpRequest("POST", f"http://127.0.0.1:{server.port}/", {}, b"")
    answer = await HttpClient(None, timeout_s=0.5)(request)
    await server.left.wait()
    await server.stop()
    assert (answer.status, answer.headers["retry-after"]) == (202, "7")
    assert answer.body == b"x" * kept


@pytest.mark.gen_test
async def test_a_cancellation_leaves_no_connection(
    provider: HttpProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.hang()
    sending = asyncio.ensure_future(HttpClient(None)(HttpRequest("GET", provider.url(), {})))
    await provider.arrived.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await provider.left.wait()
    await asyncio.sleep(0)
    assert not caplog.records


@pytest.mark.gen_test
async def test_a_document_that_does_not_come_is_given_up_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has closed
        closed.set()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with caplog.at_level(logging.INFO), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await fetch_document(f"http://127.0.0.1:{port}/")
    await asyncio.wait_for(closed.wait(), PATIENCE_S)
    server.close()
    gc.collect()
    await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.gen_test
async def test_a_document_s_bytes_and_refusals(provider: HttpProvider) -> None:
    provider.answer_with(200, b'{"keys": []}')
    assert await fetch_document(provider.url("/keys")) == b'{"keys": []}'
    provider.answer_with(302, Location=provider.url("/other"))
    with pytest.raises(ValueError, match="status 302"):
        await fetch_document(provider.url("/keys"))
