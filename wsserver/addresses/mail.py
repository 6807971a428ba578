"""One e-mail address, parsed strictly: what goes into a mail's headers must not add to them."""

from __future__ import annotations

import re
from typing import NamedTuple

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(
    rf"(?=.{{1,254}}\Z)(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})*)"
)
_NAMED = re.compile(r"(?P<name>[^<>\"]*|\"[^<>\"]*\")\s*<(?P<address>[^<>]*)>")
_LONGEST_LOCAL = 64


def parse_mail_address(text: str) -> str:
    """Return one bare address (RFC 5321 §4.1.2), its domain in lower case.

    Raises ``ValueError`` for anything else: several addresses, a display name, quoted local parts,
    control characters, letters beyond ASCII (a domain of these is written ``xn--…``).
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or len(found["local"]) > _LONGEST_LOCAL:
        raise ValueError("must be one e-mail address like name@example.com")
    return f"{found['local']}@{found['domain'].lower()}"


class Sender(NamedTuple):
    """Whom mails come from."""

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
