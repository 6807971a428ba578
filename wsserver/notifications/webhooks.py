"""Webhooks: events are stored, then posted to URLs, signed, until they are taken."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

import msgspec

from wsserver.clock import Clock, Setbacks
from wsserver.errors import UrlForbidden, WsServerError
from wsserver.notifications.channels.base import Outcome, failed, retry
from wsserver.notifications.http import HttpAnswer, HttpRequest, HttpSend, NoAnswer, Redact, judge
from wsserver.notifications.rules import Retries, after
from wsserver.notifications.signing import DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, sign
from wsserver.protocol.ids import new_id
from wsserver.realtime.observability.events import (
    MESSAGE_PUBLISHED,
    MESSAGE_RECEIVED,
    Event,
    EventBus,
    without_content,
)
from wsserver.storage.tables.webhooks import DuePosting, Posted, Posting, WebhookOutbox
from wsserver.tasks import Tasks

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Posts to one URL under way."""
UNSTORED_LIMIT = 10_000
UNSTORED_LIMIT_BYTES = 64 * 1024 * 1024
"""Events that may wait to be stored, and the bytes of their bodies."""
WAITING_LIMIT = 100_000
WAITING_LIMIT_BYTES = 512 * 1024 * 1024
"""Events that may wait for one URL, and their bytes; more are dropped, aloud."""
BODY_LIMIT = 256 * 1024
BATCH = 500
STORAGE_PAUSE_S = 1.0
LONGEST_NAP_S = 60.0
"""A wall clock that is set must not hold anything up for longer."""


class Target(NamedTuple):
    """Where events are posted to."""

    url: str
    globs: tuple[str, ...]
    """Names of the events it gets."""

    def names(self, event: str) -> bool:
        """Is the event named by more than ``*``, which stands for whatever there is?

        Naming it is what entitles a receiver, which has no token, to the contents of messages.
        """
        return any(glob != "*" and fnmatchcase(event, glob) for glob in self.globs)

    def wants(self, event: str) -> bool:
        """Is the event posted there? What backends publish only where it is named."""
        return self.names(event) or ("*" in self.globs and event != MESSAGE_PUBLISHED)


class Figures:
    """What has become of postings since the start."""

    def __init__(self) -> None:
        self.sent = 0
        self.retried = 0
        self.failed = 0
        self.dropped = 0


