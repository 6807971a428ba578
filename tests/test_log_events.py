"""JSON log records: events with fields; every log call of the package has the form."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from wsserver.logs import JsonFormatter, TextFormatter, parse_template, structure_of
from wsserver.redaction import Redactor

SOURCES = sorted((Path(__file__).parents[1] / "wsserver").rglob("*.py"))
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
CANARY = "cAnArY-31337"


class Code(IntEnum):
    GONE = 4001


def record(message: Any, *args: Any, name: str = "wsserver.test") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)


def formatted(entry: logging.LogRecord, *secrets: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(JsonFormatter(Redactor(secrets)).format(entry))
    return {key: event[key] for key in event if key not in ("timestamp", "level", "logger")}


def templates_of(source: str) -> Iterator[tuple[int, str | None]]:
    """The message of every call of a logger; None where it is put together at the call."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log"
            and node.func.attr in LEVELS | {"log"}
        ):
            message = node.args[1 if node.func.attr == "log" else 0]
            text = message.value if isinstance(message, ast.Constant) else None
            yield node.lineno, text if isinstance(text, str) else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_message_is_an_event_with_fields(path: Path) -> None:
    for line, template in templates_of(path.read_text(encoding="utf-8")):
        assert template is not None, f"{path}:{line}: use a literal and arguments"
        assert parse_template(template), f"{path}:{line}: write 'event in words name=%s'"


def test_the_check_sees_what_it_is_for() -> None:
    source = 'log.info(f"a {b}")\nlog.log(10, "a: %s", b)\nlog.error("a b=%s", b)\nx.info(1)'
    found = [template and parse_template(template) for _, template in templates_of(source)]
    assert [each is None for each in found] == [True, True, False]
    assert sum(len([*templates_of(path.read_text("utf-8"))]) for path in SOURCES) > 60


@pytest.mark.parametrize(
    ("template", "args", "expected"),
    [
        ("stopping", (), {}),
        ("closed code=%d reason=%s", (4001, "gone away"), {"code": 4001, "reason": "gone away"}),
        ("closed code=%d", (Code.GONE,), {"code": 4001}),
        ("asked ms=%.1f", (1.2345,), {"ms": 1.2}),
        ("asked rate=%g", (float("inf"),), {"rate": "inf"}),
        ("set a=%s b=%s c=%s d=%s", (None, True, 1.5, 7), {"a": None, "b": True, "c": 1.5, "d": 7}),
        ("failed error=%s", (ValueError("x y"),), {"error": "x y"}),
        ("failed error=%.4r", ("abcdef",), {"error": "'abc"}),
        ("uses %-free words n=%s", ("x",), None),
        ("two a=%s a=%s", (1, 2), None),
        ("reserved level=%s", ("x",), None),
        ("a sentence: %s", ("x",), None),
        ("100%% sure", (), None),
        ("closed code=%d", ("text",), None),
        ("closed code=%d", (), None),
        ("closed code=%d", (1, 2), None),
        (ValueError("x"), (), None),
    ],
)
def test_a_message_is_taken_apart(
    template: Any, args: tuple[Any, ...], expected: dict[str, Any] | None
) -> None:
    entry = record(template, *args)
    found = structure_of(entry)
    if expected is None:
        assert found is None
        assert [*formatted(entry)] == ["message"]
    else:
        assert found is not None
        assert found.fields == expected
        assert formatted(entry) == {"event": found.event, **expected}


def test_records_of_other_packages_are_sentences() -> None:
    assert formatted(record("stopped a=%s", 1, name="tornado.general")) == {
        "message": "stopped a=1"
    }
    assert formatted(record("stopped a=%s", 1, name="wsserverx")) == {"message": "stopped a=1"}
    assert "event" in formatted(record("stopped a=%s", 1, name="wsserver"))


def test_text_keeps_the_sentence() -> None:
    line = TextFormatter(Redactor()).format(record("connection closed code=%d", 4001))
    assert line.endswith(" INFO wsserver.test: connection closed code=4001")


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("asked path=%s", f"/ws?token={CANARY}"),
        ("asked token=%s", CANARY),
        ("asked a=%s", f"Authorization: Bearer {CANARY}"),
        ("asked a=%r", f"bearer {CANARY}"),
        ("asked authorization=%s", f"Basic {CANARY}"),
        ("asked a=%s", f"known {CANARY}"),
    ],
)
def test_no_field_holds_a_credential(template: str, value: str) -> None:
    for entry in (
        record(template, value),
        record(template + " b=%s", value, "x"),
        record("first b=%s" + template.removeprefix("asked"), "x", value),
    ):
        line = JsonFormatter(Redactor([f"known {CANARY}"])).format(entry)
        assert CANARY not in line
        assert "[redacted]" in line
        assert "event" in json.loads(line)


def test_a_credential_that_spans_two_fields_is_redacted() -> None:
    shown = formatted(record("asked a=%s b=%s", "bearer", CANARY))
    assert shown == {"message": "asked a=bearer [redacted]"}


def test_nothing_in_a_field_breaks_the_line() -> None:
    assert formatted(record("asked a=%s", "a\r\n\x1b[2J\u202e")) == {
        "event": "asked", "a": "a\r\n\x1b[2J\u202e"
    }  # fmt: skip


class Changing:
    """Shows another text each time it is asked for one."""

    def __init__(self) -> None:
        self.texts = ["harmless", f"token={CANARY}"]

    def __str__(self) -> str:
        return self.texts.pop(0)


def test_what_is_checked_is_what_is_shown() -> None:
    assert formatted(record("asked a=%s", Changing())) == {"event": "asked", "a": "harmless"}
