"""The extension ``tasks``: everything that it adds to the server."""

from __future__ import annotations

from typing import Final

from wsserver.extending import (
    Extension,
    ExtensionContext,
    Job,
    Part,
    TemplateFiles,
)
from wsserver.extensions.tasks.commands import TaskCommands, UpdateTask
from wsserver.extensions.tasks.errors import BadTransition, VersionChanged
from wsserver.extensions.tasks.options import TaskOptions
from wsserver.extensions.tasks.overdue import TASK_OVERDUE, OverdueTasks, TaskOverdue
from wsserver.extensions.tasks.pushes import TASK_UPDATE, TaskUpdatePush
from wsserver.extensions.tasks.routes import RESOURCE
from wsserver.extensions.tasks.service import MANAGE, TASK_UPDATED, Tasks
from wsserver.extensions.tasks.store import MIGRATIONS, USER_TABLES, TaskStore
from wsserver.extensions.tasks.views import TaskReply

OVERDUE_INTERVAL_S = 1.0
RETELL_INTERVAL_S = 5.0
"""Also how old a change is at least whose push is repeated."""
PRUNE_INTERVAL_S = 3600.0
DAY_S = 86_400.0


def build(context: ExtensionContext[TaskOptions]) -> Part:
    """Connect the parts of the extension."""
    store = TaskStore(context.database)
    tasks = Tasks(context, store)
    overdue = OverdueTasks(context, store, tasks)
    clock, options = context.clock, context.options

    async def tell_again() -> None:
        await tasks.tell_again(clock.wall() - RETELL_INTERVAL_S)

    async def prune() -> None:
        await store.prune(clock.wall() - options.retention_days * DAY_S)

    return Part(
        service=tasks,
        handlers=TaskCommands(tasks).table(),
        jobs=(
            Job(name="overdue", period_s=OVERDUE_INTERVAL_S, work=overdue.look),
            Job(name="pushes", period_s=RETELL_INTERVAL_S, work=tell_again),
            Job(name="prune", period_s=PRUNE_INTERVAL_S, work=prune),
        ),
    )


TASKS: Final = Extension(
    name="tasks",
    build=build,
    options=TaskOptions,
    migrations=MIGRATIONS,
    user_tables=USER_TABLES,
    permissions={MANAGE: ("admin", "service", "manager")},
    errors=(VersionChanged, BadTransition),
    resources=(RESOURCE,),
    commands={"task": UpdateTask},
    replies={"task": ("task", TaskReply)},
    pushes={TASK_UPDATE: TaskUpdatePush},
    events=(TASK_UPDATED, TASK_OVERDUE),
    templates=TemplateFiles("wsserver.extensions.tasks", {TASK_OVERDUE: TaskOverdue}),
)
