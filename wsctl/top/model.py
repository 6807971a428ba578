"""Model of the server's state, built from its messages without I/O or clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsctl.output.charts import Point
from wsctl.output.monitor_pushes import Push
from wsctl.times import readable

KEPT_EVENTS = 200
KEPT_POINTS = 2400
"""Ten minutes at four a second."""
COLUMN_S = 2.0
_STARTED_ANEW_S = 0.2
"""Difference of start times that counts as a restart; less may be network delay."""
LISTED = 200
"""Sessions and users requested over REST; of the others only the busiest are known."""


@dataclass
class Trend:
    """Values over time (monotonic clock)."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=KEPT_POINTS))

    @property
    def latest(self) -> float | None:
        """The latest value, if any."""
        return self.points[-1][1] if self.points else None


@dataclass(frozen=True)
class Row:
    """A session or user with its message rate and connections."""

    id: str
    name: str = ""
    """The user's name, or the names of those in the session."""
    connections: int | None = None
    messages_per_s: float = 0.0

    def matches(self, words: str) -> bool:
        """Whether the row contains the (case-folded) text."""
        return words in f"{self.id} {self.name}".casefold()


@dataclass(frozen=True)
class Link:
    """State of the connection to the monitor."""

    is_live: bool
    text: str
    since: float


RATES = {"received": "messages_received", "delivered": "messages_sent", "errors": "errors"}
"""Trend → the counter whose growth a second it shows."""


class State:
    """The data that the screen can show."""

    def __init__(self, url: str, now: float, column_s: float = COLUMN_S) -> None:
        self.url = url
        self.column_s = column_s
        """Seconds per column of a chart; at least the update interval."""
        self.link = Link(False, "connecting", now)
        self._has_been_live = False
        self._was_lost = False
        self._started_at = 0.0
        self.stats: dict[str, Any] = {}
        self.health: dict[str, Any] = {}
        self.events: deque[Push] = deque(maxlen=KEPT_EVENTS)
        """The latest last."""
        self.missed_events = 0
        """Events dropped because they arrived too fast."""
        self.trends = {name: Trend() for name in (*RATES, "connections")}
        self._busiest: Mapping[str, Any] = {}
        self._sessions: list[Row] = []
        self._users: list[Row] = []
        self.refusal = ""
        """Why the server refused the lists; empty: it did not."""
        self.nodes: list[tuple[str, str]] = []
        """Names and states of the nodes, if the token may read them."""

    # Updates

    def take(self, push: Push, now: float) -> None:
        """Take in a push of the monitor."""
        kind = push.get("type")
        if kind == "stats_update" and isinstance(push.get("stats"), dict):
            busiest = push.get("busiest")
            self._busiest = busiest if isinstance(busiest, dict) else {}
            self._take_stats(push["stats"], now, _text(push.get("timestamp")))
        elif kind in ("event", "server_draining"):
            self._take_event(push)

    def _take_event(self, push: Push) -> None:
        """Add an event; successive messages of one type become one event with a count."""
        last = self.events[-1] if self.events else {}
        if _published(push) is not None and _published(push) == _published(last):
            in_a_row = last["event"].get("in_a_row", 1) + 1
            self.events[-1] = {**push, "event": {**push["event"], "in_a_row": in_a_row}}
        else:
            self.events.append(push)

    def take_link(self, is_live: bool, text: str, now: float, timestamp: str) -> None:
        """Take in a change of the connection, or a warning about it."""
        was = self.link
        if is_live and not was.is_live and self._has_been_live:
            gap = readable(now - was.since)
            self._note("reconnected", timestamp, after=gap)
        elif is_live and was.is_live:
            self._note("warning", timestamp, message=text)
        self._has_been_live |= is_live
        self._was_lost |= not is_live
        since = was.since if was.is_live == is_live else now
        self.link = Link(is_live, text, since)

    def take_health(self, health: Mapping[str, Any]) -> None:
        """Take in the answer of ``GET /health``; empty when there was none."""
        self.health = dict(health)

    def take_lists(self, sessions: list[Any], users: list[Any], refusal: str = "") -> None:
        """Take in sessions and users, or why they were refused."""
        self._sessions = [_session(row) for row in sessions if isinstance(row, dict)]
        self._users = [_user(row) for row in users if isinstance(row, dict)]
        self.refusal = refusal

    def take_nodes(self, nodes: list[Any]) -> None:
        """Take in the list of nodes."""
        self.nodes = [
            (_text(row.get("node")), _text(row.get("state")))
            for row in nodes
            if isinstance(row, dict)
        ]

    def _take_stats(self, stats: dict[str, Any], now: float, timestamp: str) -> None:
        old, self.stats = self.stats, stats
        self.trends["connections"].points.append((now, _number(stats, "total_connections")))
        uptime_s, before_s = _number(stats, "uptime_s"), _number(old, "uptime_s")
        elapsed = uptime_s - before_s
        started_at, self._started_at = self._started_at, now - uptime_s
        has_moved = self._was_lost and self._started_at - started_at > _STARTED_ANEW_S
        self._was_lost = False
        if old and (elapsed < 0 or has_moved):
            self._note("server_restarted", timestamp)
        elif old and elapsed > 0 and stats.get("unreachable") == old.get("unreachable"):
            # Else the counters lack the part of a node, or have it again.
            self._grow(stats, old, elapsed, now)

    def _grow(self, stats: dict[str, Any], old: dict[str, Any], elapsed: float, at: float) -> None:
        for name, counter in RATES.items():
            grown = _number(stats, counter) - _number(old, counter)
            self.trends[name].points.append((at, max(0.0, grown / elapsed)))

    def _note(self, name: str, timestamp: str, **fields: str) -> None:
        event = {"name": name, **fields}
        self.events.append({"type": "event", "timestamp": timestamp, "event": event})

    # Queries

    @property
    def node(self) -> str:
        """The node, or all of them; with the state of those that are not up."""
        if len(self.nodes) < 2:
            return _text(self.stats.get("node"))
        silent = self.stats.get("unreachable")
        silent = silent if isinstance(silent, list) else []
        return ", ".join(
            f"{name} {'no answer' if name in silent else state}"
            if name in silent or state != "up"
            else name
            for name, state in self.nodes
        )

    @property
    def sessions(self) -> list[Row]:
        """The sessions known: the busiest, and the first of the list."""
        return _merged(self._sessions, self._busiest.get("sessions"), "session_id")

    @property
    def users(self) -> list[Row]:
        """The users known: the busiest, and the first of the list."""
        return _merged(self._users, self._busiest.get("users"), "user_id")


