"""Tasks as values: states and their transitions as a table, and changes without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from wsserver.clock import rfc3339_or_none
from wsserver.errors import ValidationFailed
from wsserver.extensions.tasks.errors import BadTransition, VersionChanged
from wsserver.protocol.types import JsonObject, Role, UserId

State = Literal["pending", "running", "waiting", "done", "failed", "cancelled"]

TRANSITIONS: Final[Mapping[str, frozenset[State]]] = MappingProxyType(
    {
        "pending": frozenset({"running", "cancelled"}),
        "running": frozenset({"waiting", "done", "failed", "cancelled"}),
        "waiting": frozenset({"running", "failed", "cancelled"}),
        "done": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
    }
)
"""State → the states that may follow; a state without any is final."""

MAX_STEPS = 100
MAX_METADATA_BYTES = 4096

Progress = Annotated[float, Meta(ge=0, le=1)]
Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$")]
Note = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
StepIndex = Annotated[int, Meta(ge=0, lt=MAX_STEPS, description="from 0")]
Version = Annotated[int, Meta(ge=1, le=2**53)]


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """A step of a task."""

    title: Title


class Assignee(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who has to do a task: a user, or everybody with a role; exactly one of both."""

    user: UserId | None = None
    role: Role | None = None


class Task(Struct, frozen=True, kw_only=True):
    """A task as it is stored. Times are seconds since the epoch."""

    task_id: str
    title: str
    steps: tuple[Step, ...]
    state: State = "pending"
    step: int = 0
    progress: float = 0.0
    version: int = 1
    assignee: Assignee | None = None
    session_id: str | None = None
    organization_id: str | None = None
    due_at: float | None = None
    overdue_at: float | None = None
    """When it was found overdue, once."""
    metadata: JsonObject = {}
    created_at: float
    created_by: str
    updated_at: float

    @property
    def is_open(self) -> bool:
        """Whether its state may still change."""
        return bool(TRANSITIONS[self.state])

    def view(self) -> dict[str, Any]:
        """The task as answers and pushes have it."""
        assignee = self.assignee
        return {
            "task_id": self.task_id,
            "title": self.title,
            "steps": [{"title": step.title} for step in self.steps],
            "state": self.state,
            "step": self.step,
            "progress": self.progress,
            "version": self.version,
            "assignee": None
            if assignee is None
            else {"user": assignee.user}
            if assignee.user is not None
            else {"role": assignee.role},
            "session_id": self.session_id,
            "organization_id": self.organization_id,
            "due_at": rfc3339_or_none(self.due_at),
            "overdue": self.overdue_at is not None and self.is_open,
            "metadata": self.metadata,
            "created_at": rfc3339_or_none(self.created_at),
            "created_by": self.created_by,
            "updated_at": rfc3339_or_none(self.updated_at),
        }


class TaskChange(Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a task; what is left out stays as it is."""

    state: State | UnsetType = UNSET
    step: StepIndex | UnsetType = UNSET
    progress: Progress | UnsetType = UNSET
    note: Note | UnsetType = UNSET
    expected_version: Version | UnsetType = UNSET


def changed_by(task: Task, change: TaskChange, now: float) -> tuple[Task, list[str]]:
    """The task after a change, and the names of its changed fields; a note counts as one.

    Without any the task stays as it is, with its version. ``done`` brings the progress to 1, unless
    another one is given. Raises ``VersionChanged``, ``BadTransition``, ``ValidationFailed``.
    """
    if change.expected_version not in (UNSET, task.version):
        raise VersionChanged(task.task_id, task.version)
    values: dict[str, Any] = {
        name: value
        for name in ("state", "step", "progress")
        if (value := getattr(change, name)) not in (UNSET, getattr(task, name))
    }
    if values and not task.is_open:
        raise BadTransition(task.state, f"the task is {task.state}, which is final")
    state = values.get("state", task.state)
    if state != task.state and state not in TRANSITIONS[task.state]:
        allowed = " or ".join(sorted(TRANSITIONS[task.state]))
        raise BadTransition(task.state, f"from {task.state} to {state}; {allowed} may follow")
    if values.get("step", 0) >= max(1, len(task.steps)):
        message = f"the task has {len(task.steps)} steps; the last one is {len(task.steps) - 1}"
        raise ValidationFailed([{"field": "step", "message": message}])
    if values.get("state") == "done" and change.progress is UNSET and task.progress < 1:
        values["progress"] = 1.0
    changed = list(values)
    if change.note is not UNSET:
        changed.append("note")
    if not changed:
        return task, []
    return replace(task, **values, version=task.version + 1, updated_at=now), changed
