"""Problem documents: the JSON form of every error (RFC 9457)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from wsserver.errors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    MethodNotAllowed,
    TokenMissing,
    UnsupportedMediaType,
    WsServerError,
)
from wsserver.web.http.replies import Reply

PROBLEM_TYPE = "application/problem+json"
TYPE_PREFIX = "/api/v1/docs#"
"""A problem type is a link to the error code in the readable API page."""


class RequestTimeout(WsServerError):
    """The body did not arrive in time."""

    code: ClassVar[str] = "request_timeout"


class PathNotFound(WsServerError):
    """No endpoint has this path."""

    code: ClassVar[str] = "not_found"


class InternalError(WsServerError):
    """Internal error; its cause is logged and not sent to the client."""

    code: ClassVar[str] = "internal_error"


def problem(error: WsServerError, request_id: str) -> dict[str, Any]:
    """Problem document of an error; its details are extension members (RFC 9457 §3.2)."""
    return {
        **{name: value for name, value in error.details.items() if value not in (None, "")},
        "type": TYPE_PREFIX + error.code,
        "title": error.meaning.title,
        "status": error.meaning.status,
        "detail": error.message,
        "code": error.code,
        "request_id": request_id,
    }


def problem_headers(error: WsServerError) -> dict[str, str]:
    """Headers of an error's answer, such as ``WWW-Authenticate`` and ``Retry-After``."""
    headers = {}
    if error.meaning.status == 401:
        said = "" if error.code == "token_missing" else ' error="invalid_token"'
        headers["WWW-Authenticate"] = f"Bearer{said}"
    elif error.code == "upgrade_required":
        headers["Upgrade"] = "websocket"
        headers["Connection"] = "Upgrade"
        headers["Sec-WebSocket-Version"] = "13"
    retry_after_s = error.details.get("retry_after_s")
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    elif error.meaning.status in (503, 507):
        headers["Retry-After"] = "5"
    return headers


def problem_reply(error: WsServerError, request_id: str) -> Reply:
    """An error as a reply."""
    return Reply(
        msgspec.json.encode(problem(error, request_id)),
        PROBLEM_TYPE,
        error.meaning.status,
        problem_headers(error),
    )


ERRORS_BY_STATUS: dict[int, type[WsServerError]] = {
    400: BadRequest,
    401: TokenMissing,
    403: Forbidden,
    404: PathNotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    413: BodyTooLarge,
    415: UnsupportedMediaType,
}
"""Errors for Tornado's own ``HTTPError`` by status; any other is ``InternalError``."""
