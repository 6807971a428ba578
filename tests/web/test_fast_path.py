"""The fast path answers common requests as Tornado does, and leaves all others to it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from tests.support.http_response import Response
from tests.support.waiting import PATIENCE_S, until
from tests.support.web_server import API, Server, always, read_response, token
from wsserver.clock import Clock
from wsserver.web.api.handlers import ApiHandler
from wsserver.web.api.pipeline import Exchange
from wsserver.web.http.replies import Reply
from wsserver.web.server.fast_path import BODY_LIMIT_BYTES, Client, FastPath
from wsserver.wire.readiness import EpollReadiness

NEWS = b'{"type":"news","data":{"id":1}}'


@pytest.fixture
def by_tornado(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests to endpoints that the full HTTP server has seen."""
    seen: list[str] = []
    check = ApiHandler.check

    async def watched(self: ApiHandler) -> None:
        seen.append(f"{self.request.method} {self.request.path}")
        await check(self)

    monkeypatch.setattr(ApiHandler, "check", watched)
    return seen


def request(
    method: str, path: str, body: bytes | None = None, bearer: str | None = None, **extra: str
) -> bytes:
    """A request as programs send it; the connection stays open."""
    lines = [f"{method} {API}{path} HTTP/1.1", "Host: 127.0.0.1"]
    lines.append(f"Authorization: Bearer {token() if bearer is None else bearer}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in extra.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def kept(server: Server) -> list[Client]:
    return list(server.listener._fast_path._clients.values())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/stats", None, 200),
        ("GET", "/connections?limit=5", None, 200),
        ("GET", "/connections?limit=x", None, 400),
        ("GET", "/connections/nobody", None, 404),
        ("GET", "/users/u1/connections", None, 200),
        ("GET", "/users/a;b/connections", None, 400),
        ("GET", "/health", None, 200),
        ("POST", "/broadcast", NEWS, 200),
        ("POST", "/broadcast", b"{", 400),
        ("POST", "/broadcast", b"", 400),
        ("POST", "/broadcast", None, 400),
        ("POST", "/broadcast", b'{"type":"Bad"}', 422),
        ("POST", "/users/u1/messages", NEWS, 200),
        ("POST", "/tickets", b"", 200),
        ("PUT", "/sessions/s1/members", b'{"user_ids":["u1"]}', 200),
        ("DELETE", "/connections/nobody", None, 404),
    ],
)
@pytest.mark.gen_test
async def test_the_fast_path_and_tornado_answer_alike(
    server: Server, by_tornado: list[str], method: str, path: str, body: bytes | None, status: int
) -> None:
    plain = await server.raw(request(method, path, body))
    assert by_tornado == []
    # A page of our own says where it is from; that alone makes no difference to the answer.
    other = await server.raw(request(method, path, body, Origin="http://127.0.0.1"))
    assert len(by_tornado) == 1
    for name in ("access-control-allow-origin", "access-control-expose-headers"):
        assert other.headers.pop(name)
    assert plain.status == other.status == status
    own = {"x-request-id", "date", "content-length"}
    assert {*plain.headers} == {*other.headers}
    for name in {*plain.headers} - own:
        assert plain.headers[name] == other.headers[name], name
    if status != 200:
        assert plain.code == other.code


@pytest.mark.parametrize("bearer", ["", "nonsense", token("u1", "user"), token(exp=1)])
@pytest.mark.gen_test
async def test_the_fast_path_and_tornado_refuse_alike(
    server: Server, by_tornado: list[str], bearer: str
) -> None:
    plain = await server.raw(request("POST", "/broadcast", NEWS, bearer))
    other = await server.raw(request("POST", "/broadcast", NEWS, bearer, X="1", Upgrade="h2c"))
    assert (plain.status, plain.code) == (other.status, other.code)
    assert plain.headers.get("www-authenticate") == other.headers.get("www-authenticate")
    assert by_tornado == [f"POST {API}/broadcast"]
    denied = (await server.get("/audit?action=broadcast")).json()["entries"]
    assert len(denied) == (2 if plain.status == 403 else 0)


