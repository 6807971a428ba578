"""``Quotas``: setting quotas and counting usage, with the checks of who may."""

from __future__ import annotations

import logging
from typing import Any

from wsserver.errors import BadRequest, NotFound, ValidationFailed
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.quotas.amounts import to_millionths, to_number
from wsserver.extensions.quotas.guard import QuotaGuard
from wsserver.extensions.quotas.model import ORGANIZATION, USER, Quota
from wsserver.extensions.quotas.options import QuotaOptions
from wsserver.extensions.quotas.pushes import messages_of
from wsserver.extensions.quotas.store import AnswerUse, Counted, QuotaStore, Report, Wish
from wsserver.extensions.quotas.views import (
    QuotaRequest,
    QuotasQuery,
    UsageExportQuery,
    UsageQuery,
    UsageRequest,
    point_view,
    quota_faults,
    report_view,
    usage_faults,
)
from wsserver.extensions.quotas.warnings import QuotaWarnings
from wsserver.paging import decode_cursor, encode_cursor
from wsserver.realtime.access.actor import Actor
from wsserver.realtime.access.tenancy import Scope
from wsserver.web.api.queries import moment_of, step_of

log = logging.getLogger(__name__)

MANAGE = "quotas:manage"
REPORT = "quotas:report"
READ = "stats:read"
BY_ANSWER = "answer"
"""``reported_by`` of what answers have used."""
SERIES_POINTS = 10_000
STEPS_LIMIT = 10_000
_AT_ONCE = 1000


