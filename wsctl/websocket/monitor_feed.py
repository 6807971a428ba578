"""Client of the monitor's WebSocket, which reconnects after restarts of the server."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection

from wsctl.config.target import Target
from wsctl.errors import Failed, NotPermitted, Unreachable
from wsctl.http.client import PATIENCE_S
from wsctl.http.connection import reason_of
from wsctl.times import readable
from wsctl.websocket.connection import TOO_LARGE, open_websocket, was_too_large

PATH = "/ws/admin/monitor"
_SUBSCRIBE, _REFRESH = 1, 2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_NO_RECONNECT = range(4500, 5000)
_NOT_PERMITTED = (4500, 4503, 4505)


@dataclass(eq=False, repr=False)
class MonitorFeed:
    """Subscribes to the monitor and yields what it pushes.

    ``events``: globs of push types. ``interval_s``: interval of statistics; None: the server's
    default. ``say`` is called with a line when the connection is made or lost. ``wait`` sleeps.
    """

    target: Target
    _: KW_ONLY
    events: Sequence[str]
    interval_s: float | None
    say: Callable[[str], None]
    tick_s: float = 1.0
    wait: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._events = list(self.events)
        self._has_connected = False
        self._lost_at: float | None = None
        self._failures = 0
        self._hint_s: float | None = None
        self._token = ""
        self.is_connected = False
        """Whether the subscription is active."""
        self.reason = "no answer"
        """Why there was no connection at the latest attempt."""

    def pushes(self) -> Iterator[dict[str, Any] | None]:
        """Every push of the server; None after each ``tick_s`` seconds without one.

        Never ends by itself. Raises ``Unreachable`` if the first connection fails, later ones
        are retried; ``NotPermitted`` and ``Failed`` if the server forbids reconnecting.
        """
        while True:
            reason = "the connection was lost"
            try:
                # Closed first: its context manager would report any end as an error.
                with self._connect() as connection, closing(connection):
                    self._has_connected = True
                    yield from self._receive(connection)
            except ConnectionClosed as closed:
                reason = self._closed(closed)
            except InvalidStatus as refused:
                reason = self._refused(refused.response.status_code)
            except (OSError, InvalidHandshake) as error:
                reason = self._lost(error)
            if self.is_connected:
                self.is_connected, self._lost_at = False, time.monotonic()
            yield from self._pause(reason)

    def _connect(self) -> ClientConnection:
        self._token = self._token_now()
        deadline = time.monotonic() + PATIENCE_S
        try:
            return open_websocket(self.target.url, PATH, self._token, deadline)
        except (ConnectionClosed, AssertionError):
            # A server that speaks before it is asked, as SSH does, may end the handshake before it
            # has begun, or in the middle of it: websockets then raises one of these, by chance.
            raise InvalidMessage("did not receive a valid HTTP response") from None

    def _token_now(self) -> str:
        """The current token; the last one while its file is missing.

        A development server removes its token file when it stops and writes a new one.
        """
        try:
            return self.target.token()
        except Failed:
            if not self._has_connected:
                raise
            return self._token

    def _receive(self, connection: ClientConnection) -> Iterator[dict[str, Any] | None]:
        args: dict[str, Any] = {"events": self._events}
        if self.interval_s is not None:
            args["interval_s"] = self.interval_s
        _send(connection, {"type": "subscribe", "ref": _SUBSCRIBE, "args": args})
        while True:
            try:
                text = connection.recv(timeout=self.tick_s)
            except TimeoutError:
                yield None
                continue
            message = _parsed(text)
            kind = message.get("type")
            if kind == "ping":
                _send(connection, {"type": "pong", "id": message.get("id")})
            elif "ref" in message:
                self._replied(message)
            elif kind == "token_expiring":
                self._refresh(connection)
            elif kind == "server_draining":
                self._hint_s = _seconds(message.get("reconnect_after_ms"))
                yield message
            elif kind != "connection_established":
                yield message

    def _replied(self, message: dict[str, Any]) -> None:
        if message.get("type") != "error":
            if message["ref"] == _SUBSCRIBE:
                self._watching()
            return
        error = message.get("error")
        code, text = (
            (error.get("code"), error.get("message")) if isinstance(error, dict) else ("", "")
        )
        if message["ref"] == _REFRESH:
            self.say(f"the server refused the new token: {text} ({code})")
            return
        raise (NotPermitted if code == "forbidden" else Failed)(f"{text} ({code})")

    def _watching(self) -> None:
        self._failures, self.is_connected = 0, True
        text = f"watching {self.target.url}"
        if self._lost_at is not None:
            gap = readable(time.monotonic() - self._lost_at)
            text += f" again; the events of {gap} in between are missing"
        self.say(text)

    def _refresh(self, connection: ClientConnection) -> None:
        """Send the newer token, if there is one (a development token, a rotated file)."""
        token = self._token_now()
        if token != self._token:
            self._token = token
            _send(connection, {"type": "refresh_token", "ref": _REFRESH, "token": token})

    def _closed(self, closed: ConnectionClosed) -> str:
        if was_too_large(closed):
            raise Failed(f"{TOO_LARGE}: is it a wsserver?")
        if closed.rcvd is None:
            return "the connection was lost"
        code, reason = closed.rcvd.code, closed.rcvd.reason
        text = f"the server closed with {code}" + (f": {reason}" if reason else "")
        if code in _NO_RECONNECT:
            raise (NotPermitted if code in _NOT_PERMITTED else Failed)(text)
        return text

    def _refused(self, status: int) -> str:
        text = f"{self.target.url} answered {status}"
        if status in (401, 403):
            raise NotPermitted(text)
        if status < 500:
            raise Failed(f"{text} on {PATH}: is it a wsserver?")
        return text

    def _lost(self, error: Exception) -> str:
        why = "no HTTP answer" if isinstance(error, InvalidMessage) else reason_of(error)
        text = f"cannot reach {self.target.url}: {why}"
        if not self._has_connected:
            raise Unreachable(text) from None
        return text

    def _pause(self, reason: str) -> Iterator[None]:
        """Wait before the next attempt, as the server advised or with exponential backoff.

        Jitter keeps many monitors from reconnecting at the same time.
        """
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        pause_s = longest * random.uniform(0.5, 1)  # noqa: S311 - jitter
        if self._hint_s is not None:
            pause_s, self._hint_s = self._hint_s, None
        self._failures += 1
        self.reason = reason
        self.say(f"{reason}; next attempt in {pause_s:.1f} s")
        while pause_s > 0:
            self.wait(min(pause_s, self.tick_s))
            pause_s -= self.tick_s
            yield None


def _send(connection: ClientConnection, message: dict[str, Any]) -> None:
    connection.send(json.dumps(message))


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise Failed("the server sent an invalid message: is it a wsserver?")
    return message


def _seconds(milliseconds: Any) -> float | None:
    """The server's advice in seconds, at most a minute; None if it is not a number."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    return min(max(milliseconds, 0), 60_000) / 1000
