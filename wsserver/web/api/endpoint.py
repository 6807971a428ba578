"""What one row of the route table says, and what its handler gets and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Struct

from wsserver.protocol.requests import Rules
from wsserver.realtime.access.actor import Actor
from wsserver.web.api.context import WebContext
from wsserver.web.http.headers import Headers

PREFIX: Final = "/api/v1/websocket"
PUBLIC: Final = "public"
"""Access without a token."""
SIGNED_IN: Final = "signed in"
"""Access with any valid token."""
REQUEST_ID: Final = r"[!#-&(-<>-~]{1,128}"
"""Request ids that are echoed: visible ASCII but ``=`` and quotes, as the log says ``id=…``."""


@dataclass(slots=True)
class Call:
    """A request that has passed every check, in types."""

    actor: Actor | None
    """Who asks; None where no token is needed."""
    path: Mapping[str, str]
    query: Any
    """The endpoint's query struct."""
    body: Any
    """The endpoint's request struct; None where it takes none."""
    peer: str
    """The address of the socket's other end: the client's, or a proxy's."""
    headers: Headers

    @property
    def who(self) -> Actor:
        """Who asks, where a token is needed."""
        if self.actor is None:
            raise RuntimeError("a public endpoint has no actor")
        return self.actor


Handle = Callable[[WebContext, Call], Awaitable[Any]]
"""Does what an endpoint is for; returns a ``Reply``, or what becomes its JSON."""


class NoQuery(Struct, forbid_unknown_fields=True):
    """No query parameters."""


class NoBody(Struct, forbid_unknown_fields=True):
    """No fields in the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One row of the route table. Routes and OpenAPI document are both made from it."""

    method: str
    path: str
    """With ``{names}``, each of which is an id."""
    access: str
    """A permission, ``PUBLIC`` or ``SIGNED_IN``."""
    handle: Handle
    answer: Any
    """Type of the JSON answer, or media types of something else, with commas between them."""
    summary: str
    tag: str
    query: type[Struct] = NoQuery
    request: type[Struct] | None = None
    request_example: Any = None
    answer_example: Any = None
    rules: Rules | None = None
    """What the request's type does not say; asked where a fault has been found in its shape."""
    is_body_optional: bool = False
    is_open_to_loopback: bool = False
    """No token is needed from this machine itself."""
    takes_any_host: bool = False
    is_served_at_start: bool = False
    """Is it answered before storage is ready, too?"""
    is_page: bool = False
    """Something for a browser to show, rather than data."""
    is_secret: bool = False
    """Its answer holds a secret: under an idempotency key it is stored nowhere, but given anew."""
    action: str = ""
    """What the audit trail calls it; empty where nothing is done that belongs there."""
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "Done"})
    """Of the answers that are none of errors, and what each one means."""
    errors: tuple[str, ...] = ()
    """Codes beyond those that every such endpoint has."""

    @property
    def name(self) -> str:
        """A name that is unique in the table, for OpenAPI's ``operationId``."""
        words = [
            word.strip("{}").replace("-", "_").replace(".", "_")
            for word in self.path.removeprefix(PREFIX).split("/")
            if word
        ]
        return "_".join([self.method.lower(), *words]) or self.method.lower()
