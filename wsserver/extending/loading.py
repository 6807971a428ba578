"""Loading of extensions: imported by name, checked against the core and each other."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from typing import Any

from msgspec import Struct

from wsserver.config import ConfigFaults, Fault, KnownExtensions, Settings
from wsserver.config.settings import FIELDS
from wsserver.config.validators import did_you_mean
from wsserver.errors import MEANINGS, Meaning
from wsserver.extending.extension import CheckStored, Extension
from wsserver.extending.options import checker, read_options
from wsserver.identity.claims import ROLES
from wsserver.identity.permissions import ALL_PERMISSIONS
from wsserver.notifications.templates import TemplateFiles
from wsserver.protocol.commands import MONITOR_COMMANDS, Command
from wsserver.protocol.pushes import RESERVED_TYPES
from wsserver.realtime.operations.message_changes import NoteDeletion, RemoveContents
from wsserver.storage.engine.extension_schema import ExtensionSchema
from wsserver.storage.maintenance.user_tables import UserTable
from wsserver.storage.messages.answers import NoteEnd
from wsserver.web.api.console_pages import ConsolePage
from wsserver.web.api.endpoint import PUBLIC, SIGNED_IN, Resource
from wsserver.web.resources.routes import ENDPOINTS, TAGS

log = logging.getLogger(__name__)

GROUP = "wsserver.extensions"
"""Entry points of this group are extensions; the name of each is that of its extension."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PERMISSION = re.compile(r"[a-z][a-z_]{0,31}:[a-z][a-z_]{0,31}")
_PAGE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PUSH = re.compile(r"[a-z][a-z0-9_.]{0,63}")

Load = Callable[[], Any]


class Extensions:
    """The enabled extensions of a server, each with its options."""

    def __init__(self, options: Mapping[Extension, Any]) -> None:
        self.options = dict(options)

    def __iter__(self) -> Iterator[Extension]:
        return iter(self.options)

    @property
    def permissions(self) -> dict[str, tuple[str, ...]]:
        """Permission → the roles that have it by default."""
        return {name: roles for each in self for name, roles in each.permissions.items()}

    @property
    def errors(self) -> dict[str, Meaning]:
        """The codes that they add."""
        return {error.code: error.own_meaning for each in self for error in each.errors}

    @property
    def resources(self) -> list[Resource]:
        """Their endpoints."""
        return [one for each in self for one in each.resources]

    @property
    def commands(self) -> dict[str, type[Command]]:
        """Their WebSocket commands."""
        return {name: kind for each in self for name, kind in each.commands.items()}

    @property
    def replies(self) -> dict[str, tuple[str, type[Struct]]]:
        """Type and shape of the reply to each of their commands."""
        return {name: reply for each in self for name, reply in each.replies.items()}

    @property
    def pushes(self) -> dict[str, type[Struct]]:
        """The shapes of their pushes, by type."""
        return {name: kind for each in self for name, kind in each.pushes.items()}

    @property
    def reserved_pushes(self) -> frozenset[str]:
        """The types of pushes that only they send, and of replies to their commands."""
        return frozenset(self.pushes).union(type_ for type_, _ in self.replies.values())

    @property
    def templates(self) -> list[TemplateFiles]:
        """Their notification templates."""
        return [each.templates for each in self if each.templates is not None]

    @property
    def user_tables(self) -> list[UserTable]:
        """Their tables with rows about users."""
        return [table for each in self for table in each.user_tables]

    @property
    def removals(self) -> list[RemoveContents]:
        """What removes the contents of deleted messages from their tables."""
        return [each.remove_contents for each in self if each.remove_contents is not None]

    @property
    def deletion_notes(self) -> list[NoteDeletion]:
        """What they store together with the deletion of a message."""
        return [each.note_deletion for each in self if each.note_deletion is not None]

    @property
    def answer_notes(self) -> list[NoteEnd]:
        """What they store together with the end of an answer."""
        return [each.note_answer for each in self if each.note_answer is not None]

    @property
    def pages(self) -> dict[str, tuple[ConsolePage, ...]]:
        """Their pages of the console, by name; none of those whose table of tables is empty."""
        return {each.name: each.pages for each, options in self.options.items() if options != {}}

    @property
    def schemas(self) -> list[ExtensionSchema]:
        """The steps of their tables."""
        return [each.schema for each in self if each.migrations]


def load(settings: Settings, built_in: Mapping[str, str]) -> Extensions:
    """Import the enabled extensions and read their options.

    ``built_in``: name → ``module:attribute``. Then come the installed ones, in the order of their
    names, then those of the settings. Raises ``ConfigFaults`` with everything that is wrong.
    """
    found, faults = _import(settings, built_in)
    options = {}
    for extension in found:
        table = settings.extension_settings.get(extension.name, {})
        options[extension], wrong = read_options(extension, table, settings)
        faults += [
            Fault(f"{extension.name}.{path}".rstrip("."), "start", message)
            for path, message in wrong
        ]
    if faults:
        raise ConfigFaults(faults)
    return Extensions(options)


def find(settings: Settings, built_in: Mapping[str, str]) -> KnownExtensions:
    """What the enabled extensions add to the configuration; nothing is raised."""
    found, faults = _import(settings, built_in)
    return KnownExtensions(
        {each.name: checker(each) for each in found},
        frozenset(name for each in found for name in each.permissions),
        tuple(faults),
    )


def installed_schemas(settings: Settings, built_in: Mapping[str, str]) -> list[ExtensionSchema]:
    """The steps of the tables of all extensions that can be imported, disabled ones included."""
    found, _ = _import(settings, built_in, with_disabled=True)
    return [each.schema for each in found if each.migrations]


