"""Tables of extensions: collected from file and environment, checked by the extensions.

The configuration does not know the extensions: who reads it passes a ``FindExtensions``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from wsserver.config.faults import Fault

if TYPE_CHECKING:
    from wsserver.config.settings import Settings

Table = dict[str, Any]


class EnvironmentText(str):
    """A value from the environment: its type follows from what the extension expects there."""

    __slots__ = ()


class TableFault(NamedTuple):
    """A fault of a table: the dotted path within it, "" for the table itself."""

    path: str
    message: str


CheckTable = Callable[[Table, "Settings"], tuple[Table, list[TableFault]]]
"""Returns the table with all defaults, as JSON-compatible values, and its faults."""


class KnownExtensions(NamedTuple):
    """What the enabled extensions add to the configuration."""

    tables: Mapping[str, CheckTable] = {}
    """By name of the extension, which is that of its table."""
    permissions: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    """Extensions that cannot be imported, and the like."""


FindExtensions = Callable[["Settings"], KnownExtensions]
"""Called with the settings as far as they are valid."""


def no_extensions(_: Settings) -> KnownExtensions:
    """For readers that are not interested in any: their tables are unknown keys."""
    return KnownExtensions()


class Tables:
    """The tables as their sources gave them; later sources win, value by value."""

    def __init__(self) -> None:
        self.values: Table = {}
        self.sources: dict[str, str] = {}
        """Dotted path of a value → where it came from."""

    def add(self, name: str, table: Table, source: str) -> None:
        """Add a table of a file, or of settings made by a program."""
        below = self.values.get(name)
        self.values[name] = _merged(below if isinstance(below, dict) else {}, table)
        for path, _ in leaves(table, name):
            self.sources[path] = source

    def add_text(self, name: str, entry: str, text: str, source: str) -> None:
        """Add a variable ``NAME__ENTRY``, or ``NAME__ENTRY__FIELD`` for a table of tables."""
        table: Table = self.values.setdefault(name, {})
        *parents, last = (part.lower() for part in entry.split("__"))
        path = name
        for part in parents:
            key = _spelled(part, table)
            path += f".{key}"
            below = table.get(key)
            if not isinstance(below, dict):
                below = table[key] = {}
            table = below
        last = _spelled(last, table)
        table[last] = EnvironmentText(text)
        self.sources[f"{path}.{last}"] = source

    def source_of(self, path: str) -> str:
        """The source of a value, or of the nearest table around it."""
        while path:
            for known, source in self.sources.items():
                if known == path or known.startswith((f"{path}.", f"{path}[")):
                    return source
            path = re.sub(r"[.\[][^.\[]*$", "", path) if re.search(r"[.\[]", path) else ""
        return "default"


def leaves(table: Table, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of everything in a table that is no table itself."""
    if not table:
        yield path, table
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


def is_secret(path: str) -> bool:
    """Whether the value at a dotted path is never shown, by its name: ``api_key``, ``token``."""
    return path.rpartition(".")[2].lower().endswith(("key", "token", "secret", "password"))


def names_secret(path: str) -> bool:
    """Whether the value at a dotted path is the name of a file with a secret."""
    return path.lower().endswith("_file") and is_secret(path[: -len("_file")])


def _merged(below: Table, above: Table) -> Table:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        merged[key] = _merged(under, value) if both else value  # type: ignore[arg-type]
    return merged


def _spelled(part: str, table: Table) -> str:
    """The entry that a part of a variable's name means: names there have no ``-``, no capitals."""
    for key in table:
        if re.sub(r"[^a-z0-9]", "_", key.lower()) == part:
            return key
    return part
