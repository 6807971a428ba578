"""One request to an endpoint: token, permission, path, query, body, reply.

However it came and however it goes back, what is said here is said once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Struct

from wsserver.errors import BadJson, Draining, Forbidden, Starting, UnsupportedMediaType
from wsserver.identity.claims import Claims
from wsserver.identity.extract import extract_credential
from wsserver.identity.ids import is_id, is_user_id
from wsserver.protocol import strict_json
from wsserver.protocol.ids import new_id
from wsserver.protocol.requests import read_request
from wsserver.protocol.types import Id, UserId
from wsserver.protocol.validation import faults_of
from wsserver.realtime.access.actor import Actor, AuditRecorder
from wsserver.storage.engine.callers import read_for
from wsserver.storage.tables.idempotency import Quota
from wsserver.web.api.context import WebContext
from wsserver.web.api.endpoint import PUBLIC, REQUEST_ID, SIGNED_IN, Call, Endpoint, NoBody
from wsserver.web.api.idempotency import Claimed, claim, fingerprint
from wsserver.web.api.queries import parse_pairs, read_query
from wsserver.web.http.headers import Headers
from wsserver.web.http.proxies import is_local
from wsserver.web.http.replies import PAGE_POLICY, Reply, json_reply

log = logging.getLogger(__name__)

USER_PART = "user_id"
"""The one part of a path whose ids may also hold ``|`` and ``+``."""
OPEN_ENDPOINT_KEYS = 1000
"""Idempotency keys that one user may have stored for an endpoint that needs no permission."""
_REQUEST_ID = re.compile(REQUEST_ID)
_JSON_TYPE = re.compile(
    r"""application/(?:json|[a-z0-9!#$&^_.+-]+\+json)(?:\s*;\s*charset="?utf-8"?)?\s*""",
    re.IGNORECASE | re.ASCII,
)


@dataclass(slots=True)
class RequestInfo:
    """A request without its body."""

    method: str
    path: str
    query: str
    """Raw. It may hold a token, so it must not be logged."""
    headers: Headers
    peer: str
    """The address of the socket's other end."""
    request_id: str
    remote_ip: str
    """The client's address, as trusted proxies tell it."""
    parts: Mapping[str, str]
    """What the path names, by the names in its template."""

    @property
    def has_body(self) -> bool:
        """Does the client say that it sends anything?"""
        return announces_body(self.headers)


class Exchange:
    """What becomes of a request; its Host and Origin have been checked before."""

    def __init__(self, context: WebContext, endpoint: Endpoint, asked: RequestInfo) -> None:
        self._context = context
        self._endpoint = endpoint
        self._asked = asked

    async def check(self) -> None:
        """Everything that needs no body: 401, 403, then the request's form."""
        endpoint, asked = self._endpoint, self._asked
        if self._context.manager.is_starting and not endpoint.is_served_at_start:
            raise Starting
        self._actor = await self._authenticate()
        if endpoint.request is not None and self._context.manager.is_draining:
            # What is asked for now would be done for nobody: the connections are going.
            raise Draining("the server is about to stop", retry_after_s=2)
        bad_ids = [
            fault
            for name, value in asked.parts.items()
            if not _is_part(name, value)
            for fault in faults_of(value, UserId if name == USER_PART else Id, name)
        ]
        self._query = read_query(parse_pairs(asked.query), endpoint.query, bad_ids)
        if endpoint.request is not None and asked.has_body:
            _check_media_type(asked.headers)

    async def respond(self, raw: bytes) -> Reply:
        """Read the body, do it, reply; after ``check``."""
        endpoint = self._endpoint
        decoded, body = _read_body(endpoint, raw)
        asked = self._asked
        call = Call(self._actor, asked.parts, self._query, body, asked.peer, asked.headers)
        keys = asked.headers.get_list("Idempotency-Key")
        if keys and endpoint.method == "POST":
            return await self._respond_once(call, keys, decoded)
        reply = await self._perform(call)
        if endpoint.is_page:
            policy = {"Content-Security-Policy": PAGE_POLICY}
            return replace(reply, headers={**reply.headers, **policy})
        return reply

    async def _respond_once(self, call: Call, keys: Sequence[str], decoded: Any) -> Reply:
        """Do it unless it was done under this key already; then give the same reply again.

        A reply with a secret is stored nowhere: asked for again, it is done again.
        """
        context = self._context
        scope = f"{_owner(call.who.claims)} {self._endpoint.method} {self._asked.path}"
        digest = fingerprint(decoded)
        claimed = await claim(
            context.idempotency, keys, scope, digest, context.clock.wall(), self._quota(call)
        )
        if not isinstance(claimed, Claimed):
            return await self._perform(call) if self._endpoint.is_secret else claimed
        # Should the process die between doing and answering, what was stored says that it was done.
        call.actor = replace(call.who, once=(scope, f"{keys[0]} {digest}"))
        async with claimed:
            reply = await self._perform(call)
            await claimed.finish(reply, is_secret=self._endpoint.is_secret)
        return reply

    def _quota(self, call: Call) -> Quota:
        """On whose account a key counts. Who needs no permission gets few, apart from the rest."""
        owner = _owner(call.who.claims)
        if self._endpoint.access == SIGNED_IN:
            return Quota(f"{owner} {self._endpoint.path}", OPEN_ENDPOINT_KEYS)
        return Quota(owner, self._context.settings.max_idempotency_keys_per_user)

    async def _perform(self, call: Call) -> Reply:
        answer = await self._endpoint.handle(self._context, call)
        return answer if isinstance(answer, Reply) else json_reply(answer)

    async def _authenticate(self) -> Actor | None:
        endpoint, asked = self._endpoint, self._asked
        if endpoint.access == PUBLIC or (
            endpoint.is_open_to_loopback and is_local(asked.peer, asked.headers)
        ):
            return None
        actor = Actor(await self._claims(), asked.remote_ip, asked.request_id)
        read_for(actor.claims.sub)  # each request is a task of its own
        if endpoint.access != SIGNED_IN:
            try:
                self._context.permissions.require(actor.claims, endpoint.access)
            except Forbidden as error:
                self._note_denial(actor, error)
                raise
        return actor

    def _note_denial(self, actor: Actor, error: Forbidden) -> None:
        """Put a refused action into the audit trail; of its target only the path is known yet."""
        action, target = self._endpoint.action, _target_in(self._asked.parts)
        if action:
            trail = AuditRecorder(self._context.audit, self._context.clock)
            trail.record(actor, action, target, error.code)

    async def _claims(self) -> Claims:
        credential = extract_credential(
            self._asked.headers.get_list("Authorization"), (), (), (), allow_query_token=False
        )
        verifier = self._context.verifier
        claims = verifier.verify_cached(credential.value)
        return claims if claims is not None else await verifier.verify(credential.value)


def identify(context: WebContext, headers: Headers, peer: str) -> tuple[str, str]:
    """The id of a request, its own or a new one, and the address of its client."""
    given = headers.get_list("X-Request-ID")
    is_usable = len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) is not None
    request_id = given[0] if is_usable else new_id("req", context.clock.wall())
    return request_id, context.proxies.client_address(peer, headers.get_list("X-Forwarded-For"))


