"""Ids of messages, connections and so on: time-sortable, with a prefix for the kind."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts like the number
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_RANDOM_BITS = 50


class IdFactory:
    """Makes ids such as ``msg_01hk153x00h9v3t7n2c4d5e6``: milliseconds, then a random tail.

    Within one millisecond the tail counts up, so that ids of one process sort in the order in
    which they were made, also when the wall clock is set back (the last millisecond is kept).
    """

    def __init__(self) -> None:
        self._millis = 0
        self._tail = 0
        self._start = ""
        """All but the last two digits, which many ids in a row have in common."""

    def __call__(self, prefix: str, wall: float | None = None) -> str:
        """Return ``prefix_`` and 20 characters; ``wall`` is seconds since the epoch."""
        millis = int((time.time() if wall is None else wall) * 1000)
        if millis > self._millis:
            self._millis = millis
            self._tail = secrets.randbits(_RANDOM_BITS - 1)  # half the range left to count up in
            self._begin()
        else:
            self._tail += 1
            if not self._tail & 1023:
                self._begin()
        return f"{prefix}_{self._start}{_PAIRS[self._tail & 1023]}"

    def _begin(self) -> None:
        self._start = _base32(self._millis) + _base32(self._tail)[:-2]


def _base32(number: int) -> str:
    """Ten digits, for 50 bits."""
    pairs = _PAIRS
    return (
        pairs[number >> 40 & 1023]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )


new_id = IdFactory()
"""The id factory of the process; its only state is the last id."""
