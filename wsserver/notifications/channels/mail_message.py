"""MIME message of a notification: text and HTML, headers safe against injection."""

from __future__ import annotations

from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime
from html import escape
from typing import Any

from wsserver.addresses.contact import Sender
from wsserver.notifications.channels.base import Job
from wsserver.notifications.channels.wording import link_of, one_line_title

_OPEN = {"zh-CN": "打开", "en": "Open"}
_COLOURS = {
    "info": "#2563eb",
    "success": "#16a34a",
    "warning": "#d97706",
    "error": "#dc2626",
    "urgent": "#b91c1c",
}
_LONGEST_WORD = 60


class _Title:
    """Unstructured header whose value is never decoded.

    The standard library's decodes values that look like an encoded word (RFC 2047) when they are
    set, and then writes the result, line breaks included: ``=?utf-8?q?=0D=0ABcc:?=`` would add a
    header.
    """

    name: str
    max_count = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """Set the value unchanged (interface of ``email.headerregistry``)."""
        kwds["parse_tree"] = None
        kwds["decoded"] = value

    def fold(self, *, policy: EmailPolicy) -> str:
        """The header's lines; non-ASCII text, or text that looks encoded, is encoded."""
        text = str(self)
        is_plain = text.isascii() and "=?" not in text
        # A line is broken between words only, unless it is encoded.
        is_plain = is_plain and all(len(word) <= _LONGEST_WORD for word in text.split())
        charset = "us-ascii" if is_plain else "utf-8"
        header = Header(text, charset, header_name=self.name)
        return f"{self.name}: {header.encode(linesep=policy.linesep)}{policy.linesep}"


def _policy() -> Any:
    registry: Any = HeaderRegistry()  # typed stricter than it is: it adds the base class itself
    registry.map_to_type("subject", _Title)
    return SMTP.clone(header_factory=registry)


_POLICY = _policy()


def compose(job: Job, to: str, sender: Sender, frontend_url: str | None) -> EmailMessage:
    """Compose the mail of a job; ``to``: one bare address, already parsed.

    The ``Message-ID`` contains the delivery id, so that a mail that is sent twice is recognized.
    """
    message = EmailMessage(policy=_POLICY)
    local, _, domain = sender.address.rpartition("@")
    message["From"] = Address(sender.name, local, domain)
    to_local, _, to_domain = to.rpartition("@")
    message["To"] = Address("", to_local, to_domain)
    message["Subject"] = one_line_title(job)
    message["Date"] = format_datetime(datetime.fromtimestamp(job.created_at, UTC))
    message["Message-ID"] = f"<{job.delivery_id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Content-Language"] = job.locale
    if job.type == "urgent":
        message["Importance"] = "high"
        message["X-Priority"] = "1"
    link = link_of(job.action_url, frontend_url)
    # Base 64 throughout: relays need not support 8BITMIME.
    message.set_content(_text(job, link), charset="utf-8", cte="base64")
    message.add_alternative(_html(job, link), subtype="html", charset="utf-8", cte="base64")
    return message


def _text(job: Job, link: str | None) -> str:
    return f"{job.message}\n\n{link}\n" if link else f"{job.message}\n"


def _html(job: Job, link: str | None) -> str:
    title = escape(one_line_title(job))
    paragraph = escape(job.message).replace("\r\n", "\n").replace("\n", "<br>\n")
    button = ""
    if link:
        button = f'<p><a href="{escape(link)}">{_OPEN[job.locale]}</a></p>\n'
    return (
        f'<!DOCTYPE html>\n<html lang="{job.locale}">\n<head><meta charset="utf-8">'
        f"<title>{title}</title></head>\n"
        '<body style="font-family: sans-serif; line-height: 1.5">\n'
        f'<h1 style="font-size: 1.2em; border-left: 4px solid {_COLOURS[job.type]};'
        f' padding-left: 0.6em">{title}</h1>\n'
        f"<p>{paragraph}</p>\n{button}</body>\n</html>\n"
    )