def announces_body(headers: Headers) -> bool:
    """Do a request's headers say that there is anything behind them?"""
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def note_failure(
    context: WebContext, method: str, path: str, request_id: str, error: BaseException
) -> None:
    """Count and log what should not have happened."""
    context.manager.statistics.internal_errors += 1
    log.error(
        "request failed method=%s path=%s request_id=%s",
        method,
        path,
        request_id,
        exc_info=(type(error), error, error.__traceback__),
    )


def _read_body(endpoint: Endpoint, raw: bytes) -> tuple[Any, Struct | None]:
    """The body as decoded JSON, and as the endpoint's struct.

    A POST without one takes ``{}`` at most: fields that are ignored, such as the filter that
    somebody believes in, would let it do more than was meant.
    """
    if endpoint.request is None:
        if raw and endpoint.method == "POST":
            read_request(strict_json.decode(raw), NoBody)
        return None, None
    if not raw and endpoint.is_body_optional:
        raw = b"{}"
    if not raw:
        raise BadJson("the body is empty")
    decoded = strict_json.decode(raw)
    return decoded, read_request(decoded, endpoint.request, endpoint.rules)


def _check_media_type(headers: Headers) -> None:
    given = set(headers.get_list("Content-Type"))  # said twice alike is said once
    if not given:
        raise UnsupportedMediaType("Content-Type is missing; send application/json")
    if len(given) > 1 or _JSON_TYPE.fullmatch(given.pop()) is None:
        raise UnsupportedMediaType("send application/json in UTF-8")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without Content-Encoding")


def _owner(claims: Claims) -> str:
    """Whose idempotency keys: a user's, of one organization."""
    mine = claims.organization_id
    return claims.sub if mine is None else f"{mine}/{claims.sub}"


def _is_part(name: str, value: str) -> bool:
    """Is a part of the path a well-formed id of its kind?"""
    return is_user_id(value) if name == USER_PART else is_id(value)


def _target_in(parts: Mapping[str, str]) -> str:
    """The one that a path names, as ``user:u1``; empty without a well-formed id."""
    for name, value in parts.items():
        if _is_part(name, value):
            return f"{name.removesuffix('_id')}:{value}"
    return ""
