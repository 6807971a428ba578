"""What a check comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should see to it."""
    FAILED = "failed"
    """Something does not work."""
    SKIPPED = "skipped"
    """Not tested, or not in use; says nothing against the server."""


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
    """All is well."""
    return Finding(State.OK, what, data=data)


def warning(what: str, do: str, **data: Any) -> Finding:
    """It works, but."""
    return Finding(State.WARNING, what, do, data)


def failed(what: str, do: str, **data: Any) -> Finding:
    """It does not work."""
    return Finding(State.FAILED, what, do, data)


def skipped(why: str, do: str = "", **data: Any) -> Finding:
    """It was not tested."""
    return Finding(State.SKIPPED, why, do, data)


def worst(states: Iterable[State]) -> State:
    """The state of all together; ``ok`` where nothing but skipped ones speak against it."""
    found = set(states)
    for state in (State.FAILED, State.WARNING):
        if state in found:
            return state
    return State.OK
