"""``Tasks``: creating, changing and finding tasks, with the checks of who may, and their pushes."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from msgspec import UNSET

from wsserver.errors import Forbidden, NotFound, ValidationFailed, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.tasks.model import Task, TaskChange, changed_by
from wsserver.extensions.tasks.options import TaskOptions
from wsserver.extensions.tasks.pushes import (
    TASK_UPDATE,
    kept_message,
    live_messages,
    members_of,
)
from wsserver.extensions.tasks.store import Filters, TaskStore
from wsserver.extensions.tasks.views import TaskRequest, TasksQuery, request_faults, whole
from wsserver.identity.claims import Claims
from wsserver.identity.permissions import UNCONFINED_ROLES
from wsserver.protocol.ids import new_id
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import Scope

log = logging.getLogger(__name__)

MANAGE = "tasks:manage"
TASK_UPDATED = "task_updated"


class Tasks:
    """Tasks for REST and for sockets."""

    def __init__(self, context: ExtensionContext[TaskOptions], store: TaskStore) -> None:
        self._context = context
        self._access = context.access
        self._store = store

    async def create(self, actor: Actor, request: TaskRequest) -> dict[str, Any]:
        """Create a task; what it names has to be in the scope of the requester."""
        faults = request_faults(request)
        if faults:
            raise ValidationFailed(faults)
        with self._access.audit.denials(actor, "create_task", ""):
            scope = self._access.scope(actor, MANAGE)
            organization_id = await self._organization_of(scope, request)
        now = self._context.clock.wall()
        task = Task(
            task_id=new_id("task", now),
            title=request.title,
            steps=tuple(request.steps),
            assignee=request.assignee,
            session_id=request.session_id,
            organization_id=organization_id,
            due_at=None if request.due_at is None else request.due_at.timestamp(),
            metadata=request.metadata,
            created_at=now,
            created_by=actor.claims.sub,
            updated_at=now,
        )
        once = None if actor.once is None else " ".join(actor.once)
        given = ["title", "steps", "state", *_given(request)]
        by = actor.claims.sub
        late = partial(self._created_late, given, by)
        task, is_new = await self._store.add(task, once, now, late)
        if is_new:
            self._access.audit.record(actor, "create_task", f"task:{task.task_id}")
            await self.tell(task, given, by)
        return task.view()

    async def update(self, actor: Actor, task_id: str, change: TaskChange) -> dict[str, Any]:
        """Change a task of the requester's scope; raises ``NotFound``."""
        with self._access.audit.denials(actor, "update_task", f"task:{task_id}"):
            scope = self._access.scope(actor, MANAGE)
        await self._find(scope, task_id)
        task, changed = await self._change(task_id, change, actor.claims.sub)
        if changed:
            self._access.audit.record(
                actor, "update_task", f"task:{task_id}", changed=changed, version=task.version
            )
        return task.view()

    async def update_assigned(self, claims: Claims, task_id: str, change: TaskChange) -> Task:
        """Change a task as its assignee, or as somebody who may manage it.

        Raises ``Forbidden`` for all others, whether there is such a task or not.
        """
        task = await self._store.get(task_id)
        if task is None or not (_is_assigned(task, claims) or self._manages(task, claims)):
            raise Forbidden(f"no access to task {task_id}")
        return (await self._change(task_id, change, claims.sub))[0]

    async def one(self, actor: Actor, task_id: str) -> dict[str, Any]:
        """A task with its history; raises ``NotFound``."""
        task = await self._find(self._access.scope(actor, MANAGE), task_id)
        return whole(task, await self._store.history(task_id))

    async def listing(self, actor: Actor, query: TasksQuery) -> dict[str, Any]:
        """Tasks of the scope that match all filters; raises ``Forbidden`` for others in these."""
        scope = self._access.scope(actor, MANAGE)
        if query.organization_id is not None:
            scope.require_organization(query.organization_id)
        if query.assignee is not None:
            await scope.require_users([query.assignee])
        if query.session_id is not None:
            await scope.require_session(query.session_id)
        filters = Filters(
            query.state,
            query.assignee,
            query.role,
            query.session_id,
            scope.organization_id or query.organization_id,
            None if query.overdue is None else query.overdue == "true",
        )
        page = await self._store.page(filters, query.limit, query.cursor)
        return {
            "tasks": [task.view() for task in page.items],
            "total": page.total,
            "next_cursor": page.next_cursor,
        }

    async def tell(self, task: Task, changed: list[str], by: str | None) -> None:
        """Push a change to everybody concerned.

        If the push for the assignee cannot be stored, ``tell_again`` repeats it later.
        """
        members = members_of(task, changed, by)
        self._context.pushes.show(TASK_UPDATE, members)
        for message in live_messages(task, members):
            self._context.pushes.post(message)
        self._context.events.emit(
            TASK_UPDATED,
            task_id=task.task_id,
            state=task.state,
            version=task.version,
            changed=changed,
            by=by,
            session_id=task.session_id,
            organization_id=task.organization_id,
        )
        try:
            await self._keep(task, members)
        except WsServerError as error:
            log.warning("task update not stored yet task_id=%s code=%s", task.task_id, error.code)

    async def tell_again(self, before: float) -> None:
        """Store the pushes for assignees that were not stored when tasks changed."""
        for task in await self._store.unsent(before):
            await self._keep(task, members_of(task, [], None))

    async def _keep(self, task: Task, members: dict[str, Any]) -> None:
        message = kept_message(task, members)
        if message is not None:
            await self._context.pushes.send(message)
        await self._store.mark_sent(task.task_id, task.version)

    def _created_late(self, given: list[str], by: str, added: tuple[Task, bool] | None) -> None:
        if added is not None and added[1]:
            self._changed_late(by, (added[0], given))

    def _changed_late(self, by: str, outcome: tuple[Task, list[str]] | None) -> None:
        """Push a change that was stored although ``by`` was refused."""
        if outcome is not None and outcome[1]:
            self._context.tasks.spawn(self.tell(*outcome, by), name="task that was refused")

    async def _change(self, task_id: str, change: TaskChange, by: str) -> tuple[Task, list[str]]:
        now = self._context.clock.wall()
        note = None if change.note is UNSET else change.note
        outcome = await self._store.change(
            task_id,
            lambda task: changed_by(task, change, now),
            by,
            note,
            now,
            partial(self._changed_late, by),
        )
        if outcome is None:
            raise NotFound("task", task_id)
        task, changed = outcome
        if changed:
            await self.tell(task, changed, by)
        return task, changed

    async def _find(self, scope: Scope, task_id: str) -> Task:
        task = await self._store.get(task_id)
        if task is None or scope.organization_id not in (None, task.organization_id):
            raise NotFound("task", task_id)
        return task

    async def _organization_of(self, scope: Scope, request: TaskRequest) -> str | None:
        """The organization of a new task: that of the request or requester, else what follows.

        Raises ``Forbidden`` for what is outside of the scope.
        """
        if request.organization_id is not None:
            scope.require_organization(request.organization_id)
        user_id = None if request.assignee is None else request.assignee.user
        if user_id is not None:
            await scope.require_users([user_id])
        if request.session_id is not None:
            await scope.require_session(request.session_id)
        given = request.organization_id or scope.organization_id
        if given is None and user_id is not None:
            given = (await self._access.tenancy.organizations_of([user_id])).get(user_id)
        if given is None and request.session_id is not None:
            given = await self._access.organization_of(request.session_id)
        return given

    def _manages(self, task: Task, claims: Claims) -> bool:
        return self._access.allows(claims, MANAGE) and (
            claims.role in UNCONFINED_ROLES
            or (task.organization_id is not None and claims.organization_id == task.organization_id)
        )


def _is_assigned(task: Task, claims: Claims) -> bool:
    assignee = task.assignee
    if assignee is None:
        return False
    if assignee.user is not None:
        return assignee.user == claims.sub
    is_inside = task.organization_id in (None, claims.organization_id)
    return assignee.role == claims.role and (is_inside or claims.role in UNCONFINED_ROLES)


def _given(request: TaskRequest) -> list[str]:
    names = ("assignee", "session_id", "organization_id", "due_at", "metadata")
    return [name for name in names if getattr(request, name) not in (None, {})]
