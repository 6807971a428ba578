"""The WebSocket endpoints up to the handshake; from then on the connection is the wire's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wsserver.config import Settings
from wsserver.errors import BadRequest, MethodNotAllowed, UpgradeRequired, WsServerError
from wsserver.identity.claims import Claims
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection import CHAT, MONITOR, PLAIN, SESSION, V1
from wsserver.realtime.manager import Newcomer
from wsserver.web.api.context import WebContext
from wsserver.web.api.handlers import BaseHandler
from wsserver.web.api.problems import InternalError
from wsserver.web.sockets.admission import Admission, HandshakeRequest
from wsserver.wire.detach import take_socket
from wsserver.wire.extensions import Agreement, negotiate
from wsserver.wire.handshake import (
    HandshakeError,
    Headers,
    accept_key,
    check_upgrade,
    list_items,
    response_bytes,
)
from wsserver.wire.poller import Poller
from wsserver.wire.transport import Transport

log = logging.getLogger(__name__)

USER_AGENT_LIMIT = 256
METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Socket:
    """One WebSocket endpoint."""

    path: str
    endpoint: str
    access: str
    summary: str


SOCKETS = (
    Socket("/ws/chat", CHAT, "any valid token", "Join and leave any number of sessions"),
    Socket(
        "/ws/chat/session/{session_id}",
        SESSION,
        "a token with access to the session",
        "Bound to one session, joined from the start",
    ),
    Socket(
        "/ws/admin/monitor",
        MONITOR,
        "monitor",
        "Live statistics, user status and events; admin commands",
    ),
)


class RefusedOwner:
    """Owns the socket of a client that was let in only to be told why not."""

    __slots__ = ()

    def on_text(self, transport: Transport, payload: bytes) -> None:
        """Nothing is listened to."""

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        """Nothing is listened to."""

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        """The wire has answered."""

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        """Nothing was asked."""

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """It has been told."""


_REFUSED = RefusedOwner()  # stateless: one for all


class SocketHandler(BaseHandler):
    """Decides on a handshake, then hands the socket over and is done."""

    allowed_methods = METHODS
    checks_start = True  # a client that reads close codes gets one

    def initialize(self, socket: Socket) -> None:
        """Take the endpoint's description (Tornado's hook)."""
        self._socket = socket
        self.route = socket.path

    async def check(self) -> None:
        """Only GET opens a WebSocket (RFC 6455 §4.1)."""
        if self.request.method not in METHODS:
            raise MethodNotAllowed("a WebSocket is opened with GET")

    async def respond(self) -> None:
        """Run the checks; refuse, answer a probe, or hand the socket over."""
        if self.request.method == "OPTIONS":
            self.set_status(204)
            self.set_header("Allow", ", ".join(METHODS))
            return
        key, agreement, fault = self._read_upgrade()
        is_v1 = V1 in offered_subprotocols(self.request.headers)
        try:
            admission = Admission(self.context)
            claims = await admission.decide(self._knock(), is_probe=key is None)
        except WsServerError as refusal:
            self._note(refusal)
            if key is None or not is_v1:
                raise
            self._let_in_and_close(key, refusal)
            return
        except Exception as error:
            if key is None or not is_v1:
                raise
            self.log_exception(type(error), error, error.__traceback__)
            self._let_in_and_close(key, InternalError())
            return
        if fault is not None:
            self._refuse_fault(fault)
        if key is None:
            raise UpgradeRequired("this is a WebSocket; you would be let in")
        await self._hand_over(key, claims, V1 if is_v1 else PLAIN, agreement)

    def _read_upgrade(self) -> tuple[str | None, Agreement | None, HandshakeError | None]:
        """The key of an upgrade, what is agreed on with it, and what is wrong with it."""
        request = self.request
        try:
            key = check_upgrade(request.method or "", request.headers)
            agreement = agree(request.headers, self.context.settings) if key else None
        except HandshakeError as fault:
            return None, None, fault
        if key is not None and request.version != "HTTP/1.1":
            return None, None, HandshakeError(400, "a WebSocket needs HTTP/1.1")
        return key, agreement, None

    def _refuse_fault(self, fault: HandshakeError) -> None:
        if fault.status == 426:
            raise UpgradeRequired(fault.reason)
        raise BadRequest(fault.reason)

    def _knock(self) -> HandshakeRequest:
        request = self.request
        session_id = self.path_kwargs.get("session_id")
        return knock_of(self._socket, session_id, request.query, request.headers)

    async def _hand_over(
        self, key: str, claims: Claims, protocol: str, agreement: Agreement | None
    ) -> None:
        bits = agreement.window_bits if agreement is not None else 0
        newcomer = Newcomer(
            claims=claims,
            endpoint=self._socket.endpoint,
            session_id=self.path_kwargs.get("session_id"),
            protocol=protocol,
            remote_ip=self.remote_ip,
            user_agent=self.request.headers.get("User-Agent", "")[:USER_AGENT_LIMIT],
            deflate_bits=bits,
        )
        taken = self._take_socket()
        if taken is None:
            return
        fd, received = taken
        response = switch_protocols(key, protocol, self.request_id, agreement)
        await take_in(self.context, fd, newcomer, self.request_id, response, received)

    def _note(self, refusal: WsServerError) -> None:
        note_refusal(self.context, refusal, self._socket.endpoint, self.remote_ip, self.request_id)

    def _let_in_and_close(self, key: str, refusal: WsServerError) -> None:
        taken = self._take_socket()
        if taken is None:
            return
        fd, received = taken
        response = switch_protocols(key, V1, self.request_id, None)
        _close_with(self.context.poller, fd, response, received, refusal)

    def _take_socket(self) -> tuple[int, bytes] | None:
        """Take the socket out of HTTP's hands; None if the client has gone."""
        self.set_status(101)
        stream = self.detach()
        self._end()
        self._log()
        try:
            return take_socket(stream)
        except OSError as error:
            log.warning("connection lost at the handshake error=%s", error)
            stream.close()
            return None


