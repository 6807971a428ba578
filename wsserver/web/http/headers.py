"""Request headers, whichever HTTP parser read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Headers(Protocol):
    """A request's headers, by names in any case."""

    def get(self, name: str, default: str, /) -> str:
        """Return the values joined with commas, or ``default``."""
        ...

    def get_list(self, name: str) -> Sequence[str]:
        """Return the values in their order."""
        ...

    def __contains__(self, name: str) -> bool: ...
