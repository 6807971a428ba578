"""WebSocket endpoints and their opening handshakes, as Tornado request handlers.

After the handshake the socket belongs to ``wire``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from wsserver.config import Settings
from wsserver.errors import BadRequest, MethodNotAllowed, UpgradeRequired, WsServerError
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connections.connection import CHAT, MONITOR, PLAIN, SESSION, V1
from wsserver.realtime.manager import ConnectRequest
from wsserver.web.api.context import WebContext
from wsserver.web.api.handlers import BaseHandler
from wsserver.web.api.problems import InternalError
from wsserver.web.http.headers import Headers
from wsserver.web.sockets.admission import Admission, Admitted, HandshakeRequest
from wsserver.wire.handshake import (
    Agreement,
    HandshakeError,
    accept_key,
    check_upgrade,
    list_items,
    negotiate,
    response_bytes,
)
from wsserver.wire.poller import Poller
from wsserver.wire.sockets import take_socket
from wsserver.wire.transport import Transport

log = logging.getLogger(__name__)

USER_AGENT_LIMIT = 256
METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class SocketEndpoint:
    """One WebSocket endpoint, or one of event streams."""

    path: str
    endpoint: str
    access: str
    summary: str


SOCKETS = (
    SocketEndpoint("/ws/chat", CHAT, "any valid token", "Join and leave any number of sessions"),
    SocketEndpoint(
        "/ws/chat/session/{session_id}",
        SESSION,
        "a token with access to the session",
        "Bound to one session, joined from the start",
    ),
    SocketEndpoint(
        "/ws/admin/monitor",
        MONITOR,
        "monitor",
        "Live statistics, user status and events; admin commands",
    ),
)


class RefusedOwner:
    """Owner of a connection that is opened only to close it with the reason of a refusal."""

    __slots__ = ()

    def on_text(self, transport: Transport, payload: bytes) -> None:
        """Ignored."""

    def on_binary(self, transport: Transport, payload: bytes) -> None:
        """Ignored."""

    def on_ping(self, transport: Transport, payload: bytes) -> None:
        """Ignored: ``wire`` has answered."""

    def on_pong(self, transport: Transport, payload: bytes) -> None:
        """Ignored."""

    def on_close(self, transport: Transport, code: int, reason: str, clean: bool) -> None:
        """Ignored: the refusal was logged already."""


_REFUSED = RefusedOwner()
"""Stateless, so one for all connections."""


class SocketHandler(BaseHandler):
    """Handles one handshake: refuses it, or detaches the socket and opens the connection."""

    allowed_methods = METHODS
    checks_start = True  # v1 clients get a close code instead of 503

    def initialize(self, socket: SocketEndpoint) -> None:
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
            admitted = await admission.decide(self._handshake_request(), is_probe=key is None)
        except WsServerError as refusal:
            self._note(refusal)
            if key is None or not is_v1:
                raise
            self._open_and_close(key, refusal)
            return
        except Exception as error:
            if key is None or not is_v1:
                raise
            self.log_exception(type(error), error, error.__traceback__)
            self._open_and_close(key, InternalError())
            return
        if key is None:
            self.context.manager.cancel(admitted.reservation)
            if fault is not None:
                self._refuse_fault(fault)
            raise UpgradeRequired("this is a WebSocket endpoint; the credentials are valid")
        await self._open(key, admitted, V1 if is_v1 else PLAIN, agreement)

    def _read_upgrade(self) -> tuple[str | None, Agreement | None, HandshakeError | None]:
        """The client's key and the extension agreed on, or why the upgrade is invalid."""
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

    def _handshake_request(self) -> HandshakeRequest:
        request = self.request
        session_id = self.path_kwargs.get("session_id")
        return handshake_request(self._socket, session_id, request.query, request.headers)

    async def _open(
        self, key: str, admitted: Admitted, protocol: str, agreement: Agreement | None
    ) -> None:
        bits = agreement.window_bits if agreement is not None else 0
        connect_request = ConnectRequest(
            claims=admitted.claims,
            endpoint=self._socket.endpoint,
            session_id=self.path_kwargs.get("session_id"),
            protocol=protocol,
            remote_ip=self.remote_ip,
            user_agent=self.request.headers.get("User-Agent", "")[:USER_AGENT_LIMIT],
            deflate_bits=bits,
            reservation=admitted.reservation,
        )
        taken = self._take_socket()
        if taken is None:
            self.context.manager.cancel(admitted.reservation)
            return
        fd, received = taken
        response = switch_protocols(key, protocol, self.request_id, agreement)
        await Opening(self.context, fd, connect_request, self.request_id, response, received).run()

    def _note(self, refusal: WsServerError) -> None:
        note_refusal(self.context, refusal, self._socket.endpoint, self.remote_ip, self.request_id)

    def _open_and_close(self, key: str, refusal: WsServerError) -> None:
        taken = self._take_socket()
        if taken is None:
            return
        fd, received = taken
        response = switch_protocols(key, V1, self.request_id, None)
        _close_with(self.context.poller, fd, response, received, refusal)

    def _take_socket(self, status: int = 101) -> tuple[int, bytes] | None:
        """Detach the socket from Tornado: descriptor, bytes received; None if it is closed.

        ``status`` of the response, which is sent by somebody else, for the log.
        """
        self.set_status(status)
        stream = self.detach()
        self._end()
        self._log()
        try:
            return take_socket(stream)
        except OSError as error:
            log.warning("connection lost at the handshake error=%s", error)
            stream.close()
            return None