def _merged(listed: list[Row], busiest: Any, key: str) -> list[Row]:
    rows = {row.id: row for row in listed}
    for busy in busiest if isinstance(busiest, list) else []:
        if not isinstance(busy, dict) or key not in busy:
            continue
        id_ = _text(busy[key])
        known = rows.get(id_)
        rows[id_] = Row(
            id_,
            (known.name if known else "") or _text(busy.get("username")),
            known.connections if known else None,
            _number(busy, "messages_per_s"),
        )
    return list(rows.values())


def _session(row: dict[str, Any]) -> Row:
    users = row.get("users")
    names = [
        _text(user.get("username")) or _text(user.get("user_id"))
        for user in (users if isinstance(users, list) else [])
        if isinstance(user, dict)
    ]
    return Row(_text(row.get("session_id")), ", ".join(names), _count(row))


def _user(row: dict[str, Any]) -> Row:
    metadata = row.get("metadata")
    name = _text(metadata.get("username")) if isinstance(metadata, dict) else ""
    return Row(_text(row.get("user_id")), name, _count(row))


def _count(row: Mapping[str, Any]) -> int | None:
    value = row.get("connections")
    return value if isinstance(value, int) else None


def _number(figures: Mapping[str, Any], name: str) -> float:
    value = figures.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _published(push: Push) -> str | None:
    """The type of the published message that a push reports; None for other pushes."""
    event = push.get("event")
    if not isinstance(event, dict) or event.get("name") != "message_published":
        return None
    return str(event.get("type"))
