"""Sign-in of the console: exchanges a token or a ticket for the cookie of a console session."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from tornado.routing import Rule

from wsserver.clock import rfc3339_or_none
from wsserver.errors import (
    AuthAmbiguous,
    Forbidden,
    MethodNotAllowed,
    TokenMissing,
    UnsupportedMediaType,
)
from wsserver.identity.claims import Claims
from wsserver.identity.tokens import LONGEST_TOKEN
from wsserver.protocol import strict_json
from wsserver.protocol.requests import read_request
from wsserver.realtime.access.actor import Actor, AuditRecorder
from wsserver.web.api.console_sessions import HEADER, PATH
from wsserver.web.api.handlers import BaseHandler, rule_for
from wsserver.web.api.pipeline import require_own_origin
from wsserver.web.http.replies import json_reply

ROUTE = f"{PATH}/console/session"
_JSON_TYPE = re.compile(r"application/json(?:;\s*charset=utf-8)?", re.IGNORECASE)


class SignInRequest(Struct, forbid_unknown_fields=True):
    """Exactly one of the two."""

    token: Annotated[str, Meta(min_length=1, max_length=LONGEST_TOKEN)] | UnsetType = UNSET
    ticket: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET


class ConsoleSignIn(BaseHandler):
    """GET tells who is signed in, POST signs in, DELETE signs out; for the console's pages only.

    All need the header of the console, which no form and no page of another origin can send. So
    they are not part of the API.
    """

    allowed_methods = ("GET", "POST", "DELETE", "OPTIONS")

    def initialize(self, route: str) -> None:
        """Set the path (Tornado's hook)."""
        self.route = route

    async def check(self) -> None:
        """Refuse other methods, and requests that are not from a page of the console."""
        if self.request.method not in self.allowed_methods:
            raise MethodNotAllowed(f"{self.request.method} is not served here")
        if self.request.method == "OPTIONS":
            return
        headers = self.request.headers
        require_own_origin(self.context, headers, self.peer)
        if HEADER not in headers:
            raise Forbidden(f"needs the header {HEADER}")
        if self.request.method == "POST":
            if not _JSON_TYPE.fullmatch(headers.get("Content-Type", "").strip()):
                raise UnsupportedMediaType("send application/json in UTF-8")

    async def respond(self) -> None:
        """Sign in or out, or tell who is signed in."""
        if self.request.method == "GET":
            claims = await self.context.console_sessions.known_claims(self.request.headers)
            self._answer(*((claims.sub, claims.exp) if claims else (None, None)))
        elif self.request.method == "POST":
            await self._sign_in()
        elif self.request.method == "DELETE":
            await self._sign_out()
        else:
            self.set_status(204)
            self.set_header("Allow", ", ".join(self.allowed_methods))

    async def _sign_in(self) -> None:
        claims = await self._claims()
        sessions = self.context.console_sessions
        value, ends_at = await sessions.begin(claims)
        self._set_cookie(value, ends_at - self.context.clock.wall())
        self._record(claims, "console_sign_in")
        self._answer(claims.sub, ends_at)

    async def _sign_out(self) -> None:
        sessions, headers = self.context.console_sessions, self.request.headers
        claims = await sessions.known_claims(headers)
        is_signed_out = await sessions.end(headers)
        self._set_cookie("", 0)
        if claims is not None and is_signed_out:
            self._record(claims, "console_sign_out")
        self.write_reply(json_reply({"signed_out": is_signed_out}))

    async def _claims(self) -> Claims:
        """The claims of the token or ticket in the body; a ticket is used up."""
        body = read_request(strict_json.decode(self.body), SignInRequest)
        if body.token is not UNSET and body.ticket is not UNSET:
            raise AuthAmbiguous
        context = self.context
        if body.token is not UNSET:
            return await context.verifier.verify(body.token)
        if body.ticket is UNSET:
            raise TokenMissing("needs a token or a ticket")
        if context.tickets.is_local(body.ticket):
            return context.tickets.redeem(body.ticket)
        return await context.tickets.use(body.ticket)

    def _answer(self, user_id: str | None, ends_at: float | None) -> None:
        """Who is signed in, until when; which extensions there are, and the pages they add."""
        session = {
            "user_id": user_id,
            "ends_at": rfc3339_or_none(ends_at),
            "extensions": sorted(self.context.extensions),
            "pages": [
                page.view(name)
                for name, pages in self.context.console_pages.items()
                for page in pages
            ],
        }
        self.write_reply(json_reply(session))

    def _set_cookie(self, value: str, lasts_s: float) -> None:
        sessions = self.context.console_sessions
        is_secure = self.scheme == "https"
        self.set_header("Set-Cookie", sessions.cookie(value, lasts_s, is_secure=is_secure))

    def _record(self, claims: Claims, action: str) -> None:
        actor = Actor(claims, self.remote_ip, self.request_id)
        trail = AuditRecorder(self.context.audit, self.context.clock)
        trail.record(actor, action, f"user:{claims.sub}")


def console_rules() -> list[Rule]:
    """The path of the sign-in."""
    return [rule_for(ROUTE, ConsoleSignIn, route=ROUTE)]
