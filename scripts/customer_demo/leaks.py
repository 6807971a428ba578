"""Looks for keys where nobody may see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

PROC = Path("/proc")


def leaks(keys: Mapping[str, str], places: Iterable[tuple[str, str | bytes]]) -> list[str]:
    """Which key is where: keys by name, places with what is to be read there."""
    found = []
    for place, content in places:
        raw = content.encode() if isinstance(content, str) else content
        found += [f"the {name} is in {place}" for name, key in keys.items() if key.encode() in raw]
    return found


def process_list() -> str:
    """The command lines of all processes, where the system shows them."""
    lines = []
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # has ended meanwhile
            continue
    return "\n".join(lines)


def database_files(folder: Path) -> list[tuple[str, bytes]]:
    """The files of the database, with their names."""
    return [(path.name, path.read_bytes()) for path in folder.glob("*.sqlite3*")]
