"""What is known of a server and of the way to it, before anything is judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar


@dataclass(frozen=True)
class Missing:
    """Why something is not known."""

    why: str


T = TypeVar("T")
Maybe: TypeAlias = T | Missing
"""A fact, or why it is missing."""
UNKNOWN = Missing("not tried")
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """What this call of wsctl has found in flags, environment, contexts and files."""

    url: str
    url_from: str
    token_from: str
    """Empty: there is no token."""
    token_fault: str = ""
    """Why the token cannot be used."""
    is_renewed: bool = False
    """Is the token read from a file each time, or made anew?"""


@dataclass(frozen=True)
class Name:
    """The answer to a look-up of the host's name."""

    addresses: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Endpoint:
    """One address of the server."""

    address: str
    seconds: float
    fault: str = ""
    """Empty: it takes connections."""


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; times in epoch seconds."""

    names: tuple[str, ...]
    issuer: str
    not_before: float
    not_after: float
    is_self_signed: bool


@dataclass(frozen=True)
class Tls:
    """A TLS handshake."""

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
    """The JSON of the body; None if it is none."""
    seconds: float
    """From sending the request to the end of the answer."""
    at: float
    """This machine's time halfway, in epoch seconds."""

    @property
    def object(self) -> Document:
        """The body, where it is a JSON object."""
        return self.document if isinstance(self.document, dict) else {}

    @property
    def code(self) -> str:
        """The code of a problem document; empty: it is none."""
        return str(self.object.get("code", "")) if self.status >= 400 else ""


@dataclass(frozen=True)
class Delivery:
    """A message to oneself; seconds from its publishing on."""

    is_kept: bool
    """Was it stored before it was sent?"""
    answered_s: float
    received_s: float | None
    """None: it has not come."""
    acknowledged_s: float | None = None
    """None: the acknowledgement was not answered."""
    state: str | None = None
    """What the server's trace says of it; None: it could not be asked."""


@dataclass(frozen=True)
class Upgrade:
    """What became of a request for a WebSocket."""

    seconds: float
    status: int | None = None
    """Instead of 101."""
    code: str = ""
    """Of the problem document that came with it."""
    fault: str = ""
    """Why there was no answer at all."""
    subprotocol: str | None = None

    @property
    def is_through(self) -> bool:
        """Is it a WebSocket?"""
        return self.status is None and not self.fault


@dataclass(frozen=True)
class IdleTest:
    """A connection on which nobody said anything; seconds."""

    wanted_s: float
    lasted_s: float
    longest_s: float
    """The longest time in which no byte came or went."""
    pings: int
    """How often the server pinged."""
    end: str = ""
    """How it ended before its time; empty: it did not."""
    code: int | None = None
    """The server's close code, if it was closed in order."""


@dataclass
class Facts:
    """Everything that is known. What is missing says why."""

    configuration: Configuration
    claims: Maybe[Document] = UNKNOWN
    """Of the token, unverified."""
    name: Maybe[Name] = UNKNOWN
    endpoints: Maybe[tuple[Endpoint, ...]] = UNKNOWN
    tls: Maybe[Tls] = UNKNOWN
    health: Maybe[Reply] = UNKNOWN
    whoami: Maybe[Reply] = UNKNOWN
    diagnostics: Maybe[Reply] = UNKNOWN
    upgrade: Maybe[Upgrade] = UNKNOWN
    greeting: Maybe[Document] = UNKNOWN
    """The first push of the WebSocket."""
    greeting_s: float = 0.0
    """From the first byte sent until it came."""
    round_trip_s: Maybe[float] = UNKNOWN
    """Of a ping over the WebSocket."""
    delivery: Maybe[Delivery] = UNKNOWN
    idle: Maybe[IdleTest] = UNKNOWN
    own_version: str = ""
    checked_at: float = 0.0
    """Epoch seconds."""
    took_s: float = field(default=0.0)


def answered(fact: Maybe[Reply]) -> Maybe[Document]:
    """The document of a reply of 200; else why there is none."""
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
