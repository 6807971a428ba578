"""The hook before publishing: a request to a URL for each message that a client sends."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from wsserver.clock import Clock
from wsserver.errors import HookFailed, Rejected, UrlForbidden, WsServerError
from wsserver.notifications.http import HttpRequest, HttpSend, NoAnswer
from wsserver.notifications.webhooks import SIGNATURE_HEADER, sign
from wsserver.protocol import strict_json
from wsserver.protocol.types import Content
from wsserver.realtime.commands.message_check import Unchecked
from wsserver.redaction import one_line

log = logging.getLogger(__name__)

HOOK_HEADER = "X-Wsserver-Hook"
CONCURRENCY = 64
"""Requests at the same time; further messages wait for their turn, within their own time."""
ANSWER_LIMIT = 256 * 1024
"""Bytes of an answer; the rest of a larger one is not read, and it counts as none."""
CODE_LIMIT, TEXT_LIMIT = 64, 500
UNWELL = 5
"""Failures in a row from which the health check fails."""


class _Verdict(msgspec.Struct):
    """The member of an answer that decides; others are ignored."""

    allow: bool


class _Passed(msgspec.Struct):
    """What replaces the content of a message that passes; None: nothing does."""

    content: Content | None = None


class _NoDecision(Exception):
    """Why there is none, without the URL."""


@dataclass
class HookMetrics:
    """Counters since the start."""

    asked: int = 0
    rejected: int = 0
    changed: int = 0
    failed: int = 0


class PublishHook:
    """Implements ``MessageCheck`` by a request to a URL for each message, signed as webhooks are.

    It takes ``timeout_s`` at most, waiting included. ``is_open``: without a decision in time, or a
    usable one, the message is stored as it is; otherwise it is refused with ``HookFailed``.
    ``content_limit``: bytes of a content that replaces that of a message.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        http: HttpSend,
        clock: Clock,
        *,
        timeout_s: float,
        is_open: bool,
        content_limit: int,
    ) -> None:
        self._url = url
        self._secret = secret
        self._http = http
        self._clock = clock
        self._timeout_s = timeout_s
        self._is_open = is_open
        self._content_limit = content_limit
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self._failures_in_a_row = 0
        self.metrics = HookMetrics()

    def concerns(self, content_type: str | None) -> bool:
        """All messages."""
        return True

    async def check(self, message: Unchecked) -> Content:
        """The content to be stored; raises ``Rejected`` or ``HookFailed``."""
        self.metrics.asked += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._turns:
                    content = await self._ask(message)
        except TimeoutError:
            return self._undecided(message, f"no answer within {self._timeout_s:g} s")
        except (NoAnswer, UrlForbidden, _NoDecision) as error:
            return self._undecided(message, str(error))
        except Rejected:
            self._failures_in_a_row = 0
            self.metrics.rejected += 1
            raise
        self._failures_in_a_row = 0
        if content is None:
            return message.content
        self.metrics.changed += 1
        return content

    def health(self) -> dict[str, Any]:
        """The check ``publish_hook`` of ``/health``."""
        return {"ok": self._failures_in_a_row < UNWELL, **vars(self.metrics)}

    async def _ask(self, message: Unchecked) -> Content | None:
        """What replaces the content; None: nothing. Raises ``Rejected``, ``_NoDecision``."""
        body = strict_json.encode(_question(message))
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            HOOK_HEADER: "publish",
            SIGNATURE_HEADER: sign(body, self._secret, int(self._clock.wall())),
        }
        answer = await self._http(HttpRequest("POST", self._url, headers, body))
        if answer.status != 200:
            raise _NoDecision(f"the answer has the status {answer.status}")
        if len(answer.body) > ANSWER_LIMIT:
            raise _NoDecision(f"the answer is larger than {ANSWER_LIMIT} bytes")
        try:
            document = strict_json.decode(answer.body)
            if not msgspec.convert(document, _Verdict).allow:
                raise _rejection(document)
            content = msgspec.convert(document, _Passed).content
        except Rejected:
            raise
        except WsServerError as error:
            raise _NoDecision(f"the answer is not JSON: {error}") from None
        except msgspec.ValidationError as error:
            raise _NoDecision(f"the answer is no decision: {error}") from None
        if content is not None and len(strict_json.encode(content)) > self._content_limit:
            raise _NoDecision(f"its content is larger than {self._content_limit} bytes")
        return content

    def _undecided(self, message: Unchecked, reason: str) -> Content:
        self.metrics.failed += 1
        self._failures_in_a_row += 1
        number = self._failures_in_a_row
        if number & (number - 1) == 0:  # at 1, 2, 4, 8 …
            log.warning(
                "no decision of publish_hook_url in_a_row=%d stored=%s reason=%s",
                number,
                "yes" if self._is_open else "no",
                one_line(reason)[:TEXT_LIMIT],
            )
        if not self._is_open:
            raise HookFailed
        return message.content


def _rejection(document: dict[str, Any]) -> Rejected:
    """Why a message is refused; a code or text that is none does not let it pass."""
    code, text = document.get("code"), document.get("message")
    reason = one_line(code)[:CODE_LIMIT] if isinstance(code, str) else ""
    return Rejected(
        one_line(text)[:TEXT_LIMIT] if isinstance(text, str) else "", reason or "rejected"
    )


def _question(message: Unchecked) -> dict[str, Any]:
    """The body of a request."""
    sender = message.sender
    asked = {
        "session_id": message.session_id,
        "sender": {
            "user_id": sender.sub,
            "username": sender.username,
            "role": sender.role,
            "organization_id": sender.organization_id,
        },
        "content": message.content,
        "content_type": message.content_type,
        "reply_to": message.reply_to,
        "client_message_id": message.client_message_id,
        "edits": message.edits,
    }
    return {name: value for name, value in asked.items() if value is not None}