@pytest.mark.parametrize(
    "raw",
    [
        request("HEAD", "/stats"),
        request("OPTIONS", "/stats"),
        request("PATCH", "/stats"),
        request("GET", "/stats", Origin="http://127.0.0.1"),
        request("GET", "/stats", Connection="keep-alive, close"),
        request("GET", "/users/%75/connections"),
        request("GET", "/stats", X_Long="x" * 8192),
        request("GET", "/stats").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request("GET", "/stats").replace(b"127.0.0.1", b"evil.example"),
        request("POST", "/broadcast", NEWS, Content_Length=str(len(NEWS))),
        request("POST", "/broadcast", NEWS.ljust(BODY_LIMIT_BYTES + 1)),
        request("POST", "/broadcast", Transfer_Encoding="chunked", Content_Type="application/json")
        + b"1f\r\n" + NEWS + b"\r\n0\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:40]),
)  # fmt: skip
@pytest.mark.gen_test
async def test_uncommon_requests_are_left_to_tornado(
    server: Server, by_tornado: list[str], raw: bytes
) -> None:
    answer = await server.raw(raw, raw.partition(b" ")[0].decode())
    assert answer.status in (200, 204, 403, 405)
    assert len(by_tornado) == (answer.status != 403)


@pytest.mark.gen_test
async def test_a_kept_connection_is_handed_to_tornado_by_an_uncommon_request(
    server: Server, by_tornado: list[str]
) -> None:
    reader, writer = await server.open()
    for _ in range(3):
        writer.write(request("POST", "/broadcast", NEWS))
        assert (await read_response(reader)).json()["matched"] == 0
    assert by_tornado == []
    writer.write(request("HEAD", "/stats"))
    assert (await read_response(reader, "HEAD")).status == 200
    writer.write(request("GET", "/stats"))
    assert (await read_response(reader)).status == 200
    assert len(by_tornado) == 2
    assert not kept(server)
    writer.close()


@pytest.mark.gen_test
async def test_pipelined_requests_are_answered_in_order(
    server: Server, by_tornado: list[str]
) -> None:
    reader, writer = await server.open()
    ids = [f"r{number}" for number in range(5)]
    sent = [request("POST", "/broadcast", NEWS, X_Request_ID=each) for each in ids[:4]]
    sent.append(request("OPTIONS", "/stats", X_Request_ID=ids[4]))
    writer.write(b"".join(sent))
    answers = [await read_response(reader) for _ in ids]
    assert [answer.headers["x-request-id"] for answer in answers] == ids
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 204]
    assert by_tornado == [f"OPTIONS {API}/stats"]
    writer.close()


async def in_pieces(server: Server, raw: bytes, *places: int) -> Response:
    """Send a request in pieces, each after the one before has been read."""
    reader, writer = await server.open()
    begin = 0
    for place in places:
        writer.write(raw[begin:place])
        begin = place
        async with asyncio.timeout(PATIENCE_S):
            while not any(len(each.received) == place for each in kept(server)):
                await asyncio.sleep(0)
    writer.write(raw[begin:])
    answer = await read_response(reader)
    writer.close()
    return answer


@pytest.mark.gen_test
async def test_a_body_may_come_late_and_in_pieces(server: Server, by_tornado: list[str]) -> None:
    raw = request("POST", "/broadcast", NEWS)
    head = len(raw) - len(NEWS)
    assert (await in_pieces(server, raw, head)).status == 200
    assert (await in_pieces(server, raw, head + 1, head + 2, head + 20)).status == 200
    refused = request("POST", "/broadcast", NEWS, bearer="nonsense")
    head = len(refused) - len(NEWS)
    assert (await in_pieces(server, refused, head)).code == "token_invalid"
    assert by_tornado == []


