"""One output layer: tables, JSON, CSV, safe for terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.cells import cell_len

from wsctl.output.csv_rows import csv_cell
from wsctl.output.writer import Column, Output
from wsctl.text import flatten, one_line, printable

COLUMNS = [Column("NAME", "name"), Column("N", "n", right=True)]


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+cmd", "-x", "@sum", "\tx", "\rx", "\nx", "-1-1", "+1e"),
        *(" =1+1", "\u00a0 =1", "\u3000@x", "\ufeff=1", "\u200b\u200e-x", "\x00=1", "\x1b=1"),
        *("＝1+1", "＋x", "－x", "＠x", " ＝1"),
    ],
)
def test_formulas_are_quoted(text: str) -> None:
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["-5", "+1.5", "-1e-7", "a=1", "张三", " a", "", " "])
def test_numbers_and_plain_text_are_not(text: str) -> None:
    assert csv_cell(text) == text


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\x0b", "\x85", "\u2028"])
def test_a_line_break_in_a_cell_ends_no_row(capsys: pytest.CaptureFixture[str], end: str) -> None:
    output = Output()
    output.format = "csv"
    rows = [{"name": f"a{end}=cmd", "n": 1}, {"name": 'b",', "n": 2}]
    output.rows(COLUMNS, rows, empty="")
    text = capsys.readouterr().out
    assert text.startswith("name,n\n")
    assert text.endswith(",2\n")
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == [
        {"name": row["name"], "n": str(row["n"])} for row in rows
    ]


@pytest.mark.parametrize(
    "code", [0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x2070), 0xFFFA]
)
def test_what_turns_the_reading_direction_is_shown_as_an_escape(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\u{code:04x}b"


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2J\u202eb\x9b1m") == "a\\x1b[2J\\u202eb\\x9b1m"
    assert one_line("a\nb\r\n  c") == "a b c"


def test_wide_names_stay_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "张三的微信", "n": 1}, {"name": "bob", "n": 22}]
    Output().rows(COLUMNS, rows, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}
    assert lines[1].startswith("张三的微信")


def test_a_table_fits_its_width_without_losing_a_character() -> None:
    from wsctl.output.tables import draw

    text = draw([("ID", False), ("NAME", False)], [["c" * 60, "张" * 30]], width=80, colour=False)
    assert max(map(cell_len, text.splitlines())) <= 80
    assert text.count("c") == 60
    assert text.count("张") == 30


def test_json_is_the_rows_and_csv_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    rows = [{"name": "张三", "n": 1, "more": {"x": None, "l": ["a", "b"]}}]
    output.format = "json"
    output.rows(COLUMNS, rows, empty="")
    assert json.loads(capsys.readouterr().out) == rows
    output.format = "csv"
    output.rows(COLUMNS, rows, empty="")
    assert list(csv.DictReader(io.StringIO(capsys.readouterr().out))) == [
        {"name": "张三", "n": "1", "more.x": "", "more.l": "a b"}
    ]


def test_empty_lists(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.rows(COLUMNS, [], empty="nobody")
    assert capsys.readouterr() == ("", "nobody\n")
    output.format = "csv"
    output.rows(COLUMNS, [], empty="nobody")
    assert capsys.readouterr().out == "name,n\n"


def test_flatten_keeps_lists_of_objects_as_json() -> None:
    assert flatten({"a": {"b": 1}, "c": [{"d": 1}]}) == {"a.b": 1, "c": '[{"d": 1}]'}
