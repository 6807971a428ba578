"""Top talkers: users and sessions with the most messages of the last seconds."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest
from operator import itemgetter
from typing import Any

from wsserver.clock import Clock

HALF_S = 5.0
"""Half of the window. The older half is dropped as a whole, so rates are over 5 to 10 s."""
LARGEST_HALF = 5000
"""Users (or sessions) counted in half a window; further ones are not counted in it."""
SHOWN = 50
KEPT_S = 1.0
"""How long a view is cached: reading 20,000 counts takes milliseconds."""


class _Half:
    """The counts of five seconds."""

    __slots__ = ("names", "sessions", "since", "users")

    def __init__(self, since: float) -> None:
        self.since = since
        self.users: dict[str, int] = {}
        self.sessions: dict[str, int] = {}
        self.names: dict[str, str] = {}


class TopTalkers:
    """Counts published messages by sender and by session over the last few seconds.

    At most 5,000 users and as many sessions in each half of the window. ``is_on`` while a monitor
    is connected to any node.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_on = False
        """Whether messages are to be noted."""
        self._old = self._new = _Half(0.0)
        self._view: dict[str, Any] = {}
        self._viewed_at = 0.0
        self._reset()

    def start(self) -> None:
        """Begin to count, from zero."""
        self.is_on = True
        self._reset()

    def stop(self) -> None:
        """Count no more."""
        self.is_on = False

    def _reset(self) -> None:
        now = self._clock.monotonic()
        self._old, self._new = _Half(now), _Half(now)
        self._viewed_at = now - KEPT_S

    def note(self, user_id: str | None, username: str | None, session_id: str | None) -> None:
        """Count a message of a user (None: of the server) in a session (None: in none)."""
        self._turn()
        new = self._new
        if user_id is not None and _count(new.users, user_id) and username is not None:
            new.names[user_id] = username
        if session_id is not None:
            _count(new.sessions, session_id)

    def view(self) -> dict[str, Any]:
        """The 50 busiest users and sessions, the busiest first; cached for a second.

        ``users``: [{``user_id``, ``username``, ``messages_per_s``}], ``sessions``:
        [{``session_id``, ``messages_per_s``}].
        """
        now = self._clock.monotonic()
        if now - self._viewed_at >= KEPT_S:
            self._view, self._viewed_at = self._look(now), now
        return self._view

    def _look(self, now: float) -> dict[str, Any]:
        self._turn()
        old, new = self._old, self._new
        elapsed = max(now - old.since, 1.0)
        return {
            "users": [
                {
                    "user_id": id_,
                    "username": new.names.get(id_) or old.names.get(id_),
                    "messages_per_s": rate,
                }
                for id_, rate in _largest(old.users, new.users, elapsed)
            ],
            "sessions": [
                {"session_id": id_, "messages_per_s": rate}
                for id_, rate in _largest(old.sessions, new.sessions, elapsed)
            ],
        }

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if now - self._new.since >= HALF_S:
            # After a pause the newer half is outside of the window as well.
            is_recent = now - self._new.since < 2 * HALF_S
            self._old = self._new if is_recent else _Half(now - HALF_S)
            self._new = _Half(now)


def _count(counts: dict[str, int], name: str) -> bool:
    if name not in counts and len(counts) >= LARGEST_HALF:
        return False
    counts[name] = counts.get(name, 0) + 1
    return True


def _largest(
    old: Mapping[str, int], new: Mapping[str, int], elapsed_s: float
) -> list[tuple[str, float]]:
    totals = dict(old)
    for name, count in new.items():
        totals[name] = totals.get(name, 0) + count
    largest = nlargest(SHOWN, totals.items(), key=itemgetter(1))
    return [(name, round(count / elapsed_s, 3)) for name, count in largest]
