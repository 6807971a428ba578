"""The HTTP client: what is known of a request when the answer does not come."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.fake_server import ADMIN, FakeServer, Run
from tests.support.waiting import PATIENCE_S
from wsctl.config.target import Target
from wsctl.errors import Unreachable
from wsctl.http.client import Client

UNKNOWN = "the request may have been carried out"
Ask = Callable[[Client], object]


@pytest.fixture
def hanging_up() -> Iterator[str]:
    """The address of a server that reads a request and closes without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)

        server.settimeout(PATIENCE_S)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("ask", "is_unknown"),
    [
        (lambda client: client.post("/broadcast", {}), True),
        (lambda client: client.put("/sessions/s1/members", {}), True),
        (lambda client: client.post("/messages/explain", {}, changes=False), False),
        (lambda client: client.get("/stats"), False),
    ],
    ids=["post", "put", "harmless", "get"],
)
def test_what_was_sent_and_not_answered_may_have_been_done(
    hanging_up: str, ask: Ask, is_unknown: bool
) -> None:
    with pytest.raises(Unreachable) as raised:
        ask(Client(Target(hanging_up, given_token=ADMIN)))
    assert (UNKNOWN in raised.value.message) == is_unknown


def test_what_was_never_sent_was_not_done() -> None:
    with pytest.raises(Unreachable) as raised:
        Client(Target("http://127.0.0.1:9", given_token=ADMIN)).post("/broadcast", {})
    assert UNKNOWN not in raised.value.message


@pytest.mark.slow
@pytest.mark.parametrize(
    "args", [("user",), ("ping",), ("history",), ("members",), ("connections", "--user")]
)
def test_an_id_that_is_no_utf_8_is_for_the_server_to_refuse(
    ctl: Run, server: FakeServer, args: tuple[str, ...]
) -> None:
    ctl(*args, "caf\udce9")  # a Latin-1 terminal's é, as Python has it in an argument
    assert "caf�" in server.asked[0].path + str(server.asked[0].query)
