"""A call and the changes of its state, without I/O; times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from wsserver.clock import rfc3339, rfc3339_or_none
from wsserver.extensions.calls.errors import BadCallState, no_access

Media = Literal["audio", "video"]
State = Literal["ringing", "answered", "declined", "missed", "ended"]
Action = Literal["answer", "decline", "cancel", "end", "expire", "lose"]

TRANSITIONS: Final[Mapping[tuple[State, Action], State]] = MappingProxyType(
    {
        ("ringing", "answer"): "answered",
        ("ringing", "decline"): "declined",
        ("ringing", "cancel"): "ended",
        ("ringing", "end"): "ended",
        ("ringing", "expire"): "missed",
        ("ringing", "lose"): "ended",
        ("answered", "end"): "ended",
        ("answered", "lose"): "ended",
    }
)
"""State and action → the next state; everything else is refused."""
OPEN: Final = frozenset({"ringing", "answered"})

CONNECTION_LOST = "connection_lost"
CANCELLED = "cancelled"


class Limits(Struct, frozen=True):
    """Times in seconds."""

    ring_s: float
    """How long a call rings."""
    resume_s: float
    """How long a party may be away."""
    unseen_s: float = 90.0
    """After which a connection counts as lost that its node has not confirmed."""


class Party(Struct, frozen=True):
    """A device in a call."""

    user_id: str
    username: str | None
    connection_id: str
    seen_at: float
    """When its node confirmed the connection."""
    lost_at: float | None = None
    """Since when it is away; None: it is connected."""

    def view(self) -> dict[str, Any]:
        """The party as clients see it."""
        return {
            "user_id": self.user_id,
            "username": self.username,
            "connection_id": self.connection_id,
            "connected": self.lost_at is None,
        }


class Call(Struct, frozen=True, kw_only=True):
    """A call between two devices; before it is answered, of one device and those that ring."""

    call_id: str
    session_id: str
    media: tuple[Media, ...]
    state: State = "ringing"
    caller: Party
    callee: Party | None = None
    rung: tuple[str, ...]
    """The users whose devices ring or rang."""
    declined: tuple[str, ...] = ()
    """Those of them who have declined."""
    created_at: float
    rings_until: float
    answered_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None
    is_told: bool = False
    """Whether a missed call was notified."""

    @property
    def is_open(self) -> bool:
        """Whether it rings or goes on."""
        return self.state in OPEN

    @property
    def parties(self) -> tuple[Party, ...]:
        """The caller and, once it is answered, the callee."""
        return (self.caller,) if self.callee is None else (self.caller, self.callee)

    @property
    def ringing_users(self) -> tuple[str, ...]:
        """Those who were rung and have not declined."""
        return tuple(user_id for user_id in self.rung if user_id not in self.declined)

    def party(self, connection_id: str) -> Party | None:
        """The party that has a connection."""
        return next((each for each in self.parties if each.connection_id == connection_id), None)

    def party_of(self, user_id: str) -> Party | None:
        """The party that a user is."""
        return next((each for each in self.parties if each.user_id == user_id), None)

    def peer_of(self, party: Party) -> Party | None:
        """The other party."""
        return self.callee if party == self.caller else self.caller

    def involves(self, user_id: str) -> bool:
        """Whether a user calls, or is called."""
        return user_id == self.caller.user_id or user_id in self.rung

    def view(self) -> dict[str, Any]:
        """The call as clients see it."""
        return {
            "call_id": self.call_id,
            "session_id": self.session_id,
            "state": self.state,
            "media": list(self.media),
            "caller": self.caller.view(),
            "callee": None if self.callee is None else self.callee.view(),
            "created_at": rfc3339(self.created_at),
            "rings_until": rfc3339(self.rings_until),
            "answered_at": rfc3339_or_none(self.answered_at),
            "ended_at": rfc3339_or_none(self.ended_at),
            "reason": self.reason,
        }

    def due_at(self, limits: Limits) -> float | None:
        """When time itself changes the call, or a missed one has to be notified; None: never."""
        if self.state == "missed" and not self.is_told:
            return self.ended_at
        if not self.is_open:
            return None
        times = [
            each.seen_at + limits.unseen_s
            if each.lost_at is None
            else each.lost_at + limits.resume_s
            for each in self.parties
        ]
        if self.state == "ringing":
            times.append(self.rings_until)
        return min(times)


def answered(call: Call, party: Party, now: float) -> Call:
    """The call after a device has answered it; the first one wins.

    Raises ``BadCallState`` for another one, ``Forbidden`` for a user who was not rung.
    """
    if party.user_id not in call.rung:
        raise no_access(call.call_id)
    if call.callee is not None and call.callee.connection_id == party.connection_id:
        return call  # repeated
    return replace(call, state=_next(call, "answer"), callee=party, answered_at=now)


def declined(call: Call, user_id: str, reason: str | None, now: float) -> Call:
    """The call after a user has declined it: over, unless it rings for others."""
    if user_id not in call.rung:
        raise no_access(call.call_id)
    if not call.is_open or user_id in call.declined:
        return call
    state = _next(call, "decline")
    call = replace(call, declined=(*call.declined, user_id))
    return call if call.ringing_users else _over(call, state, reason, now)


def cancelled(call: Call, user_id: str, reason: str | None, now: float) -> Call:
    """The call after its caller has given up."""
    if user_id != call.caller.user_id:
        raise no_access(call.call_id)
    if not call.is_open:
        return call
    return _over(call, _next(call, "cancel"), reason or CANCELLED, now)


def ended(call: Call, user_id: str, reason: str | None, now: float) -> Call:
    """The call after one of its parties has hung up."""
    if call.party_of(user_id) is None:
        raise no_access(call.call_id)
    if not call.is_open:
        return call
    if call.state == "ringing":
        return cancelled(call, user_id, reason, now)
    return _over(call, _next(call, "end"), reason, now)


def lost(call: Call, connection_id: str, now: float) -> Call:
    """The call after the connection of a party has ended."""
    party = call.party(connection_id)
    if party is None or party.lost_at is not None or not call.is_open:
        return call
    return _with_party(call, party, replace(party, lost_at=now))


def resumed(
    call: Call, user_id: str, connection_id: str, now: float, *, only_if_lost: bool = False
) -> Call:
    """The call after a user has come back to it, on another connection.

    ``only_if_lost``: not while the device of that user in the call is connected. Raises
    ``Forbidden`` for others, ``BadCallState`` for a call that is over.
    """
    former = call.party_of(user_id)
    if former is None:
        raise no_access(call.call_id)
    if not call.is_open:
        raise BadCallState(call.call_id, call.state)
    if former.lost_at is None and (only_if_lost or former.connection_id == connection_id):
        return call
    party = replace(former, connection_id=connection_id, seen_at=now, lost_at=None)
    return _with_party(call, former, party)


def seen(call: Call, connection_ids: frozenset[str], now: float) -> Call:
    """The call after nodes have confirmed connections."""
    for party in call.parties:
        if party.connection_id in connection_ids and party.lost_at is None and call.is_open:
            call = _with_party(call, party, replace(party, seen_at=now))
    return call


def passed(call: Call, limits: Limits, now: float) -> Call:
    """The call after what time alone has brought about."""
    for party in call.parties:
        if party.lost_at is None and party.seen_at + limits.unseen_s <= now:
            call = lost(call, party.connection_id, now)
    if not call.is_open:
        return call
    if any(
        each.lost_at is not None and each.lost_at + limits.resume_s <= now for each in call.parties
    ):
        return _over(call, _next(call, "lose"), CONNECTION_LOST, now)
    if call.state == "ringing" and call.rings_until <= now:
        return _over(call, _next(call, "expire"), None, now)
    return call


def notified(call: Call) -> Call:
    """The call after those who missed it were notified."""
    return replace(call, is_told=True)


def _next(call: Call, action: Action) -> State:
    state = TRANSITIONS.get((call.state, action))
    if state is None:
        raise BadCallState(call.call_id, call.state)
    return state


def _over(call: Call, state: State, reason: str | None, now: float) -> Call:
    return replace(call, state=state, reason=reason, ended_at=now)


def _with_party(call: Call, former: Party, party: Party) -> Call:
    if former == call.caller:
        return replace(call, caller=party)
    return replace(call, callee=party)
