"""Who asks for an administrative action, and the record of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from wsserver.clock import Clock
from wsserver.errors import Forbidden
from wsserver.identity.claims import Claims
from wsserver.protocol.origin import Origin, Via
from wsserver.storage.tables.audit import AuditEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody with a token, over REST or a monitor's socket."""

    claims: Claims
    remote_ip: str = ""
    request_id: str = ""
    """Of the request, or of the monitor's connection."""
    once: tuple[str, str] | None = None
    """Scope and key of a request that is to be done once, however often it is sent."""
    via: Via = "rest"

    @property
    def origin(self) -> Origin:
        """The same, for what it publishes."""
        claims = self.claims
        return Origin(claims.sub, claims.role, claims.organization_id, self.via, self.request_id)


class Audit(Protocol):
    """Takes down what administrators do; never waits, never fails the action."""

    def record(self, entry: AuditEntry) -> bool:
        """Store an entry soon; False if there was no room for it."""
        ...


class AuditRecorder:
    """Writes the audit trail; whoever calls it keeps tokens and message bodies out of it."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock

    def record(
        self, actor: Actor, action: str, target: str, outcome: str = "ok", **detail: Any
    ) -> None:
        """Add one line."""
        self._audit.record(
            AuditEntry(
                at=self._clock.wall(),
                actor=actor.claims.sub,
                role=actor.claims.role,
                action=action,
                target=target,
                detail=detail,
                outcome=outcome,
                request_id=actor.request_id,
                remote_ip=actor.remote_ip,
            )
        )

    @contextmanager
    def denials(self, actor: Actor, action: str, target: str) -> Iterator[None]:
        """Add a line if what is done inside is forbidden: the attempt counts too."""
        try:
            yield
        except Forbidden as error:
            self.record(actor, action, target, error.code)
            raise
