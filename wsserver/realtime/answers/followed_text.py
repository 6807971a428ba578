"""``FollowedText``: the text of a growing answer as the watchers of a node have it. No I/O.

Texts come by pub/sub from the node that owns the answer. They may be lost, and after the answer
has passed on to another node some come twice, or with other content: the new owner goes on where
storage ends. ``generation`` counts the owners.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct


class Piece(NamedTuple):
    """A text that follows the first ``at`` code points; what came after them is dropped."""

    at: int
    seq: int
    """The last append that it contains."""
    text: str


class Whole(Struct, frozen=True, gc=False):
    """The text of an answer at one moment, as its owner has it."""

    generation: int
    seq: int
    content: str


class FollowedText:
    """The text that the watchers of this node have put together, from the pieces given out.

    Every piece given out begins at the end of the text that they have, or, after another node has
    taken the answer over, before it.
    """

    __slots__ = ("_parts", "generation", "length", "seq")

    def __init__(self, whole: Whole) -> None:
        self._parts = [whole.content]
        self.generation = whole.generation
        self.seq = whole.seq
        self.length = len(whole.content)

    @property
    def content(self) -> str:
        """The whole text."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0]

    def received(self, generation: int, since: int, piece: Piece) -> Piece | None:
        """What is to be pushed to the watchers; None: they have all of it.

        ``since``: code points that the owner began with; what was given out beyond them is unknown
        to it. Raises ``LookupError`` if text before the piece is missing: then ``caught_up`` has to
        be called.
        """
        if generation < self.generation:
            return None
        is_next = generation == self.generation or piece.at == since
        if piece.at > self.length or not is_next:
            raise LookupError("text is missing")
        if generation > self.generation:
            self.generation = generation
            return self._replace(piece)
        new = piece.text[self.length - piece.at :]
        if not new:
            return None
        return self._replace(Piece(self.length, piece.seq, new))

    def caught_up(self, whole: Whole) -> Piece | None:
        """The same for the whole text, as it was read from the owner."""
        if whole.generation < self.generation:
            return None
        if whole.generation == self.generation:
            if len(whole.content) <= self.length:
                return None
            return self._replace(Piece(self.length, whole.seq, whole.content[self.length :]))
        self.generation = whole.generation
        common = _common_length(self.content, whole.content)
        if common == self.length == len(whole.content):
            self.seq = whole.seq
            return None
        return self._replace(Piece(common, whole.seq, whole.content[common:]))

    def _replace(self, piece: Piece) -> Piece | None:
        """Go on with a piece; None: nothing changes for the watchers."""
        is_shortened = piece.at < self.length
        if is_shortened:
            self._parts = [self.content[: piece.at]]
        if piece.text:
            self._parts.append(piece.text)
        self.seq = piece.seq
        self.length = piece.at + len(piece.text)
        return piece if piece.text or is_shortened else None


def _common_length(one: str, other: str) -> int:
    """The number of characters in the beginning that two texts have in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low
