"""Webhooks: events are stored, then posted to URLs, signed, until they are accepted."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

import msgspec

from wsserver.clock import Clock
from wsserver.errors import UrlForbidden, WsServerError
from wsserver.notifications.channels.base import Limits, Outcome, failed, retry
from wsserver.notifications.delivery_policy import Retries
from wsserver.notifications.delivery_queue import DeliveryQueue
from wsserver.notifications.http import HttpAnswer, HttpRequest, HttpSend, NoAnswer, Redact, judge
from wsserver.notifications.metrics import WebhookMetrics
from wsserver.protocol.ids import new_id
from wsserver.realtime.observability.events import (
    MESSAGE_PUBLISHED,
    MESSAGE_RECEIVED,
    Event,
    EventBus,
    has_content,
    without_content,
)
from wsserver.realtime.operations.message_changes import MessagesDeleted
from wsserver.storage.engine.leased_table import Result
from wsserver.storage.tables.webhooks import (
    ClaimedPosting,
    Posting,
    WebhookOutbox,
)
from wsserver.tasks import Tasks
from wsserver.telemetry.trace_context import TraceMemory, within

log = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-Wsserver-Signature"
EVENT_HEADER = "X-Wsserver-Event"
DELIVERY_HEADER = "X-Wsserver-Delivery"
"""Id of the delivery, the same at every attempt: receivers may use it to drop duplicates."""

TIMEOUT_S = 10.0
LIMITS = Limits(concurrency=8, rate_per_s=100_000.0, timeout_s=TIMEOUT_S)
"""Of one URL. The rate is more than the server can post: only the concurrency counts."""
UNSTORED_LIMIT = 10_000
UNSTORED_LIMIT_BYTES = 64 * 1024 * 1024
"""Events that may wait to be stored, and the bytes of their bodies."""
WAITING_LIMIT = 100_000
WAITING_LIMIT_BYTES = 512 * 1024 * 1024
"""Events that may wait for one URL, and the bytes of their bodies; more are dropped and logged."""
BODY_LIMIT = 256 * 1024
TRACES_LIMIT = 10_000
"""Events whose trace context is known; after a restart, or on another node, it is not."""
BATCH = 500
STORAGE_PAUSE_S = 1.0


class Target(NamedTuple):
    """URL that events are posted to."""

    url: str
    globs: tuple[str, ...]
    """Names of the events it gets."""

    def names(self, event: str) -> bool:
        """Whether a name or a glob other than ``*`` matches the event.

        That entitles a receiver, which has no token, to the contents of messages.
        """
        return any(glob != "*" and fnmatchcase(event, glob) for glob in self.globs)

    def wants(self, event: str) -> bool:
        """Whether the event is posted there. What backends publish only where it is named."""
        return self.names(event) or ("*" in self.globs and event != MESSAGE_PUBLISHED)


class Webhooks(DeliveryQueue[ClaimedPosting]):
    """Posts the events that each target asks for, each URL in a separate lane.

    At least once: what was posted but not recorded before a crash is posted again, with the same
    ``X-Wsserver-Delivery``. These ids sort by the time of the events; concurrent posts may arrive
    in any order. A URL that is slow or down delays no other.
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
        self._urls = list(dict.fromkeys(target.url for target in targets))
        lanes = dict.fromkeys(self._urls, LIMITS)
        super().__init__(outbox, lanes, retries=retries, clock=clock, tasks=Tasks())
        self._targets = targets
        self._secret = secret
        self._outbox = outbox
        self._http = http
        self._redact = redact
        self._unstored: deque[Posting] = deque()
        self._has_unstored = asyncio.Event()
        self._unstored_bytes = 0
        self._waiting = dict.fromkeys(self._urls, 0)
        """Events that are not posted yet, by URL; those that are not stored yet included."""
        self._waiting_bytes = dict.fromkeys(self._urls, 0)
        self.metrics = WebhookMetrics()
        self._has_contents = any(glob != "*" for target in targets for glob in target.globs)
        """Whether any URL may get the contents of messages."""
        self._is_recount_due = False
        """Whether bodies may have changed since they were counted."""
        self._traces = TraceMemory(TRACES_LIMIT)

    def listen(self, events: EventBus) -> None:
        """Post every event from now on that a target asks for."""
        for target in self._targets:
            events.add_event_handler(target.wants, partial(self._take, target))

    async def start(self) -> None:
        """Resume what the last run left. Raises ``StorageUnavailable``, ``StorageFull``."""
        dropped = await self._outbox.drop_others(self._urls, self._clock.wall())
        if dropped:
            log.warning("webhook events dropped as their URLs are not configured count=%d", dropped)
        for url, count, size in await self._outbox.waiting():
            if url not in self._waiting:
                continue
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
        await super().start()

    async def release(self) -> None:
        """Release as ``DeliveryQueue`` does; count what waits, which other nodes post, too."""
        await super().release()
        if not self._outbox.is_shared and not self._is_recount_due:
            return
        self._is_recount_due = False
        unstored = [(each.url, 1, len(each.body)) for each in self._unstored]
        waiting, waiting_bytes = dict.fromkeys(self._urls, 0), dict.fromkeys(self._urls, 0)
        for url, count, size in [*await self._outbox.waiting(), *unstored]:
            if url in waiting:
                waiting[url] += count
                waiting_bytes[url] += size
        self._waiting, self._waiting_bytes = waiting, waiting_bytes

    async def stop(self, grace_s: float = 0.0) -> None:
        """Cancel posts that take longer than ``grace_s``, store the latest events; never raises.

        Cancelled posts are due at the next start.
        """
        await super().stop(grace_s)
        await self._tasks.cancel()
        if self._unstored:
            rest = list(self._unstored)
            self._unstored.clear()
            try:
                await self._outbox.add(rest)
            except WsServerError as error:
                self._drop(len(rest), str(error))

    def health(self) -> dict[str, Any]:
        """The check ``webhooks`` of ``/health``: whether there is room, and the counters."""
        return {
            "ok": all(map(self._has_room, self._urls)),
            "waiting": sum(self._waiting.values()),
            **asdict(self.metrics),
        }

    def number_of(self, url: str) -> int | None:
        """Position of a URL in the configuration, from 1; None: no longer configured.

        Logs and the API show it in place of the URL, which may contain a secret.
        """
        return self._urls.index(url) + 1 if url in self._urls else None

    def label(self, lane: str) -> str:
        """Number of the URL, for the log."""
        return f"webhook {self.number_of(lane)}"

    async def retry(self, posting_id: str | None = None) -> int:
        """Attempt again what was given up, one or all, where the URL is configured; counts them.

        Raises ``StorageUnavailable``, ``StorageFull``.
        """
        count = 0
        while retried := await self._outbox.retry(self._clock.wall(), self._urls, posting_id):
            for url, size in retried:
                self._waiting[url] += 1
                self._waiting_bytes[url] += size
                self.kick(url)
            count += len(retried)
        return count

    def _take(self, target: Target, event: Event) -> None:
        """Handle an event of the bus that the target wants."""
        name = str(event["name"])
        if not self._has_room(target.url):
            self._drop(1, "too many are waiting")
            return
        body = _encoded(event if target.names(name) else without_content(event))
        if body is None or len(body) > BODY_LIMIT:
            self._drop(1, f"{name} cannot be encoded as JSON, or is larger than {BODY_LIMIT} bytes")
            return
        now = self._clock.wall()
        message_id = _message_of(event) if target.names(name) else None
        posting = Posting(new_id("hook", now), target.url, name, body, now, message_id)
        self._traces.note(posting.posting_id)
        self._unstored.append(posting)
        self._unstored_bytes += len(body)
        self._waiting[target.url] += 1
        self._waiting_bytes[target.url] += len(body)
        self._has_unstored.set()

    def _has_room(self, url: str) -> bool:
        """Whether another event may wait to be stored, and to be posted to a URL."""
        return (
            len(self._unstored) < UNSTORED_LIMIT
            and self._unstored_bytes < UNSTORED_LIMIT_BYTES
            and self._waiting[url] < WAITING_LIMIT
            and self._waiting_bytes[url] < WAITING_LIMIT_BYTES
        )

    def _drop(self, count: int, reason: str) -> None:
        before = self.metrics.dropped
        self.metrics.dropped += count
        if before.bit_length() != self.metrics.dropped.bit_length():  # at 1, 2, 4, 8 …
            log.error("webhook events dropped total=%d reason=%s", self.metrics.dropped, reason)

    # Storing

    async def _store_all(self) -> None:
        """Store new events in batches; pause after an error of storage."""
        while True:
            await self._has_unstored.wait()
            self._has_unstored.clear()
            while self._unstored:
                # A batch that is cancelled is stored all the same: storage has it by then.
                batch = [self._unstored.popleft() for _ in range(min(BATCH, len(self._unstored)))]
                await self._store_batch(batch)

    def deleted(self, notice: MessagesDeleted) -> None:
        """Messages were deleted: storage takes their contents out, also of what comes later."""
        self._is_recount_due |= self._has_contents

    async def _store_batch(self, batch: list[Posting]) -> None:
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
        except Exception:  # a bug that concerns one batch must not end the storing of later ones
            log.exception("webhook events not stored count=%d", len(batch))
            for posting in batch:
                self._waiting[posting.url] -= 1
                self._waiting_bytes[posting.url] -= len(posting.body)
            self._drop(len(batch), "internal error")
            return
        for url in {posting.url for posting in batch}:
            self.kick(url)

    # Posting

    async def attempt(self, lane: str, claimed: ClaimedPosting) -> Result:
        """Post an event to its URL."""
        return await self._send(lane, claimed, self._post(lane, claimed))

    def recorded(
        self, lane: str, claimed: ClaimedPosting, result: Result, states: Mapping[int, str]
    ) -> None:
        """Count a result, unless another process recorded one; log what was given up."""
        if not states:
            return
        if result.state == "pending":
            self.metrics.retried += 1
            return
        if result.state == "sent":
            self.metrics.sent += 1
        else:
            self.metrics.failed += 1
            log.error(
                "webhook given up number=%d name=%s posting_id=%s attempts=%d detail=%s",
                self.number_of(lane), claimed.event, claimed.delivery_id, claimed.attempt,
                result.detail,
            )  # fmt: skip
        self._waiting[lane] = max(0, self._waiting[lane] - 1)
        self._waiting_bytes[lane] = max(0, self._waiting_bytes[lane] - len(claimed.body))

    async def _post(self, url: str, posting: ClaimedPosting) -> Outcome:
        headers = {
            "Content-Type": "application/json",
            EVENT_HEADER: posting.event,
            DELIVERY_HEADER: posting.delivery_id,
            SIGNATURE_HEADER: sign(posting.body, self._secret, int(self._clock.wall())),
        }
        try:
            with within(self._traces.of(posting.delivery_id)):
                answer = await self._http(HttpRequest("POST", url, headers, posting.body))
        except (NoAnswer, UrlForbidden) as error:
            return retry(str(error))
        return judge_webhook(answer, self._redact, self._clock.wall())


