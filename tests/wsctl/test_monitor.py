"""The monitor: subscribing, answering pings, reconnecting, giving up."""

from __future__ import annotations

import contextlib
import json
import socket as sockets
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.support.fake_server import ADMIN, Run
from wsctl.config.target import Target
from wsctl.errors import BadUsage, Failed, NotPermitted, Unreachable
from wsctl.output.monitor_pushes import describe, name_of
from wsctl.websocket.monitor_feed import MonitorFeed

EVENT = {"type": "event", "timestamp": "2024-01-15T14:30:00Z", "event": {"name": "user_connected"}}


def greet(socket: ServerConnection) -> dict[str, Any]:
    """Take the subscription and confirm it."""
    command: dict[str, Any] = json.loads(socket.recv())
    socket.send(json.dumps({"type": "connection_established", "connection_id": "conn_1"}))
    socket.send(json.dumps({"type": "result", "ref": command["ref"], "result": {}}))
    return command


def refuse(code: int, reason: str = "because") -> Callable[[ServerConnection], None]:
    return lambda socket: socket.close(code, reason)


def feed_of(url: str, **kwargs: Any) -> tuple[MonitorFeed, list[str], list[float]]:
    said: list[str] = []
    waits: list[float] = []
    options = {"events": ["*"], "interval_s": None, "tick_s": 5.0, **kwargs}
    feed = MonitorFeed(Target(url, ADMIN), say=said.append, wait=waits.append, **options)
    return feed, said, waits


def test_it_subscribes_answers_pings_and_yields_pushes(monitor_server: Callable[..., str]) -> None:
    seen: dict[str, Any] = {}

    def script(socket: ServerConnection) -> None:
        request = socket.request
        assert request is not None
        seen["token"] = request.headers["Authorization"]
        seen["path"] = request.path
        seen["subprotocol"] = socket.subprotocol
        seen["command"] = greet(socket)
        socket.send(json.dumps({"type": "ping", "id": "p1"}))
        seen["pong"] = json.loads(socket.recv())
        socket.send(json.dumps(EVENT))
        socket.recv()

    feed, said, _ = feed_of(monitor_server(script), events=["user_*"], interval_s=2.5)
    pushes = feed.pushes()
    assert next(pushes) == EVENT
    pushes.close()  # type: ignore[attr-defined]
    assert seen == {
        "token": f"Bearer {ADMIN}",
        "path": "/ws/admin/monitor",
        "subprotocol": "wsserver.v1",
        "command": {
            "type": "subscribe",
            "ref": 1,
            "args": {"events": ["user_*"], "interval_s": 2.5},
        },
        "pong": {"type": "pong", "id": "p1"},
    }
    assert said[0].startswith("watching http://127.0.0.1:")


def test_it_comes_back_when_the_server_asked_for_it(monitor_server: Callable[..., str]) -> None:
    def draining(socket: ServerConnection) -> None:
        greet(socket)
        socket.send(json.dumps({"type": "server_draining", "reconnect_after_ms": 1234}))
        socket.close(1012, "restart")

    def back(socket: ServerConnection) -> None:
        greet(socket)
        socket.send(json.dumps(EVENT))
        socket.recv()

    feed, said, waits = feed_of(monitor_server(draining, refuse(4001), back))
    pushes = feed.pushes()
    types = [push and push["type"] for push in (next(pushes) for _ in range(4))]
    pushes.close()  # type: ignore[attr-defined]
    assert types == ["server_draining", None, None, "event"]
    assert waits[0] == 1.234
    assert 0.25 <= waits[1] <= 2
    assert "closed with 1012: restart; next attempt in 1.2 s" in said[1]


@pytest.mark.parametrize(
    ("code", "failure"),
    [(4500, NotPermitted), (4503, NotPermitted), (4505, NotPermitted), (4502, Failed)],
)
def test_it_does_not_reconnect_with_that_option(
    monitor_server: Callable[..., str], code: int, failure: type[Failed]
) -> None:
    feed, _, waits = feed_of(monitor_server(refuse(code)))
    with pytest.raises(failure, match=f"{code}: because"):
        next(feed.pushes())
    assert waits == []


def test_a_refused_subscription_ends_it(monitor_server: Callable[..., str]) -> None:
    def script(socket: ServerConnection) -> None:
        ref = json.loads(socket.recv())["ref"]
        error = {"code": "bad_request", "message": "bad glob", "temporary": False}
        socket.send(json.dumps({"type": "error", "ref": ref, "error": error}))

    feed, _, _ = feed_of(monitor_server(script))
    with pytest.raises(Failed, match="bad glob"):
        next(feed.pushes())


