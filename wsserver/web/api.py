"""Serves the rows of the route table: token, permission, path, query, body, answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from msgspec import Struct
from tornado.routing import PathMatches, Rule

from wsserver.errors import (
    BadJson,
    BadRequest,
    Draining,
    MethodNotAllowed,
    UnsupportedMediaType,
)
from wsserver.identity.claims import Claims
from wsserver.identity.extract import extract_credential
from wsserver.identity.ids import is_id
from wsserver.identity.loopback import is_loopback
from wsserver.protocol import strict_json
from wsserver.protocol.requests import read_request
from wsserver.realtime.actor import Actor, Trail
from wsserver.web import cors
from wsserver.web.base import BaseHandler
from wsserver.web.context import WebContext
from wsserver.web.endpoint import PUBLIC, SIGNED_IN, Call, Endpoint, Reply, json_reply
from wsserver.web.idempotency import Claimed, claim, fingerprint
from wsserver.web.proxies import FORWARDING_HEADERS
from wsserver.web.queries import parse_pairs, read_query

PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
_JSON_TYPE = re.compile(
    r"""application/(?:json|[a-z0-9!#$&^_.+-]+\+json)(?:\s*;\s*charset="?utf-8"?)?\s*""",
    re.IGNORECASE | re.ASCII,
)
_NAME = re.compile(r"\{([a-z_]+)\}")


class ApiHandler(BaseHandler):
    """One path of the table, with its endpoints by method."""

    endpoints: Mapping[str, Endpoint]

    def initialize(self, route: str, endpoints: Mapping[str, Endpoint]) -> None:
        """Take the path's rows of the table (Tornado's hook)."""
        self.route = route
        self.endpoints = endpoints
        self.allowed_methods = allowed_methods(endpoints)
        self.takes_any_host = any(each.takes_any_host for each in endpoints.values())

    async def check(self) -> None:
        """Everything that needs no body: 405, 401, 403, then the request's form."""
        self._endpoint: Endpoint | None = None
        self._is_preflight = self.request.method == "OPTIONS"
        if self._is_preflight:
            return
        method = "GET" if self.request.method == "HEAD" else self.request.method
        endpoint = self.endpoints.get(method or "")
        if endpoint is None:
            raise MethodNotAllowed(f"{self.request.method} is not served here")
        self._endpoint = endpoint
        self._actor = await self._authenticate(endpoint)
        if endpoint.request is not None and self.context.manager.is_draining:
            # What is asked for now would be done for nobody: the connections are going.
            raise Draining("the server is about to stop", retry_after_s=2)
        self._path = _read_path(self.path_kwargs)
        self._query = read_query(parse_pairs(self.request.query), endpoint.query)
        if endpoint.request is not None and self.has_body:
            self._check_media_type()

    async def respond(self) -> None:
        """Read the body, do it, answer."""
        endpoint = self._endpoint
        if endpoint is None:
            self._answer_options()
            return
        if endpoint.is_page:
            self.set_header("Content-Security-Policy", PAGE_POLICY)
        decoded, body = self._read_body(endpoint)
        call = Call(self._actor, self._path, self._query, body)
        keys = self.request.headers.get_list("Idempotency-Key")
        if endpoint.method != "POST" or not keys:
            self.write_reply(await _perform(self.context, endpoint, call))
        else:
            await self._respond_once(endpoint, call, keys, decoded)

    async def _respond_once(
        self, endpoint: Endpoint, call: Call, keys: Sequence[str], decoded: Any
    ) -> None:
        """Do it unless it was done under this key already; then give the same answer again."""
        context = self.context
        scope = f"{call.who.claims.sub} {endpoint.method} {self.request.path}"
        digest = fingerprint(decoded)
        claimed = await claim(context.idempotency, keys, scope, digest, context.clock.wall())
        if not isinstance(claimed, Claimed):
            self.write_reply(claimed)
            return
        # Should the process die between doing and answering, what was stored says that it was done.
        call.actor = replace(call.who, once=(scope, f"{keys[0]} {digest}"))
        async with claimed:
            reply = await _perform(context, endpoint, call)
            await claimed.finish(reply)
        self.write_reply(reply)

    def _answer_options(self) -> None:
        self.set_status(204)
        self.set_header("Allow", ", ".join(self.allowed_methods))
        headers = self.request.headers
        if "Origin" in headers and "Access-Control-Request-Method" in headers:
            for name, value in cors.preflight_headers(self.allowed_methods).items():
                self.set_header(name, value)

    async def _authenticate(self, endpoint: Endpoint) -> Actor | None:
        if endpoint.access == PUBLIC or (endpoint.is_open_to_loopback and self._is_from_here()):
            return None
        actor = Actor(await self._claims(), self.remote_ip, self.request_id)
        if endpoint.access != SIGNED_IN:
            with self._noting_denials(endpoint, actor):
                self.context.permissions.require(actor.claims, endpoint.access)
        return actor

    def _noting_denials(self, endpoint: Endpoint, actor: Actor) -> AbstractContextManager[None]:
        """Put a refused action into the audit trail; of its target only the path is known yet."""
        if not endpoint.action:
            return nullcontext()
        trail = Trail(self.context.audit, self.context.clock)
        return trail.denials(actor, endpoint.action, _target_in(self.path_kwargs))

    async def _claims(self) -> Claims:
        credential = extract_credential(
            self.request.headers.get_list("Authorization"), (), (), (), allow_query_token=False
        )
        verifier = self.context.verifier
        claims = verifier.verify_cached(credential.value)
        return claims if claims is not None else await verifier.verify(credential.value)

    def _is_from_here(self) -> bool:
        """Does the request come from this machine itself, and not through a proxy on it?"""
        headers = self.request.headers
        return is_loopback(self.peer) and not any(name in headers for name in FORWARDING_HEADERS)

    def _check_media_type(self) -> None:
        headers = self.request.headers
        given = set(headers.get_list("Content-Type"))  # said twice alike is said once
        if not given:
            raise UnsupportedMediaType("Content-Type is missing; send application/json")
        if len(given) > 1 or _JSON_TYPE.fullmatch(given.pop()) is None:
            raise UnsupportedMediaType("send application/json in UTF-8")
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("send the body without Content-Encoding")

    def _read_body(self, endpoint: Endpoint) -> tuple[Any, Struct | None]:
        """The body as decoded JSON, and as the endpoint's struct."""
        if endpoint.request is None:
            return None, None
        raw = self.body
        if not raw and endpoint.is_body_optional:
            raw = b"{}"
        if not raw:
            raise BadJson("the body is empty")
        decoded = strict_json.decode(raw)
        return decoded, read_request(decoded, endpoint.request)


def _target_in(parts: Mapping[str, str]) -> str:
    """The one that a path names, as ``user:u1``; empty without a well-formed id."""
    for name, value in parts.items():
        if is_id(value):
            return f"{name.removesuffix('_id')}:{value}"
    return ""


async def _perform(context: WebContext, endpoint: Endpoint, call: Call) -> Reply:
    answer = await endpoint.handle(context, call)
    return answer if isinstance(answer, Reply) else json_reply(answer)


def _read_path(parts: Mapping[str, str]) -> dict[str, str]:
    for name, value in parts.items():
        if not is_id(value):
            raise BadRequest(
                f"{name}: 1-128 characters of A-Z a-z 0-9 . _ : @ -, nothing else", field=name
            )
    return dict(parts)


def allowed_methods(methods: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """What ``Allow`` says for a path with these methods."""
    extra = ("HEAD", "OPTIONS") if "GET" in methods else ("OPTIONS",)
    return (*sorted(methods), *extra)


def rule_for(path: str, handler: type[BaseHandler], **arguments: Any) -> Rule:
    """A Tornado rule for a path template; each ``{name}`` takes one segment, whatever is in it."""
    pattern = _NAME.sub(r"(?P<\1>[^/]*)", path.replace(".", r"\."))
    return Rule(PathMatches(pattern + "$"), handler, arguments)
