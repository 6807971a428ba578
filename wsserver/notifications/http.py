"""HTTP as the channels see it: a request, its answer, and what to make of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from wsserver.notifications.answer_text import text_of
from wsserver.notifications.channels.base import Outcome, failed, retry, sent
from wsserver.redaction import one_line

KEPT_BYTES = 2048
"""Of an answer's body; the rest is read and let go of."""
EXCERPT_LIMIT = 200
LONGEST_WAIT_S = 3600.0
"""What a ``Retry-After`` beyond it counts as."""

PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that say nothing about the request itself."""

Redact = Callable[[str], str]


class HttpRequest(NamedTuple):
    """What is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class HttpAnswer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    """Its first 2 KiB."""


class NoAnswer(Exception):
    """There was none: refused, cut off, too slow. The text has neither URL nor secret."""


class HttpSend(Protocol):
    """Sends one request, and follows no redirect."""

    async def __call__(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer, whatever its status.

        Raises ``NoAnswer``, and ``UrlForbidden`` where URLs are restricted. When cancelled, it
        leaves no connection behind.
        """
        ...


def judge(answer: HttpAnswer, redact: Redact, now: float) -> Outcome:
    """2xx: sent. 5xx and "try again": retry, not before ``Retry-After``. Anything else: failed.

    ``now``: seconds since the epoch.
    """
    detail = describe(answer, redact)
    if 200 <= answer.status < 300:
        return sent(detail)
    if answer.status >= 500 or answer.status in PASSING:
        return retry(detail, retry_after_s(answer.headers.get("retry-after"), now))
    if 300 <= answer.status < 400:
        return failed(f"{answer.status}: redirects are not followed")
    return failed(detail)


def describe(answer: HttpAnswer, redact: Redact) -> str:
    """The status and the beginning of the body, on one line, without secrets."""
    text = excerpt(text_of(answer.headers, answer.body), redact)
    return f"{answer.status}: {text}" if text else str(answer.status)


def excerpt(text: str, redact: Redact) -> str:
    """The beginning of what a provider has said, on one line, without secrets."""
    line = one_line(redact(re.sub(r"\s+", " ", text).strip()))
    return line if len(line) <= EXCERPT_LIMIT else line[: EXCERPT_LIMIT - 1] + "…"


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds that a ``Retry-After`` asks to wait (RFC 9110 §10.2.3); None: it says nothing.

    At most an hour: nobody may put a notification off for longer.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,18}", value):
        return min(float(value), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment.timestamp() - now, 0.0), LONGEST_WAIT_S)
