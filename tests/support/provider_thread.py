"""Providers for a server in another process: real servers on an event loop in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from tests.support.http_provider import HttpProvider
from tests.support.mail_sink import MailSink, SmtpServer
from tests.support.waiting import PATIENCE_S

P = TypeVar("P", bound=HttpProvider)


class ProviderThread(Generic[P]):
    """A mail server, not started yet, and a started HTTP server for every other provider."""

    def __init__(self, make_provider: Callable[[], P]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.sink = MailSink()
        self.mail = SmtpServer(self.sink)
        self.provider: P = self.run(self._start(make_provider))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the thread's loop; returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the thread's servers is true."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        self.run(wait())

    def close(self) -> None:
        """Stop the servers and the thread."""
        self.run(self.mail.stop())
        self.run(self.provider.stop())
        self.run(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _start(self, make_provider: Callable[[], P]) -> P:
        made = make_provider()
        made.start()
        return made

    async def _drain(self) -> None:
        """Cancel the tasks of open connections."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)
