"""Reports of browser clients (``client.report()``): parsed, clock-corrected, cut to one message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsctl.formatting import byte_size, plural
from wsctl.times import epoch, rfc3339

KIND = "wsserver-client-report"
RECORDING = "wsserver-recording"
"""What ``wsctl record`` writes: times are the server's, and events have whole texts."""
LARGEST_BYTES = 64 * 1024 * 1024
BEFORE_S = 60.0
AFTER_S = 60.0
"""Connects and disconnects within this time of the message are part of its story."""
_CONNECTION_EVENTS = {"connect", "close", "wakeup"}


class ReportError(Exception):
    """A file that is no report of a client."""


@dataclass(frozen=True)
class Event:
    """One recorded event, with its time by the server's clock."""

    at: float
    fields: Mapping[str, Any]

    @property
    def connection(self) -> str | None:
        """Id of the connection that there was."""
        value = self.fields.get("connection")
        return value if isinstance(value, str) else None

    @property
    def ref(self) -> int | str | None:
        """Connects a command with its reply."""
        value = self.fields.get("ref")
        return value if isinstance(value, int | str) else None

    def mentions(self, message_id: str) -> bool:
        """Whether it is about this message."""
        fields = self.fields
        if message_id in (fields.get("id"), fields.get("message_id")):
            return True
        listed = [fields, *(each for each in _objects(fields.get("streams")))]
        return any(message_id in ids for each in listed if isinstance(ids := each.get("ids"), list))


@dataclass(frozen=True)
class ClientReport:
    """What one client recorded."""

    user_id: str | None
    version: str | None
    runtime: str | None
    made_at: str | None
    offset_s: float | None
    """How far the server's clock was ahead of the client's on the last connection."""
    error_s: float | None
    events: Sequence[Event]

    def story(self, message_id: str, accepted: float | None) -> list[Event]:
        """The events about a message, and the connects and disconnects around it, by time."""
        refs = {event.ref for event in self.events if event.mentions(message_id)} - {None}
        about = [
            event
            for event in self.events
            if event.mentions(message_id)
            or (event.ref in refs and event.fields.get("dir") in ("in", "out"))
        ]
        moments = [event.at for event in about] + ([] if accepted is None else [accepted])
        if not moments:
            return []
        since, until = min(moments) - BEFORE_S, max(moments) + AFTER_S
        chosen = {id(event) for event in about}
        return [
            event
            for event in self.events
            if id(event) in chosen or (_is_connection(event) and since <= event.at <= until)
        ]


def parse_report(text: str) -> ClientReport:
    """A report as ``client.report()`` gives it, as JSON; raises ``ReportError``."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ReportError("it is not JSON") from None
    if not isinstance(document, dict) or document.get("kind") not in (KIND, RECORDING):
        raise ReportError("it is neither what client.report() returns nor a recording")
    clocks = {
        _text(connection.get("connection_id")): clock
        for connection in _objects(document.get("connections"))
        if isinstance(clock := connection.get("clock"), dict)
    }
    last = next(reversed(clocks.values()), {})
    if document.get("kind") == RECORDING:
        last = {"offset_ms": 0.0, "error_ms": 0.0}
    return ClientReport(
        user_id=_text(document.get("user_id")),
        version=_text(document.get("version")),
        runtime=_text(document.get("runtime")),
        made_at=_text(document.get("made_at")),
        offset_s=_seconds(last.get("offset_ms")),
        error_s=_seconds(last.get("error_ms")),
        events=_corrected([_with_ids(each) for each in _objects(document.get("events"))], clocks),
    )


def _with_ids(event: dict[str, Any]) -> dict[str, Any]:
    """An event with the fields of its text beside it, as those of a client's report have them."""
    frame = event.get("frame")
    if not isinstance(frame, dict):
        return event
    ids, ref = frame.get("ids"), frame.get("ref")
    if isinstance(frame.get("messages"), list):
        ids = _ids_of(frame)
    streams = frame.get("streams")
    found = {
        **frame,
        "ids": ids,
        "count": len(ids) if isinstance(ids, list) else None,
        # Refs of several connections may be the same.
        "ref": None if ref is None else f"{event.get('connection')} {ref}",
        "streams": [
            {"stream": stream, "ids": _ids_of(position)}
            for stream, position in streams.items()
            if isinstance(position, dict)
        ]
        if isinstance(streams, dict)
        else None,
    }
    return {**found, **{name: value for name, value in event.items() if name != "frame"}}


