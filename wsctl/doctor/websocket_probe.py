"""WebSocket sessions for the checks: commands with replies, and the idle test."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection

from wsctl.doctor.facts import IdleTest, Maybe, Missing, Upgrade
from wsctl.http.connection import reason_of
from wsctl.websocket.connection import TOO_LARGE, open_websocket, was_too_large

PATH = "/ws/chat"


class Session:
    """One WebSocket. Every wait ends after ``timeout_s``."""

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
                continue  # not a message of the protocol
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
def open_session(
    url: str, token: str | None, timeout_s: float
) -> Iterator[tuple[Upgrade, Session | None]]:
    """Open a WebSocket; None and the reason in ``Upgrade`` if that fails.

    Without a token the server closes it immediately, which also shows that the upgrade works.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        session = None
        try:
            connection = stack.enter_context(
                # No pings by wsctl: only the server's heartbeat may interrupt the idle time.
                open_websocket(url, PATH, token, began + timeout_s, ping_interval=None)
            )
            # Closed first: its context manager would report any end as an error.
            stack.callback(connection.close)
            upgrade = Upgrade(time.monotonic() - began, subprotocol=connection.subprotocol)
            session = Session(connection, timeout_s)
        except InvalidStatus as refused:
            upgrade = _refused(refused, time.monotonic() - began)
        except (OSError, InvalidHandshake, EOFError) as error:
            fault = reason_of(error) if isinstance(error, OSError) else "no WebSocket handshake"
            upgrade = Upgrade(time.monotonic() - began, fault=fault)
        yield upgrade, session


def idle_test(url: str, token: str, wanted_s: float, timeout_s: float) -> Maybe[IdleTest]:
    """Keep a connection for ``wanted_s``, answering only the server's pings."""
    with open_session(url, token, timeout_s) as (upgrade, session):
        if session is None:
            return Missing(f"no WebSocket: {upgrade.fault or upgrade.status}")
        began = last = time.monotonic()
        longest, pings = 0.0, 0
        end, code = "", None
        while True:
            try:
                message = session.receive(began + wanted_s)
            except TimeoutError:
                break
            except ConnectionClosed as closed:
                code, end = close_text(closed)
                break
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            pings += message.get("type") == "ping"
        now = time.monotonic()
        return IdleTest(wanted_s, now - began, max(longest, now - last), pings, end, code)


def _refused(refused: InvalidStatus, seconds: float) -> Upgrade:
    try:
        document = json.loads(refused.response.body or b"")
    except (ValueError, RecursionError):
        document = None
    code = document.get("code") if isinstance(document, dict) else None
    return Upgrade(seconds, refused.response.status_code, code if isinstance(code, str) else "")


def close_text(closed: ConnectionClosed) -> tuple[int | None, str]:
    """Close code and a text; without a code the connection was lost."""
    if was_too_large(closed):
        return None, f"closed, as {TOO_LARGE}"
    if closed.rcvd is None:
        return None, "lost without a close frame"
    reason = f": {closed.rcvd.reason}" if closed.rcvd.reason else ""
    return closed.rcvd.code, f"closed with {closed.rcvd.code}{reason}"
