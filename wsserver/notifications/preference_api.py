"""Operations on preferences of notifications, by their user or by staff."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec import UNSET, to_builtins

from wsserver.clock import Clock
from wsserver.errors import ValidationFailed
from wsserver.notifications.contacts import TenantContacts
from wsserver.notifications.own_or_staff import OwnOrStaff
from wsserver.notifications.preferences import changed, preference_faults
from wsserver.notifications.templates import Templates
from wsserver.protocol.notifications import ANY_TEMPLATE, Preferences, PreferencesRequest
from wsserver.protocol.validation import Fault
from wsserver.realtime.access.actor import Actor, Audit, AuditRecorder
from wsserver.storage.notifications.preferences import PreferenceStore

SEND = "notifications:send"


@dataclass(eq=False, repr=False, kw_only=True)
class PreferenceApi:
    """Operations of ``/users/{user_id}/preferences`` and of the command."""

    store: PreferenceStore
    contact_book: TenantContacts
    templates: Templates
    access: OwnOrStaff
    audit: Audit
    clock: Clock

    def __post_init__(self) -> None:
        self._trail = AuditRecorder(self.audit, self.clock)

    def faults_of(self, request: PreferencesRequest, bad: Collection[str] = ()) -> list[Fault]:
        """Faults of a request; of the members in ``bad``, only the presence is known."""
        return preference_faults(request, self.templates.kinds, bad)

    async def get(self, actor: Actor, user_id: str) -> dict[str, Any]:
        """The preferences of a user; raises ``Forbidden``, ``NotFound``."""
        await self.access.require(actor, user_id, SEND)
        return await self._view(user_id, await self.store.get(user_id))

    async def change(
        self, actor: Actor, user_id: str, request: PreferencesRequest
    ) -> dict[str, Any]:
        """Change the preferences of a user; what others than the user change is audited.

        Raises ``Forbidden``, ``NotFound``, ``ValidationFailed``.
        """
        target = f"user:{user_id}"
        with self._trail.denials(actor, "preferences", target):
            await self.access.require(actor, user_id, SEND)
        faults = self.faults_of(request)
        if faults:
            raise ValidationFailed(faults)
        after = await self.store.change(
            user_id, partial(changed, request=request), self.clock.wall()
        )
        if actor.claims.sub != user_id:
            given = [
                name for name in request.__struct_fields__ if getattr(request, name) is not UNSET
            ]
            self._trail.record(actor, "preferences", target, fields=given)
        return await self._view(user_id, after)

    async def _view(self, user_id: str, preferences: Preferences) -> dict[str, Any]:
        hours, source = preferences.quiet_hours, "preferences"
        if hours is None:
            hours, source = (await self.contact_book.get(user_id)).quiet_hours, "contacts"
        kinds = self.templates.kinds
        return {
            "user_id": user_id,
            "channels": {
                key: switches
                for key, switches in preferences.channels.items()
                if key == ANY_TEMPLATE or key in kinds  # an extension may be left out by now
            },
            "quiet_hours": to_builtins(hours),
            "quiet_hours_from": None if hours is None else source,
            "daily_digest": to_builtins(preferences.daily_digest),
            "templates": sorted(kinds),
        }
