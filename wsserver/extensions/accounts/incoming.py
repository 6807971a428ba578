"""What a messenger reports, whatever its kind, and the session that a contact has."""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

ID_LIMIT = 128
"""Characters of a session's id."""
_DIGEST_LENGTH = 12


class Received(NamedTuple):
    """A message of a contact, or one that was typed on the account's own device."""

    provider_id: str
    """The messenger's own id of it, by which a repeated report is recognized."""
    contact: str
    """The conversation: a person's or a group's id."""
    speaker: str
    """Who wrote it: in a group one of its members."""
    content: Any
    """A text, or an object."""
    content_type: str = "text/plain"
    is_own: bool = False
    """Whether the account itself has written it, on another device."""
    name: str | None = None
    """Of the speaker."""
    quotes: str | None = None
    """The messenger's id of the message that it replies to."""


class AccountStatus(NamedTuple):
    """The account has gone offline, has logged in, or is at risk."""

    status: str
    """``offline``, ``online``, ``reconnecting`` or ``login_failed``."""


class Nothing(NamedTuple):
    """A report that needs no action."""

    reason: str


Report = Received | AccountStatus | Nothing


class MalformedReport(Exception):
    """The body of a callback is not what the messenger sends; the text says what is wrong."""


def session_of(kind: str, account: str, contact: str) -> str:
    """The id of a contact's session: ``gewe:ACCOUNT:CONTACT``.

    What a session's id cannot have is replaced by ``-``, and a digest keeps contacts apart.
    """
    prefix = f"{kind}:{account}:"
    plain = re.sub(r"[^A-Za-z0-9._:@-]", "-", contact)
    room = ID_LIMIT - len(prefix)
    if plain == contact and len(plain) <= room:
        return prefix + plain
    digest = hashlib.sha256(contact.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{prefix}{plain[: room - _DIGEST_LENGTH - 1]}-{digest}"
