"""Providers that apprise knows: SMS services, chat groups. Each send runs in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote

from wsserver.config.channels import load_apprise
from wsserver.notifications.channels.base import Job, Outcome, retry, sent
from wsserver.notifications.http import Redact, excerpt

THREADS = 4
PLACE = "{to}"


class AppriseThreads:
    """A few threads for all apprise providers, and what apprise says while it works in them.

    Apprise answers only yes or no; the reason is in its log, which this catches by thread.
    """

    def __init__(self) -> None:
        self.apprise: Any = load_apprise()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")
        self._free = asyncio.Semaphore(THREADS)
        self._said = _Said()
        logging.getLogger("apprise").addHandler(self._said)

    async def notify(self, url: str, title: str, text: str, kind: str) -> tuple[bool, str]:
        """Send by one URL; did it work, and what was said about it.

        Waits for a free thread. Cancelled, the thread goes on until apprise's own time limits end
        it, and is not free before.
        """
        await self._free.acquire()
        work = partial(self._notify, url, title, text, kind)
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    def close(self) -> None:
        """Let the threads end; a hanging one is not waited for."""
        logging.getLogger("apprise").removeHandler(self._said)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, running: asyncio.Future[tuple[bool, str]]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # seen, should nobody wait any more

    def _notify(self, url: str, title: str, text: str, kind: str) -> tuple[bool, str]:
        self._said.begin()
        # A new one each time: one instance holds each of its messages up for seconds.
        provider = self.apprise.Apprise.instantiate(url)
        if provider is None:
            return False, "not a URL that apprise can use"
        is_sent = provider.notify(body=text, title=title, notify_type=kind)
        return bool(is_sent), self._said.latest()


class AppriseProvider:
    """One of ``apprise_urls``; ``{to}`` in it is the number."""

    def __init__(self, url: str, threads: AppriseThreads, *, redact: Redact) -> None:
        self._url = url
        self._threads = threads
        self._redact = redact
        self._scheme = url.partition("://")[0]

    @property
    def needs_phone(self) -> bool:
        """Is the number part of the URL?"""
        return PLACE in self._url

    async def send(self, job: Job, phone: str | None, text: str) -> Outcome:
        """Ask once. Apprise does not tell passing faults from others: all may pass."""
        url = self._url.replace(PLACE, quote(phone or "", safe=""))
        title, _, body = text.partition("\n")
        if not body:
            title, body = "", title
        kind = "failure" if job.type in ("error", "urgent") else job.type
        is_sent, said = await self._threads.notify(url, title, body, kind)
        if is_sent:
            return sent(f"{self._scheme}: taken")
        if not said:
            return retry(f"{self._scheme}: not taken")
        return retry(f"{self._scheme}: {excerpt(said, self._redact)}")

    async def close(self) -> None:
        """Let the threads end; they are shared, and ended once."""
        self._threads.close()


class _Said(logging.Handler):
    """Remembers the latest complaint of each thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def begin(self) -> None:
        """Forget what was said before in this thread."""
        self._of_thread.text = ""

    def latest(self) -> str:
        """What was said last in this thread."""
        return str(getattr(self._of_thread, "text", ""))

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it."""
        self._of_thread.text = record.getMessage()
