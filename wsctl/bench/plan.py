"""Plan of a load, and checks of it against the server's limits; pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

USUAL_CONNECTIONS = 10
MOST_CONNECTIONS = 1000
MOST_DELIVERIES_PER_S = 5000.0
"""Above this, the load generator itself is the bottleneck."""
CONNECTS_PER_S = 50.0
CONNECTS_AT_ONCE = 10
KEPT_S = 60
LARGE_SHARE = 0.1
_SPARE_DESCRIPTORS = 64


@dataclass(frozen=True)
class Plan:
    """A load: connections in one session, and messages to it."""

    connections: int
    messages: int
    per_s: float
    size: int
    """Bytes of a message's data."""
    is_kept: bool = False
    """Whether messages are stored, for ``KEPT_S`` seconds."""
    connects_per_s: float = CONNECTS_PER_S
    max_error_share: float = 0.05
    """The load stops when a larger share of operations fails."""

    def as_dict(self) -> dict[str, Any]:
        """As part of the JSON result."""
        return {
            "connections": self.connections,
            "messages": self.messages,
            "messages_per_s": round(self.per_s, 3),
            "size_bytes": self.size,
            "kept": self.is_kept,
        }


@dataclass(frozen=True)
class Limits:
    """Limits that a server reported; None: not reported."""

    per_user: int | None
    own_connections: int
    """Connections that the token's user has open."""
    messages_per_s: float | None
    message_bytes: int | None
    free_connections: int | None = None
    free_descriptors: int | None = None

    @property
    def own_free(self) -> int | None:
        """Connections that the token's user may open."""
        return None if self.per_user is None else max(0, self.per_user - self.own_connections)


def limits_of(whoami: Mapping[str, Any], diagnostics: Mapping[str, Any] | None) -> Limits:
    """The limits in the answers of ``/whoami`` and, where it is permitted, ``/diagnostics``."""
    reported = _object(whoami.get("limits"))
    server = diagnostics or {}
    most, opened = _whole(server.get("max_connections")), _whole(server.get("connections"))
    descriptors = _object(server.get("descriptors"))
    limit, used = _whole(descriptors.get("limit")), _whole(descriptors.get("open"))
    room = None if limit is None else limit - (_whole(descriptors.get("kept_back")) or 0)
    rate = reported.get("messages_per_s")
    return Limits(
        per_user=_whole(reported.get("connections")),
        own_connections=_whole(whoami.get("connections")) or 0,
        messages_per_s=float(rate) if isinstance(rate, int | float) else None,
        message_bytes=_whole(reported.get("message_bytes")),
        free_connections=None if most is None or opened is None else max(0, most - opened),
        free_descriptors=None if room is None or used is None else max(0, room - used),
    )


def connections_for(wanted: int | None, limits: Limits, *, has_users: bool) -> int:
    """How many connections to open; ``has_users``: whether test users can be created.

    With one token, its user's limit applies, less one for publishing. Raises ``ValueError`` if
    the server would refuse them, or displace others for them.
    """
    if has_users or limits.own_free is None:
        return USUAL_CONNECTIONS if wanted is None else wanted
    most = limits.own_free - 1
    has = f"its user may have {limits.per_user}, {limits.own_connections} are open"
    if most < 1:
        raise ValueError(f"the token allows fewer than two more connections: {has}")
    if wanted is not None and wanted > most:
        raise ValueError(
            f"{wanted} connections are too many for one token: {has}, one is for publishing, so"
            f" {most} at most; --secret-file creates users for more"
        )
    return min(most, USUAL_CONNECTIONS) if wanted is None else wanted


def messages_for(messages: int | None, per_s: float | None, duration_s: float) -> tuple[int, float]:
    """Number and rate of messages; an option that is not given follows from the others."""
    if messages is None:
        per_s = 20.0 if per_s is None else per_s
        return max(1, round(per_s * duration_s)), per_s
    if per_s is None:
        return messages, messages / duration_s
    return min(messages, max(1, round(per_s * duration_s))), per_s


def impossible(plan: Plan, limits: Limits, own_descriptors: int) -> str | None:
    """Why the plan cannot be carried out; None: it can."""
    overhead = 400  # the command around the data
    if limits.message_bytes is not None and plan.size + overhead > limits.message_bytes:
        return (
            f"messages of {plan.size:,} bytes are too large: the server accepts"
            f" {limits.message_bytes:,} including the command around them"
        )
    if plan.connections + _SPARE_DESCRIPTORS > own_descriptors:
        return (
            f"{plan.connections:,} connections need more descriptors than the {own_descriptors:,}"
            " of this shell (ulimit -n)"
        )
    return None


def objections(plan: Plan, limits: Limits) -> list[str]:
    """Reasons to ask for confirmation before the load."""
    found = []
    wanted = plan.connections + 1
    for free, what in (
        (limits.free_connections, "of the server's free connections (max_connections)"),
        (limits.free_descriptors, "of the server's free file descriptors"),
    ):
        if free is not None and wanted > free * LARGE_SHARE:
            share = "more than all" if wanted > free else f"{wanted / free:.0%}"
            found.append(f"{wanted:,} connections are {share} {what}: {free:,}")
    if limits.messages_per_s is not None and plan.per_s > limits.messages_per_s:
        found.append(
            f"{plan.per_s:g} messages per second exceed the {limits.messages_per_s:g} that the"
            " server accepts from one connection (message_rate)"
        )
    deliveries = plan.per_s * plan.connections
    if deliveries > MOST_DELIVERIES_PER_S:
        found.append(
            f"{deliveries:,.0f} deliveries per second exceed the {MOST_DELIVERIES_PER_S:,.0f}"
            " that bench can measure"
        )
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
