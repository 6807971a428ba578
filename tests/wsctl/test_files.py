"""``wsctl files``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fake_server import API, FakeServer, Run, page

FILE: dict[str, Any] = {
    "file_id": "file_1",
    "filename": "报告.pdf",
    "content_type": "application/pdf",
    "bytes": 1_500_000,
    "sha256": "ab" * 32,
    "user_id": "u1",
    "session_id": "s1",
    "organization_id": None,
    "created_at": "2024-01-14T14:30:00Z",
    "completed_at": "2024-01-14T14:31:00Z",
    "expires_at": "2024-02-13T14:31:00Z",
}


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with a file and an upload."""
    unfinished = {**FILE, "file_id": "file_0", "completed_at": None, "sha256": None}
    server.answers["GET", "/files"] = (200, page("files", [FILE, unfinished], {}))
    server.answers["DELETE", "/files/file_1"] = (204, None)
    return server


def test_files_are_listed(ctl: Run, server: FakeServer) -> None:
    lines = ctl("files", "--user", "u1", "--session", "s1").stdout.splitlines()
    assert lines[0].split()[:3] == ["FILE", "NAME", "SIZE"]
    assert lines[1].split()[:5] == ["file_1", "报告.pdf", "1.43", "MiB", "u1"]
    assert "unfinished" in lines[2].split()
    query = server.asked[-1].query
    assert (query["user_id"], query["session_id"]) == ("u1", "s1")
    shown = json.loads(ctl("files", "-o", "json").stdout)
    assert [each["file_id"] for each in shown] == ["file_1", "file_0"]


def test_a_file_is_deleted(ctl: Run, server: FakeServer) -> None:
    assert "file_1 is deleted" in ctl("files", "delete", "file_1", "--yes").stdout
    asked = server.asked[-1]
    assert (asked.method, asked.path) == ("DELETE", f"{API}/files/file_1")
    server.answers["DELETE", "/files/file_2"] = (404, {"code": "not_found", "detail": "no file"})
    assert ctl("files", "delete", "file_2", "--yes").exit_code == 1
