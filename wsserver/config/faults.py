"""Configuration faults: key, source and message of everything wrong with a configuration."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wsserver.redaction import one_line


class Fault(msgspec.Struct, frozen=True):
    """A fault of one key: its source, and what is wrong."""

    key: str
    """A key of the settings, or the unknown name as it was written."""
    source: str
    """``default``, ``dev``, ``file PATH``, ``env NAME``, ``flag --NAME`` or ``Settings``; ``start``
    for faults found while starting, such as a port in use."""
    message: str
    """What is wrong, as a predicate: ``must be …``. Never has a secret in it."""
    is_of_installation: bool = False
    """Whether the value would be right if a package were installed."""

    def __str__(self) -> str:
        return one_line(f"{self.key} ({self.source}): {self.message}")


class ConfigFaults(Exception):
    """A configuration that cannot be used; ``faults`` has everything that is wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(map(str, self.faults)))


class Faulty(ValueError):
    """An invalid value of a key; ``messages`` say why, one for each reason."""

    def __init__(self, *messages: str) -> None:
        self.messages = messages
        super().__init__("; ".join(messages))


class NotInstalled(Faulty):
    """A value that needs a package, which is not installed; the message names the command."""
