"""Errors with the codes of the contract, their HTTP status, close code and title.

Domain code raises these; the web layer turns them into problem documents, the dispatcher into
``error`` replies, the handshake into close codes. Clients branch on the code, not on the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple


class Meaning(NamedTuple):
    """HTTP status, close code and title of an error code."""

    status: int
    """HTTP status."""
    close: int | None
    """Close code at the handshake, or None where a refusal is HTTP only."""
    temporary: bool
    """Whether a retry can succeed."""
    title: str
    """Short summary, the same for each occurrence (RFC 9457 §3.1.3)."""


MEANINGS: dict[str, Meaning] = {
    "auth_ambiguous": Meaning(400, 4501, False, "More than one token"),
    "bad_request": Meaning(400, 4501, False, "Bad request"),
    "bad_json": Meaning(400, None, False, "Not valid JSON"),
    "bad_unicode": Meaning(400, None, False, "Not valid Unicode"),
    "too_deep": Meaning(400, None, False, "Nested too deeply"),
    "unknown_type": Meaning(400, None, False, "Unknown command"),
    "unknown_field": Meaning(400, None, False, "Unknown field"),
    "not_joined": Meaning(400, None, False, "Session not joined"),
    "session_bound": Meaning(400, None, False, "Connection bound to its session"),
    "token_missing": Meaning(401, 4500, False, "Token missing"),
    "token_invalid": Meaning(401, 4500, False, "Token invalid"),
    "token_expired": Meaning(401, 4500, False, "Token expired"),
    "token_revoked": Meaning(401, 4505, False, "Token revoked"),
    "forbidden": Meaning(403, 4503, False, "Forbidden"),
    "rejected": Meaning(403, None, False, "Rejected"),
    "edit_window_over": Meaning(403, None, False, "Edit window over"),
    "origin_forbidden": Meaning(403, None, False, "Origin not allowed"),
    "host_forbidden": Meaning(403, None, False, "Host not allowed"),
    "not_found": Meaning(404, None, False, "Not found"),
    "method_not_allowed": Meaning(405, None, False, "Method not allowed"),
    "request_timeout": Meaning(408, None, True, "Request timeout"),
    "idempotency_conflict": Meaning(409, None, False, "Idempotency key used for another request"),
    "idempotency_pending": Meaning(409, None, True, "Request with this key still running"),
    "term_changed": Meaning(409, None, False, "Holder of the session changed"),
    "organization_set": Meaning(409, None, False, "Organization of the session already set"),
    "stale_view": Meaning(409, None, True, "Newer messages in the session"),
    "no_responder": Meaning(409, None, False, "No AI to hold the session"),
    "out_of_order": Meaning(409, None, False, "Append out of order"),
    "answer_ended": Meaning(409, None, False, "Answer has ended"),
    "answer_too_long": Meaning(413, None, False, "Answer too long"),
    "body_too_large": Meaning(413, None, False, "Body too large"),
    "unsupported_media_type": Meaning(415, None, False, "Unsupported media type"),
    "validation_failed": Meaning(422, None, False, "Validation failed"),
    "url_forbidden": Meaning(422, None, False, "URL not allowed"),
    "upgrade_required": Meaning(426, None, False, "Upgrade required"),
    "idempotency_limit": Meaning(429, None, True, "Too many idempotency keys"),
    "rate_limited": Meaning(429, None, True, "Rate limited"),
    "connection_limit": Meaning(429, 4504, False, "Connection limit reached"),
    "session_limit": Meaning(429, None, False, "Session limit reached"),
    "chaos_disabled": Meaning(403, None, False, "Chaos is not enabled"),
    "recording_limit": Meaning(429, None, True, "Too many recordings"),
    "internal_error": Meaning(500, 1011, True, "Internal error"),
    "server_full": Meaning(503, 1013, True, "Server full"),
    "starting": Meaning(503, 1013, True, "Server starting"),
    "draining": Meaning(503, 1013, True, "Server draining"),
    "node_unreachable": Meaning(503, None, True, "Node does not answer"),
    "keys_unavailable": Meaning(503, 1013, True, "Signing keys unavailable"),
    "hook_failed": Meaning(503, None, True, "No decision on the message"),
    "storage_unavailable": Meaning(503, None, True, "Storage unavailable"),
    "storage_full": Meaning(507, None, True, "Storage full"),
}
"""All error codes of the server itself; extensions have more."""


class WsServerError(Exception):
    """Base class of all errors, each with a code; messages contain no secrets.

    The code follows from the name of the class: ``bad_request`` of ``BadRequest``. Its meaning is
    in ``MEANINGS``, or given with the class: ``class VoteClosed(WsServerError, meaning=…)``. A
    class without a meaning of its own has the code of its base.
    """

    code: ClassVar[str] = "internal_error"
    own_meaning: ClassVar[Meaning] = MEANINGS["internal_error"]
    """Of a code that is not in ``MEANINGS``."""

    def __init_subclass__(cls, meaning: Meaning | None = None) -> None:
        code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        if meaning is not None:
            cls.code, cls.own_meaning = code, meaning
        elif code in MEANINGS:
            cls.code = code

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message or self.meaning.title)
        self.details = details
        """More members for the answer, such as ``field`` or ``retry_after_ms``."""

    @property
    def meaning(self) -> Meaning:
        """HTTP status, close code and retry advice of this error's code."""
        return MEANINGS.get(self.code, self.own_meaning)

    @property
    def message(self) -> str:
        """Human-readable text, safe to show to the client."""
        return str(self)


