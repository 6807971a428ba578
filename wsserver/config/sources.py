"""Sources of values: a TOML file, the environment, flags. Later ones win."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wsserver.config.faults import Fault, Faulty
from wsserver.config.files import without_mark
from wsserver.config.settings import EXTENSION_TABLES, FIELDS, Settings
from wsserver.config.tables import Tables
from wsserver.config.validators import did_you_mean
from wsserver.config.values import from_text, list_from_text

PREFIX = "WSSERVER_"
TABLES: dict[str, Callable[[str, str], tuple[str, Any]]] = {
    "permissions": lambda entry, text: (entry.lower(), list_from_text(text)),
    "sms_headers": lambda entry, text: (entry.replace("_", "-"), text),
}
"""Keys whose entries can be given one by one, as ``WSSERVER_PERMISSIONS__MANAGER``, and how."""


class Given(NamedTuple):
    """A value as its source gave it, not yet checked."""

    value: Any
    source: str


class Layers:
    """Values by key, from sources that are added in the order of precedence, lowest first."""

    def __init__(self) -> None:
        self.given: dict[str, Given] = {}
        self.tables = Tables()
        """Of extensions, and unknown ones."""
        self.faults: list[Fault] = []

    def add_file(self, path: Path) -> None:
        """Read a TOML file whose top-level keys are the keys of ``Settings``."""
        source = f"file {path}"
        try:
            table = tomllib.loads(without_mark(path.read_bytes()).decode("utf-8"))
        except OSError as error:
            self._fault("config", source, f"cannot be read: {error.strerror}")
        except Faulty as faulty:
            self._fault("config", source, *faulty.messages)
        except UnicodeDecodeError:
            self._fault("config", source, "is not UTF-8 text")
        except tomllib.TOMLDecodeError as error:
            self._fault("config", source, f"is not valid TOML: {error}")
        except RecursionError:
            self._fault("config", source, "is nested too deeply")
        else:
            for key, value in table.items():
                if key not in FIELDS and isinstance(value, dict):
                    self.tables.add(key, value, source)
                else:
                    self._take(key, value, source)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Read every variable that starts with ``WSSERVER_``; whole tables before their entries."""
        ours = sorted(name for name in environ if name.startswith(PREFIX))
        for name in sorted(ours, key=lambda name: "__" in name):
            key, separator, entry = name.removeprefix(PREFIX).partition("__")
            source = f"env {name}"
            is_known = name == name.upper() and key.lower() in FIELDS
            if not is_known and name == name.upper() and key and entry:
                self.tables.add_text(key.lower(), entry, environ[name], source)
            elif not is_known:
                hint = did_you_mean(key, (known.upper() for known in FIELDS), PREFIX)
                self._fault(name, source, "is unknown" + hint)
            elif not separator:
                self._take_text(key.lower(), environ[name], source)
            elif key.lower() not in TABLES or not entry:
                self._fault(name, source, f"is unknown: {key.lower()} has no entries")
            else:
                self._take_entry(key.lower(), entry, environ[name], source)

    def add_flags(self, flags: Mapping[str, Any]) -> None:
        """Take the flags that were given: None and empty lists were not."""
        for key, value in flags.items():
            if value is not None and value != () and value != []:
                flag = key.removesuffix("s") if key == "plugins" else key
                text = str(value) if isinstance(value, Path) else value
                self._take(key, text, f"flag --{flag.replace('_', '-')}")

    def add_settings(self, settings: Settings) -> None:
        """Take the values of settings made in Python, but for those that are defaults."""
        defaults = Settings()
        for key in FIELDS:
            value = getattr(settings, key)
            if value != getattr(defaults, key):
                self._take(key, str(value) if isinstance(value, Path) else value, "Settings")
        for name, table in getattr(settings, EXTENSION_TABLES).items():
            self.tables.add(name, table, "Settings")

    def _take(self, key: str, value: Any, source: str) -> None:
        if key in FIELDS:
            self.given[key] = Given(value, source)
        else:
            self._fault(key, source, "is unknown" + did_you_mean(key, FIELDS))

    def _take_text(self, key: str, text: str, source: str) -> None:
        try:
            self._take(key, from_text(key, text), source)
        except Faulty as faulty:
            self.given.pop(key, None)  # else a lower source would seem to hold
            for message in faulty.messages:
                self._fault(key, source, message)

    def _take_entry(self, key: str, entry: str, text: str, source: str) -> None:
        below = self.given.get(key)
        table = below.value if below is not None else {}
        if isinstance(table, dict):
            name, value = TABLES[key](entry, text)
            self._take(key, {**table, name: value}, source)

    def _fault(self, key: str, source: str, message: str) -> None:
        self.faults.append(Fault(key, source, message))
