"""Providers of the apprise library: SMS services, chat groups. Sending runs in threads."""

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
    """Thread pool of all apprise providers, with the messages that apprise logs in it.

    Apprise returns only a boolean; the reason is in its log, which is captured by thread.
    """

    def __init__(self) -> None:
        self.apprise: Any = load_apprise()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")
        self._free = asyncio.Semaphore(THREADS)
        self._said = _LatestMessages()
        logging.getLogger("apprise").addHandler(self._said)

    async def notify(self, url: str, title: str, text: str, kind: str) -> tuple[bool, str]:
        """Send by a URL; returns whether it was sent, and the latest logged message.

        Waits for a free thread. After a cancellation the thread continues, and is not free, until
        the timeouts of apprise end it.
        """
        await self._free.acquire()
        work = partial(self._notify, url, title, text, kind)
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    def close(self) -> None:
        """End the threads, without waiting for running ones."""
        logging.getLogger("apprise").removeHandler(self._said)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, running: asyncio.Future[tuple[bool, str]]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # retrieved, also after a cancellation

    def _notify(self, url: str, title: str, text: str, kind: str) -> tuple[bool, str]:
        self._said.begin()
        # A new one each time: an instance delays consecutive messages by seconds.
        provider = self.apprise.Apprise.instantiate(url)
        if provider is None:
            return False, "not a URL that apprise can use"
        is_sent = provider.notify(body=text, title=title, notify_type=kind)
        return bool(is_sent), self._said.latest()


class AppriseProvider:
    """A provider of ``apprise_urls``; ``{to}`` in the URL is the phone number."""

    def __init__(self, url: str, threads: AppriseThreads, *, redact: Redact) -> None:
        self._url = url
        self._threads = threads
        self._redact = redact
        self._scheme = url.partition("://")[0]

    @property
    def needs_phone(self) -> bool:
        """Whether the URL contains the phone number."""
        return PLACE in self._url

    async def send(self, job: Job, phone: str | None, text: str) -> Outcome:
        """Make one attempt. Apprise does not classify failures: all are retried."""
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
        """End the threads, which all providers share."""
        self._threads.close()


class _LatestMessages(logging.Handler):
    """Keeps the latest log message of each thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def begin(self) -> None:
        """Clear the message of this thread."""
        self._of_thread.text = ""

    def latest(self) -> str:
        """The latest message of this thread."""
        return str(getattr(self._of_thread, "text", ""))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self._of_thread.text = record.getMessage()
