"""Overdue tasks: each is found once, with an event and a notification, by one node for all."""

from __future__ import annotations

import logging
from typing import TypedDict

from wsserver.clock import Clock, rfc3339
from wsserver.errors import StorageFull, StorageUnavailable, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.tasks.model import Assignee, Task
from wsserver.extensions.tasks.options import TaskOptions
from wsserver.extensions.tasks.pushes import MANAGER
from wsserver.extensions.tasks.service import Tasks
from wsserver.extensions.tasks.store import TaskStore
from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import Recipients

log = logging.getLogger(__name__)

TASK_OVERDUE = "task_overdue"
"""The name of the event and of the template."""


class TaskOverdue(TypedDict):
    """Parameters of the template."""

    task_id: str
    title: str
    due_at: str


class OverdueTasks:
    """Finds open tasks past their time."""

    def __init__(
        self, context: ExtensionContext[TaskOptions], store: TaskStore, tasks: Tasks
    ) -> None:
        self._context = context
        self._clock: Clock = context.clock
        self._store = store
        self._tasks = tasks

    async def look(self) -> None:
        """Notify of every task that is overdue since the last time.

        The notification is stored before the task is marked: after a crash in between it is
        recognized by its key, and not sent twice.
        """
        for task in await self._store.due(self._clock.wall()):
            await self._notify(task)
            marked = await self._store.mark_overdue(task.task_id, self._clock.wall())
            if marked is None:
                continue
            self._context.events.emit(
                TASK_OVERDUE,
                task_id=task.task_id,
                title=task.title,
                due_at=_due(task),
                state=task.state,
                assignee=task.view()["assignee"],
                session_id=task.session_id,
                organization_id=task.organization_id,
            )
            await self._tasks.tell(marked, ["overdue"], None)

    async def _notify(self, task: Task) -> None:
        parameters = {"task_id": task.task_id, "title": task.title, "due_at": _due(task)}
        recipients = recipients_of(task)
        # A user of another organization would be refused; the assignee is notified all the same.
        confined = task.organization_id if not recipients.user_ids else None
        try:
            await self._context.notifications.send_template(
                recipients,
                TASK_OVERDUE,
                parameters,
                Sending(confined_to=confined, once=(TASK_OVERDUE, task.task_id)),
            )
        except (StorageUnavailable, StorageFull):
            raise  # the task is found again
        except WsServerError as error:
            log.warning("overdue task not notified task_id=%s error=%s", task.task_id, error)


def recipients_of(task: Task) -> Recipients:
    """The assignee; of a task without one the managers of its organization, or its creator."""
    assignee = task.assignee or Assignee()
    if assignee.user is not None:
        return Recipients(user_ids=(assignee.user,))
    if assignee.role is not None:
        return Recipients(role=assignee.role)
    if task.organization_id is not None:
        return Recipients(role=MANAGER)
    return Recipients(user_ids=(task.created_by,))


def _due(task: Task) -> str:
    return rfc3339(task.due_at or 0.0)