def test_an_unreachable_server_at_the_start_is_an_error() -> None:
    feed, _, _ = feed_of("http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        next(feed.pushes())


def test_it_keeps_trying_while_the_server_is_away() -> None:
    def script(socket: ServerConnection) -> None:
        greet(socket)
        socket.send(json.dumps(EVENT))
        with contextlib.suppress(ConnectionClosed):
            socket.recv()

    server = serve(script, "127.0.0.1", 0, subprotocols=[Subprotocol("wsserver.v1")])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    feed, said, waits = feed_of(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
    pushes = feed.pushes()
    assert next(pushes) == EVENT
    server.shutdown()
    thread.join()
    assert [next(pushes) for _ in range(4)] == [None] * 4
    assert "closed with 1001" in said[1]
    assert all("Connection refused" in text for text in said[2:])
    assert 0.25 <= waits[0] <= 0.5
    assert 2 <= waits[3] <= 4


def test_silence_ticks(monitor_server: Callable[..., str]) -> None:
    released = threading.Event()

    def silent(socket: ServerConnection) -> None:
        greet(socket)
        released.wait(5)

    feed, _, _ = feed_of(monitor_server(silent), tick_s=0.01)
    pushes = feed.pushes()
    assert next(pushes) is None
    released.set()
    pushes.close()  # type: ignore[attr-defined]


def test_an_expiring_token_is_replaced_by_the_newer_one(
    monitor_server: Callable[..., str], home: Any
) -> None:
    file = home / "token"
    file.write_text("old")
    seen: list[Any] = []

    def script(socket: ServerConnection) -> None:
        greet(socket)
        file.write_text("new\n")
        socket.send(json.dumps({"type": "token_expiring", "expires_at": "2024-01-15T14:30:00Z"}))
        seen.append(json.loads(socket.recv()))
        socket.send(json.dumps(EVENT))
        socket.recv()

    feed = MonitorFeed(
        Target(monitor_server(script), token_file=file),
        events=["*"], interval_s=None, say=lambda _: None,
    )  # fmt: skip
    pushes = feed.pushes()
    assert next(pushes) == EVENT
    pushes.close()  # type: ignore[attr-defined]
    assert seen == [{"type": "refresh_token", "ref": 2, "token": "new"}]


def test_in_a_pipe_it_prints_ndjson(run: Run, monitor_server: Callable[..., str]) -> None:
    def script(socket: ServerConnection) -> None:
        greet(socket)
        socket.send(json.dumps(EVENT))
        socket.send(json.dumps({**EVENT, "event": {"name": "名"}}))
        socket.close(4502, "bye")

    result = run("--url", monitor_server(script), "--token", ADMIN, "monitor")
    assert [json.loads(line)["event"]["name"] for line in result.stdout.splitlines()] == [
        "user_connected", "名"
    ]  # fmt: skip
    assert (result.exit_code, "4502" in result.stderr) == (1, True)


def test_lines_for_people() -> None:
    push = EVENT | {"event": {"name": "user_connected", "user_id": "u1"}}
    assert (name_of(push), describe(push)) == (
        "user_connected",
        "user_connected           user_id=u1",
    )
    published = {"name": "message_published", "type": "price", "class": "live"}
    for target, shown in (({"type": "user", "id": "u1"}, "user:u1"), ({"type": "role"}, "role")):
        push = EVENT | {"event": {**published, "target": target}}
        assert describe(push).split() == [
            "message_published", "type=price", "class=live", f"target={shown}",
        ]  # fmt: skip
    stats = {"type": "stats_update", "stats": {"errors": 3, "node": "n"}}
    assert (name_of(stats), describe(stats).split()) == (
        "stats_update",
        ["stats_update", "errors=3"],
    )


def test_a_token_file_that_is_away_for_a_while_is_no_end(
    monitor_server: Callable[..., str], home: Any
) -> None:
    """As a development server's is while it restarts."""
    file = home / "token"
    file.write_text("of-the-first")

    def restarts(socket: ServerConnection) -> None:
        greet(socket)
        file.unlink()
        socket.close(1012, "restart")

    tokens: list[str] = []

    def back(socket: ServerConnection) -> None:
        assert socket.request is not None
        tokens.append(socket.request.headers["Authorization"])
        greet(socket)
        socket.send(json.dumps(EVENT))
        socket.recv()

    said: list[str] = []
    feed = MonitorFeed(
        Target(monitor_server(restarts, back), token_file=file),
        events=["*"], interval_s=None, say=said.append, tick_s=5.0, wait=lambda _: None,
    )  # fmt: skip
    pushes = feed.pushes()
    assert [next(pushes), next(pushes)] == [None, EVENT]
    assert feed.is_connected
    pushes.close()  # type: ignore[attr-defined]
    assert tokens == ["Bearer of-the-first"]
    assert "again; the events of" in said[-1]


def test_a_token_file_that_was_never_there_is_the_end(home: Any) -> None:
    feed = MonitorFeed(
        Target("http://127.0.0.1:9", token_file=home / "none"),
        events=["*"], interval_s=None, say=lambda _: None,
    )  # fmt: skip
    with pytest.raises(BadUsage, match="cannot read the token file"):
        next(feed.pushes())


def test_an_answer_that_is_not_http_is_explained() -> None:
    # It speaks first: how far the handshake has come by then is chance.
    for _ in range(10):
        _meet_something_else()


def _meet_something_else() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as other:

        def greet_as_ssh() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(65536)

        thread = threading.Thread(target=greet_as_ssh)
        thread.start()
        feed, _, _ = feed_of(f"http://127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(Unreachable, match="no HTTP answer"):
            next(feed.pushes())
        thread.join()
