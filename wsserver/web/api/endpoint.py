"""Endpoint: a row of the route table, the ``Call`` that its handler gets, and path matching."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct
from msgspec.json import Decoder

from wsserver.protocol.requests import Rules
from wsserver.protocol.types import Id, NodeName, UserId
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.actor import Actor
from wsserver.web.api.context import WebContext
from wsserver.web.http.headers import Headers

PREFIX: Final = "/api/v1/websocket"
PUBLIC: Final = "public"
"""Access without a token."""
SIGNED_IN: Final = "signed in"
"""Access with any valid token."""
PATH_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
PART_TYPES: Final[Mapping[str, Any]] = {"user_id": UserId, "node": NodeName}
"""Types of path parameters other than ``Id``, by name."""
REQUEST_ID: Final = r"[!#-&(-<>-~]{1,128}"
"""Request ids that are echoed: visible ASCII without ``=`` and quotes, as logs have ``id=…``."""


@dataclass(slots=True)
class Call:
    """A validated request, with typed query and body."""

    actor: Actor | None
    """The caller; None where no token is needed."""
    path: Mapping[str, str]
    query: Any
    """The endpoint's query struct."""
    body: Any
    """The endpoint's request struct; bytes with ``raw_request``; None without a body."""
    peer: str
    """Address of the socket's peer: the client's or a proxy's."""
    remote_ip: str
    """Address of the client, according to trusted proxies."""
    headers: Headers

    @property
    def caller(self) -> Actor:
        """The caller, where a token is needed."""
        if self.actor is None:
            raise RuntimeError("a public endpoint has no actor")
        return self.actor


Handle = Callable[[WebContext, Call], Awaitable[Any]]
"""Handler of an endpoint; returns a ``Reply``, or an object to encode as JSON.

That of an endpoint with ``receives`` returns a ``BodyReceiver``.
"""


class BodyReceiver(Protocol):
    """Takes the body of a request while it arrives."""

    async def write(self, chunk: bytes) -> None:
        """Take a part; the next one is read after it. What it raises ends the request."""
        ...

    async def finish(self) -> Any:
        """Return the answer, as a handler does: the body is complete."""
        ...

    async def abort(self) -> None:
        """Clean up: the body broke off, or ``write`` has raised. Not called after ``finish``."""
        ...


class NoQuery(Struct, forbid_unknown_fields=True):
    """No query parameters."""


class NoBody(Struct, forbid_unknown_fields=True):
    """No fields in the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One row of the route table; Tornado's rules and the OpenAPI document are made from it."""

    method: str
    path: str
    """Template with ``{names}``, each of which is an id."""
    access: str
    """A permission, ``PUBLIC`` or ``SIGNED_IN``."""
    handle: Handle
    answer: Any
    """Type of the JSON answer, or comma-separated media types of another one."""
    summary: str
    tag: str
    query: type[Struct] = NoQuery
    part_types: Mapping[str, Any] = field(default_factory=dict)
    """Types of path parameters that are no ids, besides ``PART_TYPES``."""
    request: type[Struct] | None = None
    faultless: Decoder[Any] | None = None
    """Of requests without faults: those are decoded by it in one pass, the others as ``request``
    after that. Its structs have ``omit_defaults``."""
    raw_request: Mapping[str, Any] | None = None
    """JSON Schema of a body that the handler gets as it is, in bytes, instead of ``request``."""
    request_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that the handler needs, with their descriptions."""
    request_example: Any = None
    answer_example: Any = None
    rules: Rules | None = None
    """Checks that the request's type cannot express; run when its shape has faults, to name all."""
    rules_of: Callable[[WebContext], Rules] | None = None
    """Instead of ``rules``, where they depend on the running server."""
    query_rules: Callable[[WebContext, Mapping[str, str]], list[Fault]] | None = None
    """Faults of query parameters that depend on the running server."""
    is_body_optional: bool = False
    is_open_to_loopback: bool = False
    """Needs no token from loopback."""
    is_token_optional: bool = False
    """A request without a token gets to the handler, which decides; with one it has to be valid."""
    takes_any_host: bool = False
    is_served_at_start: bool = False
    """Answered during startup, too, before storage is ready."""
    is_page: bool = False
    """An HTML page or style sheet, sent with a Content-Security-Policy."""
    is_streamed: bool = False
    """The reply may have chunks. Such an endpoint is left to Tornado."""
    receives: str = ""
    """Media type of a body that is taken while it arrives: the handler, called before it is read,
    returns a ``BodyReceiver``. Such an endpoint is left to Tornado, and its body has no limit of
    size and duration but its own."""
    is_overridable: bool = False
    """A POST with its method in ``X-HTTP-Method-Override`` is answered as one of that method."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every answer, errors included."""
    option_headers: Callable[[WebContext], Mapping[str, str]] | None = None
    """Headers of the answer to OPTIONS for its path."""
    is_secret: bool = False
    """The answer has a secret: it is not stored for a repeated idempotency key."""
    action: str = ""
    """Action in the audit trail; empty if the endpoint is not audited."""
    statuses: Mapping[int, str] = field(default_factory=lambda: {200: "Done"})
    """Statuses of success, with their descriptions."""
    errors: tuple[str, ...] = ()
    """Error codes beyond those common to all endpoints of the kind."""

    def part_type(self, name: str) -> Any:
        """Type of a path parameter."""
        return self.part_types.get(name, PART_TYPES.get(name, Id))

    def rules_in(self, context: WebContext) -> Rules | None:
        """The checks that the request's type cannot express, on this server."""
        return self.rules if self.rules_of is None else self.rules_of(context)

    @property
    def takes_body(self) -> bool:
        """Whether a request has a body."""
        return self.request is not None or self.raw_request is not None

    @property
    def takes_idempotency_key(self) -> bool:
        """Whether ``Idempotency-Key`` counts: keys belong to callers, whom a public one has not."""
        return self.method == "POST" and self.access != PUBLIC

    @property
    def is_received(self) -> bool:
        """Whether the body is taken while it arrives."""
        return bool(self.receives)

    @property
    def name(self) -> str:
        """Unique name, for OpenAPI's ``operationId``."""
        words = [
            word.strip("{}").replace("-", "_").replace(".", "_")
            for word in self.path.removeprefix(PREFIX).split("/")
            if word
        ]
        return "_".join([self.method.lower(), *words]) or self.method.lower()


