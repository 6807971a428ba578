"""Facts about a server and the network path to it, before they are judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar


@dataclass(frozen=True)
class Missing:
    """A missing fact, with the reason."""

    why: str


T = TypeVar("T")
Maybe: TypeAlias = T | Missing
"""A fact, or why it is missing."""
UNKNOWN = Missing("not tried")
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """Address and token found in options, environment, contexts and files."""

    url: str
    url_from: str
    token_from: str
    """Source of the token; empty: no token."""
    token_fault: str = ""
    """Why the token cannot be used."""
    is_renewed: bool = False
    """Whether the token is renewed: read from a file each time, or signed again."""


@dataclass(frozen=True)
class Name:
    """Result of the look-up of the host name."""

    addresses: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Endpoint:
    """Result of a TCP connection to one address of the server."""

    address: str
    seconds: float
    fault: str = ""
    """Empty: it accepts connections."""


@dataclass(frozen=True)
class Certificate:
    """Fields of a certificate; times in epoch seconds."""

    names: tuple[str, ...]
    issuer: str
    not_before: float
    not_after: float
    is_self_signed: bool


@dataclass(frozen=True)
class Tls:
    """Result of a TLS handshake."""

    seconds: float
    version: str = ""
    fault: str = ""
    """Why the certificate is not trusted, or the handshake failed; empty: it is trusted."""
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Reply:
    """An answer to an HTTP request."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    document: Any
    """The JSON of the body; None if it is not JSON."""
    seconds: float
    """From sending the request to the end of the answer."""
    at: float
    """This machine's time halfway through the request, in epoch seconds."""

    @property
    def object(self) -> Document:
        """The body if it is a JSON object, else empty."""
        return self.document if isinstance(self.document, dict) else {}

    @property
    def code(self) -> str:
        """The code of a problem document; empty for other answers."""
        return str(self.object.get("code", "")) if self.status >= 400 else ""


@dataclass(frozen=True)
class Delivery:
    """Result of the delivery test; seconds since publishing."""

    is_kept: bool
    """Whether the message was stored."""
    answered_s: float
    received_s: float | None
    """None: it did not arrive."""
    acknowledged_s: float | None = None
    """None: the acknowledgement was not answered."""
    state: str | None = None
    """State in the server's trace; None: not available."""


@dataclass(frozen=True)
class Upgrade:
    """Result of a WebSocket handshake."""

    seconds: float
    status: int | None = None
    """Status other than 101."""
    code: str = ""
    """Code of the problem document."""
    fault: str = ""
    """Why there was no answer."""
    subprotocol: str | None = None

    @property
    def is_through(self) -> bool:
        """Whether the WebSocket was opened."""
        return self.status is None and not self.fault


@dataclass(frozen=True)
class IdleTest:
    """Result of keeping a connection idle; seconds."""

    wanted_s: float
    lasted_s: float
    longest_s: float
    """The longest time without traffic."""
    pings: int
    """Number of pings from the server."""
    end: str = ""
    """How it ended early; empty: it did not."""
    code: int | None = None
    """Close code of the server, if any."""


@dataclass
class Facts:
    """All facts; missing ones have a reason."""

    configuration: Configuration
    claims: Maybe[Document] = UNKNOWN
    """Of the token, unverified."""
    name: Maybe[Name] = UNKNOWN
    endpoints: Maybe[tuple[Endpoint, ...]] = UNKNOWN
    tls: Maybe[Tls] = UNKNOWN
    health: Maybe[Reply] = UNKNOWN
    whoami: Maybe[Reply] = UNKNOWN
    diagnostics: Maybe[Reply] = UNKNOWN
    nodes: Maybe[Reply] = UNKNOWN
    upgrade: Maybe[Upgrade] = UNKNOWN
    greeting: Maybe[Document] = UNKNOWN
    """The first push of the WebSocket."""
    greeting_s: float = 0.0
    """From the first byte sent until the greeting."""
    round_trip_s: Maybe[float] = UNKNOWN
    """Of a ping over the WebSocket."""
    delivery: Maybe[Delivery] = UNKNOWN
    idle: Maybe[IdleTest] = UNKNOWN
    own_version: str = ""
    checked_at: float = 0.0
    """Epoch seconds."""
    took_s: float = field(default=0.0)


class SkipCheck(Exception):
    """Ends a check for which a fact is missing: ``why``, and what to ``do`` about it."""

    def __init__(self, why: str, do: str) -> None:
        super().__init__(why)
        self.why, self.do = why, do


def needed(fact: Maybe[T], do: str = "") -> T:
    """The fact; raises ``SkipCheck`` if it is missing."""
    if isinstance(fact, Missing):
        raise SkipCheck(fact.why, do)
    return fact


def answered(fact: Maybe[Reply]) -> Maybe[Document]:
    """The document of a 200 reply; else the reason."""
    if isinstance(fact, Missing):
        return fact
    if fact.status == 200 and fact.object:
        return fact.object
    if fact.code:
        return Missing(f"the server refused: {fact.code}")
    return Missing(f"the server answered {fact.status}")


def number(document: Document, *path: str) -> float | None:
    """The number at ``path``; None if it is missing or not a number."""
    value = _at(document, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def member(document: Document, *path: str) -> Document:
    """The object at ``path``; empty if it is missing."""
    value = _at(document, path)
    return value if isinstance(value, Mapping) else {}


def _at(document: Document, path: Iterable[str]) -> Any:
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
