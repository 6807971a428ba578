"""A WebSocket of our own, opened as any client's, and closed in order."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from wsctl.client import open_socket, reason_of
from wsctl.doctor.checks.socket import SUBPROTOCOL
from wsctl.doctor.facts import Upgrade
from wsctl.doctor.http import Asker
from wsctl.websocket_limits import LARGEST_MESSAGE_BYTES, TOO_LARGE, was_too_large

PATH = "/ws/chat"


class Talk:
    """One connection. Every wait ends after ``timeout_s``."""

    def __init__(self, connection: ClientConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    def send(self, **message: Any) -> None:
        """Send a command."""
        self._connection.send(json.dumps(message))

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message; pings are answered on the way.

        Raises ``TimeoutError`` at ``deadline`` (monotonic), ``ConnectionClosed`` at the end.
        """
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                message = json.loads(self._connection.recv(timeout=left))
            except (ValueError, RecursionError):
                continue  # whatever it is, it is not what we wait for
            if not isinstance(message, dict):
                continue
            if message.get("type") == "ping":
                self.send(type="pong", id=message.get("id"))
            return message

    def wait_for(self, **wanted: Any) -> dict[str, Any]:
        """The next message with all these members, or the error with the same ``ref``."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            message = self.receive(deadline)
            if all(message.get(name) == value for name, value in wanted.items()):
                return message
            if "ref" in wanted and message.get("ref") == wanted["ref"]:
                return message

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its reply, good or bad."""
        self.send(**command)
        return self.wait_for(ref=command["ref"])


@contextlib.contextmanager
def open_talk(
    asker: Asker, url: str, token: str | None, timeout_s: float
) -> Iterator[tuple[Upgrade, Talk | None]]:
    """Ask for a WebSocket; without one, what was answered instead tells why.

    Without a token the server closes it at once, which shows as well that it comes through.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        talk = None
        try:
            connection = stack.enter_context(_connect(asker, url, token, began + timeout_s))
            # Closed by hand first: left to itself it would report any end as an error.
            stack.callback(connection.close)
            upgrade = Upgrade(time.monotonic() - began, subprotocol=connection.subprotocol)
            talk = Talk(connection, timeout_s)
        except InvalidStatus as refused:
            upgrade = _refused(refused, time.monotonic() - began)
        except (OSError, InvalidHandshake, EOFError) as error:
            fault = reason_of(error) if isinstance(error, OSError) else "no WebSocket was answered"
            upgrade = Upgrade(time.monotonic() - began, fault=fault)
        yield upgrade, talk


def _connect(asker: Asker, url: str, token: str | None, deadline: float) -> ClientConnection:
    # Its own log would print tracebacks of what is reported as a finding.
    logger = logging.getLogger("wsctl.websockets")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    sock = open_socket(asker.host, asker.port, deadline)
    try:
        sock.settimeout(None)
        return connect(
            f"ws{url.removeprefix('http')}{PATH}",
            sock=sock,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            user_agent_header="wsctl",
            compression=None,
            proxy=None,
            open_timeout=max(0.1, deadline - time.monotonic()),
            close_timeout=1,
            max_size=LARGEST_MESSAGE_BYTES,
            ping_interval=None,  # nothing but the server's own heartbeat breaks a silence
            logger=logger,
        )
    except BaseException:
        sock.close()
        raise


def _refused(refused: InvalidStatus, seconds: float) -> Upgrade:
    try:
        document = json.loads(refused.response.body or b"")
    except (ValueError, RecursionError):
        document = None
    code = document.get("code") if isinstance(document, dict) else None
    return Upgrade(seconds, refused.response.status_code, code if isinstance(code, str) else "")


def end_of(closed: ConnectionClosed) -> tuple[int | None, str]:
    """The server's close code and reason; without a code it was cut."""
    if was_too_large(closed):
        return None, f"ended, as {TOO_LARGE}"
    if closed.rcvd is None:
        return None, "cut without a close frame"
    reason = f": {closed.rcvd.reason}" if closed.rcvd.reason else ""
    return closed.rcvd.code, f"closed with {closed.rcvd.code}{reason}"
