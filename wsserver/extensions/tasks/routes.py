"""REST endpoints of tasks."""

from __future__ import annotations

from typing import Any

from wsserver.extending.extension import ExtensionResource
from wsserver.extensions.tasks.model import TaskChange
from wsserver.extensions.tasks.service import MANAGE, Tasks
from wsserver.extensions.tasks.views import (
    TaskList,
    TaskRequest,
    TasksQuery,
    TaskView,
    WholeTask,
    request_faults,
)
from wsserver.web.api.endpoint import Call

RESOURCE = ExtensionResource(
    "tasks", "Tasks", "Tasks in steps, with an assignee, a due time and a history."
)

_REQUEST = {
    "title": "Onboard Acme",
    "steps": [{"title": "Call"}, {"title": "Send the contract"}],
    "assignee": {"user": "user_67890"},
    "due_at": "2030-01-15T14:30:00Z",
}
_TASK = {
    "task_id": "task_01hk153x00h9v3t7n2c4d5e6",
    "title": "Onboard Acme",
    "steps": [{"title": "Call"}, {"title": "Send the contract"}],
    "state": "pending",
    "step": 0,
    "progress": 0.0,
    "version": 1,
    "assignee": {"user": "user_67890"},
    "session_id": None,
    "organization_id": "org_123",
    "due_at": "2030-01-15T14:30:00Z",
    "overdue": False,
    "metadata": {},
    "created_at": "2030-01-14T09:00:00Z",
    "created_by": "crm",
    "updated_at": "2030-01-14T09:00:00Z",
}


@RESOURCE.endpoint(
    "POST /tasks",
    MANAGE,
    TaskView,
    action="create_task",
    request=TaskRequest,
    rules=request_faults,
    request_example=_REQUEST,
    answer_example=_TASK,
)
async def _create(tasks: Tasks, call: Call) -> dict[str, Any]:
    """Create a task."""
    return await tasks.create(call.caller, call.body)


@RESOURCE.endpoint("GET /tasks", MANAGE, TaskList, query=TasksQuery)
async def _list(tasks: Tasks, call: Call) -> dict[str, Any]:
    """List tasks, newest first."""
    return await tasks.listing(call.caller, call.query)


@RESOURCE.endpoint("GET /tasks/{task_id}", MANAGE, WholeTask, errors=("not_found",))
async def _get(tasks: Tasks, call: Call) -> dict[str, Any]:
    """Get a task with its history."""
    return await tasks.one(call.caller, call.path["task_id"])


@RESOURCE.endpoint(
    "PATCH /tasks/{task_id}",
    MANAGE,
    TaskView,
    action="update_task",
    request=TaskChange,
    request_example={"state": "running", "expected_version": 1},
    answer_example={**_TASK, "state": "running", "version": 2},
    errors=("not_found", "version_changed", "bad_transition", "storage_full"),
)
async def _change(tasks: Tasks, call: Call) -> dict[str, Any]:
    """Change a task's state, step or progress, or add a note."""
    return await tasks.update(call.caller, call.path["task_id"], call.body)
