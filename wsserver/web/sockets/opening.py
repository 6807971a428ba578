"""``Opening``: a connection on the socket of a valid handshake; the parts of a handshake."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from msgspec import Struct

from wsserver.config import Settings
from wsserver.errors import WsServerError
from wsserver.protocol.close_codes import CloseCode
from wsserver.realtime.connecting import ConnectRequest
from wsserver.realtime.connections.connection import V1
from wsserver.web.api.context import WebContext
from wsserver.web.http.headers import Headers
from wsserver.web.sockets.admission import HandshakeRequest
from wsserver.wire.handshake import Agreement, accept_key, list_items, negotiate, response_bytes
from wsserver.wire.poller import Poller
from wsserver.wire.transport import Transport

log = logging.getLogger(__name__)


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
        except Exception as error:  # noqa: BLE001 - the edge: nothing else would close the socket
            self._fail(error)
        except BaseException:
            os.close(self.fd)
            raise

    def run_now(self) -> bool:
        """The same without waiting; False: ``run`` has to be awaited."""
        connect = self.context.manager.connect_now
        try:
            opened = connect(self.fd, self.request, response=self.response, received=self.received)
        except Exception as error:  # noqa: BLE001 - the edge: nothing else would close the socket
            self._fail(error)
            return True
        return opened is not None

    def _fail(self, error: Exception) -> None:
        if isinstance(error, OSError):
            lose(self.fd, error)
            return
        context, request = self.context, self.request
        refusal = refusal_of(error)
        note_refusal(context, refusal, request.endpoint, request.remote_ip, self.request_id)
        close_with(
            context.poller, self.fd, self.response, self.received, refusal, request.deflate_bits
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
    endpoint: str,
    session_id: str | None,
    query: str,
    headers: Headers,
    other_parameters: Sequence[str] = (),
) -> HandshakeRequest:
    """The part of a request that admission needs; ``query`` is raw."""
    return HandshakeRequest(
        endpoint=endpoint,
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


def refusal_of(error: Exception) -> WsServerError:
    """What a client is told of an error; one that was not expected is logged."""
    if isinstance(error, WsServerError):
        return error
    log.error("connection not opened", exc_info=error)
    return WsServerError()


def lose(fd: int, error: Exception) -> None:
    """Close the socket of a handshake that can be neither accepted nor refused."""
    log.warning("connection lost at the handshake error=%s", error)
    os.close(fd)


def close_with(
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
    except (OSError, ValueError) as error:
        lose(fd, error)
        return
    transport.close(code, refusal.message)
