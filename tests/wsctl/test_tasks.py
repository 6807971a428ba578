"""``wsctl tasks``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fake_server import API, FakeServer, Run, page

TASK: dict[str, Any] = {
    "task_id": "task_1",
    "title": "Onboard Acme",
    "steps": [{"title": "Call"}, {"title": "Sign"}],
    "state": "running",
    "step": 1,
    "progress": 0.5,
    "version": 3,
    "assignee": {"user": "alice"},
    "session_id": "s1",
    "organization_id": None,
    "due_at": "2024-01-15T14:30:00Z",
    "overdue": True,
    "metadata": {},
    "created_at": "2024-01-14T14:30:00Z",
    "created_by": "crm",
    "updated_at": "2024-01-14T15:30:00Z",
}
HISTORY = [
    {"version": 1, "at": "2024-01-14T14:30:00Z", "by": "crm", "changed": {}, "note": None},
    {"version": 2, "at": "2024-01-14T15:30:00Z", "by": "alice", "changed": {"state": "running"},
     "note": "called"},
    {"version": 3, "at": "2024-01-15T14:30:01Z", "by": None, "changed": {"overdue": True},
     "note": None},
]  # fmt: skip


@pytest.fixture
def server(server: FakeServer) -> FakeServer:
    """One with a task."""
    of_role = {**TASK, "task_id": "task_0", "assignee": {"role": "manager"}, "due_at": None}
    server.answers["GET", "/tasks"] = (200, page("tasks", [TASK, of_role], {}))
    server.answers["GET", "/tasks/task_1"] = (200, {**TASK, "history": HISTORY})
    server.answers["POST", "/tasks"] = (200, TASK)
    server.answers["PATCH", "/tasks/task_1"] = (200, TASK)
    return server


def test_the_tasks_are_listed(ctl: Run, server: FakeServer) -> None:
    lines = ctl("tasks", "--overdue", "--user", "alice", "--state", "running").stdout.splitlines()
    assert lines[0].split()[:4] == ["TASK", "STATE", "PROGRESS", "TITLE"]
    assert lines[1].split()[:3] == ["task_1", "running", "50%"]
    assert "manager" in lines[2]
    query = server.asked[-1].query
    assert {name: query[name] for name in ("overdue", "assignee", "state")} == {
        "overdue": "true", "assignee": "alice", "state": "running",
    }  # fmt: skip
    assert [each["task_id"] for each in json.loads(ctl("tasks", "-o", "json").stdout)] == [
        "task_1",
        "task_0",
    ]


def test_a_task_is_shown_with_its_history(ctl: Run) -> None:
    text = ctl("tasks", "show", "task_1").stdout
    for part in (
        *("task_1  Onboard Acme", "running, 50%, version 3", "assignee: alice", "session: s1"),
        *("(overdue)", "[x] 0 Call", "[ ] 1 Sign", "crm: created"),
        *("alice: state running, note: called", "the server: overdue"),
    ):
        assert part in text
    assert "organization" not in text
    assert json.loads(ctl("tasks", "show", "task_1", "-o", "json").stdout)["history"] == HISTORY


def test_a_task_is_created(ctl: Run, server: FakeServer) -> None:
    result = ctl("tasks", "create", "Onboard Acme", "--step", "Call", "--step", "Sign",
                 "--user", "alice", "--due", "2030-01-15")  # fmt: skip
    assert result.stdout == "task_1 created\n"
    asked = server.asked[-1]
    assert (asked.method, asked.path) == ("POST", f"{API}/tasks")
    assert asked.body == {
        "title": "Onboard Acme",
        "steps": [{"title": "Call"}, {"title": "Sign"}],
        "assignee": {"user": "alice"},
        "due_at": "2030-01-15T00:00:00.000Z",
    }
    ctl("tasks", "create", "t", "--role", "manager", "--organization", "o1", "--due-in", "2d")
    body = server.asked[-1].body
    assert (body["assignee"], body["organization_id"]) == ({"role": "manager"}, "o1")
    assert body["due_at"] > "2026"


@pytest.mark.parametrize(
    "args", [("--user", "u", "--role", "user"), ("--due", "2030-01-15", "--due-in", "2d")]
)
def test_options_that_exclude_each_other(ctl: Run, args: tuple[str, ...]) -> None:
    result = ctl("tasks", "create", "t", *args)
    assert (result.exit_code, "exclude each other" in result.stderr) == (2, True)


def test_a_task_is_changed(ctl: Run, server: FakeServer) -> None:
    result = ctl("tasks", "update", "task_1", "--state", "running", "--step", "1",
                 "--progress", "0.5", "--note", "called", "--expected-version", "2")  # fmt: skip
    assert result.stdout == "task_1: running, 50%, version 3\n"
    assert server.asked[-1].body == {
        "state": "running", "step": 1, "progress": 0.5, "note": "called", "expected_version": 2,
    }  # fmt: skip
    assert ctl("tasks", "update", "task_1").exit_code == 2
