"""The Autobahn test suite, against an echo server of Tornado's HTTP and ``wsserver.wire``.

Those about compression are 216 times 1000 messages, many of them large. One of each family is run
here, three with ``-m long``; ``AUTOBAHN_DEFLATE="12.* 13.*"`` runs all, in about seven minutes.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import tornado.web
from kosoku import FailureError, run_fuzzingclient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from wsserver.clock import Clock
from wsserver.wire.deflate import deflate
from wsserver.wire.frames import BINARY, RSV1, TEXT, build_frame
from wsserver.wire.handshake import (
    HandshakeError,
    accept_key,
    check_upgrade,
    negotiate,
    response_bytes,
)
from wsserver.wire.poller import Poller
from wsserver.wire.readiness import EpollReadiness, LoopReadiness
from wsserver.wire.sockets import take_socket
from wsserver.wire.transport import Owner, Transport

LIMIT = 16 * 1024 * 1024


class Echo(Owner):
    """Sends every message back, compressed if that was agreed on."""

    def on_text(self, transport: Transport, payload: bytes) -> None:
        self.echo(transport, payload, TEXT)

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        self.echo(transport, payload, BINARY)

    def echo(self, transport: Transport, payload: bytes, opcode: int) -> None:
        bits = transport.deflate_bits
        # Even if it does not make a text smaller: the driver reports plain texts as a failure.
        if bits:
            payload, opcode = deflate(payload, bits), opcode | RSV1
        transport.send(build_frame(payload, opcode))

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        pass


class EchoHandler(tornado.web.RequestHandler):
    """Grants the upgrade, and lets go of everything that belongs to HTTP."""

    def initialize(self, poller: Poller, compression: bool) -> None:
        self.poller = poller
        self.compression = compression

    def get(self) -> None:
        try:
            key = check_upgrade("GET", self.request.headers)
        except HandshakeError as error:
            raise tornado.web.HTTPError(error.status, error.reason) from error
        if key is None:
            raise tornado.web.HTTPError(426)
        agreement = None
        if self.compression:
            agreement = negotiate(self.request.headers.get("Sec-WebSocket-Extensions", ""))
        extra = [("Sec-WebSocket-Extensions", agreement.answer)] if agreement else []
        fd, first = take_socket(self.detach())
        self.poller.adopt(
            fd,
            Echo(),
            first=first,
            greeting=response_bytes(accept_key(key), extra=extra),
            deflate_bits=agreement.window_bits if agreement else 0,
        )


def serve(poller: Poller, compression: bool) -> tuple[HTTPServer, int]:
    options = {"poller": poller, "compression": compression}
    server = HTTPServer(tornado.web.Application([("/", EchoHandler, options)]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


# Speed (9.*) is for benchmarks; 12.* and 13.* are about compression, which is offered further down.
EXCLUDED = ["9.*", "12.*", "13.*"]

FAMILIES = [f"12.{n}" for n in range(1, 6)] + [f"13.{n}" for n in range(1, 8)]
CHOSEN = os.environ.get("AUTOBAHN_DEFLATE", "").split()
COMPRESSED = CHOSEN or [f"{family}.3" for family in FAMILIES]  # 256 bytes
COMPRESSED_TOO = [
    *(f"{family}.{size}" for family in FAMILIES for size in (1, 5)),  # 16, 4096 bytes
    *("12.1.11", "12.3.11", "13.5.11"),  # 8192 bytes in frames of 256
]


async def run(
    io_loop: IOLoop, readiness: type, *, compression: bool, **selected: list[str]
) -> list[Any]:
    """Run some cases; all of them must pass."""
    poller = Poller(
        io_loop,
        Clock(),
        max_message_bytes=LIMIT,
        queue_limit_bytes=2 * LIMIT,
        accept_binary=True,
        readiness=readiness,
    )
    server, port = serve(poller, compression)
    try:
        try:
            results = await run_fuzzingclient(f"ws://127.0.0.1:{port}/", concurrency=8, **selected)
        except FailureError as error:
            results = error.results
        failed = [
            f"{case.case_id} {case.behavior.value}/{case.behavior_close.value}: {case.result}"
            for case in results
            if not case.passed
        ]
        assert failed == []
        assert await poller.wait_closed(10)
    finally:
        server.stop()
        await server.close_all_connections()
        poller.close()
    return results


@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("readiness", [EpollReadiness, LoopReadiness])
@pytest.mark.gen_test
async def test_every_case_passes(io_loop: IOLoop, readiness: type, compression: bool) -> None:
    results = await run(io_loop, readiness, compression=compression, exclude_cases=EXCLUDED)
    assert len(results) > 200
    # The suite itself expects no particular outcome of these.
    not_ok = {case.case_id for case in results if case.behavior.value != "OK"}
    assert not_ok <= {"7.1.6", "7.13.1", "7.13.2"}


@pytest.mark.filterwarnings(
    # The suite leaves its files to the garbage collector.
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize(
    "cases",
    [COMPRESSED, pytest.param(COMPRESSED_TOO, marks=pytest.mark.long)],
    ids=["some", "more"],
)
@pytest.mark.gen_test(timeout=3600 if CHOSEN else 120)
async def test_every_case_about_compression_passes(io_loop: IOLoop, cases: list[str]) -> None:
    results = await run(io_loop, EpollReadiness, compression=True, cases=cases)
    assert {case.behavior.value for case in results} == {"OK"}
    assert {case.behavior_close.value for case in results} == {"OK"}
    assert len(results) >= len(cases)