class Opening(Struct):
    """Opens a connection on the socket of a valid handshake, and owns its descriptor.

    A refusal at this point is a close code, as the 101 goes out before it.
    """

    context: WebContext
    fd: int
    request: ConnectRequest
    request_id: str
    response: bytes
    """The 101."""
    received: bytes = b""
    """Bytes behind the handshake."""

    async def run(self) -> None:
        """Open it, or close it with a code."""
        connect = self.context.manager.connect
        try:
            await connect(self.fd, self.request, response=self.response, received=self.received)
        except (WsServerError, OSError) as error:
            self._fail(error)

    def run_now(self) -> bool:
        """The same without waiting; False: ``run`` has to be awaited."""
        connect = self.context.manager.connect_now
        try:
            opened = connect(self.fd, self.request, response=self.response, received=self.received)
        except (WsServerError, OSError) as error:
            self._fail(error)
            return True
        return opened is not None

    def _fail(self, error: WsServerError | OSError) -> None:
        if isinstance(error, OSError):
            log.warning("connection lost at the handshake error=%s", error)
            return
        context, request = self.context, self.request
        note_refusal(context, error, request.endpoint, request.remote_ip, self.request_id)
        _close_with(
            context.poller, self.fd, self.response, self.received, error, request.deflate_bits
        )


def note_refusal(
    context: WebContext, refusal: WsServerError, endpoint: str, remote_ip: str, request_id: str
) -> None:
    """Count and log a refused handshake."""
    context.traffic.refused[refusal.code] += 1
    log.info(
        "handshake refused endpoint=%s code=%s remote_ip=%s request_id=%s",
        endpoint,
        refusal.code,
        remote_ip,
        request_id,
    )


def handshake_request(
    socket: SocketEndpoint,
    session_id: str | None,
    query: str,
    headers: Headers,
    other_parameters: Sequence[str] = (),
) -> HandshakeRequest:
    """The part of a request that admission needs; ``query`` is raw."""
    return HandshakeRequest(
        endpoint=socket.endpoint,
        session_id=session_id,
        query=query,
        authorization=headers.get_list("Authorization"),
        subprotocols=() if other_parameters else headers.get_list("Sec-WebSocket-Protocol"),
        other_parameters=other_parameters,
    )


def offered_subprotocols(headers: Headers) -> list[str]:
    """The subprotocols that a client offers."""
    return list_items(",".join(headers.get_list("Sec-WebSocket-Protocol")))


def agree(headers: Headers, settings: Settings) -> Agreement | None:
    """Negotiate compression, if it is configured.

    Raises ``HandshakeError`` for a malformed offer.
    """
    return negotiate(headers.get("Sec-WebSocket-Extensions", "")) if settings.compression else None


def switch_protocols(
    key: str, protocol: str, request_id: str, agreement: Agreement | None
) -> bytes:
    """The 101 response to a valid handshake."""
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
    """Answer a handshake with 101 and close: scripts in a browser can read close codes only."""
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
