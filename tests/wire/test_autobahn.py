"""The Autobahn cases, against an echo server: Tornado's HTTP, our handshake, our frames."""

from __future__ import annotations

import pytest
import tornado.web
from kosoku import FailureError, run_fuzzingclient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets

from wsserver.clock import Clock
from wsserver.wire.frames import BINARY, build_frame
from wsserver.wire.handshake import HandshakeError, accept_key, check_upgrade, response_bytes
from wsserver.wire.poller import Poller
from wsserver.wire.readiness import EpollReadiness, LoopReadiness
from wsserver.wire.takeover import take_socket
from wsserver.wire.transport import Owner, Transport

LIMIT = 16 * 1024 * 1024


class Echo(Owner):
    """Sends every message back."""

    def on_text(self, transport: Transport, payload: bytes) -> None:
        transport.send(build_frame(payload))

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        transport.send(build_frame(payload, BINARY))

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        pass


class EchoHandler(tornado.web.RequestHandler):
    """Grants the upgrade, and lets go of everything that belongs to HTTP."""

    def initialize(self, poller: Poller) -> None:
        self.poller = poller

    def get(self) -> None:
        try:
            key = check_upgrade("GET", self.request.headers)
        except HandshakeError as error:
            raise tornado.web.HTTPError(error.status, error.reason) from error
        if key is None:
            raise tornado.web.HTTPError(426)
        fd, first = take_socket(self.detach())
        self.poller.adopt(fd, Echo(), first=first, greeting=response_bytes(accept_key(key)))


def serve(poller: Poller) -> tuple[HTTPServer, int]:
    server = HTTPServer(tornado.web.Application([("/", EchoHandler, {"poller": poller})]))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


# Speed (9.*) is for benchmarks; 12.* and 13.* are about compression, which is not offered.
EXCLUDED = ["9.*", "12.*", "13.*"]


@pytest.mark.parametrize("readiness", [EpollReadiness, LoopReadiness])
@pytest.mark.gen_test(timeout=60)
async def test_every_case_passes(io_loop: IOLoop, readiness: type) -> None:
    poller = Poller(
        io_loop,
        Clock(),
        max_message_bytes=LIMIT,
        queue_limit_bytes=2 * LIMIT,
        accept_binary=True,
        readiness=readiness,
    )
    server, port = serve(poller)
    try:
        try:
            results = await run_fuzzingclient(
                f"ws://127.0.0.1:{port}/", exclude_cases=EXCLUDED, concurrency=8
            )
        except FailureError as error:
            results = error.results
        failed = [
            f"{case.case_id} {case.behavior.value}/{case.behavior_close.value}: {case.expectation}"
            for case in results
            if not case.passed
        ]
        assert failed == []
        assert len(results) > 200
        # The suite itself expects no particular outcome of these.
        not_ok = {case.case_id for case in results if case.behavior.value != "OK"}
        assert not_ok <= {"7.1.6", "7.13.1", "7.13.2"}
        assert await poller.wait_closed(10)
    finally:
        server.stop()
        await server.close_all_connections()
        poller.close()