class _Headers(Protocol):
    def get_list(self, name: str) -> Sequence[str]: ...


async def take_in(
    context: WebContext,
    fd: int,
    newcomer: Newcomer,
    request_id: str,
    response: bytes,
    received: bytes = b"",
) -> None:
    """Make a connection of a socket whose handshake was good; the socket is ours from here on.

    ``response`` answers the handshake. HTTP is over with it: only a close code can tell why
    somebody has to leave again at once.
    """
    try:
        await context.manager.connect(fd, newcomer, response=response, received=received)
    except WsServerError as refusal:
        note_refusal(context, refusal, newcomer.endpoint, newcomer.remote_ip, request_id)
        _close_with(context.poller, fd, response, received, refusal, newcomer.deflate_bits)
    except OSError as error:
        log.warning("connection lost at the handshake error=%s", error)


def note_refusal(
    context: WebContext, refusal: WsServerError, endpoint: str, remote_ip: str, request_id: str
) -> None:
    """Count and log somebody who was not let in."""
    context.traffic.refused[refusal.code] += 1
    log.info(
        "handshake refused endpoint=%s code=%s remote_ip=%s request_id=%s",
        endpoint,
        refusal.code,
        remote_ip,
        request_id,
    )


def knock_of(
    socket: Socket, session_id: str | None, query: str, headers: _Headers
) -> HandshakeRequest:
    """What a client says when it wants to come in; ``query`` is raw."""
    return HandshakeRequest(
        endpoint=socket.endpoint,
        session_id=session_id,
        query=query,
        authorization=headers.get_list("Authorization"),
        subprotocols=headers.get_list("Sec-WebSocket-Protocol"),
    )


def offered_subprotocols(headers: _Headers) -> list[str]:
    """The subprotocols that a client would speak."""
    return list_items(",".join(headers.get_list("Sec-WebSocket-Protocol")))


def agree(headers: Headers, settings: Settings) -> Agreement | None:
    """What extension a client and this server use, if any.

    Raises ``HandshakeError`` for a malformed offer, which is looked at only where it matters.
    """
    return negotiate(headers.get("Sec-WebSocket-Extensions", "")) if settings.compression else None


def switch_protocols(
    key: str, protocol: str, request_id: str, agreement: Agreement | None
) -> bytes:
    """The answer to a good handshake."""
    extra = [("X-Request-ID", request_id)]
    if agreement is not None:
        extra.append(("Sec-WebSocket-Extensions", agreement.answer))
    return response_bytes(accept_key(key), V1 if protocol == V1 else None, extra)


def _close_with(
    poller: Poller,
    fd: int,
    response: bytes,
    received: bytes,
    refusal: WsServerError,
    deflate_bits: int = 0,
) -> None:
    """Answer a handshake and close at once, so that a script in a browser learns the reason."""
    meaning = refusal.meaning
    code = meaning.close
    if code is None:
        code = CloseCode.TRY_LATER if meaning.temporary else CloseCode.POLICY
    try:
        transport = poller.adopt(
            fd, _REFUSED, first=received, greeting=response, deflate_bits=deflate_bits
        )
    except OSError as error:
        log.warning("connection lost at the handshake error=%s", error)
        return
    transport.close(code, refusal.message)
