"""Who may open a WebSocket: one decision, made before the handshake is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsserver.errors import BadRequest, Forbidden, Starting
from wsserver.identity.claims import Claims
from wsserver.identity.extract import Credential, extract_credential
from wsserver.identity.ids import is_id
from wsserver.realtime.connections.connection import MONITOR
from wsserver.web.api.context import WebContext
from wsserver.web.api.queries import parse_pairs

_PARAMETERS = ("ticket", "token")


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """What a client says when it wants to come in."""

    endpoint: str
    session_id: str | None
    query: str
    """Raw. It may hold a token, so a ``HandshakeRequest`` must not be logged."""
    authorization: Sequence[str]
    """Values of the header."""
    subprotocols: Sequence[str]
    """Values of ``Sec-WebSocket-Protocol``."""

    def __repr__(self) -> str:
        return f"<Knock {self.endpoint}>"


class Admission:
    """Decides, in the contract's order; Host and Origin have been checked before."""

    def __init__(self, context: WebContext) -> None:
        self._verifier = context.verifier
        self._tickets = context.tickets
        self._access = context.manager.sessions.access
        self._manager = context.manager
        self._room = context.manager.room
        self._allow_query_token = context.settings.allow_query_token

    async def decide(self, knock: HandshakeRequest, *, is_probe: bool) -> Claims:
        """The claims of somebody who may come in; raises what stands against it.

        A probe (a plain GET) leaves a ticket unused. Where the user has as many connections as are
        allowed, this waits until the silent ones have been asked for a sign of life. After the last
        ``await`` nothing is left but to come in: what ``admit`` said is still true when this
        returns.
        """
        if self._manager.is_starting:
            raise Starting  # which tokens are revoked is not known yet
        credential = self._read(knock)
        claims = await self._identify(knock, credential)
        if self._room.is_full(claims.sub):
            await self._room.check_liveness(claims.sub)
            claims = await self._identify(knock, credential)  # it may have changed meanwhile
        self._manager.admit(claims)
        if credential.kind == "ticket" and not is_probe:
            self._tickets.redeem(credential.value)
        return claims

    async def _identify(self, knock: HandshakeRequest, credential: Credential) -> Claims:
        if credential.kind == "ticket":
            claims = self._tickets.peek(credential.value)
        else:
            claims = await self._verifier.verify(credential.value)
        if knock.endpoint == MONITOR and not self._access.allows_monitoring(claims):
            raise Forbidden("this needs the permission monitor and a role of no one organization")
        if knock.session_id is not None:
            await self._access.prepare(claims, knock.session_id)
            self._access.require(claims, knock.session_id)
        return claims

    def _read(self, knock: HandshakeRequest) -> Credential:
        if knock.session_id is not None and not is_id(knock.session_id):
            raise BadRequest("session_id: malformed", field="session_id")
        given: dict[str, list[str]] = {name: [] for name in _PARAMETERS}
        for name, value in parse_pairs(knock.query):
            if name not in given:
                raise BadRequest("unknown query parameter")
            given[name].append(value)
        return extract_credential(
            knock.authorization,
            knock.subprotocols,
            given["ticket"],
            given["token"],
            self._allow_query_token,
        )
