"""Collects the facts over the network, independent ones in parallel, each with a time-out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from importlib import metadata
from typing import Any

from websockets.exceptions import ConnectionClosed

from wsctl.config.target import Target
from wsctl.doctor import network
from wsctl.doctor.background_call import BackgroundCall
from wsctl.doctor.checks.network import is_wsserver
from wsctl.doctor.delivery_probe import deliver
from wsctl.doctor.facts import (
    Configuration,
    Document,
    Facts,
    Maybe,
    Missing,
    Reply,
    answered,
    number,
)
from wsctl.doctor.http_probe import HttpProbe
from wsctl.doctor.websocket_probe import Session, close_text, idle_test, open_session
from wsctl.errors import Failed
from wsctl.http.client import PATIENCE_S

_PING = 10
_NO_CONNECTION = Missing("there is no connection to the server")
_NO_TOKEN = Missing("there is no token")


@dataclass(eq=False, repr=False)
class Collector:
    """Collects the facts of one server.

    ``timeout_s`` bounds each step; ``idle_s``: duration of the idle test; None: no test.
    """

    target: Target
    _: KW_ONLY
    timeout_s: float = PATIENCE_S
    idle_s: float | None = None
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._http = HttpProbe(self.target.url, self.timeout_s)
        self._token: str | None = None

    def run(self) -> Facts:
        """All facts; those that cannot be collected have a reason."""
        began = time.monotonic()
        facts = Facts(self._configuration(), checked_at=self.wall(), own_version=_version())
        facts.claims = _claims(self._token) if self._token is not None else _NO_TOKEN
        unreached = self._reach(facts)
        if unreached is None:
            self._ask(facts)
        else:
            facts.health = facts.whoami = facts.diagnostics = facts.nodes = unreached
            facts.upgrade = facts.greeting = facts.delivery = facts.idle = unreached
        facts.took_s = time.monotonic() - began
        return facts

    def _configuration(self) -> Configuration:
        target, fault = self.target, ""
        if target.token_from:
            try:
                self._token = target.token()
            except Failed as error:
                fault = error.message
        return Configuration(
            url=target.url,
            url_from=target.url_from,
            token_from=target.token_from,
            token_fault=fault,
            is_renewed=target.given_token is None,
        )

    def _reach(self, facts: Facts) -> Missing | None:
        """Name, addresses, certificate; returns why no request can be sent, or None."""
        http = self._http
        deadline = time.monotonic() + self.timeout_s
        facts.name = network.resolve(http.host, http.port, self.timeout_s)
        if isinstance(facts.name, Missing):
            facts.endpoints = Missing("the host name does not resolve")
            facts.tls = _NO_CONNECTION
            return _NO_CONNECTION
        left = max(0.5, deadline - time.monotonic())
        facts.endpoints = network.try_connect(facts.name.addresses, http.port, left)
        if all(endpoint.fault for endpoint in facts.endpoints):
            facts.tls = _NO_CONNECTION
            return _NO_CONNECTION
        if http.is_tls:
            facts.tls = network.handshake(http.host, http.port, self.timeout_s)
            if facts.tls.fault:
                return Missing("the certificate is not trusted, so nothing is sent")
        return None

    def _ask(self, facts: Facts) -> None:
        """HTTP first: without an answer, a WebSocket would only time out as well."""
        health = BackgroundCall(lambda: self._http.ask("GET", "/health"))
        whoami = BackgroundCall(lambda: self._asked("/whoami"))
        diagnostics = BackgroundCall(lambda: self._asked("/diagnostics"))
        nodes = BackgroundCall(lambda: self._asked("/nodes"))
        facts.health, facts.whoami = health.result(), whoami.result()
        facts.diagnostics, facts.nodes = diagnostics.result(), nodes.result()
        if isinstance(facts.health, Missing) or not is_wsserver(facts.health):
            why = Missing("no wsserver answers")
            facts.upgrade = facts.greeting = facts.delivery = facts.idle = why
            for name in ("whoami", "diagnostics", "nodes"):
                if self._token is not None and not isinstance(facts.health, Missing):
                    setattr(facts, name, why)
            return
        idle = BackgroundCall(lambda: self._idle(answered(facts.whoami)))
        self._websocket(facts)
        facts.idle = idle.result()

    def _asked(self, path: str) -> Maybe[Reply]:
        if self._token is None:
            return _NO_TOKEN
        return self._http.ask("GET", path, token=self._token)

    def _idle(self, whoami: Maybe[Document]) -> Maybe[Any]:
        if self.idle_s is None:
            return Missing("not tested")
        stopped = self._blocked(whoami, 2)
        if stopped is not None or self._token is None:
            return stopped or _NO_TOKEN
        url, token = self.target.url, self._token
        return idle_test(url, token, self.idle_s, self.timeout_s)

    def _blocked(self, whoami: Maybe[Document], wanted: int) -> Missing | None:
        """Why this user should not open ``wanted`` connections; None: nothing speaks against it."""
        if self._token is None:
            return _NO_TOKEN
        if isinstance(whoami, Missing):
            # An older server has no /whoami; it refuses an invalid token itself.
            return None if "404" in whoami.why else Missing(whoami.why)
        limit = number(whoami, "limits", "connections")
        has = number(whoami, "connections") or 0
        if limit is None or has + wanted <= limit:
            return None
        return Missing(
            f"its user has {has:.0f} of {limit:.0f} connections, and doctor displaces none"
        )

    def _websocket(self, facts: Facts) -> None:
        """The WebSocket; without a token only whether it passes the proxies."""
        whoami = answered(facts.whoami)
        stopped = self._blocked(whoami, 1)
        token = self._token if stopped is None else None
        url, timeout_s = self.target.url, self.timeout_s
        with open_session(url, token, timeout_s) as (facts.upgrade, session):
            if session is None:
                facts.greeting = facts.delivery = Missing("there is no WebSocket")
            elif stopped is not None or token is None:
                facts.greeting = facts.delivery = stopped or _NO_TOKEN
            else:
                self._converse(facts, session, token, facts.upgrade.seconds)

    def _converse(self, facts: Facts, session: Session, token: str, opened_s: float) -> None:
        facts.delivery = Missing("the server did not accept the connection")
        began = time.monotonic()
        try:
            greeting = session.wait_for(type="connection_established")
            facts.greeting_s = opened_s + time.monotonic() - began
            facts.greeting = greeting
            asked = time.monotonic()
            session.ask(type="ping", ref=_PING)
            facts.round_trip_s = time.monotonic() - asked
        except ConnectionClosed as closed:
            facts.greeting = Missing(close_text(closed)[1])
            return
        except TimeoutError:
            facts.greeting = Missing("the server sent nothing after the handshake")
            return
        facts.delivery = self._deliver(answered(facts.whoami), session, token, greeting)

    def _deliver(
        self, whoami: Maybe[Document], session: Session, token: str, greeting: Document
    ) -> Maybe[Any]:
        if isinstance(whoami, Missing):
            return whoami
        held = whoami.get("permissions")
        held = held if isinstance(held, list) else []
        if "messages:publish" not in held:
            return Missing("the token has no permission messages:publish")
        return deliver(
            self._http,
            session,
            token,
            str(greeting.get("connection_id")),
            any_session=whoami.get("all_sessions") is True,
            trace="messages:read" in held,
        )


def _claims(token: str) -> Maybe[Document]:
    """The claims of a token, without checking its signature."""
    import jwt

    try:
        claims: Document = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        # Never the library's own message: it may quote the token.
        return Missing("not a JWT")
    return claims


def _version() -> str:
    try:
        return metadata.version("wsserver")
    except metadata.PackageNotFoundError:
        return ""