class Webhooks:
    """Posts the events that each target asked for.

    At least once: what was posted but not recorded before a crash is posted again, with the same
    ``X-Wsserver-Delivery``. These ids sort by the time of the events; of the posts that are under
    way at once any may arrive first. A URL that is slow or down holds up nobody but itself.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        secret: str,
        outbox: WebhookOutbox,
        http: HttpSend,
        clock: Clock,
        *,
        retries: Retries,
        redact: Redact,
    ) -> None:
        self._targets = targets
        self._secret = secret
        self._outbox = outbox
        self._http = http
        self._clock = clock
        self._setbacks = Setbacks(clock)
        self._retries = retries
        self._redact = redact
        self._tasks = Tasks()
        self._unstored: deque[Posting] = deque()
        self._has_unstored = asyncio.Event()
        self._wakes = {target.url: asyncio.Event() for target in targets}
        self._unstored_bytes = 0
        self._waiting = dict.fromkeys(self._wakes, 0)
        self._waiting_bytes = dict.fromkeys(self._wakes, 0)
        self.figures = Figures()

    def listen(self, events: EventBus) -> None:
        """Take in every event that a target asks for, from now on."""
        for target in self._targets:
            events.add_event_handler(target.wants, partial(self._take, target))

    async def start(self) -> None:
        """Go on with what the last run has left. Raises ``StorageUnavailable``, ``StorageFull``."""
        dropped = await self._outbox.drop_others(list(self._wakes))
        if dropped:
            log.warning("webhook events dropped as their URLs are not configured count=%d", dropped)
        for url, count, size in await self._outbox.waiting():
            self._waiting[url] += count
            self._waiting_bytes[url] += size
        if not self._targets:
            return
        for number, target in enumerate(self._targets, start=1):
            if target.wants(MESSAGE_RECEIVED) and not target.names(MESSAGE_RECEIVED):
                log.info(
                    "webhook gets messages without their contents, for these add the name behind a"
                    " | to its entry in webhook_urls (#* first, if it has no #) number=%d name=%s",
                    number,
                    MESSAGE_RECEIVED,
                )
        self._tasks.spawn(self._store_all(), name="webhook outbox")
        for number, target in enumerate(self._targets, start=1):
            self._tasks.spawn(self._post_all(target.url, number), name=f"webhook {number}")

    async def stop(self) -> None:
        """Break off what is under way, store what came last; never raises for the storage's sake.

        What was broken off is due at the next start.
        """
        await self._tasks.cancel()
        if self._unstored:
            rest = list(self._unstored)
            self._unstored.clear()
            try:
                await self._outbox.add(rest)
            except WsServerError as error:
                self._drop(len(rest), str(error))

    def health(self) -> dict[str, Any]:
        """For ``/health``: is there room for more, and what has become of it so far."""
        waiting = sum(self._waiting.values()) + len(self._unstored)
        figures = self.figures
        return {
            "ok": all(map(self._has_room, self._wakes)),
            "waiting": waiting,
            "sent": figures.sent,
            "retried": figures.retried,
            "failed": figures.failed,
            "dropped": figures.dropped,
        }

    def number_of(self, url: str) -> int | None:
        """Which of the configured URLs it is, from 1 on, as the log names it; None: no longer one.

        URLs themselves are shown to nobody: there may be a secret in them.
        """
        urls = list(self._wakes)
        return urls.index(url) + 1 if url in urls else None

    async def retry(self, posting_id: str | None = None) -> int:
        """Try again what was given up for any URL that is configured, or one; answers how many.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        count = 0
        while retried := await self._outbox.retry(
            self._clock.wall(), list(self._wakes), posting_id
        ):
            for url, size in retried:
                self._waiting[url] += 1
                self._waiting_bytes[url] += size
                self._wakes[url].set()
            count += len(retried)
        return count

    def _take(self, target: Target, event: Event) -> None:
        """A handler of the event bus: an event that the target wants."""
        name = str(event["name"])
        if not self._has_room(target.url):
            self._drop(1, "too many are waiting")
            return
        body = _encoded(event if target.names(name) else without_content(event))
        if body is None or len(body) > BODY_LIMIT:
            self._drop(1, f"{name} is no JSON, or too large")
            return
        now = self._clock.wall()
        self._unstored.append(Posting(new_id("hook", now), target.url, name, body, now))
        self._unstored_bytes += len(body)
        self._waiting[target.url] += 1
        self._waiting_bytes[target.url] += len(body)
        self._has_unstored.set()

    def _has_room(self, url: str) -> bool:
        """May another event wait to be stored, and to be posted to a URL?"""
        return (
            len(self._unstored) < UNSTORED_LIMIT
            and self._unstored_bytes < UNSTORED_LIMIT_BYTES
            and self._waiting[url] < WAITING_LIMIT
            and self._waiting_bytes[url] < WAITING_LIMIT_BYTES
        )

    def _drop(self, count: int, reason: str) -> None:
        before = self.figures.dropped
        self.figures.dropped += count
        if before.bit_length() != self.figures.dropped.bit_length():  # at 1, 2, 4, 8 …
            log.error("webhook events dropped total=%d reason=%s", self.figures.dropped, reason)

    # Storing

    async def _store_all(self) -> None:
        """Store what comes in, batch after batch; while the storage fails, wait for it."""
        while True:
            await self._has_unstored.wait()
            self._has_unstored.clear()
            while self._unstored:
                # Cancelled, the batch is stored all the same: the storage has it by then.
                batch = [self._unstored.popleft() for _ in range(min(BATCH, len(self._unstored)))]
                await self._store(batch)

    async def _store(self, batch: list[Posting]) -> None:
        size = sum([len(posting.body) for posting in batch])
        self._unstored_bytes -= size
        try:
            await self._outbox.add(batch)
        except WsServerError as error:
            log.warning("webhook events not stored yet count=%d error=%s", len(batch), error)
            self._unstored.extendleft(reversed(batch))
            self._unstored_bytes += size
            await asyncio.sleep(STORAGE_PAUSE_S)
            return
        for url in {posting.url for posting in batch}:
            self._wakes[url].set()

    # Posting

    async def _post_all(self, url: str, number: int) -> None:
        """Post what is due for one URL, until cancelled."""
        while True:
            self._wakes[url].clear()
            try:
                await self._follow_the_clock()
                due = await self._outbox.due(url, self._clock.wall(), AT_ONCE)
                if due:
                    await self._post_batch(url, number, due)
                else:
                    await self._nap(url)
            except WsServerError as error:
                log.warning("webhook outbox not at hand number=%d error=%s", number, error)
                await asyncio.sleep(STORAGE_PAUSE_S)

    async def _follow_the_clock(self) -> None:
        """Where the wall clock was set back, bring forward what is due by it."""
        back_s = self._setbacks.seconds()
        if back_s:
            await self._outbox.bring_forward(back_s)
            self._setbacks.done()

    async def _nap(self, url: str) -> None:
        """Wait until something new comes or the next one is due."""
        next_due = await self._outbox.next_due(url)
        nap_s = LONGEST_NAP_S if next_due is None else next_due - self._clock.wall()
        try:
            async with asyncio.timeout(min(max(nap_s, 0.0), LONGEST_NAP_S)):
                await self._wakes[url].wait()
        except TimeoutError:
            pass

    async def _post_batch(self, url: str, number: int, due: Sequence[DuePosting]) -> None:
        outcomes = await asyncio.gather(*[self._post(url, each) for each in due])
        results = [self._result(each, outcome) for each, outcome in zip(due, outcomes, strict=True)]
        await self._record(results)
        for each, result in zip(due, results, strict=True):
            if result.is_taken:
                self.figures.sent += 1
            elif result.due_at is not None:
                self.figures.retried += 1
                continue
            else:
                self.figures.failed += 1
                log.error(
                    "webhook given up number=%d name=%s posting_id=%s attempts=%d detail=%s",
                    number, each.event, each.posting_id, each.attempts + 1, result.detail,
                )  # fmt: skip
            self._waiting[url] -= 1
            self._waiting_bytes[url] -= len(each.body)

    async def _record(self, results: Sequence[Posted]) -> None:
        """Record outcomes, as often as it takes: unrecorded, they would be posted again."""
        while True:
            try:
                await self._outbox.record(results)
            except WsServerError as error:
                log.warning("webhook outcomes not recorded yet error=%s", error)
                await asyncio.sleep(STORAGE_PAUSE_S)
            else:
                return

    async def _post(self, url: str, posting: DuePosting) -> Outcome:
        headers = {
            "Content-Type": "application/json",
            EVENT_HEADER: posting.event,
            DELIVERY_HEADER: posting.posting_id,
            SIGNATURE_HEADER: sign(posting.body, self._secret, int(self._clock.wall())),
        }
        try:
            answer = await self._http(HttpRequest("POST", url, headers, posting.body))
        except (NoAnswer, UrlForbidden) as error:
            return retry(str(error))
        except Exception as error:  # the edge to a receiver; its queue must not end by it
            log.exception("webhook failed posting_id=%s", posting.posting_id)
            return retry(f"internal error: {type(error).__name__}")
        return judge_webhook(answer, self._redact, self._clock.wall())

    def _result(self, posting: DuePosting, outcome: Outcome) -> Posted:
        next_ = after(
            outcome,
            attempt=posting.attempts + 1,
            now=self._clock.wall(),
            retries=self._retries,
        )
        return Posted(posting.id, next_.due_at, outcome.detail, next_.state == "sent")


def judge_webhook(answer: HttpAnswer, redact: Redact, now: float) -> Outcome:
    """2xx: sent. A redirect, or 410 "gone": failed. All else may pass, as at a release over there.

    ``now``: seconds since the epoch.
    """
    outcome = judge(answer, redact, now)
    if outcome.result == "failed" and 400 <= answer.status < 500 and answer.status != 410:
        return retry(outcome.detail)
    return failed(outcome.detail) if outcome.result == "failed" else outcome


def _encoded(event: Event) -> bytes | None:
    """The event as JSON; what has no form there becomes its text. None: it cannot be done."""
    try:
        return msgspec.json.encode(event, enc_hook=str)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
