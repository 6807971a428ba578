"""The requester of an admin action, and the audit trail of such actions."""

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
    """The authenticated requester of an action, over REST or a monitor's socket."""

    claims: Claims
    remote_ip: str = ""
    request_id: str = ""
    """Of the request, or of the monitor's connection."""
    once: tuple[str, str] | None = None
    """Scope and key of a request with an idempotency key."""
    via: Via = "rest"
    bound_to: str | None = None
    """The session of a connection that is bound to one; messages of others are out of its reach."""

    @property
    def origin(self) -> Origin:
        """The origin of messages that the actor publishes."""
        claims = self.claims
        return Origin(claims.sub, claims.role, claims.organization_id, self.via, self.request_id)


class Audit(Protocol):
    """Stores audit entries; never waits, never raises."""

    def record(self, entry: AuditEntry) -> bool:
        """Queue an entry to be stored; False: refused, as too many are waiting."""
        ...


class AuditRecorder:
    """Writes entries of the audit trail; callers must not pass tokens or message bodies."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock

    def record(
        self, actor: Actor, action: str, target: str, outcome: str = "ok", **detail: Any
    ) -> None:
        """Add an entry."""
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
        """Add an entry if the block raises ``Forbidden``."""
        try:
            yield
        except Forbidden as error:
            self.record(actor, action, target, error.code)
            raise
