"""What can be wrong with a configuration, as data."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wsserver.redaction import one_line


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with one key."""

    key: str
    """A key of the settings, or the unknown name as it was written."""
    source: str
    """``default``, ``dev``, ``file PATH``, ``env NAME`` or ``flag --NAME``; ``start`` for what only
    shows when it is tried."""
    message: str
    """What is wrong, starting as a predicate of the key. Never holds a secret."""

    def __str__(self) -> str:
        return one_line(f"{self.key} ({self.source}): {self.message}")


class ConfigFaults(Exception):
    """A configuration that cannot be run with; ``faults`` has everything wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(map(str, self.faults)))


class Faulty(ValueError):
    """A value that its key does not take; ``messages`` say why, one each cause."""

    def __init__(self, *messages: str) -> None:
        self.messages = messages
        super().__init__("; ".join(messages))
