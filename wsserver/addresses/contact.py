"""Strict parsing of e-mail addresses, senders, phone numbers and URLs of mail servers."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"(?=.{{1,254}}\Z)(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})*)"
)
_NAMED = re.compile(r"(?P<name>[^<>\"]*|\"[^<>\"]*\")\s*<(?P<address>[^<>]*)>")
_LONGEST_LOCAL = 64
_FORM = "must be one e-mail address like name@example.com"
_AMBIGUOUS = frozenset("\u00df\u03c2\u200c\u200d")
"""Sharp s, final sigma and the joiners: IDNA 2003 and 2008 make different domains of them."""


def parse_mail_address(text: str) -> str:
    """Return one bare address (RFC 5321 §4.1.2), its domain in lower case and ASCII.

    A domain with other letters comes back in the form that the DNS and SMTP take (RFC 5890):
    ``user@münchen.example`` as ``user@xn--mnchen-3ya.example``.

    Raises ``ValueError`` for anything else: several addresses, a display name, quoted local parts,
    control characters. Letters beyond ASCII before the ``@`` are refused: they need
    SMTPUTF8 (RFC 6531) on every server up to the mailbox, which a sender cannot find out.
    """
    local, at, domain = text.rpartition("@")
    found = _ADDRESS.fullmatch(f"{local}{at}{_ascii_domain(domain)}")
    if found is None or len(found["local"]) > _LONGEST_LOCAL:
        if not local.isascii():
            raise ValueError(f"{_FORM}; before the @ it may have ASCII characters only")
        raise ValueError(_FORM)
    return f"{found['local']}@{found['domain'].lower()}"


def _ascii_domain(domain: str) -> str:
    """A domain in the form that the DNS takes; as it is where it is ASCII or has none."""
    if domain.isascii() or not domain.isprintable():
        return domain
    if not _AMBIGUOUS.isdisjoint(domain):
        raise ValueError(f"{_FORM}; write this domain in its ASCII form, xn--…")
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


class Sender(NamedTuple):
    """The sender of mails."""

    name: str
    """Shown beside the address; may be empty."""
    address: str

    @property
    def domain(self) -> str:
        """The part behind the ``@``."""
        return self.address.rpartition("@")[2]


def parse_sender(text: str) -> Sender:
    """Read ``name@example.com`` or ``Our Name <name@example.com>``. Raises ``ValueError``."""
    named = _NAMED.fullmatch(text)
    name, address = ("", text) if named is None else (named["name"], named["address"])
    name = name.strip().strip('"').strip()
    try:
        if not name.isprintable():
            raise ValueError
        return Sender(name, parse_mail_address(address))
    except ValueError:
        raise ValueError(
            "must be one e-mail address, like name@example.com or Our Name <name@example.com>"
        ) from None


_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def parse_phone(text: str) -> str:
    """Return a number in E.164 form: ``+``, country code, number, 7 to 15 digits in all.

    Raises ``ValueError`` for every other way of writing it.
    """
    if _E164.fullmatch(text) is None:
        raise ValueError("must be a phone number in international form like +8613800138000")
    return text


Security = Literal["plain", "starttls", "tls"]
_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("plain", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}


class MailServer(NamedTuple):
    """An SMTP server with its credentials."""

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
        raise ValueError(_URL_FORM) from None
    if parts.scheme not in _SCHEMES or not host or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError(_URL_FORM)
    if parts.path not in ("", "/") or parts.query or parts.fragment or port == 0:
        raise ValueError(_URL_FORM)
    security, usual_port = _SCHEMES[parts.scheme]
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if (username is None) != (password is None):
        raise ValueError("must have both a user and a password, or neither")
    return MailServer(host, port or usual_port, security, username, password)


_URL_FORM = (
    "must be a URL like smtp://mail.example.com, smtp+starttls://user:password@mail.example.com "
    "or smtps://user:password@mail.example.com:465"
)
