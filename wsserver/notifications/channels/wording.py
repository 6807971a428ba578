"""The text of a notification, as mails and short messages have it."""

from __future__ import annotations

from urllib.parse import urlsplit

from wsserver.notifications.channels.base import Job
from wsserver.notifications.templates import clean, one_line

SMS_LIMIT = 500
"""Characters; providers charge for each part of some 70."""


def link_of(action_url: str | None, frontend_url: str | None) -> str | None:
    """The address behind a notification, absolute; None: there is none to be followed from afar.

    Only ``http`` and ``https``: a mail is no place for ``javascript:``.
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
    """The title, whatever it was made of, on one line."""
    return " ".join(one_line(job.title).split())


def short_text(job: Job, frontend_url: str | None) -> str:
    """Title, message and link, one below the other, at most ``SMS_LIMIT`` characters.

    What is too long is cut in the message; the link stays whole if there is room for it.
    """
    link = link_of(job.action_url, frontend_url)
    tail = f"\n{link}" if link and len(link) < SMS_LIMIT // 2 else ""
    # A control character is nothing that a phone can show, or an XML body may hold.
    text = f"{one_line_title(job)}\n{clean(job.message)}".strip()
    room = SMS_LIMIT - len(tail)
    return (text if len(text) <= room else text[: room - 1] + "…") + tail
