"""One call to the API with its token and its retries, as a generator without I/O.

A client runs the steps that the generator yields: ``Renew`` (send back a token), ``Send`` (send
back a ``Reply``, or throw ``Unreachable``), ``Wait``. Its return value is the result of the call.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

from wsserver.sdk.errors import ApiError, BadAnswer, Unauthorized, refusal
from wsserver.sdk.retrying import RetryPolicy
from wsserver.sdk.tokens import Provider, TokenCache
from wsserver.version import __version__

T = TypeVar("T")

PREFIX = "/api/v1/websocket"
USER_AGENT = f"wsserver-sdk/{__version__}"
_chance = SystemRandom().random


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call to the API before it is sent."""

    method: str
    path: str
    """Below the API's prefix."""
    read: Callable[[Any], T]
    """Makes the result of the decoded answer."""
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    """Idempotency key of a POST; None: a new one for each call. Empty: none is needed."""


@dataclass(frozen=True)
class Request:
    """A request as it goes out."""

    method: str
    target: str
    """Path and query."""
    headers: Mapping[str, str] = field(repr=False)
    """With the token."""
    body: bytes | None


class Renew(NamedTuple):
    """Call the provider; the generator expects the token."""

    provider: Provider


class Send(NamedTuple):
    """Send a request; the generator expects the reply."""

    request: Request


class Wait(NamedTuple):
    """Wait before the next attempt; the generator expects None."""

    delay_s: float


class Reply(NamedTuple):
    """An answer: its status, its body, and the header ``Retry-After``."""

    status: int
    body: bytes
    retry_after: str | None = None


Step = Renew | Send | Wait
Exchange = Generator[Step, Any, T]


def exchange(call: Call[T], tokens: TokenCache, policy: RetryPolicy) -> Exchange[T]:
    """The steps of a call. Raises an ``ApiError`` once another attempt is of no use."""
    started = time.monotonic()
    key = uuid.uuid4().hex if call.key is None else call.key
    attempt = 0
    is_fresh = False
    while True:
        attempt += 1
        token = tokens.current(time.time())
        if token is None:
            provider = tokens.provider
            if provider is None:
                raise BadAnswer("the token is empty")
            token = yield Renew(provider)
            tokens.keep(token, time.time())
            is_fresh = True
        try:
            reply: Reply = yield Send(_request(call, token, key))
            return _result(call, reply)
        except Unauthorized:
            # It may have been revoked, or the clocks differ: one more try with a new one.
            if is_fresh or not tokens.is_renewable:
                raise
            tokens.forget()
            continue
        except ApiError as error:
            delay_s = policy.delay_s(error, attempt, time.monotonic() - started, _chance())
            if delay_s is None:
                raise
        yield Wait(delay_s)


def _request(call: Call[Any], token: str, key: str) -> Request:
    headers = {"Authorization": f"Bearer {token}", "User-Agent": USER_AGENT}
    body = None
    if call.body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(call.body, separators=(",", ":"), allow_nan=False).encode()
    if call.method == "POST" and key:
        headers["Idempotency-Key"] = key
    given = {name: _text(value) for name, value in call.query.items() if value is not None}
    query = f"?{urlencode(given)}" if given else ""
    return Request(call.method, f"{PREFIX}{call.path}{query}", headers, body)


def _result(call: Call[T], reply: Reply) -> T:
    if not 200 <= reply.status < 300:
        raise refusal(reply.status, reply.body, reply.retry_after)
    try:
        return call.read(json.loads(reply.body) if reply.body else None)
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswer(f"{call.method} {call.path}: not an answer of the API ({error})") from error


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