MAX_FAULTS = 100
"""The most faults reported of one request."""
_SUMMED_UP = 10


def summary_of(faults: Sequence[Mapping[str, str]]) -> str:
    """One line for ``{"field", "message"}`` objects: the first ten, and how many more there are."""
    parts = [f"{fault['field']}: {fault['message']}" for fault in faults[:_SUMMED_UP]]
    more = len(faults) - _SUMMED_UP
    if more > 0:
        parts.append(f"and {more} more")
    if len(faults) >= MAX_FAULTS:
        parts.append(f"no more than {MAX_FAULTS} are looked for")
    return "; ".join(parts)


class BadRequest(WsServerError):
    """A malformed request; ``details["field"]`` is the field at fault, if it is one."""


class BadJson(WsServerError):
    """Text that is not JSON: syntax, NaN, a number out of range, duplicate keys."""


class BadUnicode(WsServerError):
    """A lone surrogate or broken UTF-8 inside JSON text."""


class TooDeep(WsServerError):
    """JSON nested deeper than the contract allows."""


class UnknownType(WsServerError):
    """A command of an unknown type."""


class UnknownField(WsServerError):
    """A command with a field that its type does not have."""


class NotJoined(WsServerError):
    """An action in a session that the connection has not joined."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"not joined to session {session_id}")


class SessionBound(WsServerError):
    """A connection of one session asked for another."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"this connection is bound to session {session_id}")


class SessionLimit(WsServerError):
    """The connection has joined its maximum number of sessions."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this connection is in {limit} sessions already; leave one first")


class AuthAmbiguous(WsServerError):
    """A request with credentials in more than one place."""


class TokenMissing(WsServerError):
    """A request without the token that it needs."""


class TokenInvalid(WsServerError):
    """A token that cannot be trusted; the message says why without quoting it."""


class TokenExpired(WsServerError):
    """A token past its ``exp``."""


class TokenRevoked(WsServerError):
    """A token on the deny list, by ``jti`` or by user."""


class KeysUnavailable(WsServerError):
    """Verification keys that could not be fetched yet: no token can be verified."""


class Forbidden(WsServerError):
    """A requester with a valid token, but without the permission."""


class Rejected(WsServerError):
    """A message that the hook before publishing does not let pass; ``reason`` is its code."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message or "the message was rejected", reason=reason)


class EditWindowOver(WsServerError):
    """A change of one's own message that comes too late."""

    def __init__(self, window_s: float) -> None:
        super().__init__(f"messages can be changed for {window_s:g} s after they were sent")


class OriginForbidden(WsServerError):
    """A browser page from an origin that is not allowed."""


class HostForbidden(WsServerError):
    """A Host header that does not name this server (DNS rebinding)."""


class NotFound(WsServerError):
    """There is no object of this kind with this id."""

    def __init__(self, kind: str, id: str, hint: str = "") -> None:
        super().__init__(f"no {kind} {id}" + (f"; {hint}" if hint else ""))
        self.kind = kind
        self.id = id


class MethodNotAllowed(WsServerError):
    """The path exists, the method does not; the web layer adds ``Allow``."""


class IdempotencyConflict(WsServerError):
    """An idempotency key that was used with another body."""


