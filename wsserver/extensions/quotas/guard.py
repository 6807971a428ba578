"""``QuotaGuard``: the exhausted scopes, in the memory of every node."""

from __future__ import annotations

from collections.abc import Callable

from wsserver.clock import Clock
from wsserver.cluster.control import Control, Request
from wsserver.extensions.quotas.model import Quota
from wsserver.extensions.quotas.store import QuotaStore

SPREAD_S = 0.5
"""Timeout for the answers of other nodes; later they find the change in the database."""


class QuotaChanged(Request[bool], frozen=True):
    """The quota of a scope is exhausted and stops, or it is not, or not any more."""

    scope: str
    is_exhausted: bool
    ends_at: float | None


class QuotaGuard:
    """The exhausted scopes whose quota stops, each until the end of its period."""

    def __init__(self, store: QuotaStore, control: Control, clock: Clock) -> None:
        self._store = store
        self._control = control
        self._clock = clock
        self._exhausted: dict[str, float | None] = {}
        self._listeners: list[Callable[[str], None]] = []
        control.add_handler(QuotaChanged, self._changed)

    def add_listener(self, on_exhausted: Callable[[str], None]) -> None:
        """Call ``on_exhausted`` on this node with each scope that becomes exhausted."""
        self._listeners.append(on_exhausted)

    def __bool__(self) -> bool:
        """Whether any scope is exhausted."""
        return bool(self._exhausted)

    def is_exhausted(self, scope: str) -> bool:
        """Whether nothing may be used in a scope now."""
        if scope not in self._exhausted:
            return False
        ends_at = self._exhausted[scope]
        if ends_at is None or self._clock.wall() < ends_at:
            return True
        del self._exhausted[scope]
        return False

    async def refresh(self) -> None:
        """Read the exhausted scopes from storage: notices of changes may have been lost."""
        found = await self._store.exhausted()
        new = [scope for scope in found if scope not in self._exhausted]
        self._exhausted = found
        for scope in new:
            self._tell(scope)

    async def spread(self, quota: Quota | None, scope: str) -> None:
        """Send a change to every node, before the request that caused it is answered."""
        is_exhausted = quota is not None and quota.is_exhausted
        ends_at = None if quota is None else quota.current.ends_at
        await self._control.ask_all(QuotaChanged(scope, is_exhausted, ends_at), SPREAD_S)

    def _changed(self, change: QuotaChanged) -> bool:
        if not change.is_exhausted:
            self._exhausted.pop(change.scope, None)
            return True
        is_new = change.scope not in self._exhausted
        self._exhausted[change.scope] = change.ends_at
        if is_new:
            self._tell(change.scope)
        return True

    def _tell(self, scope: str) -> None:
        if self.is_exhausted(scope):
            for listener in self._listeners:
                listener(scope)