@pytest.mark.gen_test
async def test_a_connection_goes_on_after_a_late_body(server: Server) -> None:
    reader, writer = await server.open()
    for bearer, status in (("nonsense", 401), (token(), 200)):
        raw = request("POST", "/broadcast", NEWS, bearer)
        writer.write(raw[:-5])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(raw[-5:])
        assert (await read_response(reader)).status == status
    writer.close()


@pytest.mark.gen_test
async def test_a_client_that_disconnects_within_a_body_is_forgotten(server: Server) -> None:
    _, writer = await server.open()
    writer.write(request("POST", "/broadcast", NEWS)[:-1])
    await until(lambda: kept(server) and kept(server)[0].body)
    assert server.context.traffic.under_way == 1
    writer.close()
    assert await server.context.traffic.wait_idle(5)
    assert not kept(server)
    assert len(server.context.incoming) == 0


@pytest.mark.gen_test
async def test_a_body_that_cannot_be_waited_for_ends_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await server.open()
    async with asyncio.timeout(5):
        while not kept(server):
            await asyncio.sleep(0)

    def refused(self: EpollReadiness, fd: int, interest: int) -> None:
        raise OSError("no space left for watches")

    monkeypatch.setattr(EpollReadiness, "watch", refused)
    monkeypatch.setattr(EpollReadiness, "change", refused)
    client = kept(server)[0]
    client.interest = 0  # as if it had sent more before
    server.listener._fast_path._readiness.forget(client.fd)
    server.listener._fast_path._take(client, request("POST", "/broadcast", NEWS)[:-1])
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert await server.context.traffic.wait_idle(5)
    assert "connection not watched" in caplog.text
    assert "Traceback" not in caplog.text
    writer.close()


@pytest.mark.gen_test
async def test_a_stop_while_a_request_is_checked_is_no_internal_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checking, checked = asyncio.Event(), asyncio.Event()

    async def check(self: Exchange) -> None:
        checking.set()
        await checked.wait()

    monkeypatch.setattr(Exchange, "check", check)
    reader, writer = await server.open()
    writer.write(request("POST", "/broadcast", NEWS)[:-1])
    await asyncio.wait_for(checking.wait(), 5)
    await server.listener.stop(0)
    checked.set()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert await server.context.traffic.wait_idle(5)
    assert "Traceback" not in caplog.text
    writer.close()