def sign(body: bytes, secret: str, at: int) -> str:
    """The signature ``t=<at>,v1=<hex>``: HMAC-SHA256 of ``at``, a dot and the body.

    Proves the sender, and shows by ``at``, in seconds since the epoch, that it is not a replay.
    """
    signed = b"%d.%b" % (at, body)
    return f"t={at},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def judge_webhook(answer: HttpAnswer, redact: Redact, now: float) -> Outcome:
    """Outcome of a post. 2xx: sent. 3xx and 410: failed. Anything else: retry.

    Other 4xx may be temporary, as while the receiver is deployed. ``now``: seconds since the epoch.
    """
    outcome = judge(answer, redact, now)
    if outcome.result == "failed" and 400 <= answer.status < 500 and answer.status != 410:
        return retry(outcome.detail)
    return failed(outcome.detail) if outcome.result == "failed" else outcome


def _message_of(event: Event) -> str | None:
    """The id of the message whose content an event has; None: it has none."""
    if not has_content(event):
        return None
    message_id = event.get("message_id") or event["message"].get("id")
    return message_id if isinstance(message_id, str) else None


def _encoded(event: Event) -> bytes | None:
    """The event as JSON, unknown types as ``str``; None: it cannot be encoded."""
    try:
        return msgspec.json.encode(event, enc_hook=str)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
