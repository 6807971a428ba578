"""Log records as one safe line each on stderr: as text, or as JSON with an event and its fields.

The calls of this package have one form: the event in plain words, then its fields,
``log.info("connection closed connection_id=%s code=%d", …)``. Text shows it as it is written, JSON
takes it apart: ``{"event": "connection closed", "connection_id": "…", "code": 4001}``.

Redaction happens on the finished text, so nothing gets round it: not the message, its arguments,
a traceback, Tornado's access log, nor Tornado's dump of a request that failed.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TextIO

from wsserver.clock import rfc3339
from wsserver.log_events import Structure, structure_of
from wsserver.redaction import REMOVED, Redactor, one_json_line, one_line

log = logging.getLogger(__name__)

LogFormat = Literal["text", "json"]

_quote = json.JSONEncoder(ensure_ascii=False).encode


class _LineFormatter(logging.Formatter):
    """The parts of a record, redacted. Never changes the record, which other handlers share."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def message_of(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - logging's own answer would print the raw arguments
            message = f"{record.msg} (logged with arguments that do not fit)"
        return self._redact(message)

    def trace_of(self, record: logging.LogRecord) -> str:
        """The traceback and the stack, "" without either."""
        if not (record.exc_info or record.stack_info):
            return ""
        parts = []
        if record.exc_info and record.exc_info[1] is not None:
            parts.append("".join(traceback.format_exception(record.exc_info[1])).rstrip())
        if record.stack_info:
            parts.append(record.stack_info)
        return self._redact("\n".join(parts))


class TextFormatter(_LineFormatter):
    """``2024-01-15T14:30:00.000Z INFO wsserver.app: message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; a traceback follows after `` | ``, line breaks escaped."""
        text = f"{rfc3339(record.created)} {record.levelname} {record.name}: "
        text += self.message_of(record)
        trace = self.trace_of(record)
        return one_line(f"{text} | {trace}" if trace else text)


class JsonFormatter(_LineFormatter):
    """An object with ``timestamp``, ``level``, ``logger``, ``event`` and the event's fields.

    Records of other packages, and others that do not have the form of ours, have ``message`` in
    place of ``event``; a traceback is ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        message = self.message_of(record)
        structure = structure_of(record)
        told = {"message": message} if structure is None else self._fields(structure, message)
        line = (
            f'{{"timestamp": "{rfc3339(record.created)}", '
            f'"level": {_quote(record.levelname.lower())}, '
            f'"logger": {_quote(record.name)}, '
            f"{_quote(told)[1:-1]}"
        )
        trace = self.trace_of(record)
        if trace:
            line += f', "exception": {_quote(trace)}'
        return one_json_line(line + "}")

    def _fields(self, structure: Structure, message: str) -> Mapping[str, Any]:
        """The event and its fields; as one redacted message where a credential spans several."""
        event, fields = structure
        told = {"event": event, **fields}
        if REMOVED not in message:
            return told
        shown = {"event": self._redact(event)}
        for name, value in fields.items():
            if isinstance(value, str):  # with its name before it, as in the text: ``token=…``
                value = self._redact(f"{name}={value}").removeprefix(f"{name}=")
            shown[name] = value
        return {"message": message} if shown == told else shown


FORMATTERS: dict[LogFormat, type[_LineFormatter]] = {"text": TextFormatter, "json": JsonFormatter}


class LineHandler(logging.StreamHandler[TextIO]):
    """A stream handler that stays silent when it cannot write.

    The standard answer to a full disk or a closed pipe prints the record's raw arguments.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop the record."""


def set_up_logging(
    log_format: LogFormat | None,
    log_level: str,
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> LineHandler:
    """Send every record of this process from ``log_level`` on to ``stream`` (stderr).

    ``log_format`` None: ``text`` on a terminal, else ``json``. Warnings of Python and errors that
    nobody caught, in any thread, become records too. For the process that owns itself: a program
    that embeds the server keeps its own logging and may use the formatters. Returns the handler.
    """
    target = sys.stderr if stream is None else stream
    chosen: LogFormat = log_format or ("text" if target.isatty() else "json")
    handler = LineHandler(target)
    handler.setFormatter(FORMATTERS[chosen](Redactor(secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    return handler


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("uncaught error", exc_info=(type(error), error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    log.critical("uncaught error thread=%s", name, exc_info=error)
