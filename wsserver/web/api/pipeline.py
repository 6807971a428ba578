"""Request pipeline of an endpoint: token, permission, path, query, body, idempotency, reply.

Shared by Tornado's handlers (``api.handlers``) and the fast path (``server.fast_path``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Struct

from wsserver.errors import (
    BadJson,
    BadRequest,
    Draining,
    Forbidden,
    OriginForbidden,
    Starting,
    TokenMissing,
    UnsupportedMediaType,
    ValidationFailed,
    WsServerError,
    summary_of,
)
from wsserver.identity.claims import Claims
from wsserver.identity.extract import extract_credential
from wsserver.identity.ids import is_id, is_user_id
from wsserver.protocol import strict_json
from wsserver.protocol.ids import new_id
from wsserver.protocol.requests import BODY, read_request
from wsserver.protocol.validation import Fault, faults_of
from wsserver.realtime.access.actor import Actor, AuditRecorder
from wsserver.storage.engine.fair_queue import read_for
from wsserver.storage.tables.idempotency import Quota
from wsserver.telemetry.spans import NO_SPAN, Span
from wsserver.telemetry.trace_context import trace_of, within
from wsserver.web.api import console_sessions
from wsserver.web.api.access_log import QUIET_ROUTES
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import (
    PUBLIC,
    REQUEST_ID,
    SIGNED_IN,
    BodyReceiver,
    Call,
    Endpoint,
    NoBody,
)
from wsserver.web.api.idempotency import Claimed, claim, fingerprint
from wsserver.web.api.queries import parse_pairs, read_query
from wsserver.web.http.headers import Headers
from wsserver.web.http.proxies import is_local
from wsserver.web.http.replies import PAGE_POLICY, Reply, json_reply

log = logging.getLogger(__name__)

"""Path parameter whose ids may also have ``|`` and ``+``."""
OPEN_ENDPOINT_KEYS = 1000
"""Stored idempotency keys per user of an endpoint that needs no permission."""
_REQUEST_ID = re.compile(REQUEST_ID)
_JSON_TYPE = re.compile(
    r"""application/(?:json|[a-z0-9!#$&^_.+-]+\+json)(?:\s*;\s*charset="?utf-8"?)?\s*""",
    re.IGNORECASE | re.ASCII,
)


@dataclass(slots=True)
class RequestInfo:
    """Request line and headers, without the body."""

    method: str
    path: str
    query: str
    """Raw; must not be logged, as it may have a token."""
    headers: Headers
    peer: str
    """Address of the socket's peer: the client's or a proxy's."""
    request_id: str
    remote_ip: str
    """Address of the client, according to trusted proxies."""
    parts: Mapping[str, str]
    """Path parameters by name, raw."""

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body."""
        return announces_body(self.headers)


class Exchange:
    """One request and its reply; Host and Origin are checked before."""

    def __init__(self, context: WebContext, endpoint: Endpoint, info: RequestInfo) -> None:
        self._context = context
        self._endpoint = endpoint
        self._info = info

    async def check(self) -> None:
        """Check everything but the body: token, permission, path, query, media type.

        Faults of path and query are kept for ``respond`` where a body follows, so that the answer
        names the faults of both.
        """
        self._span = self._begin_span()
        try:
            await self._check()
        except BaseException as error:
            self._end_span(error)
            raise

    async def respond(self, raw: bytes) -> Reply:
        """Read the body, run the handler, return its reply; after ``check``."""
        try:
            with within(self._span.context):
                reply = await self._respond(raw)
        except BaseException as error:
            self._end_span(error)
            raise
        self._span.end({"http.response.status_code": reply.status})
        return reply

    async def receive(self) -> BodyReceiver:
        """Run the handler of an endpoint that takes its body while it arrives; after ``check``."""
        try:
            if self._refusal is not None:
                raise self._refusal
            call = self._call(None)
            with within(self._span.context):
                receiver: BodyReceiver = await self._endpoint.handle(self._context, call)
        except BaseException as error:
            self._end_span(error)
            raise
        return receiver

    async def finish(self, receiver: BodyReceiver) -> Reply:
        """The reply of such an endpoint, once its body is complete."""
        try:
            with within(self._span.context):
                answer = await receiver.finish()
        except BaseException as error:
            self._end_span(error)
            raise
        reply = answer if isinstance(answer, Reply) else json_reply(answer)
        self._span.end({"http.response.status_code": reply.status})
        return reply

    def failed(self, error: WsServerError) -> None:
        """Note the error of a body that is not taken any further."""
        self._end_span(error)

    def _begin_span(self) -> Span:
        endpoint, info = self._endpoint, self._info
        if endpoint.path in QUIET_ROUTES:
            return NO_SPAN
        attributes = {
            "http.request.method": endpoint.method,
            "http.route": endpoint.path,
            "wsserver.request_id": info.request_id,
        }
        name = f"{endpoint.method} {endpoint.path}"
        return self._context.telemetry.begin(name, "server", trace_of(info.headers), attributes)

    def _end_span(self, error: BaseException) -> None:
        status = error.meaning.status if isinstance(error, WsServerError) else 500
        fault = type(error).__name__ if status >= 500 else ""
        self._span.end({"http.response.status_code": status}, fault)

    async def _check(self) -> None:
        endpoint, info = self._endpoint, self._info
        if self._context.manager.is_starting and not endpoint.is_served_at_start:
            raise Starting
        self._actor = await self._authenticate()
        if (endpoint.takes_body or endpoint.is_received) and self._context.manager.is_draining:
            # The connections that the request would reach are being closed.
            raise Draining("the server is about to stop", retry_after_s=2)
        bad_ids = [
            fault
            for name, value in info.parts.items()
            if not _is_part(endpoint, name, value)
            for fault in faults_of(value, endpoint.part_type(name), name)
        ]
        pairs = parse_pairs(info.query)
        if endpoint.query_rules is not None:
            bad_ids += endpoint.query_rules(self._context, dict(pairs))
        has_json = endpoint.takes_body and info.has_body
        unsupported = _media_type_fault(info.headers) if has_json else ""
        self._refusal: BadRequest | None = None
        try:
            self._query = read_query(pairs, endpoint.query, bad_ids)
        except BadRequest as error:
            if unsupported or not info.has_body or "Expect" in info.headers:
                raise
            self._refusal = error
        if unsupported:
            raise UnsupportedMediaType(unsupported)

    async def _respond(self, raw: bytes) -> Reply:
        endpoint, info = self._endpoint, self._info
        if self._refusal is not None:
            raise _with_faults_of_body(self._refusal, endpoint, raw, self._context)
        keys = info.headers.get_list("Idempotency-Key")
        if not keys and endpoint.faultless is not None:
            found = strict_json.decode_as(raw, endpoint.faultless)
            if found is not None:
                return await self._perform(self._call(found))
        decoded, body = _read_body(endpoint, raw, self._context)
        call = self._call(body)
        if keys and endpoint.takes_idempotency_key:
            if call.actor is None:
                raise TokenMissing("an Idempotency-Key needs a token")
            return await self._respond_once(call, keys, decoded)
        reply = await self._perform(call)
        if endpoint.is_page:
            policy = {"Content-Security-Policy": PAGE_POLICY}
            return replace(reply, headers={**reply.headers, **policy})
        return reply

    def _call(self, body: Struct | bytes | None) -> Call:
        info = self._info
        return Call(
            self._actor, info.parts, self._query, body, info.peer, info.remote_ip, info.headers
        )

    async def _respond_once(self, call: Call, keys: Sequence[str], decoded: Any) -> Reply:
        """Run the handler once per idempotency key; repeat the stored reply for a repeated key.

        Replies with a secret are not stored: the handler runs again.
        """
        context = self._context
        scope = f"{_owner(call.caller.claims)} {self._endpoint.method} {self._info.path}"
        digest = fingerprint(decoded)
        claimed = await claim(
            context.idempotency, keys, scope, digest, context.clock.wall(), self._quota(call)
        )
        if not isinstance(claimed, Claimed):
            return await self._perform(call) if self._endpoint.is_secret else claimed
        # Stored in the handler's transaction: recognized after a crash before ``finish``.
        call.actor = replace(call.caller, once=(scope, f"{keys[0]} {digest}"))
        async with claimed:
            reply = await self._perform(call)
            await claimed.finish(reply, is_secret=self._endpoint.is_secret)
        return reply

    def _quota(self, call: Call) -> Quota:
        """The quota that a key counts against: small and separate without a permission."""
        owner = _owner(call.caller.claims)
        if self._endpoint.access == SIGNED_IN:
            return Quota(f"{owner} {self._endpoint.path}", OPEN_ENDPOINT_KEYS)
        return Quota(owner, self._context.settings.max_idempotency_keys_per_user)

    async def _perform(self, call: Call) -> Reply:
        answer = await self._endpoint.handle(self._context, call)
        return answer if isinstance(answer, Reply) else json_reply(answer)

    async def _authenticate(self) -> Actor | None:
        endpoint, info = self._endpoint, self._info
        if endpoint.access == PUBLIC or (
            endpoint.is_open_to_loopback and is_local(info.peer, info.headers)
        ):
            return None
        if endpoint.is_token_optional and "Authorization" not in info.headers:
            return None
        actor = Actor(await self._claims(), info.remote_ip, info.request_id)
        read_for(actor.claims.sub)  # each request runs in its own task
        if endpoint.access != SIGNED_IN:
            try:
                self._context.permissions.require(actor.claims, endpoint.access)
            except Forbidden as error:
                self._record_denial(actor, error)
                raise
        return actor

    def _record_denial(self, actor: Actor, error: Forbidden) -> None:
        """Record a refused action in the audit trail; its target is known from the path only."""
        action, target = self._endpoint.action, _target_in(self._endpoint, self._info.parts)
        if action:
            trail = AuditRecorder(self._context.audit, self._context.clock)
            trail.record(actor, action, target, error.code)

    async def _claims(self) -> Claims:
        headers = self._info.headers
        if console_sessions.HEADER in headers and "Authorization" not in headers:
            require_own_origin(self._context, headers, self._info.peer)
            return await self._context.console_sessions.claims_of(headers)
        credential = extract_credential(
            headers.get_list("Authorization"), (), (), (), allow_query_token=False
        )
        verifier = self._context.verifier
        claims = verifier.verify_now(credential.value)
        return claims if claims is not None else await verifier.verify(credential.value)


def identify(context: WebContext, headers: Headers, peer: str) -> tuple[str, str]:
    """The request id, from the client or new, and the client's address."""
    given = headers.get_list("X-Request-ID")
    is_usable = len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) is not None
    request_id = given[0] if is_usable else new_id("req", context.clock.wall())
    return request_id, context.proxies.client_address(peer, headers.get_list("X-Forwarded-For"))


