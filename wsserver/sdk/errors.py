"""Errors of the client: one class for each kind of refusal, with the server's code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """Base class of all errors of this package."""


class Unreachable(ApiError):
    """No answer: the network, a time limit, or a server that is down.

    Whether the request was carried out is unknown. It was repeated under the same idempotency key
    as long as the retry policy allows, and may be repeated again under that key.
    """


class BadAnswer(ApiError):
    """An answer that is not the API's, such as a proxy's own page."""


class Refused(ApiError):
    """The server has refused a request; the subclass tells by its status what kind of refusal."""

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None
    ) -> None:
        self.status = status
        self.problem = dict(problem)
        """The problem document (RFC 9457), with whatever the code adds to it."""
        self.code = str(problem.get("code", f"http_{status}"))
        """What to branch on."""
        self.detail = str(problem.get("detail", ""))
        """Text for people."""
        self.request_id = str(problem.get("request_id", ""))
        """To be found in the server's log and audit trail."""
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.code}: {self.detail}")


class BadRequest(Refused):
    """400: the request itself is malformed."""


class Unauthorized(Refused):
    """401: no token, or one that is not accepted."""


class Forbidden(Refused):
    """403: the token does not permit it, or the object is another organization's."""


class NotFound(Refused):
    """404: there is no such object."""


class Conflict(Refused):
    """409: the state of the object forbids it, such as ``term_changed`` or ``answer_ended``."""


class AnswerEnded(Conflict):
    """409 ``answer_ended``: somebody has stopped the answer, or its time is over."""

    @property
    def state(self) -> str:
        """``completed``, ``failed``, ``cancelled`` or ``interrupted``."""
        return str(self.problem.get("state", "interrupted"))

    @property
    def reason(self) -> str | None:
        """Why, such as ``taken`` or ``timeout``."""
        return self.problem.get("reason")


class TooLarge(Refused):
    """413: more bytes than are allowed."""


class ValidationFailed(Refused):
    """422: fields that the request may not have, or not with these values."""

    @property
    def errors(self) -> list[dict[str, str]]:
        """Each fault, as ``{"field": …, "message": …}``."""
        return list(self.problem.get("errors", ()))


class RateLimited(Refused):
    """429: too many requests, keys or connections."""


class Unavailable(Refused):
    """503, 507 and the like: the server cannot do it for the moment."""


class ServerFailed(Refused):
    """500: a fault of the server; its log has the traceback, by ``request_id``."""


_BY_STATUS: Mapping[int, type[Refused]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    413: TooLarge,
    422: ValidationFailed,
    429: RateLimited,
    500: ServerFailed,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: Unavailable,
}
_BY_CODE: Mapping[str, type[Refused]] = {"answer_ended": AnswerEnded}


def refusal(status: int, body: bytes, retry_after: str | None = None) -> Refused:
    """The error of an answer that is none of success; ``retry_after`` is the header."""
    return refused(status, problem_in(body), retry_after_s(retry_after))


def refused(status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> Refused:
    """The error of a problem document."""
    kind = _BY_CODE.get(str(problem.get("code")))
    if kind is None:
        kind = _BY_STATUS.get(status, ServerFailed if status >= 500 else BadRequest)
    return kind(status, problem, retry_after_s)


def problem_in(body: bytes) -> Mapping[str, Any]:
    """The problem document of an answer; empty if it has none."""
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def retry_after_s(header: str | None) -> float | None:
    """Seconds of ``Retry-After``; None without one, and for a date, which is never sent."""
    if header is None or not header.strip().isdecimal():
        return None
    return float(header)
