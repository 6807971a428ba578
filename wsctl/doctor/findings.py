"""Result of a check: state, finding, remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """State of a check."""

    OK = "ok"
    WARNING = "warning"
    """It works, but needs attention."""
    FAILED = "failed"
    """Something does not work."""
    SKIPPED = "skipped"
    """Not tested, or not in use; does not count as a problem."""


@dataclass(frozen=True)
class Finding:
    """One check's result."""

    state: State
    what: str
    """What was found, one sentence."""
    do: str = ""
    """What to do about it, one sentence; empty where there is nothing to do."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The figures behind it, for programs."""


def ok(what: str, **data: Any) -> Finding:
    """A passed check."""
    return Finding(State.OK, what, data=data)


def warning(what: str, do: str, **data: Any) -> Finding:
    """A check with a warning; ``do`` is the remedy."""
    return Finding(State.WARNING, what, do, data)


def failed(what: str, do: str, **data: Any) -> Finding:
    """A failed check; ``do`` is the remedy."""
    return Finding(State.FAILED, what, do, data)


def skipped(why: str, do: str = "", **data: Any) -> Finding:
    """A check that was not run."""
    return Finding(State.SKIPPED, why, do, data)


def worst(states: Iterable[State]) -> State:
    """The worst state; skipped checks do not count."""
    found = set(states)
    for state in (State.FAILED, State.WARNING):
        if state in found:
            return state
    return State.OK
