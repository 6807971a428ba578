"""A notification as a mail: a text, the same in HTML, and headers that nobody can add to."""

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
    """A header whose text stands as it is, whatever it looks like.

    The standard library's decodes what looks like an encoded word (RFC 2047) when it is set, and
    then writes what came out, line breaks included: ``=?utf-8?q?=0D=0ABcc:?=`` would add headers.
    """

    name: str
    max_count = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """Take the value as it is (``email.headerregistry``)."""
        kwds["parse_tree"] = None
        kwds["decoded"] = value

    def fold(self, *, policy: EmailPolicy) -> str:
        """The header's lines; what is not plain ASCII, or looks encoded, is encoded."""
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
    """Make the mail of a job; ``to`` has been parsed as one bare address.

    The ``Message-ID`` is the delivery's: a mail that goes out twice can be told from two.
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
    # Base 64 throughout: no relay on the way has to understand eight bits.
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