class IdempotencyPending(WsServerError):
    """An idempotency key whose first request has not been answered yet."""


class IdempotencyLimit(WsServerError):
    """Too many idempotency keys; ``retry_after_s`` until the oldest one is deleted."""

    def __init__(self, what: str, retry_after_s: int) -> None:
        super().__init__(
            f"{what}; keys are forgotten after 24 h; a request without a key is still carried out",
            retry_after_s=retry_after_s,
        )


class TermChanged(WsServerError):
    """A session whose holder has changed since the requester looked; ``term``: the one of now."""

    def __init__(self, term: int) -> None:
        super().__init__(f"the session is in term {term}", term=term)


class StaleView(WsServerError):
    """A message whose sender has not seen what others wrote before; ``missed``: whole pushes."""

    def __init__(self) -> None:
        super().__init__("there are messages that the sender has not seen", missed=[])


class OrganizationSet(WsServerError):
    """A session that was given to another organization before, which is for good."""

    def __init__(self, organization_id: str) -> None:
        super().__init__("the session belongs to another organization for good")
        self.organization_id = organization_id


class NoResponder(WsServerError):
    """A session to be given to an AI, but none has held it, and there is no default one."""


class OutOfOrder(WsServerError):
    """An append to an answer with another number than the next one, which is ``expected``.

    ``is_end``: the end of an answer whose latest append has another number.
    """

    def __init__(self, seq: int, expected: int, *, is_end: bool = False) -> None:
        what = "latest" if is_end else "next"
        super().__init__(
            f"append {seq} is not the {what} one; expected {expected}", expected=expected
        )


class AnswerEnded(WsServerError):
    """A change of an answer that has ended, in ``state`` and for ``reason``."""

    def __init__(self, state: str, reason: str | None) -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(f"the answer is {state}{why}", state=state, reason=reason)


class AnswerTooLong(WsServerError):
    """An answer whose text would exceed the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the text of an answer has at most {limit_bytes} bytes")


class RelayedError(WsServerError):
    """An error that another node has answered."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message, **details)
        self.code = code  # type: ignore[misc]


class BodyTooLarge(WsServerError):
    """A request body over the limit."""


class UnsupportedMediaType(WsServerError):
    """A request body whose ``Content-Type`` is not JSON in UTF-8."""


class ValidationFailed(WsServerError):
    """JSON of the wrong shape: ``errors`` is a list of ``{"field", "message"}``."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(summary_of(errors), errors=errors)


class UrlForbidden(WsServerError):
    """A URL to an address that may not be reached; the message does not quote it."""


class UpgradeRequired(WsServerError):
    """A request without an upgrade to a WebSocket endpoint; its credentials are valid."""


class RateLimited(WsServerError):
    """Too many messages on one connection; ``retry_after_ms`` until the next one."""

    def __init__(self, retry_after_ms: int) -> None:
        super().__init__("too many messages", retry_after_ms=retry_after_ms)


class TooManyFailures(WsServerError):
    """Too many wrong secrets from one address; ``retry_after_s`` until the next attempt."""

    code = "rate_limited"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many wrong keys from this address", retry_after_s=retry_after_s)


class ConnectionLimit(WsServerError):
    """One connection too many for this user."""


class ServerFull(WsServerError):
    """No room for another connection on this server."""


class Starting(WsServerError):
    """The server listens already, but its storage is not ready yet."""

    def __init__(self) -> None:
        super().__init__("the server is starting", retry_after_s=2)


class Draining(WsServerError):
    """The server is stopping and accepts no connections."""


class ChaosDisabled(WsServerError):
    """Connections may not be disturbed on this server."""

    def __init__(self) -> None:
        super().__init__(
            "connections are disturbed only in development mode or with the setting chaos"
        )


class RecordingLimit(WsServerError):
    """As many recordings run as may do at the same time."""


class NodeUnreachable(WsServerError):
    """The node that a request has to be passed on to does not answer in time."""


class HookFailed(WsServerError):
    """The hook before publishing has not decided on a message."""

    def __init__(self) -> None:
        super().__init__("the message could not be checked; try again")


class StorageUnavailable(WsServerError):
    """The database cannot be written or read now: locked, busy, or an I/O error."""


class OutcomeUnknown(StorageUnavailable):
    """The database was lost while it committed: whether something is stored is not known yet."""


class StorageFull(WsServerError):
    """The disk is full."""
