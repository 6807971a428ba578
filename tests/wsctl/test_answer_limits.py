"""Answers without an end, in bytes or in time: refused with one line and the right exit code."""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from tests.support.fake_server import ADMIN, Asked, FakeServer, Run
from wsctl.cli import completion
from wsctl.config.target import Target
from wsctl.doctor.facts import Missing
from wsctl.doctor.http_probe import HttpProbe
from wsctl.errors import Failed, Unreachable
from wsctl.http import client
from wsctl.http.client import Client
from wsctl.http.connection import AnswerTooLarge, Connection
from wsctl.websocket import connection as websocket

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
Serve = Callable[[Iterator[bytes]], str]


def endless() -> Iterator[bytes]:
    """A body of blanks, in chunks of 64 KiB."""
    yield CHUNKED
    yield from itertools.repeat(b"10000\r\n" + b" " * 65536 + b"\r\n")


def announced() -> Iterator[bytes]:
    """A length beyond every limit."""
    yield HEAD + b"Content-Length: 99999999999999\r\n\r\n"


def until_closed() -> Iterator[bytes]:
    """A body without a length."""
    yield HEAD + b"\r\n"
    yield from itertools.repeat(b" " * 65536)


def trickling(head: bytes, part: bytes) -> Iterator[bytes]:
    """A byte now and then, each in time."""
    yield head
    while True:
        time.sleep(0.01)  # the server's pace
        yield part


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that answers every request with these bytes until the client hangs up."""
    with contextlib.ExitStack() as stack:

        def start(parts: Iterator[bytes]) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        with connection, contextlib.suppress(OSError):
                            connection.recv(65536)
                            for part in parts:
                                connection.sendall(part)

            thread = threading.Thread(target=answer)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)  # before the thread is joined
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start


def target(url: str) -> Target:
    return Target(url, given_token=ADMIN)


@pytest.mark.parametrize("body", [endless, announced, until_closed])
def test_an_answer_of_any_length_is_refused_by_bytes(
    serve: Serve, body: Callable[[], Iterator[bytes]]
) -> None:
    with pytest.raises(Failed, match="the answer has more than 256 KiB") as raised:
        Client(target(serve(body())), limit_bytes=262_144).get("/stats", patience_s=20)
    assert (raised.value.exit_code, "\n" in raised.value.message) == (1, False)


def test_one_of_a_command_is_a_line_and_a_1_and_keeps_memory_small(
    run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1 << 20)
    url = serve(endless())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = run("health", "--url", url)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    said = f"wsctl: {url}: the answer has more than 1 MiB: is it a wsserver?\n"
    assert (result.exit_code, result.stderr) == (1, said)
    assert grown_kb < 50_000


@pytest.mark.parametrize("rows", [[{"connection_id": "c"}], []], ids=["rows", "nothing"])
def test_pages_without_an_end_are_refused(
    run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch, rows: list[object]
) -> None:
    monkeypatch.setattr(client, "MAX_ROWS", 3)
    cursors = map(str, itertools.count())
    usual = server.answer

    def answer(asked: Asked) -> tuple[int, object]:
        if asked.path.endswith("/connections"):
            return 200, {"connections": rows, "next_cursor": next(cursors)}
        return usual(asked)

    monkeypatch.setattr(server, "answer", answer)
    result = run("connections", "--url", server.url, "--token", ADMIN)
    said = "wsctl: the server's list of connections has more than 3 rows\n"
    assert (result.exit_code, result.stderr) == (1, said)


def test_what_was_to_change_something_may_have_been_done(serve: Serve) -> None:
    with pytest.raises(Failed, match="may have been carried out"):
        Client(target(serve(endless())), limit_bytes=1000).post("/broadcast", {}, patience_s=20)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 O", b"K"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD + b"X: ", b"x"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (HEAD + b"\r\n", b" "),
    ],
    ids=["status", "continue", "header", "length", "chunks", "trailers", "until closed"],
)
def test_bytes_that_trickle_end_at_the_deadline(serve: Serve, head: bytes, part: bytes) -> None:
    with pytest.raises(Unreachable, match="its answer was not complete in time") as raised:
        Client(target(serve(trickling(head, part)))).get("/stats", patience_s=0.3)
    assert raised.value.exit_code == 3


def test_a_silent_server_is_distinguished_from_a_slow_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Unreachable, match="no answer in time"):
            Client(target(url)).get("/stats", patience_s=0.1)


def test_a_body_that_ends_early_is_no_answer(serve: Serve) -> None:
    parts = iter([HEAD + b"Content-Length: 5\r\n\r\n", b"{}"])
    with pytest.raises(Unreachable, match="IncompleteRead"):
        Client(target(serve(parts))).get("/stats", patience_s=20)


def test_an_answer_at_the_limit_is_taken_and_the_connection_used_again(
    server: FakeServer,
) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as sock:
        connection = Connection(sock, host, int(port), is_tls=False)

        def health(limit_bytes: int) -> bytes:
            return connection.exchange(
                "GET",
                f"{client.API}/health",
                body=None,
                headers={},
                deadline_at=time.monotonic() + 20,
                limit_bytes=limit_bytes,
            )[1]

        content = health(1000)
        assert health(len(content)) == content
        with pytest.raises(AnswerTooLarge):
            health(len(content) - 1)
        connection.close()


def test_the_doctor_refuses_them_too(serve: Serve) -> None:
    slow = HttpProbe(serve(trickling(CHUNKED, b"1\r\n \r\n")), 0.2).ask("GET", "/health")
    assert slow == Missing("its answer was not complete in time")
    large = HttpProbe(serve(endless()), 20).ask("GET", "/health")
    assert large == Missing("the answer has more than 4 MiB")


def test_the_tab_key_has_a_smaller_limit_and_its_own_deadline(serve: Serve) -> None:
    import click

    from wsctl.cli.root import wsctl

    for parts in (endless(), trickling(CHUNKED, b"1\r\n \r\n")):
        ctx = wsctl.make_context("wsctl", ["--url", serve(parts), "--token", ADMIN, "online"])
        server = completion.Server(ctx)
        with pytest.raises((Failed, AnswerTooLarge)):
            server.get("/online-users")
        assert completion.users(ctx, click.Option(["--user"]), "") == []


@pytest.mark.parametrize("format_", ["table", "json"])
def test_a_message_without_an_end_ends_the_monitor(
    run: Run,
    monitor_server: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
) -> None:
    monkeypatch.setattr("wsctl.websocket.connection.LARGEST_MESSAGE_BYTES", 1000)

    def script(connection: ServerConnection) -> None:
        connection.recv()
        connection.send("x" * 2000)
        with contextlib.suppress(ConnectionClosed):
            connection.recv()

    result = run("monitor", "-o", format_, "--url", monitor_server(script), "--token", ADMIN)
    assert result.exit_code == 1
    assert f"{websocket.TOO_LARGE}: is it a wsserver?" in result.stderr
