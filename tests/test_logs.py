"""Log lines: one for each record, escaped, without credentials."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from wsserver.logs import JsonFormatter, TextFormatter, lines_together, set_up_logging
from wsserver.redaction import Redactor, one_line

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.dBjftJeZ4CVPmB92K27uhbUJU1p1rwW1gFWFOEjXk"
CANARY = "cAnArY-31337"


def record(message: object, *args: object, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord(
        "wsserver.test",
        logging.INFO,
        __file__,
        1,
        message,
        args,
        exc_info,
        None,
    )


def failure(error: Exception) -> object:
    try:
        raise error
    except (ValueError, KeyError):
        return sys.exc_info()


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, threading.excepthook
    noted = logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing = noted


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
@pytest.mark.parametrize(
    ("template", "secret"),
    [
        ("checked %s", JWT),
        ("checked %s", JWT.rpartition(".")[0] + "."),
        ("GET /ws/chat?token=%s", CANARY),
        ("GET /ws/chat?a=1&%%74oken=%s&b='", CANARY),
        ("GET /ws/chat?ticket=%s (127.0.0.1)", CANARY),
        ("got token=%s.", CANARY),
        ("got {'ticket': '%s'}", CANARY),
        ("Authorization: Bearer %s", CANARY),
        ("authorization: basic %s", CANARY),
        ("{'Authorization': 'Bearer %s', 'Host': 'a'}", CANARY),
        ("[('Authorization', 'Bearer %s')]", CANARY),
        ("[(b'Authorization', b'Bearer %s')]", CANARY),
        ("Sec-WebSocket-Protocol: wsserver.v1, bearer.%s", CANARY),
        ("jwt_secret='%s'", CANARY),
        ("known %s", "opaque value"),
    ],
)
def test_credentials_are_nowhere(
    formatter: type[TextFormatter], template: str, secret: str
) -> None:
    redacting = formatter(Redactor(["opaque value"]))
    text = template % secret
    lines = [
        redacting.format(record(template, secret)),
        redacting.format(record(text.replace("%", "%%"))),
        redacting.format(record("failed", exc_info=failure(ValueError(text)))),
        redacting.format(record("%d", text)),
    ]
    for line in lines:
        assert secret not in line
        assert "\n" not in line
    assert "[redacted]" in lines[0]


def test_ordinary_text_is_left_alone() -> None:
    text = "closed connection=conn_01 code=4001 host=www.example.com file=a.b.c tokens left?"
    assert Redactor()(text) == text


class Connection:
    """As much of Tornado's connection as a request looks at."""

    context = None


def test_tornado_s_request_dump_loses_its_query() -> None:
    request = HTTPServerRequest(
        headers=HTTPHeaders({"Host": "a"}),
        start_line=RequestStartLine("GET", f"/ws/chat?token={CANARY}", "HTTP/1.1"),
        connection=Connection(),  # type: ignore[arg-type]
    )
    line = TextFormatter(Redactor()).format(record("Uncaught exception %s\n%r", "GET /", request))
    assert CANARY not in line
    assert "/ws/chat?[redacted]" in line


def test_control_characters_are_escaped() -> None:
    nasty = "a\r\nb\x1b[2J\x9bc\u202ed\u2028e\u2066\ud800\x7f\0\t张三"
    line = TextFormatter(Redactor()).format(record("%s", nasty))
    assert line.endswith("a\\r\\nb\\x1b[2J\\x9bc\\u202ed\\u2028e\\u2066\\ud800\\x7f\\x00\\t张三")
    encoded = JsonFormatter(Redactor()).format(record("%s", nasty))
    assert encoded == one_line(encoded)
    assert json.loads(encoded)["message"] == nasty


def test_text_and_json_lines() -> None:
    entry = record("closed code=%d", 4001, exc_info=failure(KeyError("k")))
    entry.created = 0.5
    text = TextFormatter(Redactor()).format(entry)
    assert text.startswith("1970-01-01T00:00:00.500Z INFO wsserver.test: closed code=4001 | Trace")
    assert text.endswith("\\nKeyError: 'k'")
    event = json.loads(JsonFormatter(Redactor()).format(entry))
    assert event.pop("exception").endswith("\nKeyError: 'k'")
    assert event == {
        "timestamp": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "wsserver.test",
        "event": "closed",
        "code": 4001,
    }
    assert entry.exc_text is None, "records belong to all handlers"


@pytest.mark.usefixtures("_logging_as_it_was")
def test_the_format_follows_the_stream_unless_it_is_set() -> None:
    stream = io.StringIO()
    set_up_logging(None, "info", stream=stream)
    logging.getLogger("tornado.access").info("200 GET /ws?token=%s", CANARY)
    logging.getLogger("tornado.access").debug("quiet")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "200 GET /ws?[redacted]"
    set_up_logging("text", "debug", stream=stream)
    logging.getLogger("x").debug("now")
    assert stream.getvalue().endswith(" DEBUG x: now\n")


class Writes(io.StringIO):
    """A stream that keeps what each write was."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str, /) -> int:
        self.pieces.append("".join(line[-1:] for line in text.splitlines()))
        return super().write(text)


@pytest.mark.usefixtures("_logging_as_it_was")
def test_the_lines_of_one_iteration_are_written_together() -> None:
    stream, log = Writes(), logging.getLogger("x")
    set_up_logging("text", "info", stream=stream)
    soon: list[Callable[[], None]] = []
    with lines_together(soon.append):
        log.info("a")
        log.info("b")
        assert stream.pieces == []
        soon.pop()()
        log.info("c")
        log.warning("d")  # not later than it has to be, and in its order
        assert stream.pieces == ["ab", "cd"]
        soon.pop()()
        log.info("e")
        other = threading.Thread(target=log.info, args=("f",))
        other.start()
        other.join()
        assert stream.pieces == ["ab", "cd", "ef"]
        log.info("g")
    log.info("h")
    assert stream.pieces == ["ab", "cd", "ef", "g", "h"]


@pytest.mark.usefixtures("_logging_as_it_was")
def test_a_stream_that_cannot_be_written_to_is_endured(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    set_up_logging("text", "info", stream=stream)
    stream.close()
    logging.getLogger("x").info("token=%s", CANARY)
    assert capsys.readouterr().err == ""


PROGRAM = f"""
import sys, threading, warnings
from wsserver.logs import set_up_logging
set_up_logging("text", "info")
def fail(): raise ValueError("token={CANARY}\\nsecond")
thread = threading.Thread(target=fail, name="worker"); thread.start(); thread.join()
warnings.warn("ticket={CANARY}")
fail()
"""


def test_uncaught_exceptions_are_logged_without_secrets() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", PROGRAM], capture_output=True, text=True
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert len(lines) == 3
    assert "uncaught error thread=worker" in lines[0]
    assert "py.warnings" in lines[1]
    assert "uncaught error | Traceback" in lines[2]
    assert CANARY not in done.stderr
