"""``Seat``: the place of a worker process among the workers of one supervisor."""

from __future__ import annotations

from typing import NamedTuple


class Seat(NamedTuple):
    """A worker's place. A worker that is started again has the same one, but for ``instance``."""

    number: int
    """From 1."""
    names: tuple[str, ...]
    """Names of the nodes of all workers, in the order of their numbers."""
    instance: str
    """16 characters, unique for this run of the worker."""
    predecessor: str | None = None
    """``instance`` of the run before, which has ended for certain: its name is free."""
