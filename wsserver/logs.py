"""Log formatters: each record as one safe line on stderr, as text or as JSON with fields.

The calls of this package have one form: the event in plain words, then its fields,
``log.info("connection closed connection_id=%s code=%d", …)``. Text shows it as it is written, JSON
takes it apart: ``{"event": "connection closed", "connection_id": "…", "code": 4001}``.

Redaction works on the finished text: the message with its arguments, a traceback, Tornado's access
log, and Tornado's dump of a request that failed.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Literal, NamedTuple, TextIO

from wsserver.clock import rfc3339
from wsserver.redaction import Redactor, one_json_line, one_line

log = logging.getLogger(__name__)

LogFormat = Literal["text", "json"]

CallSoon = Callable[[Callable[[], None]], object]
"""Has an event loop call a function in its next iteration."""

PACKAGE = "wsserver"
RESERVED = frozenset({"timestamp", "level", "logger", "event", "message", "exception"})

LINES_TOGETHER = 256
"""Lines that wait for the end of an iteration at most."""

_CONVERSION = r"%[-+ #0]*[0-9]*(?:\.[0-9]+)?[srdfg]"
_TEMPLATE = re.compile(rf"([A-Za-z][^=%:]*?)((?: [a-z][a-z0-9_]*={_CONVERSION})*)")
_FIELD = re.compile(rf" ([a-z][a-z0-9_]*)=({_CONVERSION})")


# Messages with fields


class Template(NamedTuple):
    """A message before its arguments are filled in."""

    event: str
    fields: tuple[tuple[str, str], ...]
    """Names, each with its conversion (``%s``)."""


class Structure(NamedTuple):
    """The event and the fields of a message."""

    event: str
    fields: dict[str, Any]
    """Text, numbers, booleans or None: values of JSON."""
    message: str
    """The whole message, made of the same texts."""


@lru_cache(maxsize=500)
def parse_template(text: str) -> Template | None:
    """Split a message into event and fields; None if it does not have the form."""
    match = _TEMPLATE.fullmatch(text)
    if match is None:
        return None
    fields = tuple(_FIELD.findall(match[2]))
    names = {name for name, _ in fields}
    if len(names) < len(fields) or not RESERVED.isdisjoint(names):
        return None
    return Template(match[1], fields)


def structure_of(record: logging.LogRecord) -> Structure | None:
    """The event and fields of a record of this package; None if it does not have the form."""
    if not (record.name == PACKAGE or record.name.startswith(f"{PACKAGE}.")):
        return None
    template = parse_template(record.msg) if isinstance(record.msg, str) else None
    args = record.args or ()
    if template is None or not isinstance(args, tuple) or len(args) != len(template.fields):
        return None
    message, fields = template.event, {}
    try:
        for (name, conversion), arg in zip(template.fields, args, strict=True):
            text = arg if type(arg) is str and conversion == "%s" else conversion % (arg,)
            message += f" {name}={text}"
            fields[name] = text if text is arg else _value(conversion[-1], arg, text)
    except Exception:  # noqa: BLE001 - a foreign __str__; the record is logged as a sentence
        return None
    return Structure(template.event, fields, message)


def _value(kind: str, arg: Any, text: str) -> Any:
    """An argument as a value of JSON: rounded and cut as its conversion has done it in ``text``."""
    if kind == "d":
        return int(text)
    if kind == "s":
        if arg is None or isinstance(arg, bool | int):
            return arg
        return arg if isinstance(arg, float) and math.isfinite(arg) else text
    if kind in "fg":
        number = float(text)
        return number if math.isfinite(number) else text
    return text


# Formatters


class _LineFormatter(logging.Formatter):
    """The parts of a record, redacted. Never changes the record, which other handlers share."""

    def __init__(self, redact: Redactor, worker: int | None = None) -> None:
        super().__init__()
        self._redact = redact
        self._worker = worker
        """Number of the worker process; None: there is only one process."""

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
    """``2024-01-15T14:30:00.000Z INFO wsserver.app: message``; of a worker ``INFO [2] …``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; a traceback follows after `` | ``, line breaks escaped."""
        worker = "" if self._worker is None else f"[{self._worker}] "
        text = f"{rfc3339(record.created)} {record.levelname} {worker}{record.name}: "
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
        structure = structure_of(record)
        if structure is None:
            content = f'"message": {encode_basestring(self.message_of(record))}'
        else:
            content = self._content(structure)
        level, logger = _quote(record.levelname.lower()), _quote(record.name)
        line = (
            f'{{"timestamp": "{rfc3339(record.created)}", "level": {level}, "logger": {logger}, '
            f"{content}"
        )
        if self._worker is not None:
            line += f', "worker": {self._worker}'
        trace = self.trace_of(record)
        if trace:
            line += f', "exception": {encode_basestring(trace)}'
        return one_json_line(line + "}")

    def _content(self, structure: Structure) -> str:
        """The event and its fields; one redacted message where a credential spans several."""
        event, fields, message = structure
        redacted = self._redact(message)
        if redacted != message:
            event, fields = self._redact(event), self._redacted(fields)
            if (event, fields) == structure[:2]:
                return f'"message": {encode_basestring(redacted)}'
        content = f'"event": {_quote(event)}'
        for name, value in fields.items():
            content += f', "{name}": {_json(value)}'
        return content

    def _redacted(self, fields: dict[str, Any]) -> dict[str, Any]:
        # With its name before it, as in the text: ``token=…``.
        return {
            name: self._redact(f"{name}={value}").removeprefix(f"{name}=")
            if isinstance(value, str)
            else value
            for name, value in fields.items()
        }


_quote = lru_cache(maxsize=500)(encode_basestring)
"""For names and events, which come again and again."""


def _json(value: Any) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return float.__repr__(value) if isinstance(value, float) else int.__repr__(value)


FORMATTERS: dict[LogFormat, type[_LineFormatter]] = {"text": TextFormatter, "json": JsonFormatter}


class LineHandler(logging.StreamHandler[TextIO]):
    """A stream handler that ignores failed writes, and may write several lines together.

    The standard answer to a full disk or a closed pipe prints the record's raw arguments.

    ``collect``: the lines of one iteration of an event loop are written together at the start of
    the next one, as formatting and writing them in a row takes about half as long. Warnings, and
    lines of other threads, are written at once, behind those that wait.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[logging.LogRecord] = []
        self._call_soon: CallSoon | None = None
        self._thread = 0
        """The thread of the event loop."""

    def collect(self, call_soon: CallSoon | None) -> None:
        """Collect the lines of this thread, whose event loop has ``call_soon``; None: no longer."""
        self.flush()
        self._call_soon = call_soon
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or collect it."""
        self._waiting.append(record)
        if (
            self._call_soon is None
            or record.levelno >= logging.WARNING
            or threading.get_ident() != self._thread
            or len(self._waiting) >= LINES_TOGETHER
        ):
            self.flush()
        elif len(self._waiting) == 1:
            self._call_soon(self.flush)

    def flush(self) -> None:
        """Write what was collected."""
        self.acquire()
        try:
            records, self._waiting = self._waiting, []
            if records:
                self.stream.write("".join([self._line(each) for each in records]))
                self.stream.flush()
        except Exception:  # noqa: BLE001 - the log is where it would be reported
            self.handleError(records[-1])
        finally:
            self.release()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001 - as above
            self.handleError(record)
            return ""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Ignore the failure."""


@contextmanager
def lines_together(call_soon: CallSoon) -> Iterator[None]:
    """Have the handlers of ``set_up_logging`` collect the lines of a running event loop."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, LineHandler)]
    for each in handlers:
        each.collect(call_soon)
    try:
        yield
    finally:
        for each in handlers:
            each.collect(None)


def set_up_logging(
    log_format: LogFormat | None,
    log_level: str,
    *,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    worker: int | None = None,
) -> LineHandler:
    """Send every record of this process from ``log_level`` on to ``stream`` (stderr).

    ``log_format`` None: ``text`` on a terminal, else ``json``. Warnings of Python and uncaught
    errors, in any thread, become records too. For ``wsserver serve``: a program that embeds the
    server keeps its own logging and may use the formatters. ``worker``: number of this process
    among several, shown in each record. Returns the handler.
    """
    target = sys.stderr if stream is None else stream
    chosen: LogFormat = log_format or ("text" if target.isatty() else "json")
    handler = LineHandler(target)
    handler.setFormatter(FORMATTERS[chosen](Redactor(secrets), worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    # Not in any line; looked up for each record otherwise.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
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
