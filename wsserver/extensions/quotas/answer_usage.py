"""``AnswerUsage``: what answers have used counts for the organization of their session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from wsserver.errors import WsServerError
from wsserver.extensions.quotas.amounts import to_millionths
from wsserver.extensions.quotas.model import ORGANIZATION
from wsserver.extensions.quotas.service import Quotas
from wsserver.extensions.quotas.store import QuotaStore, Report
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

MOST = 1e12
SOURCE_LENGTH = 64
REPORTED_BY = "answer"
WAITS_S = (1.0, 5.0, 20.0)
"""Before it is tried again to store what was used."""


class AnswerUsage:
    """Counts the ``usage`` that a finished answer has, if there is a quota in its unit.

    ``ended`` takes the event ``answer_ended``, which the node emits that has ended the answer.
    """

    def __init__(self, quotas: Quotas, store: QuotaStore, tasks: Tasks) -> None:
        self._quotas = quotas
        self._store = store
        self._tasks = tasks

    def ended(self, event: Mapping[str, Any]) -> None:
        """Count the usage of an answer, soon."""
        usage = event.get("usage")
        if not isinstance(usage, dict):
            return
        amount, unit = usage.get("amount"), usage.get("unit")
        if isinstance(amount, bool) or not isinstance(amount, int | float):
            return
        if not 0 < amount <= MOST or not isinstance(unit, str):
            return
        source = usage.get("source")
        report = Report(
            "",
            to_millionths(amount),
            0,
            source[:SOURCE_LENGTH] if isinstance(source, str) and source.isprintable() else "",
            REPORTED_BY,
            event["session_id"],
            event["message_id"],
            f"answer {event['message_id']}",
        )
        self._tasks.spawn(self._count_soon(report, unit), name="count usage")

    async def _count_soon(self, report: Report, unit: str) -> None:
        for wait_s in (*WAITS_S, None):
            try:
                await self._count(report, unit)
            except WsServerError as error:
                if wait_s is None:
                    log.warning(
                        "usage of an answer not counted message_id=%s error=%s",
                        report.message_id,
                        error,
                    )
                    return
                await asyncio.sleep(wait_s)
            else:
                return

    async def _count(self, report: Report, unit: str) -> None:
        organization = await self._quotas.organization_of(report.session_id or "")
        if organization is None:
            return
        scope = ORGANIZATION + organization
        quota = await self._store.get(scope)
        if quota is not None and quota.unit == unit:
            await self._quotas.count(report._replace(scope=scope))
