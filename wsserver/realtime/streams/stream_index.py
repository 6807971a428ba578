"""Which streams there are, as far as that can be kept in mind."""

from __future__ import annotations

from collections.abc import Collection, Iterable

LIMIT = 200_000
"""Names that are kept in mind; if there are more, storage is asked each time."""


class StreamIndex:
    """Knows of most streams that nothing was ever kept in them, without asking storage.

    Most users have an empty inbox: so most connections cost storage nothing. May hold names of
    streams that have gone; never lacks one that is there.
    """

    def __init__(self) -> None:
        self._names: set[str] | None = None
        """None: there are too many, or they have not been read."""
        self.epoch = ""
        """Of all streams that are not there."""

    def load(self, epoch: str, names: Collection[str]) -> None:
        """Begin with all names there are; more than ``LIMIT`` are not kept."""
        self.epoch = epoch
        self._names = set(names) if len(names) <= LIMIT else None

    def add(self, names: Iterable[str]) -> None:
        """Something is about to be kept in these."""
        if self._names is not None:
            self._names.update(names)
            if len(self._names) > LIMIT:
                self._names = None

    def lacks(self, name: str) -> bool:
        """Is it certain that there is no such stream?"""
        return self._names is not None and name not in self._names
