"""The extension ``quotas``: everything that it adds to the server."""

from __future__ import annotations

from typing import Final

from wsserver.extending import Extension, ExtensionContext, Job, Part
from wsserver.extensions.quotas.answer_usage import AnswerUsage, note
from wsserver.extensions.quotas.guard import QuotaGuard
from wsserver.extensions.quotas.model import PUSH_INTERVAL_S
from wsserver.extensions.quotas.options import QuotaOptions
from wsserver.extensions.quotas.pushes import USAGE_UPDATE, UsageUpdatePush
from wsserver.extensions.quotas.routes import RESOURCE
from wsserver.extensions.quotas.service import MANAGE, REPORT, Quotas
from wsserver.extensions.quotas.stop import AnswerStop, QuotaExhausted
from wsserver.extensions.quotas.store import MIGRATIONS, QuotaStore
from wsserver.extensions.quotas.user_tables import USER_TABLES
from wsserver.extensions.quotas.warnings import QUOTA_CROSSED, QuotaWarnings
from wsserver.realtime.observability.events import ANSWER_ENDED

WARNING_INTERVAL_S = 5.0
REFRESH_INTERVAL_S = 1.0
ANSWERS_INTERVAL_S = 5.0
"""Between two searches for answers whose usage a lost process has not counted."""
PRUNE_INTERVAL_S = 3600.0
DAY_S = 86_400.0


def build(context: ExtensionContext[QuotaOptions]) -> Part:
    """Connect the parts of the extension."""
    clock, options = context.clock, context.options
    store = QuotaStore(context.database)
    guard = QuotaGuard(store, context.control, clock)
    warnings = QuotaWarnings(context, store)
    quotas = Quotas(context, store, guard, warnings)
    stop = AnswerStop(context.chat.answers, guard, context.access.organization_of, context.tasks)
    usage = AnswerUsage(quotas, store, context.tasks)
    context.events.add_event_handler(ANSWER_ENDED, usage.ended)

    async def look() -> None:
        await guard.refresh()
        await stop.interrupt()

    async def push_rest() -> None:
        now = clock.wall()
        for quota in await store.take_pushes(now - PUSH_INTERVAL_S, now):
            await quotas.push(quota)

    async def prune() -> None:
        await store.prune(clock.wall() - options.retention_days * DAY_S)

    return Part(
        service=quotas,
        jobs=(
            Job(name="pushes", period_s=PUSH_INTERVAL_S, work=push_rest),
            Job(name="warnings", period_s=WARNING_INTERVAL_S, work=warnings.look),
            Job(name="answers", period_s=ANSWERS_INTERVAL_S, work=usage.look),
            Job(name="guard", period_s=REFRESH_INTERVAL_S, work=look, for_all=False),
            Job(name="prune", period_s=PRUNE_INTERVAL_S, work=prune),
        ),
        start=guard.refresh,
    )


QUOTAS: Final = Extension(
    name="quotas",
    build=build,
    options=QuotaOptions,
    migrations=MIGRATIONS,
    user_tables=USER_TABLES,
    note_answer=note,
    permissions={MANAGE: ("admin",), REPORT: ("admin", "service")},
    resources=(RESOURCE,),
    errors=(QuotaExhausted,),
    pushes={USAGE_UPDATE: UsageUpdatePush},
    events=(QUOTA_CROSSED,),
)
