"""W3C trace context (``traceparent``, ``tracestate``): parsing, and that of the present work.

The context is that of the running task, and of those that it starts, as ``contextvars`` have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

SAMPLED: Final = 0x01
STATE_LIMIT: Final = 512
"""Characters of ``tracestate`` that are passed on; a longer one is dropped (§3.3.1.5)."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[ -~]+")


class Headers(Protocol):
    """Request headers by case-insensitive name."""

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or ``default``."""


class TraceContext(NamedTuple):
    """A place in a trace: what comes next is a child of it."""

    trace_id: str
    """32 hexadecimal digits, not all zero."""
    span_id: str
    """16 hexadecimal digits, not all zero."""
    flags: int
    state: str = ""
    """What other systems pass on, as it came."""

    @property
    def parent(self) -> str:
        """The header ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def headers(self) -> Mapping[str, str]:
        """The headers of a request that belongs to it."""
        own = {"traceparent": self.parent}
        return {**own, "tracestate": self.state} if self.state else own


def trace_of(headers: Headers) -> TraceContext | None:
    """The context of a request; None without one, and for a malformed one (§3.2, §4)."""
    parent = headers.get("traceparent", "")
    match = _PARENT.fullmatch(parent.strip()) if parent else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    is_unknown = version == "ff" or (version == "00" and more is not None)
    if is_unknown or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    state = headers.get("tracestate", "").strip()
    if len(state) > STATE_LIMIT or _STATE.fullmatch(state) is None:
        state = ""
    return TraceContext(trace_id, span_id, int(flags, 16), state)


_present: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def present_trace() -> TraceContext | None:
    """The context of the work that is being done; None: it belongs to no trace."""
    return _present.get()


@contextmanager
def within(context: TraceContext | None) -> Iterator[None]:
    """Do work in a context; None: in none."""
    token = _present.set(context)
    try:
        yield
    finally:
        _present.reset(token)


class TraceMemory:
    """The contexts in which the latest ``limit`` things have come about, by their ids."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._contexts: dict[str, TraceContext] = {}

    def note(self, id_: str) -> None:
        """Something has come about in the present context."""
        context = present_trace()
        if context is None:
            return
        self._contexts[id_] = context
        if len(self._contexts) > self._limit:
            del self._contexts[next(iter(self._contexts))]

    def of(self, id_: str) -> TraceContext | None:
        """The context of something; None: none, or not known any more."""
        return self._contexts.get(id_)