class Quotas:
    """Quotas and usage for REST, and for other parts of the server."""

    def __init__(
        self,
        context: ExtensionContext[QuotaOptions],
        store: QuotaStore,
        guard: QuotaGuard,
        warnings: QuotaWarnings,
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._access = context.access
        self._store = store
        self._guard = guard
        self._warnings = warnings

    # Quotas

    async def put(self, actor: Actor, scope_name: str, request: QuotaRequest) -> dict[str, Any]:
        """Set a quota; raises ``NotFound`` for a scope outside of the requester's."""
        if faults := quota_faults(request):
            raise ValidationFailed(faults)
        with self._access.audit.denials(actor, "set_quota", scope_name):
            scope = self._access.scope(actor, MANAGE)
        await self._find_scope(scope, scope_name)
        wish = Wish(
            request.unit,
            to_millionths(request.limit),
            request.period,
            None if request.budget is None else to_millionths(request.budget),
            request.currency,
            request.timezone,
            request.at_limit,
        )
        quota = await self._store.put(scope_name, wish, actor.claims.sub, self._clock.wall())
        self._access.audit.record(
            actor,
            "set_quota",
            scope_name,
            limit=request.limit,
            unit=request.unit,
            period=request.period,
            at_limit=request.at_limit,
        )
        await self._guard.spread(quota, scope_name)
        if quota.has_news:
            self._warnings.tell_soon(quota)
        return quota.view()

    async def get(self, actor: Actor, scope_name: str) -> dict[str, Any]:
        """A quota with its use; raises ``NotFound``."""
        await self._find_scope(self._access.scope(actor, MANAGE), scope_name)
        quota = await self._store.get(scope_name)
        if quota is None:
            raise NotFound("quota of", scope_name)
        return quota.at(self._clock.wall()).view()

    async def delete(self, actor: Actor, scope_name: str) -> dict[str, Any]:
        """Delete a quota; its usage stays. Raises ``NotFound``."""
        with self._access.audit.denials(actor, "delete_quota", scope_name):
            scope = self._access.scope(actor, MANAGE)
        await self._find_scope(scope, scope_name)
        if not await self._store.delete(scope_name):
            raise NotFound("quota of", scope_name)
        self._access.audit.record(actor, "delete_quota", scope_name)
        await self._guard.spread(None, scope_name)
        return {"deleted": scope_name}

    async def listing(self, actor: Actor, query: QuotasQuery) -> dict[str, Any]:
        """Quotas of the requester's scope with their use."""
        scope = self._access.scope(actor, READ)
        after = "" if query.cursor is None else decode_cursor(query.cursor, str)
        if "\0" in after:
            raise BadRequest("not a cursor of this list", field="cursor")
        found: list[Quota] = []
        has_more = True
        while has_more and len(found) <= query.limit:
            size = query.limit + 1 if scope.organization_id is None else _AT_ONCE
            page = await self._store.page(after, size)
            has_more = len(page) == size
            after = page[-1].scope if page else after
            found += await self._inside(scope, page)
        now, rest = self._clock.wall(), found[query.limit :]
        shown = found[: query.limit]
        total = await self._store.total() if scope.organization_id is None else None
        return {
            "quotas": [quota.at(now).view() for quota in shown],
            "total": len(found) if total is None else total,
            "next_cursor": encode_cursor(shown[-1].scope) if rest else None,
        }

    # Usage

    async def report(self, actor: Actor, request: UsageRequest) -> dict[str, Any]:
        """Count usage; returns what is used then."""
        if faults := usage_faults(request):
            raise ValidationFailed(faults)
        with self._access.audit.denials(actor, "report_usage", request.scope or ""):
            scope = self._access.scope(actor, REPORT)
            scope_name = await self._scope_of(scope, request)
        counted = await self.count(
            Report(
                scope_name,
                to_millionths(request.amount),
                to_millionths(request.cost),
                request.source,
                actor.claims.sub,
                request.session_id,
                request.message_id,
                None if actor.once is None else " ".join(actor.once),
            )
        )
        if actor.claims.role != "service":  # those of backends would flood the audit trail
            self._access.audit.record(
                actor, "report_usage", scope_name, amount=request.amount, cost=request.cost
            )
        if counted.after is None:
            return {
                **dict.fromkeys(("limit", "remaining", "unit", "period", "starts_at", "resets_at")),
                "scope": scope_name,
                "used": to_number(counted.total),
            }
        return counted.after.use_view()

    async def count(self, report: Report) -> Counted:
        """Count usage, push and warn; every node knows of an exhausted quota when this returns.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        counted = await self._store.count(report, self._clock.wall())
        await self._tell(counted)
        return counted

    async def count_answer(self, used: AnswerUse) -> None:
        """Count what an answer has used for the organization of its session; raises as ``count``.

        Once, however many processes try, and if the organization has a quota in that unit.
        """
        organization_id = await self._access.organization_of(used.session_id)
        report = None
        if organization_id is not None:
            report = Report(
                ORGANIZATION + organization_id,
                used.amount,
                0,
                used.source,
                BY_ANSWER,
                used.session_id,
                used.message_id,
                f"answer {used.message_id}",
            )
        now = self._clock.wall()
        try:
            counted = await self._store.count_answer(used, report, now)
        except ValidationFailed as error:  # it would not be less next time
            log.warning("usage not counted message_id=%s error=%s", used.message_id, error)
            counted = await self._store.count_answer(used, None, now)
        if counted is not None:
            await self._tell(counted)

    async def _tell(self, counted: Counted) -> None:
        """Push and warn about what was counted."""
        before, after = counted.before, counted.after
        if after is None or before is None or not counted.is_new:
            return
        if not after.push_due:
            await self.push(after)
        if after.is_exhausted and not before.is_exhausted:
            await self._guard.spread(after, after.scope)
        if after.has_news:
            self._warnings.tell_soon(after)

    async def push(self, quota: Quota) -> None:
        """Push what is used to the users of the scope and their managers."""
        organization_id = None
        if quota.scope.startswith(USER):
            user_id = quota.scope.removeprefix(USER)
            known = await self._access.tenancy.organizations_of([user_id])
            organization_id = known.get(user_id)
        for message in messages_of(quota, organization_id):
            self._context.pushes.post(message)

    async def series(self, actor: Actor, query: UsageQuery) -> dict[str, Any]:
        """Usage by step and source; for a confined role that of its organization by default."""
        scope = self._access.scope(actor, READ)
        wanted = query.scope
        if wanted is None and scope.organization_id is not None:
            wanted = ORGANIZATION + scope.organization_id
        elif wanted is not None:
            await self._require_scope(scope, wanted)
        since = moment_of(query.since, "since", self._clock)
        until = self._clock.wall()
        if query.until is not None:
            until = moment_of(query.until, "until", self._clock)
        step_s = step_of(query.step, "step")
        if (until - since) / step_s > STEPS_LIMIT:
            message = f"more than {STEPS_LIMIT} steps; ask for longer ones, or less time"
            raise BadRequest(f"step: {message}", field="step")
        points = await self._store.series(wanted, since, until, step_s, SERIES_POINTS + 1)
        return {
            "usage": [point_view(point) for point in points[:SERIES_POINTS]],
            "step_s": step_s,
            "truncated": len(points) > SERIES_POINTS,
        }

    async def export(self, actor: Actor, query: UsageExportQuery) -> dict[str, Any]:
        """Reports in the order of storing; for a confined role those of its organization."""
        own = self._access.scope(actor, READ).organization_id
        only = None if own is None else ORGANIZATION + own
        since = None if query.since is None else moment_of(query.since, "since", self._clock)
        until = None if query.until is None else moment_of(query.until, "until", self._clock)
        rows, end, epoch = await self._store.export(query.after, query.limit, since, until, only)
        is_whole = len(rows) < query.limit
        position = max(end, query.after) if is_whole else rows[-1]["position"]
        return {
            "usage": [report_view(row) for row in rows],
            "position": position,
            "end": end,
            "epoch": epoch,
        }

    # Scopes

    async def _inside(self, scope: Scope, quotas: list[Quota]) -> list[Quota]:
        if scope.organization_id is None:
            return quotas
        own = ORGANIZATION + scope.organization_id
        users = [q.scope.removeprefix(USER) for q in quotas if q.scope.startswith(USER)]
        await scope.learn(users)
        return [
            quota
            for quota in quotas
            if quota.scope == own
            or (quota.scope.startswith(USER) and scope.is_own(quota.scope.removeprefix(USER)))
        ]

    async def _find_scope(self, scope: Scope, name: str) -> None:
        """Raise ``NotFound`` for a scope in a path that is outside."""
        if name.startswith(USER):
            await scope.find_user(name.removeprefix(USER))
        elif scope.organization_id not in (None, name.removeprefix(ORGANIZATION)):
            raise NotFound("organization", name.removeprefix(ORGANIZATION))

    async def _require_scope(self, scope: Scope, name: str) -> None:
        """Raise ``Forbidden`` for a scope in a body or filter that is outside."""
        if name.startswith(USER):
            await scope.require_users([name.removeprefix(USER)])
        else:
            scope.require_organization(name.removeprefix(ORGANIZATION))

    async def _scope_of(self, scope: Scope, request: UsageRequest) -> str:
        if request.scope is not None:
            await self._require_scope(scope, request.scope)
            return request.scope
        session_id = request.session_id or ""
        await scope.require_session(session_id)
        found = await self._access.organization_of(session_id)
        if found is None:
            message = "belongs to no organization, or to several; name a scope instead"
            raise ValidationFailed([{"field": "session_id", "message": message}])
        return ORGANIZATION + found
