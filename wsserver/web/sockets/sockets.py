"""WebSocket endpoints and their opening handshakes, as Tornado request handlers.

After the handshake the socket belongs to ``wire``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from wsserver.errors import BadRequest, MethodNotAllowed, UpgradeRequired, WsServerError
from wsserver.realtime.connections.connection import CHAT, MONITOR, PLAIN, SESSION, V1
from wsserver.realtime.manager import ConnectRequest
from wsserver.web.api.handlers import BaseHandler
from wsserver.web.api.problems import InternalError
from wsserver.web.sockets.admission import Admission, Admitted, HandshakeRequest
from wsserver.web.sockets.opening import (
    Opening,
    agree,
    close_with,
    handshake_request,
    note_refusal,
    offered_subprotocols,
    switch_protocols,
)
from wsserver.wire.handshake import Agreement, HandshakeError, check_upgrade
from wsserver.wire.sockets import take_socket

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
        return handshake_request(self._socket.endpoint, session_id, request.query, request.headers)

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
        close_with(self.context.poller, fd, response, received, refusal)

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
