"""``WorkerIdentity``: which of the worker processes of one supervisor a process is."""

from __future__ import annotations

from typing import NamedTuple


class WorkerIdentity(NamedTuple):
    """Number and names of a worker; equal after a restart, except for ``instance``."""

    number: int
    """From 1."""
    names: tuple[str, ...]
    """Names of the nodes of all workers, in the order of their numbers."""
    instance: str
    """16 characters, unique for this run of the worker."""
    predecessor: str | None = None
    """``instance`` of the run before, which has ended for certain: its name is free."""
