"""``Telemetry``: begins spans; ``NoTelemetry`` only passes the context of others on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from wsserver.telemetry.trace_context import TraceContext

Kind = Literal["server", "client"]
Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """A piece of work that is measured."""

    @property
    def context(self) -> TraceContext | None:
        """What is part of this work belongs to it; None: there is no trace."""
        ...

    def end(self, attributes: Attributes, fault: str = "") -> None:
        """The work is done; ``fault``: how it has failed. Called once."""


class Telemetry(Protocol):
    """Begins spans."""

    def begin(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Begin a span; without ``parent`` it begins a trace."""
        ...

    async def close(self) -> None:
        """Send what was measured."""


@dataclass(frozen=True, slots=True)
class PassedOn:
    """No span: the context of the caller is that of the work."""

    context: TraceContext | None

    def end(self, attributes: Attributes, fault: str = "") -> None:
        """Measure nothing."""


NO_SPAN: Final[Span] = PassedOn(None)
"""Of work that belongs to no trace."""


class NoTelemetry:
    """Without OpenTelemetry: a trace others began goes on, without spans of this server."""

    def begin(
        self, name: str, kind: Kind, parent: TraceContext | None, attributes: Attributes
    ) -> Span:
        """Pass the context on."""
        return NO_SPAN if parent is None else PassedOn(parent)

    async def close(self) -> None:
        """Nothing was measured."""
