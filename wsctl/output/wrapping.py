"""Line wrapping by terminal cells: a Chinese character takes two."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, TextIO

DEFAULT_WIDTH = 80
_ATOM = re.compile(r"[ ]+|[^ ]+")


def width_of(stream: TextIO | None) -> int | None:
    """Columns of the terminal that ``stream`` writes to; None if it is not a terminal."""
    if stream is None or not stream.isatty():
        return None
    chosen = os.environ.get("COLUMNS", "")
    if chosen.isdecimal() and int(chosen) > 0:
        return int(chosen)
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except (OSError, ValueError):
        return DEFAULT_WIDTH


def fold(text: str, width: int | None, indent: int = 0) -> list[str]:
    """``text`` as lines of at most ``width`` cells; all but the first begin with ``indent`` blanks.

    Broken at blanks, and between characters where there are none or they are wide. ``width`` None:
    one line, whatever its length.
    """
    if width is None or (len(text) <= width and text.isascii()):
        return [text]
    blank = " " * indent
    return [
        (blank if start else "") + text[start:end].rstrip()
        for start, end in breaks(text, width, indent)
    ]


def fold_parts(
    parts: list[tuple[str, dict[str, Any]]], width: int | None, indent: int = 0
) -> list[list[tuple[str, dict[str, Any]]]]:
    """``fold`` for a line of parts with styles, which they keep."""
    text = "".join(part for part, _ in parts).rstrip()
    if width is None or (len(text) <= width and text.isascii()):
        return [parts]
    lines = []
    for start, end in breaks(text, width, indent):
        line: list[tuple[str, dict[str, Any]]] = [(" " * indent, {})] if start else []
        offset = 0
        for part, style in parts:
            piece = part[max(0, start - offset) : max(0, end - offset)]
            offset += len(part)
            if piece:
                line.append((piece, style))
        lines.append(line)
    return lines


def breaks(text: str, width: int, indent: int) -> Iterator[tuple[int, int]]:
    """Start and end of each line of ``text``, without the blanks at breaks."""
    from rich.cells import cell_len

    start, end, used, room = 0, 0, 0, max(width, 1)
    indented = max(width - indent, min(width, 20), 1)
    for begin, atom in _atoms(text):
        cells = cell_len(atom)
        if used + cells > room and not atom.isspace():
            if used:
                yield start, end
                start, used, room = begin, 0, indented
            while cells > room:
                cut = _fitting(text, begin, room)
                yield begin, cut
                atom, begin = atom[cut - begin :], cut
                start, used, room, cells = begin, 0, indented, cell_len(atom)
        used += cells
        end = begin + len(atom)
    if end > start or not text:
        yield start, end


def _atoms(text: str) -> Iterator[tuple[int, str]]:
    """Units that are not broken: words, runs of blanks, single wide characters."""
    from rich.cells import cell_len

    for match in _ATOM.finditer(text):
        word = match[0]
        if word.isascii():
            yield match.start(), word
            continue
        start = 0
        for place, character in enumerate(word):
            if cell_len(character) > 1:
                if start < place:
                    yield match.start() + start, word[start:place]
                yield match.start() + place, character
                start = place + 1
        if start < len(word):
            yield match.start() + start, word[start:]


def _fitting(text: str, begin: int, room: int) -> int:
    """End of the characters from ``begin`` on that fit into ``room`` cells; one at least."""
    from rich.cells import cell_len

    place, used = begin, 0
    while place < len(text) and used + cell_len(text[place]) <= room:
        used += cell_len(text[place])
        place += 1
    return max(place, begin + 1)
