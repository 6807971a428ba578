"""A connection on which nothing is said, to see whether anything in between cuts it."""

from __future__ import annotations

import time

from websockets.exceptions import ConnectionClosed

from wsctl.doctor.facts import Maybe, Missing, Silence
from wsctl.doctor.http import Asker
from wsctl.doctor.ws_session import end_of, open_talk


def keep_silent(
    asker: Asker, url: str, token: str, wanted_s: float, timeout_s: float
) -> Maybe[Silence]:
    """Be connected for so long; only the server's pings are answered, as every client does."""
    with open_talk(asker, url, token, timeout_s) as (upgrade, talk):
        if talk is None:
            return Missing(f"no WebSocket: {upgrade.fault or upgrade.status}")
        began = last = time.monotonic()
        longest, pings = 0.0, 0
        end, code = "", None
        while True:
            try:
                message = talk.receive(began + wanted_s)
            except TimeoutError:
                break
            except ConnectionClosed as closed:
                code, end = end_of(closed)
                break
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            pings += message.get("type") == "ping"
        now = time.monotonic()
        return Silence(wanted_s, now - began, max(longest, now - last), pings, end, code)
