"""Warnings of quotas and budgets: each threshold once a period, by notification and event."""

from __future__ import annotations

import asyncio
import logging

from wsserver.errors import StorageFull, StorageUnavailable, WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.extensions.quotas.amounts import to_number
from wsserver.extensions.quotas.model import ORGANIZATION, USER, Quota
from wsserver.extensions.quotas.options import QuotaOptions
from wsserver.extensions.quotas.pushes import MANAGER
from wsserver.extensions.quotas.store import QuotaStore
from wsserver.notifications.delivery_policy import Sending
from wsserver.notifications.recipients import Recipients

log = logging.getLogger(__name__)

QUOTA_CROSSED = "quota_crossed"
"""The name of the event."""


class QuotaWarnings:
    """Notifies of thresholds that are reached, the highest one only.

    What has to be notified is stored with the usage. The node that counted it sends the warning,
    or later the job does; what was sent is noted, so that it is sent once.
    """

    def __init__(self, context: ExtensionContext[QuotaOptions], store: QuotaStore) -> None:
        self._context = context
        self._store = store
        self._telling: set[str] = set()
        """Scopes whose warnings this node is sending."""

    async def look(self) -> None:
        """Send all warnings that were not sent yet."""
        for quota in await self._store.with_news():
            await self.tell(quota.scope)

    def tell_soon(self, quota: Quota) -> None:
        """Send the warnings of a quota in the background: the request does not wait for it."""
        if quota.scope not in self._telling:
            self._context.tasks.spawn(self._tell_now(quota.scope), name="quota warning")

    async def _tell_now(self, scope: str) -> None:
        try:
            await self.tell(scope)
        except WsServerError as error:  # the job will do it
            log.warning("quota warning not sent yet scope=%s code=%s", scope, error.code)

    async def tell(self, scope: str) -> None:
        """Send the new warnings of a scope. Raises ``StorageUnavailable``, ``StorageFull``."""
        if scope in self._telling:
            return
        self._telling.add(scope)
        try:
            quota = await self._store.get(scope)
            while quota is not None and quota.has_news:
                if quota.reached > quota.told:
                    await self._tell_threshold(quota)
                if quota.is_over_budget and not quota.budget_told:
                    await self._tell_budget(quota)
                await asyncio.sleep(0)
                quota = await self._store.get(scope)
        finally:
            self._telling.discard(scope)

    async def _tell_threshold(self, quota: Quota) -> None:
        recipients, sending = recipients_of(quota.scope)
        service = self._context.notifications
        try:
            await service.send_cost_warning_notification(
                recipients,
                sending=sending,
                used=to_number(quota.used),
                quota=to_number(quota.limit),
                period=quota.current.key,
                unit=quota.unit,
            )
        except (StorageUnavailable, StorageFull):
            raise
        except WsServerError as error:
            log.warning("quota warning refused scope=%s error=%s", quota.scope, error)
        told = await self._store.note_told(
            quota.scope, quota.current.key, quota.reached, budget=False
        )
        if told:
            self._context.events.emit(QUOTA_CROSSED, threshold=quota.reached, **quota.use_view())

    async def _tell_budget(self, quota: Quota) -> None:
        recipients, sending = recipients_of(quota.scope)
        service = self._context.notifications
        try:
            await service.send_budget_exceeded_notification(
                recipients,
                sending=sending,
                used=to_number(quota.cost),
                budget=to_number(quota.budget or 0),
                period=quota.current.key,
                **({} if quota.currency is None else {"currency": quota.currency}),
            )
        except (StorageUnavailable, StorageFull):
            raise
        except WsServerError as error:
            log.warning("budget warning refused scope=%s error=%s", quota.scope, error)
        await self._store.note_told(quota.scope, quota.current.key, 0, budget=True)


def recipients_of(scope: str) -> tuple[Recipients, Sending]:
    """The user of a scope; for an organization its managers."""
    if scope.startswith(USER):
        return Recipients(user_ids=(scope.removeprefix(USER),)), Sending()
    organization_id = scope.removeprefix(ORGANIZATION)
    return Recipients(role=MANAGER), Sending(confined_to=organization_id)
