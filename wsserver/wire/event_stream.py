"""``EventStream``: a connection that receives Server-Sent Events (HTML §9.2) over HTTP/1.1.

A peer sends nothing: its commands come in requests of their own.
"""

from __future__ import annotations

import json
from typing import ClassVar

from wsserver.wire.events import CLOSE, MESSAGE, build_event
from wsserver.wire.outbox import Outbox
from wsserver.wire.pings import Ping
from wsserver.wire.transport import Backend, Owner, Transport


class EventStream(Transport):
    """An open event stream.

    As nothing is received, whatever can be written counts as a sign of life: ``last_heard`` is the
    present time, unless bytes wait for the operating system. A peer that is lost without a word
    is found by TCP, which ``Poller.adopt_event_stream`` gives a time limit.
    """

    is_event_stream: ClassVar[bool] = True

    __slots__ = ("_written_at", "cursor", "needs_token", "secret")

    def __init__(self, backend: Backend, fd: int, owner: Owner, now: float) -> None:
        super().__init__(backend, fd, owner, now)
        self.cursor = b""
        """Id of the next event: what the client has received once it has received that event."""
        self.secret = ""
        """What a request has to know in order to act for this connection."""
        self.needs_token = True
        """Whether such a request needs a token, too."""
        self._written_at = now

    @property
    def last_heard(self) -> float:
        """When bytes could last be written (monotonic seconds)."""
        out: Outbox | None = self.outbox
        if out is None or not out.size:
            return self._backend.now()
        return max(out.since, self._written_at)

    def note_progress(self, now: float) -> None:
        """Bytes that had to wait were written (monotonic seconds)."""
        self._written_at = now

    def send_text(self, text: bytes) -> bool:
        """Send a message, with the cursor as its id."""
        return self.send(build_event(text, MESSAGE, self.cursor))

    def send_ping(self, ping: Ping) -> bool:
        """Send a ``ping`` event."""
        return self.send(ping.event)

    def send_cursor(self) -> bool:
        """Send the cursor alone: no event for the page, but the browser remembers the id."""
        return self.send(b"id: %b\n\n" % self.cursor)

    def send_retry(self, delay_ms: int) -> bool:
        """Tell the browser how long to wait before it connects again."""
        return self.send(b"retry: %d\n\n" % delay_ms)

    def close_bytes(self, code: int, reason: str = "") -> bytes:
        """A ``close`` event with the code and the reason."""
        return build_event(json.dumps({"code": int(code), "reason": reason}).encode(), CLOSE)
