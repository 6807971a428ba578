"""Admission: decides whether a client may open a WebSocket, before the handshake is answered."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from wsserver.cluster.directory import Reservation
from wsserver.errors import BadRequest, Forbidden, Starting
from wsserver.identity.claims import Claims
from wsserver.identity.extract import Credential, extract_credential
from wsserver.identity.ids import ID_FORM, is_id
from wsserver.realtime.connections.connection import MONITOR
from wsserver.web.api.context import WebContext
from wsserver.web.api.queries import parse_pairs


class HandshakeRequest(Struct, frozen=True):
    """The part of a handshake that admission depends on."""

    endpoint: str
    session_id: str | None
    query: str
    """Raw. It may hold a token, so a ``HandshakeRequest`` must not be logged."""
    authorization: Sequence[str]
    """Values of the header."""
    subprotocols: Sequence[str]
    """Values of ``Sec-WebSocket-Protocol``."""
    other_parameters: Sequence[str] = ()
    """Query parameters that the caller reads itself."""

    def __repr__(self) -> str:
        return f"<HandshakeRequest {self.endpoint}>"


class Admitted(Struct):
    """A client that may connect; the reservation is to be passed on, or cancelled."""

    claims: Claims
    reservation: Reservation
    is_by_ticket: bool = False
    """Whether the client has no token, perhaps, but only a ticket that is used up now."""


class Admission:
    """Checks a handshake in the order of the contract; its caller has checked Host and Origin."""

    def __init__(self, context: WebContext) -> None:
        self._verifier = context.verifier
        self._tickets = context.tickets
        self._access = context.manager.sessions.access
        self._manager = context.manager
        self._room = context.manager.room
        self._allow_query_token = context.settings.allow_query_token

    async def decide(self, request: HandshakeRequest, *, is_probe: bool) -> Admitted:
        """Return the client's claims, or raise the reason of a refusal.

        A probe (a GET without an upgrade) leaves a ticket unused. For a user with the maximum
        number of connections this waits until the silent ones have been pinged. There is no
        ``await`` behind ``admit``, so its result still holds when this returns. The caller has to
        pass the reservation on, or to cancel it.
        """
        if self._manager.is_starting:
            raise Starting  # revoked tokens are not loaded yet
        credential = self._read(request)
        claims = await self._identify(request, credential)
        reservation = self._room.reserve(claims.sub)
        try:
            if not isinstance(reservation, Reservation):
                reservation = await reservation
                claims = await self._identify(request, credential)  # it may have changed meanwhile
            self._manager.admit(claims)
            if credential.kind == "ticket" and not is_probe:
                if self._tickets.is_local(credential.value):
                    self._tickets.redeem(credential.value)
                else:
                    claims = await self._tickets.use(credential.value)
                    self._manager.admit(claims)
        except BaseException:
            if isinstance(reservation, Reservation):
                self._manager.cancel(reservation)
            raise
        return Admitted(claims, reservation, credential.kind == "ticket")

    def decide_now(self, request: HandshakeRequest) -> Admitted | None:
        """``decide`` of a handshake with a token, as most are; None: it has to be awaited."""
        if self._manager.is_starting:
            raise Starting
        credential = self._read(request)
        if credential.kind == "ticket":
            return None
        claims = self._verifier.verify_now(credential.value)
        if claims is None:
            return None
        session_id = request.session_id
        if session_id is not None and self._access.needs_preparing(claims, session_id):
            return None
        self._check_access(request, claims)
        reservation = self._room.reserve_now(claims.sub)
        if reservation is None:
            return None
        try:
            self._manager.admit(claims)
        except BaseException:
            self._manager.cancel(reservation)
            raise
        return Admitted(claims, reservation)

    async def _identify(self, request: HandshakeRequest, credential: Credential) -> Claims:
        if credential.kind == "ticket":
            claims = await self._tickets.find(credential.value)
        else:
            claims = await self._verifier.verify(credential.value)
        if request.session_id is not None:
            await self._access.prepare(claims, request.session_id)
        self._check_access(request, claims)
        return claims

    def _check_access(self, request: HandshakeRequest, claims: Claims) -> None:
        if request.endpoint == MONITOR and not self._access.allows_monitoring(claims):
            raise Forbidden("needs the permission monitor and a role of all organizations")
        if request.session_id is not None:
            self._access.require(claims, request.session_id)

    def _read(self, request: HandshakeRequest) -> Credential:
        if request.session_id is not None and not is_id(request.session_id):
            raise BadRequest(f"session_id: {ID_FORM}", field="session_id")
        parameters: dict[str, list[str]] = {"ticket": [], "token": []}
        for name, value in parse_pairs(request.query):
            if name in request.other_parameters:
                continue
            if name not in parameters:
                raise BadRequest("unknown query parameter")
            parameters[name].append(value)
        return extract_credential(
            request.authorization,
            request.subprotocols,
            parameters["ticket"],
            parameters["token"],
            self._allow_query_token,
        )
