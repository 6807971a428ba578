"""The push ``task_update``: its shape, and who gets it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from wsserver.extensions.tasks.model import Assignee, Task
from wsserver.extensions.tasks.views import TaskView
from wsserver.protocol.targets import Target, TargetType, organization, session, user
from wsserver.realtime.messages.message import Message
from wsserver.web.resources.socket_frames import Signal

TASK_UPDATE = "task_update"
MANAGER = "manager"


class TaskUpdatePush(Signal, kw_only=True):
    """A task is new or has changed; of two about one task, the higher ``version`` counts.

    That of the assignee is kept: it has an id and a place in a stream.
    """

    stream: str | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    redelivered: bool | UnsetType = UNSET
    task: TaskView
    changed: Annotated[list[str], Meta(description="names of the changed fields")]
    by: Annotated[str | None, Meta(description="user id; null: the server")]


def members_of(task: Task, changed: list[str], by: str | None) -> dict[str, Any]:
    """The body of the push."""
    return {"task": task.view(), "changed": changed, "by": by}


def kept_message(task: Task, members: dict[str, Any]) -> Message | None:
    """The push for the assignee, kept where a stream can keep it; None without an assignee.

    A role has no inbox: the stream of the organization keeps the push for those who have the role.
    """
    assignee = task.assignee
    if assignee is None:
        return None
    message = Message(type=TASK_UPDATE, members=members)
    if assignee.user is not None:
        message.target = user(assignee.user)
    elif task.organization_id is not None:
        message.target, message.role = organization(task.organization_id), assignee.role
    else:
        message.target = Target(TargetType.ROLE, assignee.role or "")
        return message
    message.keep = True
    message.dedup = (TASK_UPDATE, f"{task.task_id} {task.version}")
    return message


def live_messages(task: Task, members: dict[str, Any]) -> list[Message]:
    """The pushes for the session and for the managers of the organization, but the assignee."""
    assignee = task.assignee or Assignee()
    excluded = frozenset() if assignee.user is None else frozenset({assignee.user})
    found = []
    if task.session_id is not None:
        found.append(_live(members, session(task.session_id), excluded))
    if task.organization_id is not None and assignee.role != MANAGER:
        managers = _live(members, Target(TargetType.ROLE, MANAGER), excluded)
        managers.organization_id = task.organization_id
        found.append(managers)
    return found


def _live(members: dict[str, Any], target: Target, excluded: frozenset[str]) -> Message:
    return Message(
        type=TASK_UPDATE,
        members=members,
        target=target,
        exclude_users=excluded,
        is_addressed=False,
    )
