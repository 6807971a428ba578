"""Fast path for handshakes: decides on a common one without waiting, or leaves it to Tornado."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

from msgspec import Struct

from wsserver.identity.ids import is_id
from wsserver.protocol.ids import new_id
from wsserver.realtime.connections.connection import PLAIN, V1
from wsserver.realtime.manager import ConnectRequest
from wsserver.web.api.context import WebContext
from wsserver.web.http.headers import RequestHead
from wsserver.web.sockets.admission import Admission
from wsserver.web.sockets.opening import (
    Opening,
    agree,
    handshake_request,
    offered_subprotocols,
    switch_protocols,
)
from wsserver.web.sockets.sockets import SOCKETS, USER_AGENT_LIMIT, SocketEndpoint
from wsserver.wire.handshake import check_upgrade

T = TypeVar("T")

_BY_PATH = {each.path: each for each in SOCKETS if "{" not in each.path}
_BOUND = next(each for each in SOCKETS if "{" in each.path)
_BOUND_PREFIX = _BOUND.path.partition("{")[0]


class AcceptedHandshake(Struct):
    """A handshake that passed every check, and its 101 response, which has not been sent."""

    endpoint: SocketEndpoint
    path: str
    connect_request: ConnectRequest
    request_id: str
    response: bytes
    started: float
    """Monotonic seconds."""


class FastHandshake:
    """Opens WebSocket connections without a request object, a stream or a task.

    A handshake is refused in one place only, ``SocketHandler``: here it is accepted, or not decided
    on. ``decide`` and ``open`` belong to one turn of the event loop, so that what was checked by
    the one still holds for the other.
    """

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._admission = Admission(context)

    def decide(self, head: RequestHead, peer: str) -> AcceptedHandshake | None:
        """Check a handshake from the address ``peer``; None: Tornado has to decide on it.

        A ticket is used up only by an accepted handshake.
        """
        target = _find(head.path)
        # Which X-Request-ID is echoed, and what a body means, is decided by the full server.
        if target is None or "X-Request-ID" in head or "Content-Length" in head:
            return None
        endpoint, session_id = target
        context = self._context
        started = context.clock.monotonic()
        try:
            key = check_upgrade(head.method, head)
            if key is None or not self._is_source_allowed(head, peer):
                return None
            agreement = agree(head, context.settings)
            offered = offered_subprotocols(head)
            request = handshake_request(endpoint.endpoint, session_id, head.query, head)
            # The last check, because it uses a ticket up.
            admitted = self._admission.decide_now(request)
            if admitted is None:
                admitted = run_without_waiting(self._admission.decide(request, is_probe=False))
        except Exception:  # noqa: BLE001 - the full server will meet it again, and answer
            return None
        protocol = V1 if V1 in offered else PLAIN
        request_id = new_id("req", context.clock.wall())
        connect_request = ConnectRequest(
            claims=admitted.claims,
            endpoint=endpoint.endpoint,
            session_id=session_id,
            protocol=protocol,
            remote_ip=context.proxies.client_address(peer, head.get_list("X-Forwarded-For")),
            user_agent=head.get("User-Agent")[:USER_AGENT_LIMIT],
            deflate_bits=agreement.window_bits if agreement is not None else 0,
            reservation=admitted.reservation,
        )
        response = switch_protocols(key, protocol, request_id, agreement)
        return AcceptedHandshake(
            endpoint, head.path, connect_request, request_id, response, started
        )

    def open(self, accepted: AcceptedHandshake, connection: socket.socket, rest: bytes) -> None:
        """Answer, and turn the socket into a connection; ``rest`` was received behind the head."""
        context, connect_request = self._context, accepted.connect_request
        opening = Opening(
            context,
            connection.detach(),
            connect_request,
            accepted.request_id,
            accepted.response,
            rest,
        )
        if opening.run_now():
            self._log(accepted)
        else:
            context.tasks.spawn(self._open_later(accepted, opening), name="handshake")

    async def _open_later(self, accepted: AcceptedHandshake, opening: Opening) -> None:
        await opening.run()
        self._log(accepted)

    def _log(self, accepted: AcceptedHandshake) -> None:
        context = self._context
        context.access_log.answered(
            "GET",
            accepted.endpoint.path,
            accepted.path,
            101,
            context.clock.monotonic() - accepted.started,
            accepted.connect_request.remote_ip,
            accepted.request_id,
        )

    def _is_source_allowed(self, head: RequestHead, peer: str) -> bool:
        context = self._context
        host = head.get("Host")
        origins = head.get_list("Origin")
        scheme = context.proxies.scheme(peer, "http", head.get_list("X-Forwarded-Proto"))
        return context.allows_host(host, peer, head) and context.origins.allows(
            ", ".join(origins) if origins else None, host, scheme
        )


def _find(path: str) -> tuple[SocketEndpoint, str | None] | None:
    """The endpoint of a path, and the session named in it."""
    found = _BY_PATH.get(path)
    if found is not None:
        return found, None
    session_id = path.removeprefix(_BOUND_PREFIX)
    if session_id != path and is_id(session_id):
        return _BOUND, session_id
    return None


class WouldWaitError(Exception):
    """A coroutine has to wait for something."""


def run_without_waiting(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; raises ``WouldWaitError`` if it would have to wait."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        value: T = finished.value
        return value
    coroutine.close()
    raise WouldWaitError
