"""``SearchIndexer``: indexes stored messages for the search, behind publishing."""

from __future__ import annotations

import asyncio

from wsserver.clock import Clock
from wsserver.storage.messages.search import SearchStore

BUSY_PAUSE = 3.0
"""The pause while messages come, in times of what the transaction before it took."""
RUN_S = 5.0
"""Longest run: then the lease of the indexing node is looked at again."""


class SearchIndexer:
    """Indexes messages behind publishing, on one node of a cluster.

    Each transaction is small, and the pause after it as long as it took, or ``BUSY_PAUSE`` times as
    long while messages come: publishers get their turn.
    """

    def __init__(self, store: SearchStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._has_begun = False
        self._is_prepared = False

    async def run(self) -> None:
        """Index what waits, for ``RUN_S`` at most; to be called often."""
        if not self._has_begun:
            await self._store.begin()
            self._has_begun = True
        until = self._clock.monotonic() + RUN_S
        while self._clock.monotonic() < until:
            began = self._clock.monotonic()
            if not await self._store.index():
                if self._is_prepared:
                    return
                self._is_prepared = not await self._store.prepare()
            took_s = self._clock.monotonic() - began
            await asyncio.sleep(took_s * BUSY_PAUSE if self._store.is_growing else took_s)
