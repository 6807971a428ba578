"""``WordFilter``: finds items of a list by words."""

from __future__ import annotations


class WordFilter:
    """Admits what has all words of a search in its texts, in any case; empty: everything."""

    def __init__(self, search: str | None) -> None:
        self._words = (search or "").casefold().split()

    def __bool__(self) -> bool:
        return bool(self._words)

    def admits(self, *texts: str | None) -> bool:
        """Whether each word is in one of the texts."""
        text = "\n".join(filter(None, texts)).casefold()
        return all(word in text for word in self._words)
