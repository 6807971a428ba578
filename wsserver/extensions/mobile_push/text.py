"""What a device shows of a notification, cut to what its push platform takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from wsserver.clock import rfc3339
from wsserver.notifications.channels.base import Job

JsonObject = dict[str, Any]


class Shown(NamedTuple):
    """Texts of a notification."""

    title: str
    message: str
    action_url: str | None


def fitted(job: Job, limit_bytes: int, build: Callable[[Shown], JsonObject]) -> bytes:
    """The body that ``build`` makes, with a message and then a title that are short enough."""
    shown = Shown(job.title, job.message, job.action_url)
    body = msgspec.json.encode(build(shown))
    if len(body) <= limit_bytes:
        return body
    for member in ("message", "action_url", "title"):  # the least important first
        shown = _cut(
            shown, member, lambda shown: len(msgspec.json.encode(build(shown))), limit_bytes
        )
        body = msgspec.json.encode(build(shown))
        if len(body) <= limit_bytes:
            break
    return body


def _cut(shown: Shown, member: str, size: Callable[[Shown], int], limit_bytes: int) -> Shown:
    if member == "action_url":  # a link is useless when truncated
        return shown._replace(action_url=None)
    text: str = getattr(shown, member)
    low, high = 0, len(text)
    while low < high:  # by characters, since one may take 1 to 6 bytes
        middle = (low + high + 1) // 2
        if size(shown._replace(**{member: text[:middle] + "…"})) <= limit_bytes:
            low = middle
        else:
            high = middle - 1
    return shown._replace(**{member: text[:low] + "…"})


def fields_of(job: Job, shown: Shown) -> dict[str, str]:
    """What the app gets besides the texts, all strings."""
    fields = {
        "id": job.notification_id,
        "type": job.type,
        "timestamp": rfc3339(job.created_at),
    }
    if shown.action_url is not None:
        fields["action_url"] = shown.action_url
    return fields


def is_pressing(job: Job) -> bool:
    """Whether a device low on battery should be woken."""
    return job.type in ("warning", "error", "urgent")
