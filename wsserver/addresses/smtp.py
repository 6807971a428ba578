"""The URL of a mail server."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

Security = Literal["plain", "starttls", "tls"]
_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("plain", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}


class MailServer(NamedTuple):
    """Where mails are handed in."""

    host: str
    port: int
    security: Security
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"MailServer({self.host!r}, {self.port}, {self.security!r})"


def parse_smtp_url(url: str) -> MailServer:
    """Read ``smtp[s|+starttls]://[user:password@]host[:port]``; the URL is never quoted.

    ``smtp`` is plain and never turned into TLS, ``smtp+starttls`` insists on it, ``smtps`` starts
    with it. User and password may be percent-encoded. Raises ``ValueError``.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_FORM) from None
    if parts.scheme not in _SCHEMES or not host or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(_FORM)
    if parts.path not in ("", "/") or parts.query or parts.fragment or port == 0:
        raise ValueError(_FORM)
    security, usual_port = _SCHEMES[parts.scheme]
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if (username is None) != (password is None):
        raise ValueError("must have both a user and a password, or neither")
    return MailServer(host, port or usual_port, security, username, password)


_FORM = (
    "must be a URL like smtp://mail.example.com, smtp+starttls://user:password@mail.example.com "
    "or smtps://user:password@mail.example.com:465"
)
