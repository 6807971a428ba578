"""Texts and links of notifications in mails and short messages."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsserver.notifications.channels.base import Job
from wsserver.notifications.templates import clean, one_line

SMS_LIMIT = 500
"""Characters of a short message; providers charge for each part of about 70."""


def link_of(action_url: str | None, frontend_url: str | None) -> str | None:
    """Absolute URL of a notification's link; None: no link, or not usable outside the frontend.

    Only ``http`` and ``https``, never ``javascript:``.
    """
    if action_url is None or not action_url.isprintable() or " " in action_url:
        return None
    if action_url.startswith("/") and not action_url.startswith("//"):
        return f"{frontend_url}{action_url}" if frontend_url else None
    try:
        parts = urlsplit(action_url)
    except ValueError:
        return None
    return action_url if parts.scheme in ("http", "https") and parts.netloc else None


def one_line_title(job: Job) -> str:
    """The title on one line, without control characters."""
    return " ".join(one_line(job.title).split())


def short_text(job: Job, frontend_url: str | None) -> str:
    """Title, message and link, one below the other, at most ``SMS_LIMIT`` characters.

    A long message is truncated; the link is kept whole if it fits.
    """
    link = link_of(job.action_url, frontend_url)
    tail = f"\n{link}" if link and len(link) < SMS_LIMIT // 2 else ""
    # Phones cannot show control characters, and XML bodies must not contain them.
    text = f"{one_line_title(job)}\n{clean(job.message)}".strip()
    room = SMS_LIMIT - len(tail)
    return (text if len(text) <= room else text[: room - 1] + "…") + tail