def _ids_of(holder: Mapping[str, Any]) -> list[Any]:
    return [each.get("id") for each in _objects(holder.get("messages"))]


def _corrected(events: list[dict[str, Any]], clocks: Mapping[Any, Any]) -> list[Event]:
    """Events with times of the server's clock; those between two connections go with the next."""
    offset = 0.0
    corrected = []
    for fields in reversed(events):
        clock = clocks.get(_text(fields.get("connection")), {})
        known = _seconds(clock.get("offset_ms"))
        offset = offset if known is None else known
        at = epoch(_text(fields.get("at")))
        if at is not None and 0 <= at + offset < 1e10:
            corrected.append(Event(at + offset, fields))
    corrected.reverse()
    corrected.sort(key=lambda event: event.at)
    return corrected


def describe(event: Event, message_id: str) -> str:
    """What a client did or got, as a line of a message's story."""
    fields = event.fields
    type_, direction = _text(fields.get("type")) or "?", fields.get("dir")
    if direction == "client":
        return f"client: {_of_connection(type_, fields)}"
    if type_ == "connection_established":
        return "client: connected"
    if direction == "out":
        return f"client: {_sent(type_, fields)}"
    error = fields.get("error")
    if isinstance(error, dict):
        return f"client: refused with {error.get('code')}"
    if not event.mentions(message_id) or event.ref is not None:
        by = type_ if type_ in ("resumed", "history", "session_joined") else None
        if by and event.mentions(message_id):
            return f"client: got it in {by}"
        return f"client: got {type_}"
    again = ", sent again" if fields.get("redelivered") is True else ""
    return f"client: got {type_}{again}"


def _sent(type_: str, fields: Mapping[str, Any]) -> str:
    if type_ in ("ack", "read"):
        count = fields.get("count")
        others = count - 1 if isinstance(count, int) and count > 1 else 0
        word = "acknowledges it" if type_ == "ack" else "marks it as read"
        return word + (f", with {plural(others, 'other')}" if others else "")
    size = fields.get("bytes")
    return f"sends {type_}" + (f" ({byte_size(size)})" if isinstance(size, int) else "")


def _of_connection(type_: str, fields: Mapping[str, Any]) -> str:
    if type_ == "connect":
        return "connects"
    if type_ == "wakeup":
        return "checks the connection: page shown, or network changed"
    if type_ != "close":
        return type_
    reason = _text(fields.get("reason"))
    delay = _seconds(fields.get("delay_ms"))
    next_ = "" if delay is None else f"; next attempt in {delay:.1f} s"
    return f"lost the connection, {fields.get('code')}{f' {reason}' if reason else ''}{next_}"


def rows(report: ClientReport, message_id: str, accepted: float | None) -> list[dict[str, Any]]:
    """Rows for the timeline of a message."""
    return [
        {
            "at": rfc3339(event.at),
            "user_id": report.user_id,
            "connection_id": event.connection,
            "what": describe(event, message_id),
        }
        for event in report.story(message_id, accepted)
    ]


def heading(report: ClientReport) -> str:
    """Who made a report, and by how much its clock was corrected."""
    if report.offset_s is None:
        clock = "clock unknown"
    else:
        error = "" if report.error_s is None else f" ± {report.error_s * 1000:.0f} ms"
        clock = f"clock corrected by {report.offset_s:+.3f} s{error}"
    made = f"report of {report.made_at or '?'}"
    return f"{report.user_id or 'unknown user'}, {made}, client {report.version or '?'}, {clock}"


def _is_connection(event: Event) -> bool:
    type_ = event.fields.get("type")
    if type_ == "connection_established":
        return event.fields.get("dir") == "in"
    return event.fields.get("dir") == "client" and type_ in _CONNECTION_EVENTS


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _seconds(value: Any) -> float | None:
    """Milliseconds of a report in seconds, if they make sense."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e13:
        return value / 1000
    return None
