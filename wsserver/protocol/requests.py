"""Request bodies of the REST API and of monitor commands; OpenAPI is generated from these."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert, field, to_builtins

from wsserver.errors import MAX_FAULTS, ValidationFailed
from wsserver.protocol.strict_json import encode
from wsserver.protocol.targets import TargetType
from wsserver.protocol.types import (
    Content,
    HolderView,
    Id,
    JsonObject,
    PushType,
    Reason,
    Role,
    SessionState,
    Term,
    Text,
    Title,
    UserId,
)
from wsserver.protocol.validation import Fault, faults_of, members_of, without

MAX_BATCH = 1000
MAX_MEMBERS = 10_000
MAX_METADATA_BYTES = 4096
"""Of a session, or of an answer."""
MAX_TTL_S = 366 * 86_400
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL stores no text with NUL."""
BODY = "body"
"""The field of a fault of the whole body, such as an array."""

S = TypeVar("S", bound=Struct)


Rules = Callable[[Any, Collection[str]], list[Fault]]
"""Checks beyond the types, as of two members that exclude each other.

Called with the request without its bad members, and with the names of those; returns more faults.
"""


def read_request(body: Any, kind: type[S], rules: Rules | None = None) -> S:
    """Check decoded JSON against a request's shape.

    Raises ``ValidationFailed`` with every fault, also those of the ``rules`` as far as the rest of
    the request allows. A request of the right shape is not checked against them here.
    """
    try:
        return convert(body, kind)
    except ValidationError:
        pass
    faults = faults_of(body, kind, BODY)
    bad = members_of(faults)
    rest = without(body, kind, bad) if rules is not None else None
    if rules is not None and rest is not None:
        faults += [fault for fault in rules(rest, bad) if members_of([fault]).isdisjoint(bad)]
    raise ValidationFailed(faults[:MAX_FAULTS])


class Request(Struct, forbid_unknown_fields=True):
    """Base class of request bodies."""


class Sender(Request, omit_defaults=True):
    """The sender of a message."""

    user_id: UserId
    username: Text | None = None
    role: Annotated[str, Meta(max_length=64)] | None = None


class Body(Request, omit_defaults=True):
    """The body fields of the push types that may be sent through the API.

    Which of them belong to which type is the contract's table of pushes; a custom type has
    ``data`` alone.
    """

    type: PushType
    data: Any = UNSET
    session_id: Id | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
    username: Text | UnsetType = UNSET
    is_typing: bool | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    content_type: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET
    reply_to: Id | UnsetType = UNSET
    sender: Sender | UnsetType = UNSET
    message_id: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    status: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    reason: Text | UnsetType = UNSET
    progress: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    detail: Text | UnsetType = UNSET
    delta: Text | UnsetType = UNSET
    connections: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    exclude_users: Annotated[list[UserId], Meta(max_length=1000)] = []
    keep: bool | UnsetType = UNSET
    ttl_s: Annotated[float, Meta(gt=0, le=MAX_TTL_S)] | UnsetType = UNSET
    term: Term | UnsetType = UNSET

    def members(self) -> JsonObject:
        """The body fields given, as a JSON object, without the options of sending."""
        given: JsonObject = to_builtins(self)
        for option in _OPTIONS:
            given.pop(option, None)
        return given


_OPTIONS = ("type", "exclude_users", "keep", "ttl_s", "term", "target", "organization_id", "role")


class BroadcastRequest(Body):
    """A message for everyone, or for one organization or role."""

    organization_id: Id | UnsetType = UNSET
    role: Role | UnsetType = UNSET


class TargetRequest(Request, omit_defaults=True):
    """The target of a message; ``id`` is required for all but a broadcast."""

    type: TargetType
    id: UserId | UnsetType = UNSET
    """Of a user; other ids have neither ``|`` nor ``+``, which ``publishing`` checks."""


class PublishRequest(Body, kw_only=True):
    """A message for a target."""

    target: TargetRequest


class TargetedBody(Body):
    """A message whose target is in the path."""


class BatchRequest(Request):
    """Several messages; each is accepted or refused by itself."""

    messages: Annotated[list[JsonObject], Meta(min_length=1, max_length=MAX_BATCH)]


class ReadBatch(Request):
    """The same where each message has the right shape: decoded in one pass."""

    messages: Annotated[list[PublishRequest], Meta(min_length=1, max_length=MAX_BATCH)]


class EditRequest(Request):
    """The new content of a message."""

    content: Content


class DisconnectRequest(Request):
    """Close a user's connections, or one of them."""

    user_id: UserId
    reason: Reason | UnsetType = UNSET
    connection_id: Id | UnsetType = UNSET


class RecordingRequest(Request):
    """Record what goes over the wires of a user or a session: exactly one of them."""

    user_id: UserId | UnsetType = UNSET
    session_id: Id | UnsetType = UNSET
    duration_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    contents: bool = False


Milliseconds = Annotated[float, Meta(ge=0, le=60_000)]


class ChaosRequest(Request):
    """Disturb the connections of a user; at least one of the fields before ``direction``."""

    delay_ms: Milliseconds = 0.0
    jitter_ms: Milliseconds = 0.0
    drop: Annotated[float, Meta(ge=0, le=1)] = 0.0
    bytes_per_s: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    cut_every_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    cut_now: bool = False
    direction: Literal["both", "to_client", "from_client"] = "both"
    duration_s: Annotated[float, Meta(ge=1, le=3600)] = 300.0


class PingRequest(Request):
    """Ping all connections of a user and wait for the answers."""

    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0


class PingUserRequest(PingRequest, kw_only=True):
    """``PingRequest`` with the user, for the monitor's socket, where there is no path."""

    user_id: UserId


class SubscribeRequest(Request):
    """The events that a monitor gets, and the interval of statistics."""

    events: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]], Meta(max_length=100)
    ] = field(default_factory=lambda: ["*"])
    interval_s: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0


class MembersRequest(Request):
    """The whole member list of a session; it replaces the old one."""

    user_ids: Annotated[list[UserId], Meta(max_length=MAX_MEMBERS)]


class SessionRequest(Request):
    """What is to be changed of a session; a session that is new is created.

    ``metadata`` replaces the former object; ``organization_id`` is set once.
    """

    title: Title | UnsetType | None = UNSET
    state: SessionState | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET
    organization_id: Id | UnsetType = UNSET


def session_faults(request: SessionRequest, _: Collection[str] = ()) -> list[Fault]:
    """The fault of metadata that are too large."""
    return metadata_faults(request.metadata)


def metadata_faults(metadata: JsonObject | UnsetType) -> list[Fault]:
    """The fault of metadata that are too large."""
    return size_faults("metadata", metadata)


def size_faults(field: str, value: JsonObject | UnsetType) -> list[Fault]:
    """The fault of an object of the client's own that is too large."""
    if value is UNSET or len(encode(value)) <= MAX_METADATA_BYTES:
        return []
    return [{"field": field, "message": f"more than {MAX_METADATA_BYTES} bytes as JSON"}]


class HolderRequest(Request):
    """Who holds a session from now on; null: nobody."""

    holder: HolderView | None
    expected_term: Term | UnsetType = UNSET


class TicketRequest(Request):
    """A ticket for the bearer of the token; without options."""


class RevokeRequest(Request):
    """The tokens to revoke: exactly one of ``jti`` and ``user_id``."""

    jti: Annotated[str, Meta(min_length=1, max_length=256, pattern=NO_NUL)] | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
