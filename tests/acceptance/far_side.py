"""Providers of the far side, real servers on a loop of their own in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from tests.acceptance.running_server import PATIENCE_S
from tests.notifications.http_far_side import Provider
from tests.notifications.mail_server import MailBox, SmtpServer


class FarSide:
    """A mail server, not yet up, and an HTTP server that plays every other provider."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.box = MailBox()
        self.mail = SmtpServer(self.box)
        self.provider = self.run(self._make_provider())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something over there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something over there."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        self.run(wait())

    def close(self) -> None:
        """End everything."""
        self.run(self.mail.stop())
        self.run(self.provider.stop())
        self.run(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _make_provider(self) -> Provider:
        made = Provider()
        made.start()
        return made

    async def _drain(self) -> None:
        """Let what is left of connections end."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)