@pytest.mark.gen_test
async def test_a_large_answer_is_sent_as_it_is_fetched(
    server: Server, by_tornado: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stats: dict[str, Any] = {"text": "x" * 20_000_000}
    monkeypatch.setattr(server.context.admin_queries, "stats", always(stats))
    reader, writer = await server.open()
    writer.write(request("GET", "/stats"))
    await until(lambda: kept(server) and kept(server)[0].unsent)
    assert server.context.traffic.under_way == 0
    assert len((await read_response(reader)).body) > 20_000_000
    stats.clear()
    writer.write(request("GET", "/stats"))
    assert (await read_response(reader)).json() == {}
    assert by_tornado == []
    writer.close()


@pytest.mark.gen_test
async def test_silent_clients_and_slow_readers_are_closed(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_server(keepalive_timeout_s=0.2)
    monkeypatch.setattr("wsserver.web.server.fast_path.patience_s", lambda size: 0.2)
    reader, writer = await server.open()
    writer.write(request("GET", "/health"))
    assert (await read_response(reader)).status == 200
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    monkeypatch.setattr(server.context.admin_queries, "stats", always("x" * 20_000_000))
    reader, writer = await server.open()
    writer.write(request("GET", "/stats"))
    async with asyncio.timeout(PATIENCE_S):
        while not kept(server):
            await asyncio.sleep(0)
        while kept(server):
            await asyncio.sleep(0.01)
    writer.close()


@pytest.mark.parametrize(
    ("beginning", "end", "counted"),
    [
        (b"", b"", (EpollReadiness, "forget")),
        (b"GET /ws/chat", b"", (FastPath, "_take")),
        (request("POST", "/broadcast", NEWS)[:-1], b"HTTP/1.1 408", (FastPath, "_finish")),
    ],
    ids=["nothing", "half a head", "half a body"],
)
@pytest.mark.gen_test
async def test_a_burst_of_clients_is_processed_in_several_turns(
    start_server: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    io_loop: IOLoop,
    beginning: bytes,
    end: bytes,
    counted: tuple[type, str],
) -> None:
    """Those who speak at once, and those whose time is over at once."""
    monkeypatch.setattr("wsserver.web.server.fast_path.CLIENTS_PER_TURN", 4)
    server = await start_server(handshake_timeout_s=0.5)
    turn, done = 0, Counter[int]()

    def tick() -> None:
        nonlocal turn
        turn += 1
        io_loop.add_callback(tick)

    owner, name = counted
    method = getattr(owner, name)

    def counting(self: Any, *args: Any) -> Any:
        done[turn] += 1
        return method(self, *args)

    came_at = server.context.clock.monotonic()
    with monkeypatch.context() as together:
        together.setattr(Clock, "monotonic", lambda clock: came_at)
        clients = [await server.open() for _ in range(10)]
        while len(kept(server)) < 10:
            await asyncio.sleep(0)
    monkeypatch.setattr(owner, name, counting)
    tick()
    for _, writer in clients:
        writer.write(beginning)
    for reader, writer in clients:
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert answer[:12] == end
        writer.close()
    assert max(done.values()) == 4


@pytest.mark.gen_test
async def test_stopping_closes_idle_clients_and_answers_requests(server: Server) -> None:
    socket = await server.connect("u1")
    idle_reader, idle = await server.open()
    idle.write(request("GET", "/health"))
    assert (await read_response(idle_reader)).status == 200
    busy_reader, busy = await server.open()
    busy.write(request("POST", "/ping/u1", json.dumps({"timeout_s": 20}).encode()))
    ping = await socket.push("ping")
    stopping = asyncio.ensure_future(server.listener.stop(5.0))
    assert await asyncio.wait_for(idle_reader.read(), PATIENCE_S) == b""
    socket.send(type="pong", id=ping["id"])
    answer = await read_response(busy_reader)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await asyncio.wait_for(busy_reader.read(), PATIENCE_S) == b""
    await stopping
    idle.close()
    busy.close()


@pytest.mark.gen_test
async def test_a_client_that_disconnects_before_its_response_is_not_watched(server: Server) -> None:
    socket = await server.connect("u1")
    _, writer = await server.open()
    writer.write(request("POST", "/ping/u1", json.dumps({"timeout_s": 20}).encode()))
    ping = await socket.push("ping")
    writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while kept(server)[0].interest:  # it is looked at no more
            await asyncio.sleep(0)
    socket.send(type="pong", id=ping["id"])
    assert await server.context.traffic.wait_idle(5)
    await until(lambda: not kept(server))


@pytest.mark.gen_test
async def test_an_answer_that_cannot_be_sent_ends_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    split = Reply(b"{}", headers={"X-Note": "a\r\nSet-Cookie: b"})
    monkeypatch.setattr(server.context.admin_queries, "stats", always(split))
    reader, writer = await server.open()
    writer.write(request("GET", "/stats"))
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    assert await server.context.traffic.wait_idle(5)
    assert "line break in header" in caplog.text
    writer.close()


@pytest.mark.gen_test
async def test_an_upgrade_on_a_kept_connection_keeps_every_byte(server: Server) -> None:
    """The frames behind it may have been read with it."""
    reader, writer = await server.open()
    writer.write(request("POST", "/broadcast", NEWS))
    assert (await read_response(reader)).status == 200
    ping = b'{"type":"ping","ref":7}'
    frame = bytes((0x81, 0x80 | len(ping), 0, 0, 0, 0)) + ping
    head = (
        "GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {token('u1', 'user')}\r\n\r\n"
    )
    writer.write(head.encode() + frame)
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    assert b'"pong"' in await asyncio.wait_for(reader.readuntil(b'"ref":7'), PATIENCE_S)
    writer.close()
