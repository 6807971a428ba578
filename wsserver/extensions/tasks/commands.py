"""The WebSocket command ``task``: the assignee's way to change a task."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from wsserver.errors import BadRequest, ValidationFailed
from wsserver.extensions.tasks.model import Note, Progress, State, StepIndex, TaskChange, Version
from wsserver.extensions.tasks.service import Tasks
from wsserver.protocol.commands import Command
from wsserver.protocol.types import Id
from wsserver.realtime.connections.connection import ConnectionInfo
from wsserver.realtime.dispatcher import Answer, Handler


class UpdateTask(Command, kw_only=True):
    """Change a task as its assignee; without a change, read it."""

    task_id: Id
    state: State | UnsetType = UNSET
    step: StepIndex | UnsetType = UNSET
    progress: Progress | UnsetType = UNSET
    note: Note | UnsetType = UNSET
    expected_version: Version | UnsetType = UNSET


class TaskCommands:
    """Handlers of the commands."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def table(self) -> dict[str, Handler]:
        """The handlers by command type."""
        return {"task": self.task}

    async def task(self, connection: ConnectionInfo, command: UpdateTask) -> Answer:
        """Reply with the task after the change."""
        change = TaskChange(
            command.state,
            command.step,
            command.progress,
            command.note,
            command.expected_version,
        )
        try:
            task = await self._tasks.update_assigned(connection.claims, command.task_id, change)
        except ValidationFailed as error:  # of REST, where it is 422
            errors = error.details["errors"]
            raise BadRequest(error.message, field=errors[0]["field"], errors=errors) from None
        return "task", {"task": task.view()}