class Resource:
    """Endpoints of one resource, in the order in which their handlers are defined.

    ``description``: of the tag, in the API description.
    """

    def __init__(self, tag: str, prefix: str = PREFIX, description: str = "") -> None:
        self.endpoints: list[Endpoint] = []
        self.tag = tag
        self.description = description
        self._prefix = prefix

    def endpoint(
        self, route: str, access: str, answer: Any, **details: Any
    ) -> Callable[[Handle], Handle]:
        """Decorator that makes a handler an endpoint; the handler's docstring is the summary.

        ``route`` is the method and the path, as ``GET /users``; ``details`` are the other fields
        of ``Endpoint``.
        """
        method, _, path = route.partition(" ")

        def register(handle: Handle) -> Handle:
            details.setdefault("tag", self.tag)
            self.endpoints.append(
                Endpoint(
                    method=method,
                    path=self._prefix + path,
                    access=access,
                    handle=handle,
                    answer=answer,
                    summary=(handle.__doc__ or "").removesuffix("."),
                    **details,
                )
            )
            return handle

        return register


class Found(NamedTuple):
    """An endpoint, and the path parameters."""

    endpoint: Endpoint
    parts: Mapping[str, str]
    """By name; raw."""


class Paths:
    """Finds the endpoint of a method and a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._fixed: dict[tuple[str, str], Found] = {}
        self._templates: list[tuple[re.Pattern[str], Endpoint]] = []
        for endpoint in endpoints:
            if "{" in endpoint.path:
                self._templates.append((re.compile(pattern_of(endpoint.path)), endpoint))
            else:
                self._fixed[endpoint.method, endpoint.path] = Found(endpoint, {})
        self._paths = {path for _, path in self._fixed}

    def find(self, method: str, path: str) -> Found | None:
        """The endpoint of a method and path; fixed paths first, as in ``routes.rules``."""
        found = self._fixed.get((method, path))
        if found is not None or path in self._paths:
            return found
        for pattern, endpoint in self._templates:
            if endpoint.method == method:
                match = pattern.fullmatch(path)
                if match is not None:
                    return Found(endpoint, match.groupdict())
        return None


def pattern_of(path: str) -> str:
    """Regular expression for a template: each ``{name}`` matches one segment."""
    return PATH_PARAMETER.sub(r"(?P<\1>[^/]*)", path.replace(".", r"\."))


def allowed_methods(methods: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Value of ``Allow`` for a path with these methods."""
    extra = ("HEAD", "OPTIONS") if "GET" in methods else ("OPTIONS",)
    return tuple(dict.fromkeys((*sorted(methods), *extra)))
