"""Who asks for an administrative action, and the record of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from wsserver.identity.claims import Claims
from wsserver.storage.audit import AuditEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody with a token, over REST or a monitor's socket."""

    claims: Claims
    remote_ip: str = ""
    request_id: str = ""


class Audit(Protocol):
    """Takes down what administrators do; never waits, never fails the action."""

    def record(self, entry: AuditEntry) -> bool:
        """Store an entry soon; False if there was no room for it."""
        ...


def audit_entry(
    actor: Actor, action: str, target: str, at: float, outcome: str = "ok", **detail: Any
) -> AuditEntry:
    """One line of the audit trail; ``at`` is wall-clock seconds."""
    return AuditEntry(
        at=at,
        actor=actor.claims.sub,
        role=actor.claims.role,
        action=action,
        target=target,
        detail=detail,
        outcome=outcome,
        request_id=actor.request_id,
        remote_ip=actor.remote_ip,
    )
