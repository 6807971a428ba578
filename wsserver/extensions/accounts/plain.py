"""The kind ``webhook``: a small JSON in and out, for messengers without a kind of their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from wsserver.extensions.accounts.incoming import (
    AccountStatus,
    MalformedReport,
    Received,
    Report,
)

ProviderId = Annotated[str, Meta(min_length=1, max_length=128)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class IncomingMessage(Struct, forbid_unknown_fields=True, tag="message"):
    """A message of a contact."""

    id: ProviderId
    contact: Name
    content: str | dict[str, Any]
    content_type: Annotated[str, Meta(min_length=1, max_length=128)] = "text/plain"
    sender: Name | None = None
    """Who wrote it, in a group; by default the contact."""
    name: Name | None = None
    is_own: bool = False
    quotes: ProviderId | None = None


class IncomingStatus(Struct, forbid_unknown_fields=True, tag="status"):
    """The account's status has changed."""

    status: Literal["offline", "online", "reconnecting", "login_failed"]


def read_callback(body: Any) -> Report:
    """What a callback reports; raises ``MalformedReport``."""
    try:
        report = msgspec.convert(body, IncomingMessage | IncomingStatus)
    except msgspec.ValidationError as error:
        raise MalformedReport(str(error)) from None
    if isinstance(report, IncomingStatus):
        return AccountStatus(report.status)
    return Received(
        report.id,
        report.contact,
        report.sender or report.contact,
        report.content,
        report.content_type,
        report.is_own,
        report.name,
        report.quotes,
    )


def request_of(
    account: str, contact: str, message_id: str, content: Any, content_type: str
) -> dict[str, Any]:
    """The body of the request that sends a message to a contact."""
    return {
        "type": "message",
        "account": account,
        "contact": contact,
        "message_id": message_id,
        "content": content,
        "content_type": content_type,
    }


def outcome_of(answer: Any) -> tuple[str | None, str]:
    """The messenger's id of a message that was sent; any answer with 2xx means that it was."""
    given = answer.get("id") if isinstance(answer, dict) else None
    return (given if isinstance(given, str) and given else "unknown"), ""
