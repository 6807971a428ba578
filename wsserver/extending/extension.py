"""``Extension``: what a feature adds to the server, and ``Part``, its running side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from wsserver.config import Settings, TableFault
from wsserver.errors import WsServerError
from wsserver.extending.context import ExtensionContext
from wsserver.notifications.channels.base import PushProvider
from wsserver.notifications.templates import TemplateFiles
from wsserver.protocol.commands import Command
from wsserver.realtime.commands.message_check import MessageCheck
from wsserver.realtime.dispatcher import Handler
from wsserver.realtime.operations.message_changes import NoteDeletion, RemoveContents
from wsserver.realtime.operations.user_records import EraseUser
from wsserver.storage.engine.extension_schema import ExtensionSchema, Migration
from wsserver.storage.maintenance.user_tables import UserTable
from wsserver.storage.messages.answers import NoteEnd
from wsserver.web.api.console_pages import ConsolePage
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import Call, Handle, Resource

Query = Callable[[str, Sequence[Any]], list[Any]]
"""Reads rows of the database: gets SQL with ``?`` and the values."""
CheckStored = Callable[[Settings, Query], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Periodic work; a failure is logged, and the next period begins all the same."""

    name: str
    period_s: float
    work: Callable[[], Awaitable[None] | None]
    for_all: bool = True
    """Whether one node does it for all, by a lease; otherwise each does it for itself."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The running side of an extension, which its ``build`` returns."""

    service: Any = None
    """What the handlers of its endpoints get as their first argument."""
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    """Of its commands, by type."""
    jobs: Sequence[Job] = ()
    push_providers: Sequence[PushProvider] = ()
    """Push platforms for the channel ``push`` of notifications."""
    message_checks: Sequence[MessageCheck] = ()
    """Decide on messages of clients before they are stored, and may replace their contents."""
    erase_user: EraseUser | None = None
    """Removes what is stored about a user and is no row of ``user_tables``, such as files."""
    start: Callable[[], Awaitable[None]] | None = None
    """Called when storage is open, before clients are admitted. What it raises ends the start."""
    stop: Callable[[], Awaitable[None]] | None = None
    """Called when the connections are closed, while storage is still open."""


class NoOptions(Struct, forbid_unknown_fields=True):
    """The options of an extension that has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extension:
    """A feature apart from the core: everything that it adds, declared at one place.

    What is declared takes effect when the server starts; nothing of a disabled one is imported.
    """

    name: str
    """Lower case; also that of its table in the configuration, and of its leases."""
    build: Callable[[ExtensionContext[Any]], Part]
    """Called once a server, before its start: connects, and does nothing yet."""
    options: Any = NoOptions
    """Type of its table: a ``Struct``, or ``dict[str, SomeStruct]`` for a table of tables."""
    check_options: Callable[[Any, Settings], Iterable[TableFault]] | None = None
    """Faults that the type cannot express."""
    migrations: tuple[Migration, ...] = ()
    permissions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Permission → the roles that have it by default."""
    errors: tuple[type[WsServerError], ...] = ()
    """Errors with codes of its own, for the API description."""
    resources: tuple[Resource, ...] = ()
    """Its endpoints of the REST API; see ``ExtensionResource``."""
    commands: Mapping[str, type[Command]] = field(default_factory=dict)
    """Types of WebSocket commands, for all endpoints."""
    replies: Mapping[str, tuple[str, type[Struct]]] = field(default_factory=dict)
    """Type and shape of each command's reply."""
    pushes: Mapping[str, type[Struct]] = field(default_factory=dict)
    """Shape of each push that it sends; the types are reserved in the REST API."""
    events: tuple[str, ...] = ()
    """Names of the events that it emits, for readers."""
    templates: TemplateFiles | None = None
    """Its notification templates."""
    user_tables: tuple[UserTable, ...] = ()
    """Which rows of its tables are about a user: exported and erased with the user's data."""
    remove_contents: RemoveContents | None = None
    """Removes what its tables have of the contents of deleted messages, in their transaction."""
    note_deletion: NoteDeletion | None = None
    """Stores something in the transaction that deletes a message of a session, by its content."""
    note_answer: NoteEnd | None = None
    """Stores something in the transaction that ends an answer, so that no crash can lose it."""
    check_stored: CheckStored | None = None
    """Faults of what it stores outside of the database, for ``wsserver db check``."""
    pages: tuple[ConsolePage, ...] = ()
    """Its pages of the console."""

    @property
    def schema(self) -> ExtensionSchema:
        """The steps of its tables."""
        return ExtensionSchema(self.name, self.migrations)


ServiceHandle = Callable[[Any, Call], Awaitable[Any]]
"""Handler of an extension's endpoint: gets ``Part.service`` and the call."""


class ExtensionResource(Resource):
    """Endpoints of an extension; their handlers get its ``Part.service`` and the ``Call``.

    ``prefix``: before the path of each route; "" for paths at the root.
    """

    def __init__(self, extension: str, tag: str, description: str, **options: str) -> None:
        super().__init__(tag, description=description, **options)
        self.extension = extension

    def endpoint(
        self, route: str, access: str, answer: Any, **details: Any
    ) -> Callable[[ServiceHandle], ServiceHandle]:
        """Decorator that makes a handler an endpoint; its docstring is the summary.

        ``route`` is the method and the path, as ``GET /polls``; ``details`` are the other fields of
        ``Endpoint``.
        """
        add = super().endpoint(route, access, answer, **details)

        def register(handle: ServiceHandle) -> ServiceHandle:
            add(_with_service(self.extension, handle))
            return handle

        return register


def _with_service(extension: str, handle: ServiceHandle) -> Handle:
    async def handle_call(context: WebContext, call: Call) -> Any:
        return await handle(context.extensions[extension], call)

    handle_call.__doc__ = handle.__doc__
    return handle_call
