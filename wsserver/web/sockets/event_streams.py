"""Event streams (Server-Sent Events) up to their first byte, as Tornado request handlers.

The same connections as those of WebSockets, for clients whose network does not let these through.
After the response has begun, the socket belongs to ``wire``.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

from wsserver.errors import BadRequest, MethodNotAllowed, WsServerError
from wsserver.protocol.types import Position
from wsserver.realtime.connections.connection import CHAT, PLAIN, SESSION, V1
from wsserver.realtime.manager import ConnectRequest
from wsserver.realtime.streams.cursors import FIELD, parse_cursor
from wsserver.web.api.problems import problem_reply
from wsserver.web.api.queries import parse_pairs
from wsserver.web.http import cors
from wsserver.web.http.replies import response_bytes
from wsserver.web.sockets.admission import Admission, Admitted
from wsserver.web.sockets.opening import handshake_request, lose, refusal_of
from wsserver.web.sockets.sockets import (
    METHODS,
    USER_AGENT_LIMIT,
    SocketEndpoint,
    SocketHandler,
)

log = logging.getLogger(__name__)

EVENT_STREAMS: Final = (
    SocketEndpoint("/sse/chat", CHAT, "any valid token", "As `/ws/chat`: any number of sessions"),
    SocketEndpoint(
        "/sse/chat/session/{session_id}",
        SESSION,
        "a token with access to the session",
        "As `/ws/chat/session/{session_id}`: bound to one session",
    ),
)
PARAMETERS: Final = ("protocol", FIELD)
"""Query parameters besides the credential."""
HEADERS: Final = {
    "Content-Type": "text/event-stream",
    # Neither kept nor compressed by a proxy, which would hold events back.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Connection": "close",
}


class EventStreamHandler(SocketHandler):
    """Handles one request for an event stream: refuses it, or opens the connection."""

    async def check(self) -> None:
        """GET opens an event stream; HEAD runs the same checks."""
        if self.request.method not in METHODS:
            raise MethodNotAllowed("an event stream is opened with GET")

    async def respond(self) -> None:
        """Run the checks; refuse, answer a probe, or hand the socket over."""
        if self.request.method == "OPTIONS":
            self._answer_options()
            return
        is_probe = self.request.method == "HEAD"
        try:
            protocol, cursor = self._read_parameters()
            request = handshake_request(
                self._socket.endpoint,
                self.path_kwargs.get("session_id"),
                self.request.query,
                self.request.headers,
                PARAMETERS,
            )
            admitted = await Admission(self.context).decide(request, is_probe=is_probe)
        except WsServerError as refusal:
            self._note(refusal)
            raise
        for name, value in HEADERS.items():
            self.set_header(name, value)
        if is_probe:
            self.context.manager.cancel(admitted.reservation)
            return
        await self._begin(admitted, protocol, cursor)

    def _read_parameters(self) -> tuple[str, Mapping[str, Position]]:
        """The protocol, and the cursor, which is empty for a new stream.

        A browser that reconnects repeats the address, and sends the newer cursor as a header.
        """
        given: dict[str, list[str]] = {name: [] for name in PARAMETERS}
        for name, value in parse_pairs(self.request.query):
            if name in given:
                given[name].append(value)
        for name, values in given.items():
            if len(values) > 1:
                raise BadRequest(f"{name}: given twice", field=name)
        protocol = next(iter(given["protocol"]), PLAIN)
        if protocol not in (V1, PLAIN):
            raise BadRequest(f"protocol: {V1} or {PLAIN}", field="protocol")
        cursors = self.request.headers.get_list("Last-Event-ID") or given[FIELD]
        if len(cursors) > 1:
            raise BadRequest("Last-Event-ID: given twice", field=FIELD)
        return protocol, parse_cursor(cursors[0]) if cursors and cursors[0] else {}

    async def _begin(
        self, admitted: Admitted, protocol: str, cursor: Mapping[str, Position]
    ) -> None:
        request = ConnectRequest(
            claims=admitted.claims,
            endpoint=self._socket.endpoint,
            session_id=self.path_kwargs.get("session_id"),
            protocol=protocol,
            remote_ip=self.remote_ip,
            user_agent=self.request.headers.get("User-Agent", "")[:USER_AGENT_LIMIT],
            reservation=admitted.reservation,
            cursor=cursor,
            is_by_ticket=admitted.is_by_ticket,
        )
        head = self._head()
        taken = self._take_socket(200)
        if taken is None:
            self.context.manager.cancel(admitted.reservation)
            return
        fd, _ = taken
        try:
            await self.context.manager.connect(fd, request, response=head)
        except OSError as error:
            lose(fd, error)
        except Exception as error:  # noqa: BLE001 - the edge: nothing else would close the socket
            refusal = refusal_of(error)
            self._note(refusal)
            self._refuse(fd, refusal)
        except BaseException:
            os.close(fd)
            raise

    def _head(self) -> bytes:
        """The head of the response; its body ends with the connection."""
        lines = [
            "HTTP/1.1 200 OK",
            *(f"{name}: {value}" for name, value in self._headers.get_all()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _refuse(self, fd: int, refusal: WsServerError) -> None:
        """Answer with a problem on a socket that is Tornado's no longer; what fits, is enough."""
        reply = problem_reply(refusal, self.request_id)
        wall = self.context.clock.wall()
        with socket.socket(fileno=fd) as connection:
            try:
                connection.send(response_bytes(reply, self.request_id, wall, is_last=True))
            except OSError as error:
                log.warning("connection lost at the handshake error=%s", error)

    def _answer_options(self) -> None:
        self.set_status(204)
        self.set_header("Allow", ", ".join(METHODS))
        headers = self.request.headers
        if "Origin" in headers and "Access-Control-Request-Method" in headers:
            for name, value in cors.preflight_headers(METHODS).items():
                self.set_header(name, value)
