"""Parser of event streams (Server-Sent Events, HTML §9.2.6), fed with the bytes that arrive."""

from __future__ import annotations

import re
from typing import NamedTuple

EVENT_LIMIT_BYTES = 1024 * 1024
"""Of one event, and of one line."""

_END_OF_LINE = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)
"""A carriage return at the end of what has arrived may be the first half of a line's end."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class StreamTooLong(Exception):
    """An event or a line exceeds ``EVENT_LIMIT_BYTES``."""


class SseEvent(NamedTuple):
    """An event: its name, ``message`` by default, and its data."""

    name: str
    data: str


class SseParser:
    """Events of one stream. A character may be split anywhere: only whole lines are decoded.

    An event that is not ended by an empty line when the stream ends is not an event.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._is_at_start = True

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that are complete with these bytes; raises ``StreamTooLong``."""
        text = self._rest + chunk
        if self._is_at_start and len(text) >= len(_BYTE_ORDER_MARK):
            text = text.removeprefix(_BYTE_ORDER_MARK)
            self._is_at_start = False
        *lines, self._rest = _END_OF_LINE.split(text)
        events = [event for line in lines if (event := self._take(line)) is not None]
        if len(self._rest) + self._size > EVENT_LIMIT_BYTES:
            raise StreamTooLong
        return events

    def _take(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        self._size += len(line)
        if self._size > EVENT_LIMIT_BYTES:
            raise StreamTooLong
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        return None

    def _dispatch(self) -> SseEvent | None:
        event = None
        if self._data:
            data = b"\n".join(self._data).decode(errors="replace")
            event = SseEvent(self._name or "message", data)
        self._name, self._data, self._size = "", [], 0
        return event
