"""``RollUp``: joins the appends of a few milliseconds into one push. No I/O."""

from __future__ import annotations

from typing import NamedTuple


class Rolled(NamedTuple):
    """The texts of one or more appends, to be pushed together."""

    at: int
    """Code points before it."""
    seq: int
    """The last append that it contains."""
    text: str


class RollUp:
    """Texts that are due ``window_s`` after the latest push; the first one is due at once.

    ``length``: code points that were pushed already. ``now`` is monotonic.
    """

    __slots__ = ("_due_at", "_seq", "_texts", "_window_s", "length")

    def __init__(self, window_s: float, length: int) -> None:
        self._window_s = window_s
        self._due_at = float("-inf")
        self._seq = 0
        self._texts: list[str] = []
        self.length = length

    def add(self, seq: int, text: str, now: float) -> float:
        """Add the text of an append; returns the seconds until ``take`` is due, 0 for at once.

        Negative: an earlier text waits already, and is due at the time that was returned for it.
        """
        self._texts.append(text)
        self._seq = seq
        if len(self._texts) > 1:
            return -1.0
        return max(0.0, self._due_at - now)

    def take(self, now: float) -> Rolled | None:
        """What is to be pushed now; None: nothing."""
        if not self._texts:
            return None
        rolled = Rolled(self.length, self._seq, "".join(self._texts))
        self._texts.clear()
        self.length += len(rolled.text)
        self._due_at = now + self._window_s
        return rolled
