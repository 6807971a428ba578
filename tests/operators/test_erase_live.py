"""The data of a user: exported to a file, counted, erased."""

from __future__ import annotations

import json
from pathlib import Path

from tests.operators.conftest import Run
from tests.support.server_process import ServerProcess


def test_data_is_saved_and_erased(ctl: Run, tmp_path: Path) -> None:
    assert ctl("contacts", "ann", "--email", "ann@private.example").exit_code == 0
    for _ in range(3):
        assert ctl("send", "--user", "ann", "--keep", "hello").exit_code == 0
    out = tmp_path / "ann.ndjson"
    result = ctl("export", "user-data", "ann", "--out", str(out))
    assert (result.exit_code, result.output) == (0, "")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["table"] for row in rows] == ["contacts", *["messages"] * 3]
    assert rows[0]["row"]["contact"]["email"] == "ann@private.example"

    shown = ctl("erase", "ann", "--dry-run")
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["TABLE", "ROWS"],
        ["contacts", "1"],
        ["messages", "3"],
    ]
    assert "nothing was erased" in shown.stderr
    refused = ctl("erase", "ann")
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    done = ctl("erase", "ann", "--yes")
    assert (done.exit_code, done.stdout) == (0, "erased 4 rows of ann in 2 tables\n")
    again = json.loads(ctl("erase", "ann", "--yes", "-o", "json").stdout)
    assert sum(again["erased"].values()) == 0
    assert ctl("export", "user-data", "ann").stdout == ""
    assert "nothing is stored about ann" in ctl("erase", "ann", "--dry-run").output


def test_other_formats_have_a_row_for_each_row(ctl: Run) -> None:
    ctl("send", "--user", "bea", "--keep", "hello")
    table = ctl("export", "user-data", "bea", "--format", "csv").stdout.splitlines()
    assert table[0] == "table,row"
    assert table[1].startswith('messages,"{""message_id""')
    (row,) = json.loads(ctl("export", "user-data", "bea", "--format", "json").stdout)
    assert (row["table"], row["row"]["stream"]) == ("messages", "user:bea")


def test_who_may_not_is_told_so(ctl: Run, server: ServerProcess) -> None:
    token = server.token("backend", "service")
    for command in (("erase", "u1", "--yes"), ("export", "user-data", "u1")):
        result = ctl(*command, "--token", token)
        assert (result.exit_code, "forbidden" in result.stderr) == (4, True), result.output