def stored_checks(settings: Settings, built_in: Mapping[str, str]) -> list[CheckStored]:
    """The checks of what extensions store outside of the database."""
    found, _ = _import(settings, built_in)
    return [each.check_stored for each in found if each.check_stored is not None]


def _import(
    settings: Settings, built_in: Mapping[str, str], *, with_disabled: bool = False
) -> tuple[list[Extension], list[Fault]]:
    names = settings.extensions
    if names and os.getcwd() not in sys.path:  # as for plugins
        sys.path.append(os.getcwd())
    installed = {entry.name: entry.load for entry in _entry_points()}
    by_name: dict[str, Load] = {name: partial(_find, path) for name, path in built_in.items()}
    by_name |= {name: installed[name] for name in sorted(installed) if name not in by_name}
    off = settings.disabled_extensions
    faults = [
        _fault(f"{name!r} is no extension" + did_you_mean(name, by_name), "disabled_extensions")
        for name in off
        if name not in by_name
    ]
    wanted: list[tuple[str, str | None, Load]] = [
        (f"extension {name}", name, load)
        for name, load in by_name.items()
        if with_disabled or name not in off
    ]
    wanted += [(name, None, partial(_find, name)) for name in names]
    found: list[Extension] = []
    for title, name, load_it in wanted:
        try:
            extension = load_it()
        except Exception as error:  # foreign code may raise anything at import
            log.debug("extension cannot be imported name=%s", title, exc_info=True)
            text = f"{title} cannot be imported: {type(error).__name__}: {error}"
            faults.append(_fault(f"{text} (where: with log_level debug)"))
            continue
        if not isinstance(extension, Extension):
            faults.append(_fault(f"{title} is no Extension"))
        elif name not in (None, extension.name):
            faults.append(_fault(f"{title} calls itself {extension.name}"))
        else:
            found.append(extension)
    faults += [_fault(text) for text in conflicts_of(found)]
    return found, faults


@functools.cache
def _entry_points() -> tuple[EntryPoint, ...]:
    """Those of installed extensions; looking for them reads a file of every package, once."""
    return tuple(entry_points(group=GROUP))


def conflicts_of(extensions: Iterable[Extension]) -> Iterator[str]:
    """What extensions declare wrongly, or as the core or another extension does already."""
    taken: dict[str, dict[Any, str]] = {
        "name": dict.fromkeys(FIELDS, "a setting"),
        "route": {(each.method, each.path): "the server" for each in ENDPOINTS},
        "tag": dict.fromkeys(TAGS, "the server"),
        "command": dict.fromkeys(MONITOR_COMMANDS, "the server"),
        "push": dict.fromkeys(RESERVED_TYPES, "the server"),
        "permission": dict.fromkeys(ALL_PERMISSIONS, "the server"),
        "error": dict.fromkeys(MEANINGS, "the server"),
        "page": {},
    }
    names: set[str] = set()
    for extension in extensions:
        name = extension.name
        if name in names:
            yield f"two extensions have the name {name}"
            continue
        names.add(name)
        yield from (f"{name}: {text}" for text in _own_faults(extension))
        for kind, keys in _claims(extension):
            for key in keys:
                owner = taken[kind].setdefault(key, f"the extension {name}")
                if owner != f"the extension {name}":
                    shown = " ".join(key) if isinstance(key, tuple) else key
                    yield f"{name}: the {kind} {shown} is one of {owner} already"


def _claims(extension: Extension) -> Iterator[tuple[str, Iterable[Any]]]:
    endpoints = [each for one in extension.resources for each in one.endpoints]
    yield "name", [extension.name]
    yield "route", [(each.method, each.path) for each in endpoints]
    yield "tag", [one.tag for one in extension.resources]
    yield "command", extension.commands
    yield "push", extension.pushes
    yield "permission", extension.permissions
    yield "error", [each.code for each in extension.errors]
    yield "page", [each.name for each in extension.pages]


def _own_faults(extension: Extension) -> Iterator[str]:
    if _NAME.fullmatch(extension.name) is None:
        yield "a name is at most 32 of a-z 0-9 _, a letter first"
    known = {*ALL_PERMISSIONS, *extension.permissions, PUBLIC, SIGNED_IN}
    codes = {*MEANINGS, *(each.code for each in extension.errors)}
    for one in extension.resources:
        for each in one.endpoints:
            if each.access not in known:
                yield f"{each.method} {each.path} needs an unknown permission {each.access}"
            for code in each.errors:
                if code not in codes:
                    yield f"{each.method} {each.path} names an unknown error {code}"
    for name, roles in extension.permissions.items():
        if _PERMISSION.fullmatch(name) is None:
            yield f"{name!r}: a permission has the form things:verb"
        yield from (f"{name}: {role} is no role" for role in roles if role not in ROLES)
    for name in extension.pushes:
        if _PUSH.fullmatch(name) is None:
            yield f"{name!r}: a push type is at most 64 of a-z 0-9 _ ., a letter first"
    if extension.commands.keys() != extension.replies.keys():
        yield "each command has a reply, and each reply a command"
    for page in extension.pages:
        if _PAGE.fullmatch(page.name) is None:
            yield f"{page.name!r}: the name of a page is at most 32 of a-z 0-9 -, a letter first"
        if page.permission is not None and page.permission not in known:
            yield f"the page {page.name} needs an unknown permission {page.permission}"
        if not page.module.is_file():
            yield f"the page {page.name} has no module {page.module}"
    names = [step.name for step in extension.migrations]
    if len(set(names)) < len(names):
        yield "two migrations have the same name"


def _find(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


def _fault(message: str, key: str = "extensions") -> Fault:
    return Fault(key, "start", message)