def require_own_origin(context: WebContext, headers: Headers, peer: str) -> None:
    """Raise ``OriginForbidden`` for a request from a page of another origin, even an allowed one.

    Not every request of a page has an Origin header: those without one pass.
    """
    origins = headers.get_list("Origin")
    scheme = context.proxies.scheme(peer, "http", headers.get_list("X-Forwarded-Proto"))
    host = headers.get("Host", "")
    if origins and not context.origins.is_own(", ".join(origins), host, scheme):
        raise OriginForbidden("only the console's own origin may use its sign-in")


def announces_body(headers: Headers) -> bool:
    """Whether headers announce a body."""
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def note_failure(
    context: WebContext, method: str, path: str, request_id: str, error: BaseException
) -> None:
    """Count and log an internal error."""
    context.manager.statistics.internal_errors += 1
    log.error(
        "request failed method=%s path=%s request_id=%s",
        method,
        path,
        request_id,
        exc_info=(type(error), error, error.__traceback__),
    )


def _read_body(
    endpoint: Endpoint, raw: bytes, context: WebContext
) -> tuple[Any, Struct | bytes | None]:
    """The body as decoded JSON, and as the endpoint's struct; twice as it is where it is raw.

    A POST without a request type accepts an empty body or ``{}`` only: ignoring a member, such as
    a filter, would do more than the client wanted.
    """
    if endpoint.raw_request is not None:
        if not raw:
            raise BadJson("the body is empty")
        return raw, raw
    if endpoint.request is None:
        if raw and endpoint.method == "POST":
            read_request(strict_json.decode(raw), NoBody)
        return None, None
    if not raw and endpoint.is_body_optional:
        raw = b"{}"
    if not raw:
        raise BadJson("the body is empty")
    decoded = strict_json.decode(raw)
    return decoded, read_request(decoded, endpoint.request, endpoint.rules_in(context))


