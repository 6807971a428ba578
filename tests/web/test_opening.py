"""Unexpected errors while a connection is opened: 1011 or 500, and no descriptor leaks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.event_stream_client import open_events
from tests.support.waiting import until
from tests.support.web_server import Server, token
from wsserver.realtime.connect_state import ConnectStateLoader
from wsserver.realtime.connections.openings import Openings

FAST: dict[str, str] = {}
BY_TORNADO = {"X-Request-ID": "r1"}


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("unexpected")


def openings_of(server: Server) -> Openings:
    return server.system.manager._connector._openings


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of new connections cannot be loaded."""
    monkeypatch.setattr(ConnectStateLoader, "now", fail)
    monkeypatch.setattr(ConnectStateLoader, "load", fail)


@pytest.mark.pure
@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("headers", [FAST, BY_TORNADO])
@pytest.mark.gen_test
async def test_before_the_socket_is_taken_over(server: Server, headers: dict[str, str]) -> None:
    socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
    assert socket.response.status == 101
    assert await socket.closed() == (1011, "Internal error")
    assert await socket.reader.read() == b""
    assert server.context.traffic.refused["internal_error"] == 1


@pytest.mark.pure
@pytest.mark.usefixtures("broken")
@pytest.mark.gen_test
async def test_before_the_socket_of_an_event_stream_is_taken_over(server: Server) -> None:
    client = await open_events(server, bearer=token("u1", "user"))
    assert (client.response.status, client.response.code) == (500, "internal_error")


@pytest.mark.parametrize("headers", [FAST, BY_TORNADO])
@pytest.mark.gen_test
async def test_after_the_socket_was_taken_over(server: Server, headers: dict[str, str]) -> None:
    openings_of(server).add(fail)
    for _ in range(6):
        socket = await server.upgrade(bearer=token("u1", "user"), headers=headers)
        assert (await socket.closed()) == (1011, "internal error")
        assert await socket.reader.read() == b""
        await socket.close()
    openings_of(server).remove(fail)
    poller, hub = server.context.poller, server.system.manager.hub
    await until(lambda: (poller.connections, len(hub)) == (0, 0))
    for _ in range(5):  # none of them counts
        await server.connect("u1")


@pytest.mark.gen_test
async def test_of_an_event_stream_after_its_socket_was_taken_over(server: Server) -> None:
    openings_of(server).add(fail)
    client = await open_events(server, bearer=token("u1", "user"))
    assert (await client.closed()) == (1011, "internal error")
