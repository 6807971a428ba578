"""``AnswerUsage``: what answers have used counts for the organization of their session."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from msgspec.json import decode

from wsserver.errors import WsServerError
from wsserver.extensions.quotas.amounts import to_millionths
from wsserver.extensions.quotas.service import Quotas
from wsserver.extensions.quotas.store import AnswerUse, QuotaStore, note_answer
from wsserver.storage.engine.connection import Connection
from wsserver.storage.messages.answers import EndedAnswer
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

MOST = 1e12
SOURCE_LENGTH = 64
UNIT_LENGTH = 32


class AnswerUsage:
    """Counts the ``usage`` that a finished answer has, if there is a quota in its unit.

    It is noted in the transaction that ends the answer (``note``), and counted soon after by the
    node that has ended it, or by ``look`` if that was lost.
    """

    def __init__(self, quotas: Quotas, store: QuotaStore, tasks: Tasks) -> None:
        self._quotas = quotas
        self._store = store
        self._tasks = tasks

    def ended(self, event: Mapping[str, Any]) -> None:
        """Count the usage of an answer that this node has ended."""
        if "usage" in event:
            self._tasks.spawn(self._count_one(event["message_id"]), name="count usage")

    async def look(self) -> None:
        """Count what was noted and not counted. Raises ``StorageUnavailable``, ``StorageFull``."""
        for used in await self._store.uncounted():
            await self._quotas.count_answer(used)

    async def _count_one(self, message_id: str) -> None:
        try:
            for used in await self._store.uncounted(message_id):
                await self._quotas.count_answer(used)
        except WsServerError as error:  # ``look`` tries again
            log.warning(
                "usage of an answer not counted yet message_id=%s error=%s", message_id, error
            )


def note(db: Connection, answer: EndedAnswer) -> None:
    """Note what an answer has used, in the transaction of its end."""
    used = use_of(answer)
    if used is not None:
        note_answer(db, used)


def use_of(answer: EndedAnswer) -> AnswerUse | None:
    """What an answer has used; None: its usage has no amount in a unit."""
    usage = None if answer.usage is None else decode(answer.usage)
    if not isinstance(usage, dict):
        return None
    amount, unit, source = usage.get("amount"), usage.get("unit"), usage.get("source")
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        return None
    if not 0 < amount <= MOST or not isinstance(unit, str) or not _is_unit(unit):
        return None
    return AnswerUse(
        answer.message_id,
        answer.session_id,
        answer.ended_at,
        unit,
        to_millionths(amount),
        source[:SOURCE_LENGTH] if isinstance(source, str) and source.isprintable() else "",
    )


def _is_unit(text: str) -> bool:
    """Whether a quota could have such a unit."""
    return 0 < len(text) <= UNIT_LENGTH and text.isprintable()
