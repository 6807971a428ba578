"""The settings ``turn_url`` and ``turn_secret``: STUN and TURN servers of calls."""

from __future__ import annotations

import re

from wsserver.config.faults import Faulty
from wsserver.config.settings import Settings

_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):"
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<query>\?transport=(?:udp|tcp))?"
)


def turn_url(text: str) -> str:
    """Check a URI of RFC 7064 or RFC 7065, as browsers take them."""
    found = _URL.fullmatch(text)
    if (
        found is None
        or int(found["port"] or 1) not in range(1, 65536)
        or (found["query"] and found["scheme"].startswith("stun"))
    ):
        raise Faulty(
            "must list servers like turn:turn.example.com:3478?transport=udp, turns:host or"
            f" stun:host, not {text[:80]!r}"
        )
    return text


def check_turn(settings: Settings) -> None:
    """Raise ``Faulty`` for TURN servers without the secret that they need."""
    if settings.turn_secret is None and any(url.startswith("turn") for url in settings.turn_url):
        raise Faulty("needs turn_secret: the secret that the TURN servers share")
