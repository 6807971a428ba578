"""HTTP requests of channels and webhooks: types, and the outcome that an answer means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from wsserver.notifications.body_text import text_of
from wsserver.notifications.channels.base import Outcome, failed, retry, sent
from wsserver.redaction import one_line

KEPT_BYTES = 2048
"""Part of an answer's body that is kept."""
EXCERPT_LIMIT = 200
LONGEST_WAIT_S = 3600.0
"""Limit of ``Retry-After``."""

PASSING = frozenset({408, 425, 429})
"""Statuses below 500 that are temporary."""

Redact = Callable[[str], str]


class HttpRequest(NamedTuple):
    """A request to send."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class HttpAnswer(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    """Its first 2 KiB."""


class NoAnswer(Exception):
    """No answer: refused, cut off, timed out. The text contains neither URL nor secrets."""


class HttpSend(Protocol):
    """Sends one request, and follows no redirect."""

    async def __call__(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer, whatever its status.

        Raises ``NoAnswer``, and ``UrlForbidden`` where URLs are restricted. When cancelled, it
        leaves no connection behind.
        """


def judge(answer: HttpAnswer, redact: Redact, now: float) -> Outcome:
    """Outcome of an answer. 2xx: sent. 5xx, 408, 425, 429: retry. Anything else: failed.

    ``Retry-After`` delays the retry. ``now``: seconds since the epoch.
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
    """Status and beginning of the body, on one line, without secrets."""
    text = excerpt(text_of(answer.headers, answer.body), redact)
    return f"{answer.status}: {text}" if text else str(answer.status)


def excerpt(text: str, redact: Redact) -> str:
    """Beginning of a provider's answer, on one line, without secrets."""
    line = one_line(redact(re.sub(r"\s+", " ", text).strip()))
    return line if len(line) <= EXCERPT_LIMIT else line[: EXCERPT_LIMIT - 1] + "…"


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110 §10.2.3), at most an hour; None: missing or invalid."""
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
