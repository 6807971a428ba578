"""Serves the rows of the route table to requests that come through Tornado."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornado.routing import PathMatches, Rule

from wsserver.errors import MethodNotAllowed
from wsserver.web.api.base import BaseHandler
from wsserver.web.api.endpoint import Endpoint
from wsserver.web.api.paths import allowed_methods, pattern_of
from wsserver.web.api.pipeline import Exchange, RequestInfo
from wsserver.web.http import cors


class ApiHandler(BaseHandler):
    """One path of the table, with its endpoints by method."""

    checks_start = True
    endpoints: Mapping[str, Endpoint]

    def initialize(self, route: str, endpoints: Mapping[str, Endpoint]) -> None:
        """Take the path's rows of the table (Tornado's hook)."""
        self.route = route
        self.endpoints = endpoints
        self.allowed_methods = allowed_methods(endpoints)
        self.takes_any_host = any(each.takes_any_host for each in endpoints.values())

    async def check(self) -> None:
        """Look whether the path has such a method, then whatever else needs no body."""
        self._exchange: Exchange | None = None
        request = self.request
        if request.method == "OPTIONS":
            return
        method = "GET" if request.method == "HEAD" else request.method
        endpoint = self.endpoints.get(method or "")
        if endpoint is None:
            raise MethodNotAllowed(f"{request.method} is not served here")
        asked = RequestInfo(
            method=request.method or "",
            path=request.path,
            query=request.query,
            headers=request.headers,
            peer=self.peer,
            request_id=self.request_id,
            remote_ip=self.remote_ip,
            parts=self.path_kwargs,
        )
        self._exchange = Exchange(self.context, endpoint, asked)
        await self._exchange.check()

    async def respond(self) -> None:
        """Do what is asked for, or say what may be asked for."""
        if self._exchange is None:
            self._answer_options()
        else:
            self.write_reply(await self._exchange.respond(self.body))

    def _answer_options(self) -> None:
        self.set_status(204)
        self.set_header("Allow", ", ".join(self.allowed_methods))
        headers = self.request.headers
        if "Origin" in headers and "Access-Control-Request-Method" in headers:
            for name, value in cors.preflight_headers(self.allowed_methods).items():
                self.set_header(name, value)


def rule_for(path: str, handler: type[BaseHandler], **arguments: Any) -> Rule:
    """A Tornado rule for a path template; each ``{name}`` takes one segment, whatever is in it."""
    return Rule(PathMatches(pattern_of(path) + "$"), handler, arguments)
