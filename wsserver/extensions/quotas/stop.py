"""``AnswerStop``: no answers where nothing is left of a quota that stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wsserver.errors import Meaning, WsServerError
from wsserver.extensions.quotas.guard import QuotaGuard
from wsserver.extensions.quotas.model import ORGANIZATION, USER
from wsserver.realtime.operations.answers import Answers
from wsserver.tasks import Tasks

QUOTA = "quota"
"""Reason of an answer that is interrupted."""


class QuotaExhausted(WsServerError, meaning=Meaning(409, None, False, "Quota exhausted")):
    """Nothing is left of a quota that stops, in ``scope``."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"nothing is left of the quota of {scope}", scope=scope)


class AnswerStop:
    """Refuses answers in exhausted scopes, and interrupts those that grow there on this node."""

    def __init__(
        self,
        answers: Answers,
        guard: QuotaGuard,
        organization_of: Callable[[str], Awaitable[str | None]],
        tasks: Tasks,
    ) -> None:
        self._answers = answers
        self._guard = guard
        self._organization_of = organization_of
        self._tasks = tasks
        answers.add_guard(self.require)
        guard.add_listener(self._exhausted)

    async def require(self, session_id: str, sender: str) -> None:
        """Raise ``QuotaExhausted`` where an answer must not begin."""
        scope = await self._exhausted_scope(session_id, sender)
        if scope is not None:
            raise QuotaExhausted(scope)

    async def interrupt(self) -> None:
        """End the answers that must not go on. Raises ``StorageUnavailable``."""
        if not self._guard:
            return
        for answer in self._answers.growing_here():
            if await self._exhausted_scope(answer.session_id, answer.sender) is not None:
                self._answers.interrupt(answer, QUOTA)

    def _exhausted(self, _scope: str) -> None:
        self._tasks.spawn(self._interrupt_soon(), name="stop answers")

    async def _interrupt_soon(self) -> None:
        try:
            await self.interrupt()
        except WsServerError:  # the job tries again
            return

    async def _exhausted_scope(self, session_id: str, sender: str | None) -> str | None:
        if not self._guard:
            return None
        if sender is not None and self._guard.is_exhausted(USER + sender):
            return USER + sender
        organization = await self._organization_of(session_id)
        if organization is not None and self._guard.is_exhausted(ORGANIZATION + organization):
            return ORGANIZATION + organization
        return None
