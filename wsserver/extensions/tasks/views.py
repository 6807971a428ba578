"""Shapes of tasks in answers, pushes and replies, and bodies of requests."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from wsserver.clock import rfc3339
from wsserver.extensions.tasks.model import (
    MAX_METADATA_BYTES,
    MAX_STEPS,
    Assignee,
    State,
    Step,
    Task,
    Title,
)
from wsserver.extensions.tasks.store import Record
from wsserver.protocol.requests import Request
from wsserver.protocol.types import Id, JsonObject, Role, UserId
from wsserver.protocol.validation import Fault
from wsserver.web.api.answers import Answer, Listing, Time
from wsserver.web.api.queries import PageQuery
from wsserver.web.resources.socket_frames import Wire


class StepView(Answer):
    """A step of a task."""

    title: str


class AssigneeView(Answer):
    """Who has to do a task: a user, or everybody with a role."""

    user: str | UnsetType = UNSET
    role: str | UnsetType = UNSET


class TaskView(Answer):
    """A task."""

    task_id: str
    title: str
    steps: list[StepView]
    state: State
    step: Annotated[int, Meta(description="index of the current step, from 0")]
    progress: Annotated[float, Meta(description="from 0 to 1")]
    version: Annotated[int, Meta(description="grows by 1 with each change")]
    assignee: AssigneeView | None
    session_id: str | None
    organization_id: str | None
    due_at: Time | None
    overdue: Annotated[bool, Meta(description="open past its time")]
    metadata: dict[str, Any]
    created_at: Time
    created_by: str
    updated_at: Time


class TaskRecord(Answer):
    """A change of a task."""

    version: int
    at: Time
    by: Annotated[str | None, Meta(description="user id; null: the server")]
    changed: Annotated[dict[str, Any], Meta(description="changed fields with their new values")]
    note: str | None


class WholeTask(TaskView, kw_only=True):
    """A task with its history."""

    history: Annotated[list[TaskRecord], Meta(description="the latest 1000, oldest first")]


class TaskList(Listing):
    """Tasks, newest first."""

    tasks: list[TaskView]


class TaskReply(Wire, kw_only=True):
    """The task after the change."""

    task: TaskView


class TaskRequest(Request, kw_only=True):
    """A new task."""

    title: Title
    steps: Annotated[list[Step], Meta(max_length=MAX_STEPS)]
    assignee: Assignee | None = None
    session_id: Id | None = None
    organization_id: Id | None = None
    due_at: Annotated[datetime, Meta(tz=True, description="RFC 3339")] | None = None
    metadata: Annotated[JsonObject, Meta(description="at most 4 KiB")] = field(default_factory=dict)


class TasksQuery(PageQuery, kw_only=True):
    """Filters of tasks: all must match."""

    state: State | None = None
    assignee: Annotated[UserId, Meta(description="a user id")] | None = None
    role: Role | None = None
    session_id: Id | None = None
    organization_id: Id | None = None
    overdue: (
        Annotated[Literal["true", "false"], Meta(description="true: only those open past due_at")]
        | None
    ) = None


def request_faults(request: TaskRequest, bad: Collection[str] = ()) -> list[Fault]:
    """Faults that the type cannot express."""
    faults: list[Fault] = []
    assignee = request.assignee if "assignee" not in bad else None
    if assignee is not None and (assignee.user is None) == (assignee.role is None):
        faults.append({"field": "assignee", "message": "exactly one of user and role"})
    size = len(msgspec.json.encode(request.metadata)) if "metadata" not in bad else 0
    if size > MAX_METADATA_BYTES:
        message = f"{size} bytes as JSON; at most {MAX_METADATA_BYTES}"
        faults.append({"field": "metadata", "message": message})
    return faults


def whole(task: Task, history: list[Record]) -> dict[str, Any]:
    """A task with its history, as the API returns it."""
    records = [
        {
            "version": record.version,
            "at": rfc3339(record.at),
            "by": record.changed_by or None,
            "changed": record.changes,
            "note": record.note,
        }
        for record in history
    ]
    return {**task.view(), "history": records}