def _with_faults_of_body(
    refusal: BadRequest, endpoint: Endpoint, raw: bytes, context: WebContext
) -> BadRequest:
    """The refusal of path and query with the faults of the body added."""
    found: list[Fault] = list(refusal.details["errors"])
    try:
        _, body = _read_body(endpoint, raw, context)
        rules = endpoint.rules_in(context)
        if isinstance(body, Struct) and rules is not None:
            found += rules(body, ())
    except ValidationFailed as error:
        found += error.details["errors"]
    except WsServerError as error:
        found.append({"field": BODY, "message": error.message})
    return BadRequest(summary_of(found), field=found[0]["field"], errors=found)


def _media_type_fault(headers: Headers) -> str:
    """What is wrong with the type of a JSON body; empty if nothing is."""
    given = set(headers.get_list("Content-Type"))  # the same header twice is accepted
    if not given:
        return "Content-Type is missing; send application/json"
    if len(given) > 1 or _JSON_TYPE.fullmatch(given.pop()) is None:
        return "send application/json in UTF-8"
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        return "send the body without Content-Encoding"
    return ""


def _owner(claims: Claims) -> str:
    """Owner of idempotency keys: a user within an organization."""
    mine = claims.organization_id
    return claims.sub if mine is None else f"{mine}/{claims.sub}"


def _is_part(endpoint: Endpoint, name: str, value: str) -> bool:
    """Whether a path parameter is well-formed, as an id unless it has a type of its own."""
    if name == "node" or name in endpoint.part_types:
        return not faults_of(value, endpoint.part_type(name), name)
    return is_user_id(value) if name == "user_id" else is_id(value)


def _target_in(endpoint: Endpoint, parts: Mapping[str, str]) -> str:
    """Audit target from the path parameters, as ``user:u1``; empty without a well-formed id."""
    for name, value in parts.items():
        if _is_part(endpoint, name, value):
            is_target = name in endpoint.part_types  # it says itself what it is
            return value if is_target else f"{name.removesuffix('_id')}:{value}"
    return ""
